"""Figures as lines of a terminal, at most 100 columns wide."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

import numpy as np

from footwork.arrays import IntArray
from footwork.evaluation.calibration import Calibration
from footwork.evaluation.metrics import Interval
from footwork.settings import Documented

WIDTH = 100
LABEL_WIDTH = 32
MATRIX_CLASSES = 12
"""With more classes the most confused pairs stand for the matrix."""
_PAIRS = 10
_READABLE = 8
"""Columns that a heading needs to be told from the others; with less, numbers stand for it."""
_CORNER = "true, predicted"
ALL_CLASSES = 20
"""With more classes only the worst are listed."""
WORST = 10


class Shown(Documented):
    """What shows its `summary` in a console, and all that `to_text` says in a notebook."""

    __slots__ = ()

    @property
    def summary(self) -> str:
        """On one line."""
        raise NotImplementedError

    def to_text(self) -> str:
        """For people."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def number(value: float | None) -> str:
    """Write a figure with three decimals, or four digits where those would hide it."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 40 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ends(interval: Interval) -> str:
    """Write where an interval begins and ends."""
    return f"{number(interval.low)} to {number(interval.high)}"


def html_table(rows: Sequence[Sequence[str | bytes]]) -> str:
    """Rows of cells, the first their heads, as a notebook shows them; bytes are those of a JPEG."""
    from base64 import b64encode  # which no query in words needs

    def shown(cell: str | bytes) -> str:
        if isinstance(cell, str):
            return escape(cell)
        return f'<img src="data:image/jpeg;base64,{b64encode(cell).decode()}">'

    lines = ("".join(f"<td>{shown(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


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
    line = line[: 4 * width]  # of a whole book as a label: each turn measures all that is left
    while line and display_width(line) > width - 1:
        line = line[:-1]
    return line + "…"


def tail(path: str, width: int) -> str:
    """The end of a path in at most `width` columns: it tells more than the beginning."""
    if display_width(path) <= width:
        return path
    while path and display_width(path) > width - 1:
        path = path[1:]
    return "…" + path


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pads = [" " * (w - display_width(c)) for c, w in zip(row, widths, strict=True)]
        cells = [row[0] + pads[0], *(p + c for c, p in zip(row[1:], pads[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def wrapped(text: str, indent: str = "") -> list[str]:
    """Break a text between its words; every line but the first begins with `indent`."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and display_width(longer) > WIDTH:
            lines.append(line)
            longer = indent + word
        line = longer
    return [*lines, line]


def wrapped_note(text: str) -> list[str]:
    """Break a note into lines, marked as one."""
    return wrapped(f"note: {text}", indent="      ")


def confused_pairs(
    labels: Sequence[str], confusion: IntArray, most: int
) -> list[tuple[str, str, int]]:
    """True label, predicted label and number of the commonest mistakes of a matrix, (C, C)."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), len(mistakes)) for cell in order]
    return [(labels[i], labels[j], int(mistakes[i, j])) for i, j in cells if mistakes[i, j]]


def confusion_lines(labels: Sequence[str], confusion: IntArray, noun: str = "rows") -> list[str]:
    """The matrix, (C, C), true by predicted; of many classes the most confused pairs."""
    if len(labels) > MATRIX_CLASSES:
        return pair_lines(labels, confusion, noun)
    names = [shorten(label, LABEL_WIDTH) for label in labels]
    room = (WIDTH - max(map(display_width, names)) - len(_CORNER)) // len(labels) - 2
    if room >= _READABLE:
        digits = len(str(confusion.max()))
        heads = [shorten(label, min(16, max(room, digits))) for label in labels]
    else:
        heads = [str(place) for place in range(1, len(labels) + 1)]
        names = [f"{head:>2} {name}" for head, name in zip(heads, names, strict=True)]
    rows = [
        [name, *map(str, counts)] for name, counts in zip(names, confusion.tolist(), strict=True)
    ]
    return aligned([[_CORNER, *heads], *rows])


def pair_lines(labels: Sequence[str], confusion: IntArray, noun: str = "rows") -> list[str]:
    """The most confused pairs of a matrix, (C, C), true by predicted."""
    pairs = confused_pairs(labels, confusion, _PAIRS)
    if not pairs:
        return [f"none of the {noun} is wrong"]
    rows = [["true", "predicted", noun]]
    for true, predicted, count in pairs:
        rows.append([shorten(true, LABEL_WIDTH), shorten(predicted, LABEL_WIDTH), str(count)])
    return ["the most confused pairs", *aligned(rows)]


def calibration_lines(calibration: Calibration, noun: str = "rows") -> list[str]:
    """Say what the probabilities of what was judged, a noun, are worth."""
    after, fitted = calibration.ece_after, calibration.fitted
    told = f", {number(after)} after" if after is not None else ""
    lines = [
        f"temperature {number(calibration.temperature)}; expected calibration error "
        f"{number(calibration.ece_before)} before{told}"
        f"{' (cross-fitted)' if fitted and told else ''}"
    ]
    if calibration.note:
        lines.append(calibration.note)
    best = calibration.abstention
    if best is not None:
        right = "" if best.accuracy is None else f", {best.accuracy:.1%} of them right"
        lines.append(
            f"abstain below {best.threshold:.4f}: {best.coverage:.1%} of the {noun} get an answer"
            f"{right}"
        )
    subject = "temperature was" if best is None else "temperature and threshold were"
    found, judged = "found on these same" if fitted else "not found on these", ""
    if bars := calibration.thresholds:
        lines.append(f"a label is given from its threshold on, {min(bars):g} to {max(bars):g}")
        subject = "temperature and thresholds were"
        judged = ", but each was judged by thresholds found without it" if fitted else ""
    lines.append(f"the {subject} {found} {noun}{judged}")
    return lines
