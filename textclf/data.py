"""Labelled texts: from the tables of a data set to usable rows, in splits for training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from itertools import chain, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, IntArray
from footwork.class_names import class_name
from footwork.errors import ConfigError, DataError
from footwork.evaluation.splits import hold_out, return_unseen, strata
from footwork.files.faults import counted, shortened
from footwork.tables.columns import ID_NAMES, find_column, find_name, is_number, normalise_name
from footwork.tables.held import data_name
from footwork.tables.labels import (
    REGRESSION,
    Cell,
    Fault,
    LabelKind,
    encode_targets,
    infer_kind,
    kind_for_model,
    label_cells,
    name_classes,
    resolve_task,
    split_cell,
)
from footwork.tables.layout import TableFormat
from footwork.tables.reader import SkippedRow, Table
from textclf.columns import Columns, StatedColumns, choose_columns
from textclf.config import DataOptions, LabelOptions
from textclf.sources import SourceTables, read_tables

Notes = tuple[str, ...]
UNUSABLE, UNSEEN_LABEL = "unusable", "unseen_label"
"""Kinds of `SkippedRow`."""
FIND_OUT = DataOptions()
"""Everything is found out."""
_SHOWN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Examples:
    """N labelled texts of one split."""

    texts: list[str]
    pairs: list[str] | None
    """Second texts, if the task is about pairs."""
    targets: NDArray[Any]
    """(N,) int64 class numbers, (N, C) float32 zeros and ones, or (N,) float32 amounts."""
    rows: list[int]
    """Where each stands in `source`, 1-based."""
    source: str
    skipped: tuple[SkippedRow, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, mask: BoolArray) -> Examples:
        """Some of them."""
        return replace(
            self,
            texts=list(compress(self.texts, mask)),
            pairs=None if self.pairs is None else list(compress(self.pairs, mask)),
            targets=self.targets[mask],
            rows=list(compress(self.rows, mask)),
        )


@dataclass(frozen=True, slots=True)
class LabelledData:
    """A data set that is ready to be trained on."""

    task: str
    labels: tuple[str, ...]
    """Class names in the order of their numbers; empty for regression."""
    text_columns: tuple[str, ...]
    label_column: str
    train: Examples
    validation: Examples
    test: Examples | None
    sha256: str
    """Of the bytes of the files, without those of a target."""
    notes: tuple[str, ...]
    """What was detected or surprising, one sentence each."""
    skipped: tuple[SkippedRow, ...]
    held_out: bool
    """Validation was split off the training rows."""
    blocking: tuple[SkippedRow, ...] = ()
    """Bad rows at which training would stop; only with `keep_going`."""
    target: Examples | None = None
    """Of another domain; its targets are NaN where none is known."""
    target_sha256: str | None = None
    """Of these texts."""

    @property
    def splits(self) -> dict[str, Examples]:
        """`train`, `validation` and perhaps `test` and `target`."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        parts["target"] = self.target
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """N texts with their labels as written."""

    source: str
    texts: list[str]
    pairs: list[str] | None
    labels: list[list[str]]
    """One a row, or any number for multi-label."""
    rows: list[int]
    bad: tuple[SkippedRow, ...]
    """Those that cannot be used, in the order of the file."""

    def only_known(
        self, names: Sequence[str], kind: LabelKind, whose: str = "the training data's"
    ) -> LabelledRows:
        """Move rows with labels that are not among `names`, those of `whose`, to the bad ones."""
        if kind.task == REGRESSION:
            return self
        known = set(names)
        unknown = [next((one for one in row if one not in known), None) for row in self.labels]
        if not any(label is not None for label in unknown):
            return self
        counts = Counter(unknown)
        reasons = [
            label
            and f"label {label!r} is not among {whose} ({shortened(names)}); "
            f"it stands in {counted(counts[label], 'row')}"
            for label in unknown
        ]
        return self.without(reasons, UNSEEN_LABEL)

    def encoded(self, names: Sequence[str], task: str) -> Examples:
        """With targets in the place of labels."""
        targets = encode_targets(self.labels, names, task)
        return Examples(self.texts, self.pairs, targets, self.rows, self.source, self.bad)

    def without(self, reasons: Sequence[str | None], kind: str) -> LabelledRows:
        """Move the rows for which there is a reason to the bad ones, as of this `kind`."""
        good = [reason is None for reason in reasons]
        bad = [
            SkippedRow(row, reason, self.source, kind)
            for row, reason in zip(self.rows, reasons, strict=True)
            if reason is not None
        ]
        return replace(
            self,
            texts=list(compress(self.texts, good)),
            pairs=None if self.pairs is None else list(compress(self.pairs, good)),
            labels=list(compress(self.labels, good)),
            rows=list(compress(self.rows, good)),
            bad=tuple(sorted((*self.bad, *bad), key=lambda one: one.row)),
        )


