"""From the cells of a label column to a task, the names of its classes, and targets."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ConfigError
from runtime.tables.header import is_number

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"
TASKS = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
"""As `problem_type` of transformers names them."""

Cell = str | list[str] | None
"""A label as written, or several, or none."""

SEPARATORS = (",", ";", "|")
_SHORT_NAMES = {"single": SINGLE_LABEL, "multi": MULTI_LABEL, "regression": REGRESSION}
_MANY_AMOUNTS = 20
_MANY_INTEGERS = 50


@dataclass(frozen=True, slots=True)
class LabelKind:
    """What the labels of a data set are, and how a cell is read."""

    task: str
    separator: str | None = None
    """Divides the labels of one cell; None for lists and single labels."""
    notes: tuple[str, ...] = ()


def resolve_task(task: str) -> str:
    """A task by its full name or by `single`, `multi`, `regression`.

    Raises:
        ConfigError: Another name.
    """
    resolved = _SHORT_NAMES.get(task, task)
    if resolved not in TASKS:
        raise ConfigError(
            f"`task` must be one of {', '.join((*_SHORT_NAMES, *TASKS[:2]))}, got {task!r}."
        )
    return resolved


def read_cells(values: Iterable[Any]) -> list[Cell]:
    """Labels as text: whole floats of Parquet and JSON as integers, the rest as it is written."""
    return [_read_cell(value) for value in values]


def _read_cell(value: Any) -> Cell:
    if isinstance(value, (list, tuple)):
        return [text for one in value if isinstance(text := _read_cell(one), str)]
    # A missing number of Parquet is NaN, which is not itself.
    if value is None or value != value:
        return None
    # An integer column with a gap becomes floats in pandas.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def infer_kind(cells: Sequence[Cell], task: str | None, separator: str | None) -> LabelKind:
    """Tell the task from the labels, unless it is stated.

    Args:
        cells: Of the training split.
        task: As stated.
        separator: As stated; means several labels a cell.
    """
    if task is not None:
        task = resolve_task(task)
        if task == MULTI_LABEL and separator is None:
            separator = _find_separator(cells) or _only_separator(cells)
        return LabelKind(task, separator if task == MULTI_LABEL else None)
    if separator is not None:
        note = f"Several labels a text, divided by {separator!r}: multi-label."
        return LabelKind(MULTI_LABEL, separator, (note,))
    if any(isinstance(cell, list) for cell in cells):
        return LabelKind(MULTI_LABEL, None, ("Labels are lists: multi-label (--task).",))
    texts = [cell for cell in cells if isinstance(cell, str)]
    if _are_written_lists(texts):
        return LabelKind(MULTI_LABEL, None, ("Labels are written lists: multi-label (--task).",))
    if found := _find_separator(texts):
        example = max(texts, key=lambda text: text.count(found))
        note = (
            f"Labels such as {example!r} are several, divided by {found!r}: multi-label (--task)."
        )
        return LabelKind(MULTI_LABEL, found, (note,))
    return _amounts_or_classes(texts)


def _amounts_or_classes(texts: Sequence[str]) -> LabelKind:
    distinct = set(texts)
    numbers = bool(distinct) and all(map(is_number, distinct))
    fractions = numbers and not all(float(text).is_integer() for text in distinct)
    many = len(distinct) > _MANY_AMOUNTS or len(distinct) * 2 > len(texts) > 4
    if fractions and many:
        note = f"Numbers with decimals, {len(distinct)} different ones: regression (--task)."
        return LabelKind(REGRESSION, None, (note,))
    notes = [f"Different labels: {len(distinct)}; single-label classification (--task)."]
    if numbers and len(distinct) > _MANY_INTEGERS:
        notes.append("The labels are numbers; if they are amounts, state --task regression.")
    return LabelKind(SINGLE_LABEL, None, tuple(notes))


def _find_separator(cells: Sequence[Cell]) -> str | None:
    """A separator whose parts recur in many combinations; "card, lost" alone is one label."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    for separator in SEPARATORS:
        distinct = set(texts)
        combined = {text for text in distinct if separator in text}
        parts = [frozenset(_split(text, separator)) for text in distinct]
        counts = Counter(part for one in parts for part in one)
        joined = {part for text in combined for part in _split(text, separator)}
        if len(combined) < 2 or len(distinct) <= len(counts) or "" in joined:
            continue
        recurring = sum(counts[part] > 1 for part in joined)
        amounts = separator == "," and all(map(_is_decimal_comma, distinct))
        if recurring >= 0.8 * len(joined) and not amounts:
            return separator
    return None


