"""The dtypes that matrix products may be computed in, by name."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["auto", "bf16", "float32"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
