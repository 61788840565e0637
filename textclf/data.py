"""Labelled texts: from the tables of a data set to usable rows, in splits for training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from footwork.files.faults import counted, shortened
from footwork.finetuning.data import LabelledData, held_out
from footwork.tables import labels
from footwork.tables.columns import (
    ID_NAMES,
    by_normal_name,
    find_column,
    find_name,
    is_number,
    normalise_name,
)
from footwork.tables.layout import Expected, TableFormat
from footwork.tables.reader import SkippedRow, Table
from footwork.tables.splits import JUDGED, Notes, one_split
from textclf.columns import Columns, StatedColumns, choose_columns
from textclf.config import DataOptions, LabelOptions
from textclf.sources import SourceTables, read_part, read_tables, splits_in

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
    """(N,) int64 class numbers, (N, C) float32 zeros and ones, or (N,) float32 amounts; until they
    are encoded (N,) lists of labels as written, one a row, or any number for multi-label."""
    rows: list[int]
    """Where each stands in `source`, 1-based."""
    source: str
    skipped: tuple[SkippedRow, ...] = ()
    """Those that cannot be used, in the order of the file."""
    notes: Notes = ()

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

    def without(self, reasons: Sequence[str | None], kind: str) -> Examples:
        """Move the rows for which there is a reason to the skipped ones, as of this `kind`."""
        bad = [
            SkippedRow(row, reason, self.source, kind)
            for row, reason in zip(self.rows, reasons, strict=True)
            if reason is not None
        ]
        if not bad:
            return self
        skipped = tuple(sorted((*self.skipped, *bad), key=lambda one: one.row))
        kept = self.take(np.array([reason is None for reason in reasons]))
        return replace(kept, skipped=skipped)

    def only_known(
        self, names: Sequence[str], task: str, whose: str = "the training data's"
    ) -> Examples:
        """Without labels that are not among `names`, those of `whose`; not encoded yet."""
        if task == labels.REGRESSION:
            return self
        known = set(names)
        unknown = [next((one for one in row if one not in known), None) for row in self.targets]
        theirs = shortened(map(labels.cut, names))
        reasons = {
            label: f"label {labels.cut(label)!r} is not among {whose} ({theirs}); "
            f"it stands in {counted(count, 'row')}"
            for label, count in Counter(unknown).items()
            if label is not None
        }
        return self.without([label and reasons[label] for label in unknown], UNSEEN_LABEL)

    def encoded(self, names: Sequence[str], task: str) -> Examples:
        """With targets in the place of labels as written."""
        return replace(self, targets=labels.encode_targets(self.targets.tolist(), names, task))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TextData(LabelledData):
    """A data set that is ready to be trained on; its splits are `Examples`."""

    text_columns: tuple[str, ...]
    label_column: str
    blocking: tuple[SkippedRow, ...] = ()
    """Bad rows at which training would stop; only with `keep_going`."""

    @property
    def train(self) -> Examples:
        """To learn from."""
        return self.splits["train"]

    @property
    def validation(self) -> Examples:
        """To choose by."""
        return self.splits["validation"]

    @property
    def test(self) -> Examples | None:
        """To judge by, if there are any."""
        return self.splits.get("test")


def load_data(data: Any, options: DataOptions = FIND_OUT) -> TextData:
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
    found = read_tables(data, tolerant_format, options.column_names, ("train",))
    train_table = found.splits["train"]
    stated = StatedColumns(options.text_columns, options.label_column, options.id_column)
    columns = choose_columns(train_table.columns, stated, train_table.source)
    cells, withheld = _label_cells(found.splits, columns)
    doubt = () if table_format.header is not None else _first_row(train_table, cells["train"])
    named = _stated_names(columns, options)
    kind = labels.infer_kind(
        cells["train"], train_table, options.task, options.label_separator, named
    )
    read = {name: read_rows(found.splits[name], columns, kind, cells[name]) for name in cells}
    names, gaps = _classes(kind, read["train"], named)
    splits = {name: split.only_known(names, kind.task) for name, split in read.items()}
    bad = tuple(row for split in splits.values() for row in split.skipped)
    if not tolerant:
        raise_bad_rows(bad)
    examples = {name: split.encoded(names, kind.task) for name, split in splits.items()}
    splits, note = _with_validation(examples, kind.task, options)
    empty = chain.from_iterable(split.notes for split in examples.values())
    more = (*columns.notes, *doubt, *kind.notes, *gaps, *withheld, *empty, *note)
    return TextData(
        task=kind.task,
        labels=names,
        text_columns=columns.text,
        label_column=columns.label_column,
        splits=splits,
        paired=len(columns.text) > 1 and splits["train"].pairs is not None,
        sha256=found.sha256,
        train_sha256=train_table.sha256,
        notes=_notes(found, more),
        skipped=bad if table_format.skip_bad_rows else (),
        held_out="validation" not in examples,
        blocking=() if table_format.skip_bad_rows else bad,
    )


def load_table(data: Any, table_format: TableFormat, names: tuple[str, ...] = ()) -> Table:
    """Read one split to judge a model on: test if there is one, else validation, else train.

    `names` are of columns that are stated or trained on.
    """
    part, notes = one_split(data, splits_in, JUDGED)
    table = read_part(part, table_format, Expected(names=names))
    return replace(table, notes=(*notes, *table.notes))


def read_examples(
    table: Table, columns: Columns, options: LabelOptions, names: tuple[str, ...], task: str
) -> Examples:
    """Take labelled texts out of a table, for a model that is already trained.

    A `DataError` where rows are bad, a label is not among the model's, or no row is left.
    """
    task, names = labels.resolve_task(task), tuple(map(class_name, names))
    if alike := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(
            f"The model has two labels {alike[0]!r} that look the same; train it again."
        )
    cells = _cells(table, columns)
    # An amount may well be -1.
    if task != labels.REGRESSION and _withheld(cells).difference(names):
        raise DataError(
            f"The labels of {table.source} are withheld: every one is -1. `predict` can label it."
        )
    stated = _stated_names(columns, options, names)
    kind = labels.kind_for_model(cells, table.source, options.label_separator, names, task, stated)
    rows = read_rows(table, columns, kind, cells).only_known(names, task, "the model's")
    if not options.table_format.skip_bad_rows:
        raise_bad_rows(rows.skipped)
    if not rows.texts:
        why = f": {shortened(map(str, rows.skipped), 3)}" if rows.skipped else ""
        raise DataError(f"{table.source} has no row that can be used{why}.")
    notes = (*table.notes, *columns.notes, *kind.notes, *rows.notes)
    return replace(rows.encoded(names, task), notes=notes)


def raise_bad_rows(bad: tuple[SkippedRow, ...]) -> None:
    """Raise a `DataError` that lists the first bad rows, if there are any, and how many."""
    if not bad:
        return
    shown = list(map(str, bad[:_SHOWN_ROWS]))
    if len(bad) > _SHOWN_ROWS:
        shown.append(f"and {len(bad) - _SHOWN_ROWS} more")
    raise DataError(
        "\n".join(shown) + f".\nBad rows: {len(bad)}. "
        "Mend them, or leave them out with --skip-bad-rows."
    )


def _classes(
    kind: labels.LabelKind, train: Examples, stated: Sequence[str]
) -> tuple[tuple[str, ...], Notes]:
    """The classes in their order, none of amounts, and what is to be said of their names."""
    if kind.vector:
        told = ("--labels a,b,... or --labels-file names the classes.",)
        return kind.vector, () if stated else told
    if kind.task == labels.REGRESSION:
        return (), ()
    return labels.name_classes(chain.from_iterable(train.targets))


def _stated_names(
    columns: Columns, options: LabelOptions, known: Sequence[str] = ()
) -> tuple[str, ...]:
    """Of the classes by place: the label columns' names, or what the user says of vectors.

    Columns are found in any spelling: one that is not `known` is called as the one that is meant.
    """
    named = options.class_names()
    if len(columns.labels) == 1:
        return named
    if named:
        raise ConfigError("`labels` names the places of one column; several have names.")
    alike = by_normal_name(known)
    own = map(class_name, columns.labels)
    return tuple(one if one in known else alike.get(normalise_name(one), one) for one in own)


def _label_cells(
    tables: Mapping[str, Table], columns: Columns
) -> tuple[dict[str, list[labels.Cell]], Notes]:
    """The label cells of each split, and why a split has none, as competitions and public sets do.

    A test split with other columns than the training split is refused.
    """
    cells = {"train": _cells(tables["train"], columns)}
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
            own = _cells(table, columns)
            if (withheld := _withheld(own)) and withheld.isdisjoint(_values(cells["train"])):
                why = "withholds its labels: every one is -1"
            elif split == "test" and not any(any(c) if isinstance(c, list) else c for c in own):
                why = f"has no label in its column {columns.label_column!r}"
            else:
                cells[split] = own
                continue
        notes.append(f"{table.source} {why}, so it is not used; `predict` can label it.")
    return cells, tuple(notes)


def _withheld(cells: Sequence[labels.Cell]) -> set[str]:
    """The labels of a split if all are -1, as written; else none."""
    values = _values(cells)
    return values if all(is_number(value) and float(value) == -1 for value in values) else set()


def _values(cells: Sequence[labels.Cell]) -> set[str]:
    several = chain.from_iterable(cell for cell in cells if isinstance(cell, list))
    return {cell for cell in cells if isinstance(cell, str)}.union(several)


def _first_row(train: Table, cells: Sequence[labels.Cell]) -> Notes:
    """What is to be noted of a first row whose label is the only one so rare: it may be a header.

    A `DataError` where it may be that of a table that seems to have none.
    """
    first, counts = cells[0], Counter(map(str, cells))
    singles = sum(count == 1 for count in counts.values())
    rare = counts[str(first)] == 1 and singles <= max(1, len(cells) // 20)
    recurring = len(counts) * 2 <= len(cells)
    amount = is_number(str(first)) and sum(map(is_number, counts)) > 1
    if train.layout is None or not isinstance(first, str) or amount or not (rare and recurring):
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
) -> tuple[dict[str, Examples], Notes]:
    """All splits, and what is to be said of a validation that was held out."""
    for split, least in {"validation": 1, "test": 1, "train": 2}.items():
        few = examples.get(split)
        if few is not None and len(few) < least:
            why = f": {shortened(map(str, few.skipped), 3)}" if few.skipped else ""
            raise DataError(
                f"{few.source} has too few usable rows ({len(few)}){why}. Training needs at least "
                "two, validation and test one each."
            )
    if "validation" in examples:
        return examples, ()
    train = examples["train"]
    groups = text_groups(train.texts, train.pairs)
    if not groups.any():
        alike = "empty" if lacks_text(train.texts[0]) else "the same"
        raise DataError(f"All texts of {train.source} are {alike}: nothing can be learned.")
    held = held_out(train.targets, task, groups, options.validation_share, options.seed)
    if not held.any():
        raise DataError("No row can be held out for validation. Give a validation file.")
    by = "amount" if task == labels.REGRESSION else "label"
    some = f"{held.sum()} of {len(held)} rows {'is' if held.sum() == 1 else 'are'}"
    note = f"No validation file: {some} held out, by {by}."
    parts = {"train": train.take(~held), "validation": train.take(held)}
    return parts | {name: part for name, part in examples.items() if name not in parts}, (note,)


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
    table: Table, columns: Columns, kind: labels.LabelKind, cells: Sequence[labels.Cell]
) -> Examples:
    """Take texts, and labels from `cells`, out of a table; columns and kind are the training's."""
    # Labels recur: each text is read once, and rows share its list.
    recurring = {cell for cell in cells if isinstance(cell, str)}
    known = {cell: labels.split_cell(cell, kind) for cell in recurring}
    read = [known[c] if isinstance(c, str) else labels.split_cell(c, kind) for c in cells]
    reasons = [label.reason if isinstance(label, labels.Fault) else None for label in read]
    texts = [_column(table, name) for name in columns.text]
    both = zip(zip(*texts, strict=True), reasons, strict=True)
    reasons = [text_fault(cells, columns.text) or reason for cells, reason in both]
    first, *second = (list(map(str, column)) for column in texts)
    written = ([] if isinstance(label, labels.Fault) else label for label in read)
    rows = Examples(
        texts=first,
        pairs=second[0] if second else None,
        targets=np.fromiter(written, object, len(read)),
        rows=table.rows,
        source=table.source,
        skipped=table.skipped,
        notes=labels.unlabelled(read, kind, table.source),
    )
    return rows.without(reasons, UNUSABLE)


