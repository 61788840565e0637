"""The labels of a table: from a cell to names of classes, and from names to targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from footwork.class_names import class_name, read_label
from footwork.errors import ConfigError
from footwork.tables.cells import list_of
from footwork.tables.columns import is_number

Task = Literal["single_label_classification", "multi_label_classification", "regression"]
"""As `problem_type` of transformers names them."""
TASKS: tuple[Task, ...] = get_args(Task)
SINGLE_LABEL: Final = "single_label_classification"
MULTI_LABEL: Final = "multi_label_classification"
REGRESSION: Final = "regression"
_SHORT_NAMES: dict[str, Task] = {
    "single": SINGLE_LABEL,
    "multi": MULTI_LABEL,
    "regression": REGRESSION,
}

BITS = dict.fromkeys(("1", "1.0", "true"), True) | dict.fromkeys(("0", "0.0", "false"), False)
"""What the values of a vector of 0 and 1 may be, in small letters."""
SHOWN_CELLS, _SHOWN_CHARACTERS = 5, 60
# Squared, and summed over a batch, it still is a number of float32.
_LARGEST_TARGET = 1e18


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a cell holds no labels that can be used."""

    reason: str
    """A clause such as "the label is empty"."""


Cell = str | list[str] | Fault | None
"""A label as written, or several, or none."""


@dataclass(frozen=True, slots=True)
class LabelKind:
    """What the labels of a data set are, and how a cell is read."""

    task: Task
    separator: str | None = None
    """Divides the labels of one cell; None for lists and single labels."""
    vector: tuple[str, ...] = ()
    """Class names by place in a vector of 0 and 1 (multi-hot); empty for other labels."""
    decimal_comma: bool = False
    """Whether amounts are written as 3,5."""
    notes: tuple[str, ...] = ()


def resolve_task(task: str) -> Task:
    """A task by its full name or by `single`, `multi`, `regression`.

    Raises:
        ConfigError: Another name.
    """
    for known in TASKS:
        if task == known or _SHORT_NAMES.get(task) == known:
            return known
    raise ConfigError(
        f"`task` must be one of {', '.join((*_SHORT_NAMES, *TASKS[:2]))}, got {task!r}."
    )


def label_cells(columns: Sequence[Sequence[Any]]) -> list[Cell]:
    """What stands in the label column, or in each of several as a vector of their values."""
    if len(columns) == 1:
        return read_cells(columns[0])
    return [[read_label(value) or "" for value in row] for row in zip(*columns, strict=True)]


def read_cells(values: Iterable[Any]) -> list[Cell]:
    """Labels as `read_label` reads them, several of a cell as a list, however it is written."""
    known: dict[str, Cell] = {}  # labels recur; a text is read once
    cells = []
    for value in values:
        if type(value) is not str:
            cells.append(_read_cell(value))
            continue
        if value not in known:
            known[value] = _read_cell(value)
        cells.append(known[value])
    if any(isinstance(cell, list) for cell in cells):
        # Beside lists, [joy] is a list of one label.
        return [_unwrapped(cell) if isinstance(cell, str) else cell for cell in cells]
    return cells


def _read_cell(value: Any) -> Cell:
    if isinstance(value, str):
        try:
            listed = list_of(value)
        except ValueError:
            return Fault(f"its label cannot be read as a list: {value[:_SHOWN_CHARACTERS]!r}")
        value = value if listed is None else listed
    several = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(one, (list, tuple, Mapping, bytes)) for one in several):
        return Fault(
            "its label must be a text, a number or a list of them, got an object or a nested list"
        )
    texts = [text for one in several if (text := read_label(one)) is not None]
    return texts if several is value else texts[0] if texts else None


def _unwrapped(cell: str) -> Cell:
    return [class_name(cell[1:-1])] if cell[:1] + cell[-1:] in ("[]", "{}") else cell


def read_bits(cell: Cell, width: int) -> list[bool] | None:
    """A vector of 0 and 1, or None if the cell is none of this width."""
    parts = parts_of(cell) if isinstance(cell, (str, list)) else []
    bits = [bit for part in parts if (bit := BITS.get(part.casefold())) is not None]
    return bits if len(parts) == len(bits) == width else None


def parts_of(cell: str | list[str]) -> list[str]:
    """The values of what may be a vector."""
    return re.split(r"[\s,;|]+", cell) if isinstance(cell, str) else cell


def split_label(text: str, separator: str) -> list[str]:
    """Several labels of one cell; one that is empty stays."""
    return [class_name(part) for part in text.split(separator)]


def split_cell(cell: Cell, kind: LabelKind) -> list[str] | Fault:
    """The labels of one cell: one, any number for multi-label, or a number with a point.

    Args:
        cell: Empty means no label at all where a text may have several.
        kind: As inferred from the training split.
    """
    if isinstance(cell, Fault):
        return cell
    if cell is None:
        several = kind.task == MULTI_LABEL and not kind.vector
        return [] if several else Fault("the label is empty")
    labels = _several(cell, kind)
    if isinstance(labels, Fault):
        return labels
    if kind.task == REGRESSION:
        return _amount(labels, kind)
    if kind.task == SINGLE_LABEL and len(labels) != 1:
        many = f"it has {len(labels)} labels, expected one"
        return Fault(f"{many}; state --task multi if that is meant")
    return labels


def _several(cell: str | list[str], kind: LabelKind) -> list[str] | Fault:
    if not kind.vector:
        if isinstance(cell, list):
            return cell
        parts = [cell] if kind.separator is None else split_label(cell, kind.separator)
        return [part for part in parts if part]
    bits = read_bits(cell, len(kind.vector))
    if bits is None:
        wanted = f"{len(kind.vector)} values of 0 and 1, for {first_names(kind.vector)}"
        got = first_names(parts_of(cell)) or "none"
        return Fault(f"its label must be {wanted}; got {got}")
    return [name for name, bit in zip(kind.vector, bits, strict=True) if bit]


def _amount(labels: list[str], kind: LabelKind) -> list[str] | Fault:
    text = pointed(labels[0], kind.decimal_comma) if len(labels) == 1 else ""
    shown = labels[0] if len(labels) == 1 else labels
    if not is_number(text):
        return Fault(f"label {shown!r} is not a number")
    if abs(float(text)) > _LARGEST_TARGET:
        return Fault(f"label {shown!r} is beyond {_LARGEST_TARGET:g}, the largest that is learned")
    return [text]


def first_names(names: Sequence[str]) -> str:
    """The first of some labels, for a message."""
    return ", ".join(names[:SHOWN_CELLS]) + (" ..." if len(names) > SHOWN_CELLS else "")


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


def pointed(text: str, comma: bool) -> str:
    """An amount with a point, where it has a decimal comma."""
    return text.replace(",", ".", 1) if comma else text