def load_data(data: Any, options: DataOptions = FIND_OUT) -> LabelledData:
    """Read a data set, and hold validation rows out if it has none.

    Args:
        data: As `read_tables` takes it.
        options: What is stated; the rest is found out and told in the notes.

    Raises:
        DataError: Something cannot be read, rows are bad (unless they are to be skipped), or
            too few are left.
    """
    table_format = options.table_format
    tolerant = options.keep_going or table_format.skip_bad_rows
    tolerant_format = replace(table_format, skip_bad_rows=tolerant)
    found = read_tables(data, tolerant_format, options.column_names)
    if "train" not in found.splits:
        there = " and ".join(found.splits)
        raise DataError(
            f"{data_name(data)} has no training file, only {there}. "
            "Add one called train, or name the file itself as DATA."
        )
    train_table = found.splits["train"]
    stated = StatedColumns(options.text_columns, options.label_column, options.id_column)
    columns = choose_columns(train_table.columns, stated, train_table.source)
    cells, withheld = _label_cells(found.splits, columns)
    doubt = () if table_format.header is not None else _first_row(train_table, cells["train"])
    named = _stated_names(columns, options)
    kind = infer_kind(cells["train"], train_table, options.task, options.label_separator, named)
    splits = {name: read_rows(found.splits[name], columns, kind, cells[name]) for name in cells}
    names, gaps = kind.vector, Notes()
    if kind.task != REGRESSION and not kind.vector:
        names, gaps = name_classes(label for row in splits["train"].labels for label in row)
    splits = {name: split.only_known(names, kind) for name, split in splits.items()}
    bad = tuple(row for split in splits.values() for row in split.bad)
    if not tolerant:
        raise_bad_rows(bad)
    examples = {name: split.encoded(names, kind.task) for name, split in splits.items()}
    train, validation, note = _with_validation(examples, kind.task, options)
    notes = _notes(found, (*columns.notes, *doubt, *kind.notes, *gaps, *withheld, *note))
    return LabelledData(
        task=kind.task,
        labels=names,
        text_columns=columns.text,
        label_column=columns.label_column,
        train=train,
        validation=validation,
        test=examples.get("test"),
        sha256=found.sha256,
        notes=notes,
        skipped=bad if table_format.skip_bad_rows else (),
        held_out="validation" not in examples,
        blocking=() if table_format.skip_bad_rows else bad,
    )


def load_table(data: Any, table_format: TableFormat, names: tuple[str, ...] = ()) -> Table:
    """Read one split to judge a model on: test if there is one, else validation.

    `names` are of columns that are stated or trained on.

    Raises:
        DataError: Something cannot be read.
    """
    found = read_tables(data, table_format, names)
    splits = found.splits
    name = next(split for split in ("test", "validation", "train") if split in splits)
    table = splits[name]
    chosen = (f"Of {data_name(data)} the {name} split is used.",) if len(splits) > 1 else ()
    return replace(table, notes=(*found.notes, *chosen, *table.notes))


def read_examples(
    table: Table, columns: Columns, options: LabelOptions, labels: tuple[str, ...], task: str
) -> Examples:
    """Take labelled texts out of a table, for a model that is already trained.

    Raises:
        DataError: Rows are bad, a label is not among the model's, or no row is left.
    """
    task = resolve_task(task)
    labels = tuple(map(class_name, labels))
    if alike := [name for name, count in Counter(labels).items() if count > 1]:
        raise DataError(
            f"The model has two labels {alike[0]!r} that look the same; train it again."
        )
    cells = label_cells_of(table, columns)
    if _withheld(cells).difference(labels):
        raise DataError(
            f"The labels of {table.source} are withheld: every one is -1. `predict` can label it."
        )
    stated = _stated_names(columns, options)
    kind = kind_for_model(cells, table.source, options.label_separator, labels, task, stated)
    rows = read_rows(table, columns, kind, cells).only_known(labels, kind, "the model's")
    if not options.table_format.skip_bad_rows:
        raise_bad_rows(rows.bad)
    if not rows.texts:
        raise DataError(f"{table.source} has no row that can be used.")
    return replace(rows.encoded(labels, task), notes=(*table.notes, *columns.notes, *kind.notes))


