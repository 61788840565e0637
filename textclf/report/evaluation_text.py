"""An evaluation as lines of a terminal, at most 100 columns wide."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.calibration import Calibration

if TYPE_CHECKING:
    from textclf.evaluation import ClassScore, Evaluation

WIDTH = 100
_LABEL_WIDTH = 32
_ALL_CLASSES = 20
"""With more classes only the worst are listed."""
_MATRIX_CLASSES = 12
"""With more classes the most confused pairs stand for the matrix."""
_WORST = 10
_READABLE = 8
"""Columns that a heading needs to be told from the others; with less, numbers stand for it."""
_CORNER = "true, predicted"


def evaluation_text(evaluation: Evaluation) -> str:
    """Lay out the figures, the classes, the confusions and the calibration."""
    kind = f", {len(evaluation.labels)} classes" if evaluation.labels else ""
    blocks = [[f"{evaluation.rows:,} rows{kind}"], _metric_lines(evaluation)]
    if evaluation.per_class:
        blocks.append(_class_lines(evaluation.per_class))
    if evaluation.confusion is not None:
        blocks.append(_confusion_lines(evaluation))
    if evaluation.calibration is not None:
        blocks.append(calibration_lines(evaluation.calibration))
    if evaluation.notes:
        blocks.append([line for note in evaluation.notes for line in _wrapped(f"note: {note}")])
    return "\n\n".join("\n".join(block) for block in blocks)


def number(value: float | None) -> str:
    """Write a figure with three decimals, or four digits where those would hide it."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"


def display_width(text: str) -> int:
    """Count terminal columns: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shorten(text: str, width: int) -> str:
    """Put a label on one line of at most `width` columns, with an ellipsis where it was cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if display_width(line) <= width:
        return line
    while line and display_width(line) > width - 1:
        line = line[:-1]
    return line + "…"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pads = [" " * (w - display_width(c)) for c, w in zip(row, widths, strict=True)]
        cells = [row[0] + pads[0], *(p + c for c, p in zip(row[1:], pads[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def confused_pairs(evaluation: Evaluation, most: int) -> list[tuple[str, str, int]]:
    """Return the true label, the predicted label and the rows of the commonest mistakes."""
    assert evaluation.confusion is not None
    mistakes = evaluation.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), len(mistakes)) for cell in order]
    names = evaluation.labels
    return [(names[i], names[j], int(mistakes[i, j])) for i, j in cells if mistakes[i, j]]


def worst_classes(scores: Sequence[ClassScore], most: int) -> list[ClassScore]:
    """Return the classes of lowest F1 among those that have rows, larger ones first on a tie."""
    judged = [score for score in scores if score.support]
    return sorted(judged, key=lambda score: (score.f1 or 0.0, -score.support))[:most]


def calibration_lines(calibration: Calibration) -> list[str]:
    """Say what the probabilities are worth."""
    after, fitted = calibration.ece_after, calibration.fitted
    lines = [
        f"temperature {number(calibration.temperature)}; expected calibration error "
        f"{number(calibration.ece_before)} before"
        + (f", {number(after)} after" if after is not None else "")
        + (" (cross-fitted)" if fitted and after is not None else "")
    ]
    best = calibration.abstention
    if best is not None:
        right = "" if best.accuracy is None else f", {best.accuracy:.1%} of them right"
        lines.append(
            f"abstain below {best.threshold:.4f}: {best.coverage:.1%} of the rows get an answer"
            f"{right}"
        )
    subject = "temperature was" if best is None else "temperature and threshold were"
    lines.append(f"the {subject} {'found on these same' if fitted else 'not found on these'} rows")
    return lines


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
        rows.append([shorten(score.label, _LABEL_WIDTH), *figures, *counts])
    title = [] if few else [f"the {len(shown)} classes of lowest F1, of {len(scores)}"]
    return title + aligned(rows)


def _confusion_lines(evaluation: Evaluation) -> list[str]:
    assert evaluation.confusion is not None
    if len(evaluation.labels) > _MATRIX_CLASSES:
        pairs = confused_pairs(evaluation, _WORST)
        rows = [["true", "predicted", "rows"]]
        rows += [[*(shorten(name, _LABEL_WIDTH) for name in (i, j)), str(n)] for i, j, n in pairs]
        return ["the most confused pairs", *aligned(rows)] if pairs else ["no row is wrong"]
    return aligned(_matrix_rows(evaluation.labels, evaluation.confusion))


def _matrix_rows(labels: Sequence[str], confusion: NDArray[np.int64]) -> list[list[str]]:
    rows = [shorten(label, _LABEL_WIDTH) for label in labels]
    room = (WIDTH - max(map(display_width, rows)) - len(_CORNER)) // len(labels) - 2
    digits = len(str(confusion.max()))
    if room >= _READABLE:
        heads = [shorten(label, min(16, max(room, digits))) for label in labels]
    else:
        heads = [str(place) for place in range(1, len(labels) + 1)]
        rows = [f"{head:>2} {row}" for head, row in zip(heads, rows, strict=True)]
    cells = [[str(count) for count in line] for line in confusion.tolist()]
    return [[_CORNER, *heads], *([r, *c] for r, c in zip(rows, cells, strict=True))]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="      ")