def _cells(table: Table, columns: Columns) -> list[labels.Cell]:
    """What stands in the label columns."""
    return labels.label_cells([_column(table, name) for name in columns.labels])


def _column(table: Table, name: str) -> list[Any]:
    return table.columns[find_column(table.columns, name, table.source)]


def text_fault(cells: Iterable[Any], columns: Sequence[str]) -> str | None:
    """Why one of a row's cells is no text, or None: numbers and dates are what they are written as.

    An empty text is one.
    """
    for cell, column in zip(cells, columns, strict=True):
        written = isinstance(cell, (str, int, float, Decimal, date)) and not isinstance(cell, bool)
        # NaN, and the NaT of pandas, are not themselves.
        if cell is None or (written and cell != cell):
            return f"there is no text in {column!r}"
        if not written or cell in (math.inf, -math.inf):
            kind = "bytes that are not UTF-8" if isinstance(cell, bytes) else type(cell).__name__
            return f"{column!r} must hold a text, got {cell if written else kind}"
    return None


def lacks_text(text: str, second: str | None = None) -> bool:
    """Whether a text, or one of a pair, shows nothing: an answer to it says nothing."""
    # Letter by letter, for the first one tells of nearly every text.
    return not all(any(map(class_name, one)) for one in (text, second) if one is not None)


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
