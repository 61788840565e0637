"""The labels of a table: what they are, how a cell is read, and targets made of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from footwork.arrays import AnyArray
from footwork.class_names import class_name, read_label
from footwork.errors import ConfigError, DataError, require_one_of
from footwork.files.faults import counted, shortened
from footwork.tables.cells import list_of
from footwork.tables.columns import is_number

if TYPE_CHECKING:
    from footwork.tables.reader import Table

Task = Literal["single_label_classification", "multi_label_classification", "regression"]
"""As `problem_type` of transformers names them."""
TASKS: tuple[Task, ...] = get_args(Task)
SINGLE_LABEL: Final = "single_label_classification"
MULTI_LABEL: Final = "multi_label_classification"
REGRESSION: Final = "regression"
_BY_NAME: dict[str, Task] = {
    "single": SINGLE_LABEL,
    "multi": MULTI_LABEL,
    "regression": REGRESSION,
    SINGLE_LABEL: SINGLE_LABEL,
    MULTI_LABEL: MULTI_LABEL,
}

BITS = dict.fromkeys(("1", "1.0", "true"), True) | dict.fromkeys(("0", "0.0", "false"), False)
"""What the values of a vector of 0 and 1 may be, in small letters."""
SHOWN_CELLS, _SHOWN_CHARACTERS = 5, 60
# Squared, and summed over a batch, it still is a number of float32.
_LARGEST_TARGET = 1e18
_BRACKETED = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)
_INTEGER = re.compile("-[0-9]{1,17}|[0-9]{1,18}")


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
    """A task by its full name or by `single`, `multi`, `regression`, or a `ConfigError`."""
    require_one_of("task", task, _BY_NAME)
    return _BY_NAME[task]


def label_cells(columns: Sequence[Sequence[Any]]) -> list[Cell]:
    """What stands in the label column, or in each of several as a vector of their values."""
    if len(columns) == 1:
        return read_cells(columns[0])
    return [[read_label(value) or "" for value in row] for row in zip(*columns, strict=True)]


def read_cells(values: Iterable[Any]) -> list[Cell]:
    """Labels as `read_label` reads them, several of a cell as a list, however it is written."""
    read_once = cache(_read_cell)  # labels recur
    cells = [(read_once if type(value) is str else _read_cell)(value) for value in values]
    if any(isinstance(cell, list) for cell in cells):
        # Beside lists, [joy] is a list of one label.
        for place, cell in enumerate(cells):
            if isinstance(cell, str) and _BRACKETED.fullmatch(cell):
                cells[place] = [class_name(cell[1:-1])]
    return cells


def _read_cell(value: Any) -> Cell:
    if isinstance(value, str):
        try:
            listed = list_of(value)
        except ValueError:
            return Fault(f"its label cannot be read as a list: {cut(value)!r}")
        value = value if listed is None else listed
    several = value if isinstance(value, (list, tuple)) else [value]
    # What has dimensions is an array of numpy.
    kinds = (list, tuple, Mapping, bytes)
    if any(isinstance(one, kinds) or getattr(one, "ndim", 0) for one in several):
        return Fault(
            "its label must be a text, a number or a list of them, got an object or a nested list"
        )
    texts = [text for one in several if (text := read_label(one)) is not None]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return Fault("its label holds half a surrogate pair, which is no character")
    return texts if several is value else texts[0] if texts else None


def cut(label: str) -> str:
    """A label as messages give it: where the column is a wrong one it may be a long text."""
    return label if len(label) <= _SHOWN_CHARACTERS else f"{label[: _SHOWN_CHARACTERS - 1]}…"


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

    Empty means no label at all where a text may have several.
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
        return Fault(f"it has {len(labels)} labels, expected one")
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
    shown = cut(labels[0]) if len(labels) == 1 else labels
    if not is_number(text):
        return Fault(f"label {shown!r} is not a number")
    if abs(float(text)) > _LARGEST_TARGET:
        return Fault(f"label {shown!r} is beyond {_LARGEST_TARGET:g}, the largest that is learned")
    return [text]


def unlabelled(read: Iterable[list[str] | Fault], kind: LabelKind, source: str) -> tuple[str, ...]:
    """What is to be said of rows without a label: none is an answer, or a gap; a vector says it."""
    count = 0 if kind.vector else sum(labels == [] for labels in read)
    if not count:
        return ()
    rows = counted(count, f"row of {source} has", f"rows of {source} have")
    return (f"{rows} no label: no class holds there. Take them out if they are merely unlabelled.",)


def first_names(names: Sequence[str]) -> str:
    """The first of some labels, for a message."""
    return ", ".join(names[:SHOWN_CELLS]) + (" ..." if len(names) > SHOWN_CELLS else "")


def name_classes(labels: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Distinct labels in natural order, and a note if integers have gaps.

    Integers stand in the order of their value, others in the alphabet's.
    """
    distinct = set(labels)
    if not all(_INTEGER.fullmatch(label) for label in distinct):
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


