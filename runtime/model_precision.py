"""Which dtype a model's matrix products are computed in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from runtime.accelerator import compute_device, resolve_precision
from runtime.errors import ConfigError
from runtime.precision import Precision


def settled_precision(requested: Precision, model: nn.Module) -> Literal["bf16", "float32"]:
    """What `auto` means for a model on this machine.

    Raises:
        ConfigError: `bf16` was asked of a model that cannot be run in it.
    """
    if _fails_in_bf16(model):
        if requested == "bf16":
            raise ConfigError(
                "The code of DeBERTa's first version in transformers fails in bf16. "
                "Ask for `float32` or `auto`."
            )
        return "float32"
    bf16 = resolve_precision(requested, compute_device()) is torch.bfloat16
    return "bf16" if bf16 else "float32"


def _fails_in_bf16(model: nn.Module) -> bool:
    """Whether transformers' own code cannot run a model under autocast: DeBERTa's first version."""
    return getattr(getattr(model, "config", None), "model_type", None) == "deberta"
