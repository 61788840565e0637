"""The parts of a classifier: its encoder, what is head, and how high each parameter stands."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

_HEAD = re.compile(r"(^|\.)(classifier|score)\.")  # may be numbered inside, as a ResNet's is
_BELOW_LAYERS = re.compile(
    r"embed|stem|\.pre_?la?y"  # CLIP normalises its embeddings by `pre_layrnorm`
    r"|deberta\.encoder\.(?!layer\.)"  # what all layers read of the distance between tokens
)


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

    A pooler inside the encoder counts: plain checkpoints often lack its weights. So does a layer
    that averages, see `footwork.models.pooling`.
    """
    encoder = encoder_name(model)
    pooler = f"{encoder}.pooler"
    children = dict(model.named_children())
    children[pooler] = getattr(children.pop(encoder), "pooler", None) or nn.Identity()
    order = [pooler, *(name for name in children if name != pooler)]
    names = [name for name in order if any(True for _ in children[name].parameters())]
    if getattr(model.config, "mean_layer", False) and (stack := layer_stack(model)):
        names.insert(0, f"{stack}.{model.config.num_hidden_layers - 1}")
    return names


def layer_stack(model: PreTrainedModel) -> str | None:
    """The list of the encoder's layers, as many as its configuration says; None without one."""
    depth = getattr(model.config, "num_hidden_layers", None)
    stacks = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) == depth
    ]
    return stacks[0] if len(stacks) == 1 else None


def heights_below_head(model: PreTrainedModel) -> dict[str, int]:
    """`layer_of` every parameter of the encoder, without what is head.

    A layer that averages is a head, though numbered.
    """
    heads = tuple(f"{name}." for name in head_names(model))
    names = [name for name, _ in model.named_parameters() if not name.startswith(heads)]
    depth = 1 + max(map(_index, names))
    return {name: layer_of(name, depth) for name in names}


def number_of_layers(model: nn.Module) -> int:
    """How many numbered layers the parameters' names show."""
    return 1 + max((_index(name) for name, _ in model.named_parameters()), default=-1)


def layer_of(name: str, depth: int) -> int:
    """Height of a parameter: 0 for embeddings, 1 … depth for layers and what follows."""
    index = _index(name)
    if index >= 0:
        return index + 1
    return 0 if _BELOW_LAYERS.search(name.lower()) else depth


def _index(name: str) -> int:
    numbered = None if _HEAD.search(name) else re.search(r"\.(\d+)\.", name)
    return int(numbered.group(1)) if numbered else -1
