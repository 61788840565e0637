"""Which dtype a model's matrix products are computed in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from runtime.accelerator import compute_device, resolve_precision
from runtime.errors import ConfigError
from runtime.precision import Precision

FAIL_IN_BF16 = frozenset({"deberta", "xmod"})
"""Model types whose own code fails under autocast: DeBERTa's first version, and X-MOD."""


def settled_precision(requested: Precision, model: nn.Module) -> Literal["bf16", "float32"]:
    """What `auto` means for a model on this machine.

    Raises:
        ConfigError: `bf16` was asked of a model that cannot be run in it.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if model_type in FAIL_IN_BF16:
        if requested == "bf16":
            raise ConfigError(
                f"The code of transformers for models of type {model_type} fails in bf16. "
                "Ask for `float32` or `auto`."
            )
        return "float32"
    bf16 = resolve_precision(requested, compute_device()) is torch.bfloat16
    return "bf16" if bf16 else "float32"
