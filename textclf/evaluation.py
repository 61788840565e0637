"""What one split says of one classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.evaluation.calibration import Calibration
from footwork.evaluation.intervals import wilson_interval
from footwork.evaluation.metrics import ClassCounts, Interval
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL

__all__ = [
    "METRICS",
    "MULTI_LABEL",
    "PRIMARY_METRIC",
    "REGRESSION",
    "SINGLE_LABEL",
    "ClassScore",
    "Evaluation",
    "Scores",
    "class_scores",
    "evaluation_notes",
]

PRIMARY_METRIC = {SINGLE_LABEL: "accuracy", MULTI_LABEL: "micro_f1", REGRESSION: "mae"}

METRICS = {
    SINGLE_LABEL: ("accuracy", "macro_f1", "balanced_accuracy", "mcc", "log_loss", "loss"),
    MULTI_LABEL: ("micro_f1", "macro_f1", "accuracy", "mean_average_precision", "loss"),
    REGRESSION: ("mae", "rmse", "r2", "pearson", "spearman", "loss"),
}
"""By task, the names of `quick_metrics`: what a checkpoint may be chosen by."""

Scores = dict[str, Interval | None]
"""By metric; None where it is undefined."""

_FEW_ROWS = 100


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class among the others; None where no row or no prediction defines the figure."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    """Rows that carry the label."""
    predicted: int
    """Rows that were given the label."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one split says of one classifier."""

    task: str
    labels: tuple[str, ...]
    rows: int
    metrics: dict[str, Interval]
    """Each with its 95 % bootstrap interval; undefined ones are absent, and `notes` says so. All
    are of the raw logits, `log_loss` too: a model and its baselines are compared before any
    temperature."""
    per_class: tuple[ClassScore, ...]
    confusion: NDArray[np.int64] | None
    """Shape (C, C), true by predicted; single-label only."""
    calibration: Calibration | None
    """None for a regression."""
    notes: tuple[str, ...]

    @property
    def primary_metric(self) -> str:
        """The figure that comparisons go by: accuracy, micro-F1 or mean absolute error."""
        return PRIMARY_METRIC[self.task]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, without NaN."""
        return {
            "task": self.task,
            "labels": list(self.labels),
            "rows": self.rows,
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "per_class": [asdict(score) for score in self.per_class],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Lay it out for a terminal of 100 columns."""
        from textclf.report.evaluation_text import evaluation_text

        return evaluation_text(self)


def class_scores(labels: tuple[str, ...], counts: ClassCounts) -> tuple[ClassScore, ...]:
    """Turn the counts of C classes into one score each."""
    columns = (counts.precision, counts.recall, counts.f1)
    figures = [[None if np.isnan(v) else float(v) for v in column] for column in columns]
    rows = zip(labels, *figures, counts.targets.tolist(), counts.predicted.tolist(), strict=True)
    return tuple(ClassScore(*row) for row in rows)


def evaluation_notes(
    labels: tuple[str, ...], counts: ClassCounts | None, scores: Scores, rows: int
) -> tuple[str, ...]:
    """Say what the figures themselves do not: few rows, classes without one, what is undefined.

    Args:
        labels: C names.
        counts: Shapes (C,); None for a regression.
        scores: By metric, None where it is undefined.
        rows: N.
    """
    notes = []
    if rows < _FEW_ROWS:
        notes.append(f"Only {rows} rows: every figure is rough, and so are the intervals.")
    accuracy = scores.get("accuracy")
    if accuracy and accuracy.value in (0.0, 1.0):
        bound = wilson_interval(round(accuracy.value * rows), rows)
        which, end = ("right", bound.low) if accuracy.value else ("wrong", bound.high)
        notes.append(
            f"Every row is {which}, so the bootstrap interval of the accuracy has no width; "
            f"Wilson's 95 % interval ends at {end:.3f}."
        )
    empty = [] if counts is None else [labels[i] for i in np.nonzero(counts.targets == 0)[0]]
    if empty:
        named = ", ".join(empty[:5]) + (" …" if len(empty) > 5 else "")
        notes.append(f"No row of {len(empty)} of {len(labels)} classes ({named}): not judged.")
    undefined = [name for name, interval in scores.items() if interval is None]
    if undefined:
        notes.append(
            f"Undefined on this split, and left out: {', '.join(undefined)} (targets or "
            "predictions do not vary, or no label occurs)."
        )
    return tuple(notes)