def encode_targets(labels: Sequence[Sequence[str]], names: Sequence[str], task: str) -> AnyArray:
    """Labels, all among `names`, as the arrays that losses and metrics take.

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


SEPARATORS = (",", ";", "|")
_MANY_AMOUNTS = 20
_MANY_INTEGERS = 50
_NEARLY_ALL = 0.9
_COMMA_NUMBER = re.compile(r"[+-]?[0-9]*,[0-9]+")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}([.,][0-9]{3})+")
# Numbers as people write them: $1,234.50 and 12 %.
_CURRENCY = "[$€£¥₹]|USD|EUR|GBP|CHF|JPY|CNY|INR"
_AMOUNT = re.compile(
    rf"[+-]?(?:{_CURRENCY})?\s*[+-]?(?=[.,]?[0-9])"
    r"(?:[0-9]{1,3}(?:[.,'’ ][0-9]{3})+|[0-9]*)(?:[.,][0-9]+)?"  # noqa: RUF001 - a Swiss sign
    rf"\s*(?:{_CURRENCY}|[%‰])?"
)


def infer_kind(
    cells: Sequence[Cell],
    table: Table,
    task: str | None = None,
    separator: str | None = None,
    names: Sequence[str] = (),
) -> LabelKind:
    """Tell the task from the labels of a training split, unless it is stated.

    A `separator` means several labels a cell; `names` are those of the classes by their places in
    vectors of 0 and 1. Labels that can be read in several ways are a `DataError`.
    """
    stated = _stated_task(task, separator)
    texts = [cell for cell in cells if isinstance(cell, str)]
    if stated == REGRESSION:
        return _regression(texts, table.source, names)
    if width := len(names) or _vector_width(cells):
        if not any(
            isinstance(cell, (str, list)) and len(parts_of(cell)) == width for cell in cells
        ):
            raise DataError(
                f"{width} places are named, but no label of {table.source} has {width} values of 0 "
                "and 1. Name as many as there are, or none."
            )
        return _vector_kind(cells, stated, names or [str(place) for place in range(width)])
    _refuse_vectors(cells, table.source)
    if stated == MULTI_LABEL and separator is None:
        return _divided(texts, table.source)
    if stated is not None:
        return LabelKind(stated, separator if stated == MULTI_LABEL else None)
    if separator is None and any(isinstance(cell, list) for cell in cells):
        return _list_kind(cells, table)
    return _separated_kind(texts, table.source, separator) or _amounts_or_classes(cells, table)


def _divided(texts: Sequence[str], source: str) -> LabelKind:
    """Of labels that are several, by the separator that they are likely to have, if any."""
    there = [one for one in SEPARATORS if any(one in text for text in texts)]
    if not there:
        return LabelKind(MULTI_LABEL)
    found = _find_separator(texts)
    if found is None and len(there) > 1:
        raise DataError(
            f"Labels of {source} may be divided by any of {' '.join(there)}. State which does, "
            "with --label-separator."
        )
    return _by_separator(texts, found or there[0])


def _by_separator(texts: Sequence[str], found: str) -> LabelKind:
    example = cut(max(texts, key=lambda text: text.count(found)))
    note = f"Labels such as {example!r} are several, divided by {found!r}: multi-label (--task)."
    return LabelKind(MULTI_LABEL, found, notes=(note,))


def _stated_task(task: str | None, separator: str | None) -> Task | None:
    stated = resolve_task(task) if task else None
    if separator is not None and stated not in (None, MULTI_LABEL):
        raise ConfigError(
            f"--label-separator {separator!r} divides several labels of a cell, and by --task each "
            "has one. State --task multi, or leave out one of them."
        )
    return stated


def _list_kind(cells: Sequence[Cell], table: Table) -> LabelKind:
    lists = [place for place, cell in enumerate(cells) if isinstance(cell, list)]
    if len(lists) < (1 - _NEARLY_ALL) * len(cells):
        raise DataError(
            f"{len(lists)} of the {len(cells)} labels of {table.source} are lists, the first in "
            f"row {table.rows[lists[0]]}. State --task multi if a row may have several labels, "
            "or --task single and mend these rows."
        )
    return LabelKind(MULTI_LABEL, notes=("Labels are lists: multi-label (--task).",))


def _separated_kind(texts: Sequence[str], source: str, stated: str | None) -> LabelKind | None:
    if stated is not None:
        if not any(stated in text for text in texts):
            raise DataError(
                f"No label of {source} contains the separator {stated!r}. Leave "
                "--label-separator out, or state --task multi if rows may have several labels."
            )
        note = f"Several labels a row, divided by {stated!r}: multi-label."
        return LabelKind(MULTI_LABEL, stated, notes=(note,))
    found = _find_separator(texts)
    if found is None:
        return None
    example = max(texts, key=lambda text: text.count(found))
    # Labels of one or two ids may be numbers, all with as many decimals.
    decimals = {len(text.partition(",")[2]) for text in texts if "," in text}
    amounts = len(decimals) == 1 and all(is_number(pointed(text, True)) for text in texts)
    if found == "," and amounts:
        raise DataError(
            f"Labels of {source} such as {cut(example)!r} may be numbers with a decimal comma, or "
            "two labels. State --task regression, --task multi or --task single."
        )
    return _by_separator(texts, found)


def _vector_kind(cells: Sequence[Cell], task: Task | None, names: Sequence[str]) -> LabelKind:
    """Of multi-hot vectors, or of one-hot ones: classes that exclude each other."""
    width = len(names)
    vectors = [bits for cell in cells if (bits := read_bits(cell, width))]
    one_hot = bool(vectors) and all(sum(bits) == 1 for bits in vectors)
    what = "exactly one of them 1: single-label" if one_hot else "multi-hot: multi-label"
    found = f", {what} (--task)" if task is None else ""
    notes = [f"Labels are {width} values of 0 and 1 a row{found}."]
    task = task or (SINGLE_LABEL if one_hot else MULTI_LABEL)
    if list(names) == [str(place) for place in range(width)]:
        notes.append(f"The classes are numbered by their places, 0 to {width - 1}.")
    return LabelKind(task, vector=tuple(names), notes=tuple(notes))


def _vector_width(cells: Sequence[Cell]) -> int:
    """Of the vectors of 0 and 1 that nearly all cells are, 0 if they are none.

    Ids of labels never are: a vector of three or more repeats a value.
    """
    filled = [cell for cell in cells if isinstance(cell, (str, list))]
    widths: Counter[int] = Counter()
    for cell in filled:
        parts = parts_of(cell)
        if len(parts) > (2 if isinstance(cell, str) else 1) and read_bits(cell, len(parts)):
            widths[len(parts)] += 1
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return width if count >= _NEARLY_ALL * len(filled) else 0


def _refuse_vectors(cells: Sequence[Cell], source: str) -> None:
    """Refuse lists of numbers that are no sets of ids: with fractions, or with a value twice."""
    lists = [cell for cell in cells if isinstance(cell, list)]
    vectors = [row for row in lists if len(row) > 1 and all(map(is_number, row))]
    one_width = len(vectors) == len(lists) and len(set(map(len, vectors))) == 1
    fractions = any(not float(one).is_integer() for row in vectors for one in row)
    repeating = sum(len(set(row)) < len(row) for row in vectors)
    if (one_width and fractions) or 0 < len(vectors) <= 2 * repeating:
        raise DataError(
            f"The labels of {source} are vectors of numbers such as {vectors[0]}. A "
            "classifier learns from vectors of 0 and 1, all of one length, or from the names of "
            "the labels."
        )


def _amounts_or_classes(cells: Sequence[Cell], table: Table) -> LabelKind:
    texts = [cell for cell in cells if isinstance(cell, str)]
    comma = _have_decimal_commas(texts)
    counts = Counter(texts)
    values = {text: float(point) for text in counts if is_number(point := pointed(text, comma))}
    # Nobody numbers classes as 1e30.
    fractions = not all(value.is_integer() and abs(value) < 1e15 for value in values.values())
    amounts = [text for text in counts if text in values or _AMOUNT.fullmatch(text)]
    many = len(amounts) > _MANY_AMOUNTS or len(amounts) * 2 > len(texts) > 4
    odd = counts.keys() - values.keys()
    if odd and many:
        share = sum(counts[text] for text in amounts) / len(texts)
        clear = fractions or len(amounts) > len(values)
        if share >= (0.5 if clear else _NEARLY_ALL):
            places = [i for i, cell in enumerate(cells) if isinstance(cell, str) and cell in odd]
            shown = (f"{cells[place]!r} (row {table.rows[place]})" for place in places)
            raise DataError(
                f"The labels of {table.source} look like amounts, but {len(places)} of "
                f"{len(cells)} {'is' if len(places) == 1 else 'are'} no plain numbers such as "
                f"1234.5: {shortened(shown, SHOWN_CELLS)}. State --task regression and mend these "
                "rows or leave them out with --skip-bad-rows; or state --task single if every "
                "cell is the name of a class."
            )
    elif fractions and many:
        kind = _regression(texts, table.source, ())
        note = f"Numbers with decimals, {len(counts)} different ones: regression (--task)."
        return replace(kind, notes=(note, *kind.notes))
    notes = [f"Different labels: {len(counts)}; single-label classification (--task)."]
    if not odd and len(counts) > _MANY_INTEGERS:
        notes.append("The labels are numbers; if they are amounts, state --task regression.")
    return LabelKind(SINGLE_LABEL, notes=tuple(notes))


def _regression(texts: Sequence[str], source: str, names: Sequence[str]) -> LabelKind:
    """A regression, and how its amounts are read; 12.500 beside 950 is a `DataError`."""
    if names:
        raise ConfigError(
            f"A regression has one column of amounts and no classes, got {first_names(names)}. "
            "State one --label-column and no --labels, or another task."
        )
    comma = _have_decimal_commas(texts)
    mark = "," if comma else "."
    parted = [text for text in texts if mark in text]
    # Python has 12.5 and 950; what writes 12.500 writes 950.000.
    grouped = all(map(_THOUSANDS.fullmatch, parted)) and any(text[-1] == "0" for text in parted)
    whole = [abs(float(text)) for text in texts if mark not in text and is_number(text)]
    if grouped and whole and max(whole) < 1000:
        raise DataError(
            f"Labels of {source} such as {parted[0]!r} may be thousands with a point, for no whole "
            "number reaches 1000. Write thousands without it (12500), or all amounts with as many "
            "decimals (950.000)."
        )
    shown = next((text for text in parted if is_number(pointed(text, comma))), "")
    read = f"The label {shown!r} is read as {float(pointed(shown or '0', comma))}."
    notes = (read,) if shown and (comma or grouped) else ()
    return LabelKind(REGRESSION, decimal_comma=comma, notes=notes)


def _have_decimal_commas(texts: Sequence[str]) -> bool:
    """Whether numbers are written as 3,5: none has a point, and 1,234 is not all there is."""
    commas = {text for text in texts if _COMMA_NUMBER.fullmatch(text)}
    points = any("." in text and is_number(text) for text in texts)
    return not points and not all(map(_THOUSANDS.fullmatch, commas))


def _find_separator(cells: Sequence[Cell]) -> str | None:
    """A separator whose parts recur in many combinations; "card, lost" alone is one label."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    for separator in SEPARATORS:
        distinct = set(texts)
        combined = {text for text in distinct if separator in text}
        parts = [frozenset(split_label(text, separator)) for text in distinct]
        counts = Counter(part for one in parts for part in one)
        joined = {part for text in combined for part in split_label(text, separator)}
        if len(combined) < 2 or len(distinct) <= len(counts) or "" in joined:
            continue
        recurring = sum(counts[part] > 1 for part in joined)
        amounts = separator == "," and all(map(_COMMA_NUMBER.fullmatch, distinct))
        if recurring >= 0.8 * len(joined) and not amounts:
            return separator
    return None


