"""Losses a row, before they are averaged over a step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from footwork.training.job import LossFunction


def row_loss(
    task: str, label_smoothing: float = 0.0, weights: torch.Tensor | None = None
) -> LossFunction:
    """The loss of a task, one value a row.

    Args:
        task: A `problem_type` of transformers.
        label_smoothing: Probability spread evenly over all classes, 0 to 1.
        weights: Factor for each of C classes, averaging 1 over the training rows.

    Returns:
        A function of logits (B, C) and targets ((B,) or (B, C)) to losses (B,).
    """

    def single(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=label_smoothing
        )
        return loss if weights is None else loss * weights.to(loss.device)[targets]

    def several(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        soft = targets * (1 - label_smoothing) + label_smoothing / 2
        factor = None if weights is None else weights.to(logits.device)
        return functional.binary_cross_entropy_with_logits(
            logits, soft, pos_weight=factor, reduction="none"
        ).mean(-1)

    def value(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(logits.squeeze(-1), targets, reduction="none")

    return {SINGLE_LABEL: single, MULTI_LABEL: several, REGRESSION: value}[task]


def balanced_weights(task: str, targets: NDArray[np.generic], classes: int) -> torch.Tensor | None:
    """Weights that let every class count the same.

    Single label: rows / (classes x rows of the class), as scikit-learn's "balanced". Multi-label:
    the rows without a label for each row with it. Regression has none.

    Args:
        task: A `problem_type` of transformers.
        targets: (N,) class indices or (N, C) of 0 and 1.
        classes: C.
    """
    if task == REGRESSION:
        return None
    if task == SINGLE_LABEL:
        counts = np.bincount(targets.astype(np.int64), minlength=classes)
        return torch.tensor(len(targets) / (classes * np.maximum(counts, 1)), dtype=torch.float32)
    positives = targets.astype(np.float64).sum(0)
    ratio = (len(targets) - positives) / np.maximum(positives, 1)
    return torch.tensor(np.clip(ratio, 1, 100), dtype=torch.float32)
