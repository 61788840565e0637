"""Logits as probabilities, without overflow at either end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def log_softmax(logits: NDArray[Any]) -> FloatArray:
    """Return log-probabilities over the last axis, in float64 and without overflow."""
    shifted: FloatArray = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def sigmoid(logits: NDArray[Any]) -> FloatArray:
    """Return 1 / (1 + exp(-logits)) in float64, without overflow at either end."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    result: FloatArray = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return result
