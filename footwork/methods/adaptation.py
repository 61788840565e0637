"""Which parameters train, and at what rate."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from footwork.errors import ConfigError, ModelError
from footwork.options import AdaptationConfig

_HEAD = re.compile(r"(^|\.)(classifier|score)\.")  # may be numbered inside, as a ResNet's is
_BELOW_LAYERS = re.compile(r"embed|\.pre_?la?y")  # CLIP normalises its embeddings by `pre_layrnorm`


def adapt(
    model: PreTrainedModel, config: AdaptationConfig, base_id: str, revision: str | None
) -> Any:
    """Freeze what stays and make what trains trainable.

    Args:
        model: A classifier.
        config: The method and its settings.
        base_id: What an adapter names as its base: a Hub id, an absolute folder, or `tiny`.
        revision: Commit of the base on the Hub.

    Returns:
        `model` itself, or a `PeftModel` around it for LoRA.
    """
    if config.method == "lora":
        return _with_lora(model, config, base_id, revision)
    if config.method == "head":
        for parameter in encoder_of(model).parameters():
            parameter.requires_grad_(False)
    return model


def require_adaptable(model: PreTrainedModel, method: str, *, checkpointing: bool) -> None:
    """Refuse what a model cannot do whatever the data are.

    Args:
        model: A classifier; its weights may be on the meta device.
        method: Of `AdaptationConfig`.
        checkpointing: Whether activations are to be computed twice.

    Raises:
        ConfigError: It has no activation checkpointing.
        ModelError: LoRA finds nothing in it to adapt.
    """
    if checkpointing and not model.supports_gradient_checkpointing:
        name = type(model).__name__
        raise ConfigError(f"{name} has no activation checkpointing. Leave it out.")
    if method == "lora":
        lora_targets(model)


def encoder_name(model: PreTrainedModel) -> str:
    """The child of a classifier that is pretrained.

    Two-tower families name no base in their image classifiers: there it is the largest child.
    """
    if model.base_model is not model:
        return model.base_model_prefix
    children = dict(model.named_children())
    return max(children, key=lambda name: sum(p.numel() for p in children[name].parameters()))


def encoder_of(model: PreTrainedModel) -> nn.Module:
    """The pretrained part of a classifier."""
    return model.get_submodule(encoder_name(model))


def head_names(model: PreTrainedModel) -> list[str]:
    """The modules that classification adds to an encoder, new and therefore always trained.

    A pooler inside the encoder counts: plain checkpoints often lack its weights.
    """
    encoder = encoder_name(model)
    pooler = f"{encoder}.pooler"
    children = dict(model.named_children())
    children[pooler] = getattr(children.pop(encoder), "pooler", None) or nn.Identity()
    order = [pooler, *(name for name in children if name != pooler)]
    return [name for name in order if any(True for _ in children[name].parameters())]


def lora_targets(model: PreTrainedModel) -> str:
    """A pattern of every matrix of the encoder's layers: attention and feed-forward alike.

    Rank 8 on all six matrices of a DeBERTa layer beats full fine-tuning on the GLUE average; on
    query and value alone it does not. Source: AdaLoRA, Zhang et al. 2023, table 1
    (arXiv:2303.10512).

    Raises:
        ModelError: The encoder has no repeated layers with linear maps.
    """
    heads = tuple(f"{name}." for name in head_names(model))
    patterns = {
        re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(f"{encoder_name(model)}.")
        and not f"{name}.".startswith(heads)
        and re.search(r"\.\d+\.", name)
    }
    if not patterns:
        message = (
            f"{type(model).__name__} has no linear layers that LoRA can adapt here. "
            "Use --method full or --method head."
        )
        raise ModelError(message)
    return f"({'|'.join(sorted(patterns))})"


def _with_lora(
    model: PreTrainedModel, config: AdaptationConfig, base_id: str, revision: str | None
) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    variant = config.lora_variant
    alpha = config.lora_alpha if config.lora_alpha is not None else 2 * config.lora_rank
    lora = LoraConfig(
        # Its wrapper asks for `input_ids`; what takes pixels needs none.
        task_type=TaskType.SEQ_CLS if model.main_input_name == "input_ids" else None,
        r=config.lora_rank,
        lora_alpha=alpha,
        lora_dropout=config.lora_dropout,
        target_modules=lora_targets(model),
        modules_to_save=[
            name.removeprefix(f"{encoder_name(model)}.") for name in head_names(model)
        ],
        use_dora=variant == "dora",
        use_rslora=variant == "rslora",
        init_lora_weights=variant if variant in ("pissa", "olora") else True,
        revision=revision,
    )
    with warnings.catch_warnings():
        # peft asks for `is_gradient_checkpointing`, which transformers renamed.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(model, lora)
    adapted.peft_config["default"].base_model_name_or_path = base_id
    return adapted


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups: no decay on biases and norms, lower rates for lower layers.

    Layer-wise rates: ULMFiT, Howard & Ruder 2018, section 3.2 (arXiv:1801.06146); used with
    ELECTRA and DeBERTa at 0.8–0.95.

    Args:
        model: Its trainable parameters are taken.
        learning_rate: Peak rate of the head and the topmost layer.
        weight_decay: For matrices alone.
        layer_decay: Rate of a layer relative to the one above.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    depth = number_of_layers(model)
    for name, parameter in trainable(model):
        below_top = depth - layer_of(name, depth)
        decays = parameter.dim() > 1
        if (below_top, decays) not in groups:
            groups[below_top, decays] = {
                "params": [],
                "lr": learning_rate * layer_decay**below_top,
                "weight_decay": weight_decay if decays else 0.0,
            }
        groups[below_top, decays]["params"].append(parameter)
    if not groups:
        raise ConfigError("Nothing is left to train: every parameter is frozen.")
    return list(groups.values()) if layer_decay < 1 else _merged(list(groups.values()))


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that take a gradient."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def number_of_layers(model: nn.Module) -> int:
    """How many numbered layers the parameters' names show."""
    return 1 + max((_index(name) for name, _ in model.named_parameters()), default=-1)


def layer_of(name: str, depth: int) -> int:
    """Height of a parameter: 0 for embeddings, 1 … depth for layers and what follows."""
    index = _index(name)
    if index >= 0:
        return index + 1
    return 0 if _BELOW_LAYERS.search(name.lower()) else depth


def resting_parameters(model: PreTrainedModel, epoch: int) -> list[nn.Parameter]:
    """What does not train yet in an epoch of gradual unfreezing.

    The head trains from the first epoch on, and one layer more from the top in each that follows;
    the embeddings come last.

    Source: ULMFiT, Howard & Ruder 2018, section 3.3 (arXiv:1801.06146).

    Args:
        model: A classifier.
        epoch: Counted from 0.
    """
    depth, heads = number_of_layers(model), tuple(f"{name}." for name in head_names(model))
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(heads) and layer_of(name, depth) <= depth - epoch
    ]


def _index(name: str) -> int:
    found = None if _HEAD.search(name) else re.search(r"\.(\d+)\.", name)
    return int(found.group(1)) if found else -1


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group a weight decay: with equal rates, layers need no groups of their own."""
    merged: dict[float, dict[str, Any]] = {}
    for group in groups:
        kept = merged.setdefault(group["weight_decay"], {**group, "params": []})
        kept["params"] += group["params"]
    return list(merged.values())
