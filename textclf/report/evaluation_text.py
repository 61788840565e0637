"""An evaluation as lines of a terminal, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from footwork.evaluation.text import (
    LABEL_WIDTH,
    aligned,
    calibration_lines,
    confusion_lines,
    number,
    shorten,
    wrapped_note,
)

if TYPE_CHECKING:
    from textclf.evaluation import ClassScore, Evaluation

_ALL_CLASSES = 20
"""With more classes only the worst are listed."""
_WORST = 10


def evaluation_text(evaluation: Evaluation) -> str:
    """Lay out the figures, the classes, the confusions and the calibration."""
    kind = f", {len(evaluation.labels)} classes" if evaluation.labels else ""
    blocks = [[f"{evaluation.rows:,} rows{kind}"], _metric_lines(evaluation)]
    if evaluation.per_class:
        blocks.append(_class_lines(evaluation.per_class))
    if evaluation.confusion is not None:
        blocks.append(confusion_lines(evaluation.labels, evaluation.confusion))
    if evaluation.calibration is not None:
        blocks.append(calibration_lines(evaluation.calibration))
    if evaluation.notes:
        blocks.append([line for note in evaluation.notes for line in wrapped_note(note)])
    return "\n\n".join("\n".join(block) for block in blocks)


def worst_classes(scores: Sequence[ClassScore], most: int) -> list[ClassScore]:
    """Return the classes of lowest F1 among those that have rows, larger ones first on a tie."""
    judged = [score for score in scores if score.support]
    return sorted(judged, key=lambda score: (score.f1 or 0.0, -score.support))[:most]


def _metric_lines(evaluation: Evaluation) -> list[str]:
    rows = [["metric", "value", "95 % interval"]]
    for name, interval in evaluation.metrics.items():
        ends = f"{number(interval.low)} to {number(interval.high)}"
        rows.append([name, number(interval.value), ends])
    raw = ["log_loss is of the probabilities before the temperature"]
    return aligned(rows) + (raw if "log_loss" in evaluation.metrics else [])


def _class_lines(scores: tuple[ClassScore, ...]) -> list[str]:
    few = len(scores) <= _ALL_CLASSES
    shown = scores if few else worst_classes(scores, _WORST)
    rows = [["class", "precision", "recall", "F1", "rows", "predicted"]]
    for score in shown:
        figures = [number(v) for v in (score.precision, score.recall, score.f1)]
        counts = [f"{score.support:,}", f"{score.predicted:,}"]
        rows.append([shorten(score.label, LABEL_WIDTH), *figures, *counts])
    title = [] if few else [f"the {len(shown)} classes of lowest F1, of {len(scores)}"]
    return title + aligned(rows)