def kind_for_model(
    cells: Sequence[Cell],
    source: str,
    separator: str | None,
    labels: Sequence[str],
    task: Task,
    names: Sequence[str] = (),
) -> LabelKind:
    """How cells are read for a model whose labels are known.

    Where no separator is stated, it is the one that leaves the fewest unknown labels; `names` are
    those of the classes by their places in vectors of 0 and 1, as stated. Vectors of other classes
    than the model's are a `DataError`.
    """
    if task == REGRESSION:
        return _regression([cell for cell in cells if isinstance(cell, str)], source, names)
    if names:
        return LabelKind(task, vector=tuple(names))
    width = _vector_width(cells)
    if width == len(labels):
        note = f"Labels are {len(labels)} values of 0 and 1 a row, in the order of the model's."
        return LabelKind(task, vector=tuple(labels), notes=(note,))
    if width > 2:  # two may be the ids of two labels
        raise DataError(
            f"Labels of {source} are {width} values of 0 and 1 a row, but the model has "
            f"{len(labels)} labels: {first_names(labels)}."
        )
    _refuse_vectors(cells, source)
    if task != MULTI_LABEL or separator is not None:
        return LabelKind(task, separator if task == MULTI_LABEL else None)
    known = set(labels)

    def unknown(kind: LabelKind) -> int:
        rows = (split_cell(cell, kind) for cell in cells)
        return sum(isinstance(row, list) and not known.issuperset(row) for row in rows)

    return min((LabelKind(task, one) for one in (None, *SEPARATORS)), key=unknown)
