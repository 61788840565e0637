"""How good a fine-tuned classifier is, next to what it must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.evaluation.calibration import (
    Calibration,
    GivenCalibration,
    calibrate,
    judge_calibration,
)
from footwork.evaluation.intervals import (
    bootstrap_class_counts,
    bootstrap_sums,
    percentile_interval,
    wilson_interval,
)
from footwork.evaluation.logits import log_softmax
from footwork.evaluation.metrics import (
    Interval,
    class_counts,
    confusion_counts,
    single_label_scores,
)

FEW_IMAGES = 100
_SCORES = ("accuracy", "macro_f1", "balanced_accuracy")


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneEvaluation:
    """What labelled images say of logits."""

    metrics: dict[str, Interval]
    """`accuracy`, `macro_f1`, `balanced_accuracy` and `log_loss`, each with its 95 % interval."""
    confusion: NDArray[np.int64]
    """Shape (C, C), true by given."""
    calibration: Calibration

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "confusion": self.confusion.tolist(),
            "calibration": self.calibration.to_dict(),
        }


def evaluate_logits(
    targets: NDArray[np.int64],
    logits: NDArray[np.floating[Any]],
    given: GivenCalibration | None = None,
) -> FinetuneEvaluation:
    """Judge logits.

    Args:
        targets: Shape (N,), class numbers, N at least 1.
        logits: Shape (N, C).
        given: Temperature and threshold from other images; None fits them on these.
    """
    generator = np.random.default_rng(0)
    confusion = confusion_counts(targets, logits.argmax(axis=1), logits.shape[1])
    values = single_label_scores(class_counts(confusion))
    samples = single_label_scores(bootstrap_class_counts(confusion, generator))
    metrics: dict[str, Interval] = {}
    for name in _SCORES:
        interval = percentile_interval(float(values[name]), samples[name])
        if interval is not None:
            metrics[name] = interval
    right = int(np.trace(confusion))
    if right in (0, len(targets)):  # no spread to resample
        metrics["accuracy"] = wilson_interval(right, len(targets))
    losses = _losses(targets, logits)
    drawn = bootstrap_sums(losses[:, None], generator)[:, 0] / len(losses)
    log_loss = percentile_interval(float(losses.mean()), drawn)
    if log_loss is not None:
        metrics["log_loss"] = log_loss
    calibration = (
        calibrate(logits, targets) if given is None else judge_calibration(logits, targets, given)
    )
    return FinetuneEvaluation(metrics, confusion, calibration)


def quick_metrics(
    targets: NDArray[np.int64], logits: NDArray[np.floating[Any]]
) -> dict[str, float]:
    """The figures of an evaluation within the training, without intervals."""
    confusion = confusion_counts(targets, logits.argmax(axis=1), logits.shape[1])
    scores = single_label_scores(class_counts(confusion))
    found = {name: float(scores[name]) for name in _SCORES}
    return found | {"loss": float(_losses(targets, logits).mean())}


def _losses(targets: NDArray[np.int64], logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = -log_softmax(logits)[np.arange(len(targets)), targets]
    return losses