def raise_bad_rows(bad: tuple[SkippedRow, ...]) -> None:
    """Raise a `DataError` that lists the first bad rows, if there are any, and how many."""
    if not bad:
        return
    shown = [f"{one.source}, row {one.row}: {one.reason}" for one in bad[:_SHOWN_ROWS]]
    if len(bad) > _SHOWN_ROWS:
        shown.append(f"and {len(bad) - _SHOWN_ROWS} more")
    raise DataError(
        "\n".join(shown) + f".\nBad rows: {len(bad)}. "
        "Mend them, or leave them out with --skip-bad-rows."
    )


def _stated_names(columns: Columns, options: LabelOptions) -> tuple[str, ...]:
    """Of the classes by place: the label columns' names, or what the user says of vectors."""
    named = options.class_names()
    if len(columns.labels) == 1:
        return named
    if named:
        raise ConfigError("`labels` names the places of one column; several have names.")
    return tuple(map(class_name, columns.labels))


def _label_cells(
    tables: Mapping[str, Table], columns: Columns
) -> tuple[dict[str, list[Cell]], Notes]:
    """The label cells of each split, and why a split has none, as competitions and public sets do.

    Raises:
        DataError: A test split has other columns than the training split.
    """
    cells: dict[str, list[Cell]] = {"train": label_cells_of(tables["train"], columns)}
    notes = []
    for split, table in tables.items():
        if split == "train":
            continue
        absent = [name for name in columns.labels if find_name(table.columns, name) is None]
        if split == "test" and absent:
            # Labels, or texts, may stand under another name.
            usual = {*map(normalise_name, tables["train"].columns), *ID_NAMES}
            foreign = any(normalise_name(column) not in usual for column in table.columns)
            for column in (*columns.text, *(absent if foreign else ())):
                find_column(table.columns, column, table.source)
            why = f"has no column {absent[0]!r}"
        else:
            own = label_cells_of(table, columns)
            if (withheld := _withheld(own)) and withheld.isdisjoint(_values(cells["train"])):
                why = "withholds its labels: every one is -1"
            elif split == "test" and not any(any(c) if isinstance(c, list) else c for c in own):
                why = f"has no label in its column {columns.label_column!r}"
            else:
                cells[split] = own
                continue
        notes.append(f"{table.source} {why}, so it is not used; `predict` can label it.")
    return cells, tuple(notes)


def _withheld(cells: Sequence[Cell]) -> set[str]:
    """The labels of a split if all are -1, as written; else none."""
    values = _values(cells)
    return values if all(is_number(value) and float(value) == -1 for value in values) else set()


def _values(cells: Sequence[Cell]) -> set[str]:
    several = chain.from_iterable(cell for cell in cells if isinstance(cell, list))
    return {cell for cell in cells if isinstance(cell, str)}.union(several)


