"""Adapters of peft: a method of it is a function that gives peft's configuration, and a row."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from footwork.errors import ConfigError, ModelError
from footwork.methods.adaptation import Adaptation, encoder_name, head_names
from footwork.methods.table import AdaptationConfig, methods_where

_DIRECTIONS = ("pissa", "olora")
"""Variants that start from the principal directions of weights."""


class Peft(Adaptation):
    """A method of peft.

    Args:
        called: As people call it.
        configured: The settings of a run and what all methods share (`target_modules`, the heads
            as `modules_to_save`, …) to a configuration of peft.
    """

    def __init__(
        self, called: str, configured: Callable[[AdaptationConfig, dict[str, Any]], Any]
    ) -> None:
        self._called, self._configured = called, configured

    def require(self, model: PreTrainedModel, config: AdaptationConfig) -> None:
        """Refuse an encoder without `targets`, and a variant that none of them has."""
        adapted, variant = re.compile(self.targets(model)), config.lora_variant
        modules = (module for name, module in model.named_modules() if adapted.fullmatch(name))
        if variant in _DIRECTIONS and isinstance(next(modules), nn.Conv2d):
            raise ConfigError(
                f"`lora_variant` {variant} starts from the directions of matrices, and "
                f"{type(model).__name__} has convolutions. Use plain, dora or rslora."
            )

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
                f"{type(model).__name__} has no layers that {self._called} can adapt here, "
                "linear ones or convolutions. "
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
        from peft import TaskType, get_peft_model

        shared = {
            # Its wrapper asks for `input_ids`; what takes pixels needs none.
            "task_type": TaskType.SEQ_CLS if model.main_input_name == "input_ids" else None,
            "target_modules": self.targets(model),
            "modules_to_save": [
                name.removeprefix(f"{encoder_name(model)}.") for name in head_names(model)
            ],
            "revision": revision,
        }
        with warnings.catch_warnings():
            # peft asks for `is_gradient_checkpointing`, which transformers renamed.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(model, self._configured(config, shared))
        adapted.peft_config["default"].base_model_name_or_path = base_id
        return adapted

    def kept_exact(self, model: nn.Module) -> set[nn.Module]:
        """DoRA takes the norm of its frozen matrix, in the dtype that the matrix has."""
        normed = (m for m in model.modules() if getattr(m, "lora_magnitude_vector", ()))
        return {module.base_layer for module in normed}  # type: ignore[misc]

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
        """The base with the adapter in its weights; `model` where it has nothing to do with them.

        Raises:
            ModelError: peft fails at it, as it does (0.21) for LoHa beside layers that are kept.
        """
        if not hasattr(model, "merge_and_unload"):
            return model  # prompts are learned inputs, not changes of weights
        try:
            return model.merge_and_unload()
        except (NotImplementedError, ValueError):
            return model
        except AttributeError as error:
            raise ModelError(
                f"peft fails to merge this {self.kind(model)} adapter ({error}). Use it as it is."
            ) from error

    def kind(self, model: Any) -> str:
        """Of the adapter in a model, as peft calls it."""
        name: str = model.peft_config[model.active_adapter].peft_type.value
        return name


def _lora(config: AdaptationConfig, shared: dict[str, Any]) -> Any:
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


LORA = Peft("LoRA", _lora)
