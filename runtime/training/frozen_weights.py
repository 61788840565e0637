"""Frozen matrices in the dtype in which they are multiplied anyway.

Autocast casts every weight at every step and keeps the copy until the backward pass. A weight that
does not train can be cast once: the same numbers, half the memory, and no cast in any step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen_weights_in(model: nn.Module, dtype: torch.dtype) -> Iterator[int]:
    """Within the block frozen weights of linear layers are held in `dtype`.

    Args:
        model: Enter before it moves to an accelerator: the originals stay where they are.
        dtype: Of autocast; float32 changes nothing.

    Yields:
        How many were cast.
    """
    originals: dict[nn.Linear, torch.Tensor] = {}
    if dtype is not torch.float32:
        # DoRA also takes the norm of its frozen matrix, in the dtype that the matrix has.
        normed = {m.base_layer for m in model.modules() if getattr(m, "lora_magnitude_vector", ())}
        originals = {
            module: module.weight
            for module in model.modules()
            if type(module) is nn.Linear
            and not module.weight.requires_grad
            and module not in normed
        }
    for module, weight in originals.items():
        module.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    try:
        yield len(originals)
    finally:
        for module, weight in originals.items():
            module.weight = weight


@contextmanager
def without_gradient(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within the block `parameters` take no gradient; an optimizer then leaves them alone."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