def _is_decimal_comma(text: str) -> bool:
    """Whether a cell may be a number such as 3,5 of half the world."""
    return text.count(",") == 1 and is_number(text.replace(",", "."))


def kind_for_model(
    cells: Sequence[Cell], separator: str | None, labels: Sequence[str], task: str
) -> LabelKind:
    """How cells are read for a model whose labels are known.

    Args:
        cells: To be read.
        separator: As stated; None takes the one that leaves the fewest unknown labels.
        labels: The model's.
        task: The model's.
    """
    if task != MULTI_LABEL or separator is not None:
        return LabelKind(task, separator if task == MULTI_LABEL else None)
    known = set(labels)
    kinds = [LabelKind(task, one) for one in (None, *SEPARATORS)]
    return min(
        kinds,
        key=lambda kind: sum(not known.issuperset(split_cell(c, kind) or ()) for c in cells),
    )


def _only_separator(cells: Sequence[Cell]) -> str | None:
    texts = [cell for cell in cells if isinstance(cell, str) and not _written_list(cell)]
    return next((one for one in SEPARATORS if any(one in text for text in texts)), None)


def _split(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator)]


def _are_written_lists(texts: Sequence[str]) -> bool:
    return bool(texts) and all(_written_list(text) is not None for text in texts)


def _written_list(text: str) -> list[str] | None:
    """A list as JSON, Python or numpy print it, or None."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return [str(one) for one in parse(text)]
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    words = text[1:-1].split()
    return words if all(map(is_number, words)) else None


def split_cell(cell: Cell, kind: LabelKind) -> list[str] | None:
    """The labels of one cell; None where there should be one and is none.

    Args:
        cell: Empty means no label at all where a text may have several.
        kind: As inferred from the training split.
    """
    if kind.task != MULTI_LABEL:
        return None if cell is None else [cell] if isinstance(cell, str) else cell
    if cell is None:
        return []
    if isinstance(cell, list):
        return cell
    if kind.separator is not None:
        return [part for part in _split(cell, kind.separator) if part]
    written = _written_list(cell)
    return [cell] if written is None else written


def name_classes(labels: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Distinct labels in natural order, and what is to be noted of them.

    Returns:
        Integers in the order of their value, others in the alphabet's; and a note if
        integers have gaps.
    """
    distinct = set(labels)
    if not all(_is_integer(label) for label in distinct):
        return tuple(sorted(distinct)), ()
    ordered = tuple(sorted(distinct, key=lambda label: (int(label), label)))
    numbers = {int(label) for label in ordered}
    span = range(min(numbers, default=0), max(numbers, default=-1) + 1)
    if len(numbers) < len(span) <= 2 * len(numbers):
        missing = ", ".join(str(number) for number in span if number not in numbers)
        return ordered, (
            f"The integer labels have gaps (no {missing}); they stay {len(ordered)} classes "
            "with the names as written.",
        )
    return ordered, ()


def _is_integer(label: str) -> bool:
    return label.removeprefix("-").isdecimal() and label.isascii() and len(label) < 19


def encode_targets(
    labels: Sequence[Sequence[str]], names: Sequence[str], task: str
) -> NDArray[Any]:
    """Labels as the arrays that losses and metrics take.

    Args:
        labels: N rows; one label each, or any number for multi-label; all are among `names`.
        names: C class names; empty for regression.
        task: One of `TASKS`.

    Returns:
        (N,) int64 for single label, (N, C) float32 of zeros and ones for multi-label,
        (N,) float32 for regression.
    """
    if task == REGRESSION:
        return np.array([float(row[0]) for row in labels], dtype=np.float32)
    index = {name: i for i, name in enumerate(names)}
    if task == SINGLE_LABEL:
        return np.array([index[row[0]] for row in labels], dtype=np.int64)
    targets = np.zeros((len(labels), len(names)), dtype=np.float32)
    for i, row in enumerate(labels):
        targets[i, [index[label] for label in row]] = 1.0
    return targets
