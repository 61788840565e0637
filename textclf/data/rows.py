"""Usable rows of a table, the reasons why others are not, and which have the same text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import numpy as np

from footwork.arrays import IntArray
from footwork.files.faults import shortened
from footwork.tables.columns import find_column
from footwork.tables.labels import REGRESSION, Cell, Fault, LabelKind, label_cells, split_cell
from footwork.tables.reader import SkippedRow, Table
from textclf.data.columns import Columns

UNUSABLE, UNSEEN_LABEL = "unusable", "unseen_label"
"""Kinds of `SkippedRow`."""


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
        """Move rows with labels that are not among `names` to the bad ones.

        Args:
            names: Of the classes; not looked at for regression.
            kind: What the labels are.
            whose: Named in the reasons.
        """
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
            f"it stands in {counts[label]} row{'s' * (counts[label] > 1)}"
            for label in unknown
        ]
        return self._without(reasons, UNSEEN_LABEL)

    def _without(self, reasons: Sequence[str | None], kind: str) -> LabelledRows:
        good = [i for i, reason in enumerate(reasons) if reason is None]
        bad = [
            SkippedRow(row, reason, self.source, kind)
            for row, reason in zip(self.rows, reasons, strict=True)
            if reason is not None
        ]
        return replace(
            self,
            texts=[self.texts[i] for i in good],
            pairs=None if self.pairs is None else [self.pairs[i] for i in good],
            labels=[self.labels[i] for i in good],
            rows=[self.rows[i] for i in good],
            bad=tuple(sorted((*self.bad, *bad), key=lambda one: one.row)),
        )


def read_rows(
    table: Table, columns: Columns, kind: LabelKind, cells: Sequence[Cell]
) -> LabelledRows:
    """Take texts and labels out of a table.

    Args:
        table: Has the columns, in any case of their names.
        columns: As chosen from the training table.
        kind: As inferred from the training table.
        cells: As `label_cells_of` gives them.

    Raises:
        DataError: A column is missing.
    """
    texts, *second = (_column(table, name) for name in columns.text)
    pairs = second[0] if second else None
    # Labels recur: each text is read once, and rows share its list.
    known = {cell: split_cell(cell, kind) for cell in {c for c in cells if isinstance(c, str)}}
    labels = [known[c] if isinstance(c, str) else split_cell(c, kind) for c in cells]
    reasons = [
        _reason(dict(zip(columns.text, parts, strict=True)), label)
        for parts, label in zip(zip(texts, *second, strict=True), labels, strict=True)
    ]
    rows = LabelledRows(
        source=table.source,
        texts=list(map(str, texts)),
        pairs=None if pairs is None else list(map(str, pairs)),
        labels=[[] if isinstance(label, Fault) else label for label in labels],
        rows=table.rows,
        bad=table.skipped,
    )
    return rows._without(reasons, UNUSABLE) if any(reasons) else rows


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

    Args:
        value: Of any type; an empty text is one.
        column: Named in the reason.
    """
    written = isinstance(value, (str, int, float, Decimal, date)) and not isinstance(value, bool)
    # NaN, and the NaT of pandas, are not themselves.
    if value is None or (written and value != value):
        return f"there is no text in {column!r}"
    if written and value not in (math.inf, -math.inf):
        return None
    kind = "bytes that are not UTF-8" if isinstance(value, bytes) else type(value).__name__
    return f"{column!r} must hold a text, got {value if written else kind}"


def _reason(texts: Mapping[str, Any], label: list[str] | Fault) -> str | None:
    """Why a row cannot be used, or None."""
    faults = (text_fault(text, column) for column, text in texts.items())
    return next(filter(None, faults), label.reason if isinstance(label, Fault) else None)


def normalise_text(text: str) -> str:
    """What two texts have in common if they differ in case and whitespace only."""
    return " ".join(text.casefold().split())


def text_groups(texts: Sequence[str], pairs: Sequence[str] | None) -> IntArray:
    """A number for each row, the same for rows with the same normalised text.

    Args:
        texts: N texts.
        pairs: N second texts, or None.
    """
    keys = map(normalise_text, texts)
    if pairs is not None:
        keys = map("{}\0{}".format, keys, map(normalise_text, pairs))
    digests = (blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8) for key in keys)
    # Numbers, not an object a text; groups are numbered as they first come.
    hashes = np.fromiter((int.from_bytes(one.digest()) for one in digests), np.uint64, len(texts))
    _, first, groups = np.unique(hashes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[groups]
