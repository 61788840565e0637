"""Adapters of peft: a method of it is a class that gives peft's configuration, and a row."""

from __future__ import annotations

import re
import warnings
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from footwork.errors import ConfigError, ModelError
from footwork.methods.adaptation import Adaptation
from footwork.methods.table import PEFT, AdaptationConfig, methods_where
from footwork.models.checkpoints import position_limit, token_table
from footwork.models.pairs import reads_apart
from footwork.models.parts import encoder_name, head_names

_DIRECTIONS = ("pissa", "olora")
"""Variants that start from the principal directions of weights."""


class Peft(Adaptation):
    """A method of peft: it overrides `configured`."""

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """The method as peft takes it.

        Args:
            model: A classifier.
            config: The settings of a run.
            shared: What the method is told of the model: its heads as `modules_to_save`, its layers
                as `target_modules`, …
        """
        raise NotImplementedError(config.method)

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse an encoder without `targets`, and one of convolutions where peft has none."""
        if has_convolutions(model, self.targets(model)) and not config.method_row.convolves:
            raise ModelError(
                f"{type(model).__name__} has convolutions, which peft cannot adapt by "
                f"{config.method}. Use --method {methods_where(lambda method: method.convolves)}."
            )

    def shared(self, model: Any) -> dict[str, Any]:
        """What peft is told of a classifier."""
        return {
            # Its wrapper asks for `input_ids`; what takes pixels needs none.
            "task_type": "SEQ_CLS" if model.main_input_name == "input_ids" else None,
            "modules_to_save": [
                name.removeprefix(f"{encoder_name(model)}.") for name in head_names(model)
            ],
            **self.places(model),
        }

    def places(self, model: Any) -> dict[str, Any]:
        """Where the method does something to a classifier."""
        return {"target_modules": self.targets(model)}

    def targets(self, model: PreTrainedModel) -> str:
        """A pattern of every matrix of the encoder's layers: attention and feed-forward alike.

        Where there is none, of every convolution, but for those in groups, which peft cannot
        merge, and those with gaps, whose adapter it would give another shape.

        Rank 8 on all six matrices of a DeBERTa layer beats full fine-tuning on the GLUE average;
        on query and value alone it does not. Source: AdaLoRA, Zhang et al. 2023, table 1
        (arXiv:2303.10512).

        Raises:
            ModelError: The encoder has no repeated layers with either.
        """
        heads = tuple(f"{name}." for name in head_names(model))
        layers: dict[str, Any] = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
            and name.startswith(f"{encoder_name(model)}.")
            and not f"{name}.".startswith(heads)
            and re.search(r"\.\d+\.", name)
        }
        linear = {name for name, module in layers.items() if isinstance(module, nn.Linear)}
        names = linear or {
            name
            for name, module in layers.items()
            if module.groups == 1 and set(module.dilation) == {1}
        }
        if not names:
            raise ModelError(
                f"{type(model).__name__} has no layers that peft can adapt here, linear ones or "
                "convolutions. "
                f"Use --method {methods_where(lambda method: method.adapter is None)}."
            )
        patterns, everything = set(), {name for name, _ in model.named_modules()}
        for name in names:
            pattern = re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name))
            others = any(re.fullmatch(pattern, each) for each in everything - names)
            patterns.add(re.escape(name) if others else pattern)
        return f"({'|'.join(sorted(patterns))})"

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """A `PeftModel` around `model`."""
        from peft import get_peft_model

        given = self.configured(model, config, self.shared(model) | {"revision": revision})
        with warnings.catch_warnings():
            # peft asks for `is_gradient_checkpointing`, which transformers renamed.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings(
                "ignore", "Failed to load the CUDA ext|Setting boft_n"
            )  # of BOFT
            adapted = get_peft_model(model, given)
        adapted.peft_config["default"].base_model_name_or_path = base_id
        return adapted

    def kept_exact(self, model: nn.Module) -> set[nn.Module]:
        """What computes with the weights of its layer, as DoRA does with their norms."""
        from peft.tuners.lora import LoraLayer
        from peft.tuners.tuners_utils import BaseTunerLayer

        return {
            module.get_base_layer()
            for module in model.modules()
            if isinstance(module, BaseTunerLayer)
            and (not isinstance(module, LoraLayer) or module.lora_magnitude_vector)
        }

    def save(self, folder: Path, model: Any) -> None:
        """Write the adapter, and the base's configuration, which peft leaves out, beside it."""
        # peft would ask the Hub whether the base's vocabulary was resized; ours never is.
        model.save_pretrained(folder, save_embedding_layers=False)
        model.get_base_model().config.save_pretrained(folder)

    def holds(self, model: Any) -> bool:
        """Whether a model has adapters of peft."""
        return hasattr(model, "get_base_model")

    def load(self, folder: Path, base: Any) -> Any:
        """A `PeftModel` around `base`."""
        from peft import PeftModel

        with warnings.catch_warnings():
            # peft warns of a base whose config it cannot find on the Hub.
            warnings.simplefilter("ignore")
            # And where it leaves weights of an adapter random.
            warnings.filterwarnings("error", ".*missing adapter keys")
            return PeftModel.from_pretrained(base, str(folder))

    def merged(self, model: Any) -> Any:
        """The base with the adapter in its weights; `model` where that does not change them."""
        from peft.utils import ModulesToSaveWrapper

        if not hasattr(model, "merge_and_unload"):
            return model  # prompts are learned inputs, not changes of weights
        base = model.get_base_model()
        # Most methods of peft (0.21) fail at kept modules that are more than a layer.
        for name, module in list(base.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                base.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
        return model.merge_and_unload()

    def kind(self, model: Any) -> str:
        """Of the adapter in a model, as peft calls it."""
        name: str = model.peft_config[model.active_adapter].peft_type.value
        return name


def has_convolutions(model: nn.Module, pattern: str) -> bool:
    """Whether the layers whose names match are no matrices."""
    named = (module for name, module in model.named_modules() if re.fullmatch(pattern, name))
    return isinstance(next(named), nn.Conv2d)


class Lora(Peft):
    """Low-rank changes of every matrix; Hu et al. 2021 (arXiv:2106.09685)."""

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a variant that starts from matrices where there are none."""
        super().require(model, config)
        if config.lora_variant in _DIRECTIONS and has_convolutions(model, self.targets(model)):
            raise ConfigError(
                f"`lora_variant` {config.lora_variant} starts from the directions of matrices, and "
                f"{type(model).__name__} has convolutions. Use plain, dora or rslora."
            )

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """With the scale of the usual alpha."""
        from peft import LoraConfig

        variant, rank = config.lora_variant, config.lora_rank
        return LoraConfig(
            r=rank,
            lora_alpha=config.lora_alpha if config.lora_alpha is not None else 2 * rank,
            lora_dropout=config.lora_dropout,
            use_dora=variant == "dora",
            use_rslora=variant == "rslora",
            init_lora_weights=variant if variant in _DIRECTIONS else True,
            **shared,
        )


class Ia3(Peft):
    """Factors of what every layer gives; of what it takes where it narrows.

    The paper scales keys, values and what the second matrix of a feed-forward block takes.

    Source: Liu et al. 2022, section 3.3 (arXiv:2205.05638).
    """

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """With the layers that narrow."""
        from peft import IA3Config

        adapted = re.compile(shared["target_modules"])
        narrowing = [
            re.escape(name)
            for name, module in model.named_modules()
            if adapted.fullmatch(name)
            and isinstance(module, nn.Linear)
            and module.in_features > module.out_features
        ]
        return IA3Config(feedforward_modules="|".join(narrowing) or [], **shared)


class Prompt(Peft):
    """Learned vectors before the embeddings of each text, which begin as those of tokens.

    The head reads the first of them, where it would read the first token.

    Source: Lester et al. 2021, section 3.2 (arXiv:2104.08691).
    """

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse a model without a table of tokens, with too few positions, or of texts apart."""
        if reads_apart(model):
            raise ModelError(
                "A prompt goes before a text, and this model reads the two texts of a pair apart. "
                f"Use --method {methods_where(lambda method: not method.texts_alone)}."
            )
        if model.main_input_name != "input_ids" or token_table(model) is None:
            raise ModelError(
                f"{type(model).__name__} has no embeddings of tokens to put a prompt before. "
                f"Use --method {methods_where(lambda method: not method.texts_alone)}."
            )
        positions = position_limit(model)
        if positions is not None and config.prompt_length > positions // 2:
            raise ConfigError(
                f"`prompt_length` must be at most {positions // 2}, half the positions of "
                f"{type(model).__name__}, got {config.prompt_length}."
            )

    def places(self, model: Any) -> dict[str, Any]:
        """Before the embeddings: no layer is changed."""
        return {"token_dim": model.get_input_embeddings().weight.shape[1]}

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """With tokens drawn by chance."""
        from peft import PromptTuningConfig

        return PromptTuningConfig(
            num_virtual_tokens=config.prompt_length, prompt_tuning_init="SAMPLE_VOCAB", **shared
        )


class PTuning(Prompt):
    """The same vectors, changed by a small network, of which only what it gives is kept.

    They begin as those of tokens too, and the network adds to them; peft has it make them of noise
    alone (Liu et al. 2021, arXiv:2103.10385).

    Source: Razdaibiedina et al. 2023, section 3 (arXiv:2305.03937).
    """

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """With a network as wide as the embeddings."""
        from peft import PromptEncoderConfig

        width = shared["token_dim"]
        return PromptEncoderConfig(
            num_virtual_tokens=config.prompt_length, encoder_hidden_size=width, **shared
        )

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """With the network beside the vectors of tokens drawn by chance."""
        adapted = super().adapt(model, config, base_id, revision)
        encoder = adapted.prompt_encoder["default"]
        table = model.get_input_embeddings().weight.detach()
        with torch.no_grad():
            encoder.embedding.weight.copy_(
                table[torch.randint(len(table), (config.prompt_length,))]
            )
        encoder.mlp_head = Residual(encoder.mlp_head)
        return adapted


class Residual(nn.Module):
    """What a network adds to its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Of any shape (…, D)."""
        added: torch.Tensor = states + self.network(states)
        return added


_DIVIDES = {
    "c3a": "block_size",
    "miss": "r",
    "oft": "oft_block_size",
    "road": "group_size",
    "vblora": "vector_length",
}
"""Method → its setting that must divide the widths of all layers."""
_BELOW_WIDTH = {"adamss": "r", "psoft": "r"}
"""Method → its setting that must be below them."""
_FREQUENCIES = ("fourierft", "waveft")
"""Methods that have some of as many frequencies as the least layer has weights."""


class Other(Peft):
    """What peft has under the name, as it is set there, but for what the layers are too small."""

    def configured(self, model: Any, config: AdaptationConfig, shared: dict[str, Any]) -> Any:
        """By the name in `config.method`."""
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        from peft.utils import PeftType

        name = config.method.removeprefix(PEFT)
        kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[name.upper()]]
        adapted = re.compile(shared["target_modules"])
        widths = {
            width
            for each, module in model.named_modules()
            if adapted.fullmatch(each)
            for width in module.weight.shape[:2]
        }
        own: dict[str, Any] = {}
        if setting := _DIVIDES.get(name):
            own[setting] = gcd(getattr(kind, setting), *widths)
        if setting := _BELOW_WIDTH.get(name):
            own[setting] = min(getattr(kind, setting), min(widths) // 4)
        if name in _FREQUENCIES:
            own["n_frequency"] = min(kind.n_frequency, min(widths) ** 2)
        return kind(**own, **shared)


LORA, IA3, PROMPT, P_TUNING, OTHER = Lora(), Ia3(), Prompt(), PTuning(), Other()