def _first_row(train: Table, cells: Sequence[Cell]) -> Notes:
    """What is to be noted of a first row whose label is the only one so rare: it may be a header.

    Raises:
        DataError: It may be the header of a table that seems to have none.
    """
    first, counts = cells[0], Counter(map(str, cells))
    singles = sum(count == 1 for count in counts.values())
    rare = counts[str(first)] == 1 and singles <= max(1, len(cells) // 20)
    amount = is_number(str(first)) and sum(map(is_number, counts)) > 1
    if train.layout is None or not isinstance(first, str) or not rare or amount:
        return ()
    if len(counts) * 2 > len(cells):
        return ()
    alone = f"row {train.rows[0]} alone has the label {first!r}"
    if train.layout.kind == "delimited" and not train.layout.header_rows:
        raise DataError(
            f"{train.source}: {alone}. State --header if it names the columns, or --no-header "
            "if it is data."
        )
    return (f"Warning: {alone}; take it out if it is no data.",)


def _with_validation(
    examples: dict[str, Examples], task: str, options: DataOptions
) -> tuple[Examples, Examples, tuple[str, ...]]:
    train = examples["train"]
    given = examples.get("validation")
    if len(train.texts) < 2 or (given is not None and not given.texts):
        few = given if given is not None and not given.texts else train
        raise DataError(
            f"{few.source} has too few usable rows ({len(few.texts)}). Training needs at least "
            "two, and validation one."
        )
    if given is not None:
        return train, given, ()
    groups = text_groups(train.texts, train.pairs)
    classes = strata(train.targets, task)
    held = hold_out(groups, classes, options.validation_share, options.seed)
    held = return_unseen(held, groups, train.targets, task)
    if not held.any():
        raise DataError("No row can be held out for validation. Give a validation file.")
    some = f"{held.sum()} of {len(held)} rows {'is' if held.sum() == 1 else 'are'}"
    note = f"No validation file: {some} held out, by label."
    return train.take(~held), train.take(held), (note,)


def _notes(found: SourceTables, more: tuple[str, ...]) -> tuple[str, ...]:
    """Notes of the files, once each, with the file's name where there are several."""
    counts = Counter(note for table in found.splits.values() for note in set(table.notes))
    every = len(found.splits)
    notes: dict[str, None] = {}
    for table in found.splits.values():
        for note in table.notes:
            notes[note if counts[note] == every else f"{table.source}: {note}"] = None
    return (*found.notes, *notes, *more)


def read_rows(
    table: Table, columns: Columns, kind: LabelKind, cells: Sequence[Cell]
) -> LabelledRows:
    """Take texts, and labels from `cells`, out of a table; columns and kind are the training's.

    Raises:
        DataError: A column is missing.
    """
    texts, *second = (_column(table, name) for name in columns.text)
    pairs = second[0] if second else None
    # Labels recur: each text is read once, and rows share its list.
    known = {cell: split_cell(cell, kind) for cell in {c for c in cells if isinstance(c, str)}}
    labels = [known[c] if isinstance(c, str) else split_cell(c, kind) for c in cells]
    reasons = [label.reason if isinstance(label, Fault) else None for label in labels]
    for name, column in zip(reversed(columns.text), (*second, texts), strict=True):
        reasons = [
            text_fault(text, name) or reason for text, reason in zip(column, reasons, strict=True)
        ]
    rows = LabelledRows(
        source=table.source,
        texts=list(map(str, texts)),
        pairs=None if pairs is None else list(map(str, pairs)),
        labels=[[] if isinstance(label, Fault) else label for label in labels],
        rows=table.rows,
        bad=table.skipped,
    )
    return rows.without(reasons, UNUSABLE) if any(reasons) else rows


def label_cells_of(table: Table, columns: Columns) -> list[Cell]:
    """What stands in the label columns.

    Raises:
        DataError: A column is missing.
    """
    return label_cells([_column(table, name) for name in columns.labels])


def _column(table: Table, name: str) -> list[Any]:
    return table.columns[find_column(table.columns, name, table.source)]


def text_fault(value: Any, column: str) -> str | None:
    """Why a cell is no text, or None: numbers and dates are what they are written as.

    An empty text is one.
    """
    written = isinstance(value, (str, int, float, Decimal, date)) and not isinstance(value, bool)
    # NaN, and the NaT of pandas, are not themselves.
    if value is None or (written and value != value):
        return f"there is no text in {column!r}"
    if written and value not in (math.inf, -math.inf):
        return None
    kind = "bytes that are not UTF-8" if isinstance(value, bytes) else type(value).__name__
    return f"{column!r} must hold a text, got {value if written else kind}"


def lacks_text(text: str, second: str | None = None) -> bool:
    """Whether a text, or one of a pair, is empty or blank: an answer to it says nothing."""
    return not text.strip() or (second is not None and not second.strip())


def normalise_text(text: str) -> str:
    """What two texts have in common if they differ in case and whitespace only."""
    return " ".join(text.casefold().split())


def text_groups(texts: Sequence[str], pairs: Sequence[str] | None) -> IntArray:
    """A number for each row, (N,), the same for rows with the same normalised text."""
    keys = map(normalise_text, texts)
    if pairs is not None:
        keys = map("{}\0{}".format, keys, map(normalise_text, pairs))
    digests = (blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8) for key in keys)
    # Numbers, not an object a text; groups are numbered as they first come.
    hashes = np.fromiter((int.from_bytes(one.digest()) for one in digests), np.uint64, len(texts))
    _, first, groups = np.unique(hashes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[groups]
