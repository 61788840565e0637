"""What a classifier must beat whatever it reads: the commonest answer, and a linear model."""

from __future__ import annotations

import numpy as np

from footwork.arrays import AnyArray, DoubleArray
from footwork.tables.labels import REGRESSION, SINGLE_LABEL


def majority_logits(task: str, num_classes: int, targets: AnyArray, rows: int) -> DoubleArray:
    """The same logits, (rows, C), for every row: smoothed log-frequencies of the training targets.

    The commonest class wins, the commonest set of labels whole (multi-label), or the mean is given
    (regression).
    """
    if task == REGRESSION:
        return np.full((rows, 1), targets.astype(np.float64).mean())
    if task == SINGLE_LABEL:
        return np.tile(frequency_logits(task, num_classes, targets), (rows, 1))
    sets, sizes = np.unique(targets > 0.5, axis=0, return_counts=True)
    odds = np.abs(frequency_logits(task, num_classes, targets))
    return np.tile(np.where(sets[sizes.argmax()], odds + 1e-6, -odds - 1e-6), (rows, 1))


def frequency_logits(task: str, num_classes: int, targets: AnyArray) -> DoubleArray:
    """What the frequencies of the targets say of every row, (C,): of classes, or of labels.

    Smoothed log-frequencies (single label) or log-odds (multi-label).
    """
    if task == SINGLE_LABEL:
        counts = np.bincount(targets, minlength=num_classes) + 1.0
        return np.log(counts / counts.sum())
    return np.stack([constant_logit(column) for column in targets.T])


def constant_logit(targets: AnyArray) -> float:
    """The smoothed log-odds of a label, (N,) zeros and ones."""
    ones = float((targets > 0.5).sum())
    return float(np.log((ones + 1.0) / (len(targets) - ones + 1.0)))
