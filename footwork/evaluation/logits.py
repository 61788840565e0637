"""Logits as probabilities, without overflow at either end."""

from __future__ import annotations

import numpy as np

from footwork.arrays import AnyArray, DoubleArray
from footwork.tables.labels import MULTI_LABEL


def probabilities(task: str, logits: AnyArray) -> DoubleArray:
    """Of classes, (N, C), as a `problem_type` of transformers has them."""
    return sigmoid(logits) if task == MULTI_LABEL else np.exp(log_softmax(logits))


def log_softmax(logits: AnyArray) -> DoubleArray:
    """Return log-probabilities over the last axis, in float64 and without overflow."""
    shifted: DoubleArray = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sigmoid(logits: AnyArray) -> DoubleArray:
    """Return 1 / (1 + exp(-logits)) in float64, without overflow at either end."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)
