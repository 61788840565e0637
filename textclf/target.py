"""Texts of the domain that a model is for: a table without labels, or whose labels only judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from footwork.errors import DataError
from footwork.finetuning.domains import add_target_split, known_targets
from footwork.tables.columns import find_column, find_name, label_names
from footwork.tables.labels import Fault, kind_for_model, label_cells, resolve_task, split_cell
from footwork.tables.reader import Table, gathered
from textclf.config import TrainConfig
from textclf.data import UNUSABLE, Examples, TextData, raise_bad_rows, text_fault
from textclf.predict import open_rows


def with_target(data: TextData, source: str, config: TrainConfig) -> TextData:
    """The data with the texts of another domain as its split `target`.

    Args:
        data: What is trained on; the texts stand in columns of the same names.
        source: As `predict` takes it.
        config: How tables are read, and the seed by which rows are drawn where there are many.

    Raises:
        DataError: It cannot be read, lacks a column, or has too few texts.
    """
    table = gathered(open_rows(source, "auto", config.table_format, data.text_columns))
    try:
        named = [find_column(table.columns, name, table.source) for name in data.text_columns]
    except DataError as error:
        raise DataError(
            f"{error} The texts of a target stand in columns of the same names as those to train "
            "on."
        ) from error
    columns = [table.columns[name] for name in named]
    reasons = [text_fault(cells, data.text_columns) for cells in zip(*columns, strict=True)]
    texts, *pairs = [list(map(str, column)) for column in columns]
    labels, why = _labels(table, data, config)
    targets = known_targets(labels, data.labels, data.task)
    every = Examples(texts, pairs[0] if pairs else None, targets, table.rows, table.source)
    usable = every.without(reasons, UNUSABLE)
    if not config.table_format.skip_bad_rows:
        raise_bad_rows(usable.skipped)
    data = replace(data, skipped=(*data.skipped, *table.skipped, *usable.skipped))
    return add_target_split(data, usable, config.seed, _contents, (Path(source).name, why))


def _contents(part: Examples) -> list[str]:
    return [*map(repr, zip(part.texts, part.pairs or part.texts, strict=True))]


def _labels(
    table: Table, data: TextData, config: TrainConfig
) -> tuple[Sequence[Sequence[str] | None], str | None]:
    """Of each row the labels, None where none of the data's can be read; and why there is none."""
    unknown = [None] * len(table.rows)
    named = label_names(table.columns, data.label_column)
    found = [find_name(table.columns, name) for name in named]
    if None in found:
        return unknown, f"there is no column {data.label_column!r}"
    cells = label_cells([table.columns[str(name)] for name in found])
    names = named if len(named) > 1 else config.class_names()
    try:
        kind = kind_for_model(
            cells, table.source, config.label_separator, data.labels, resolve_task(data.task), names
        )
    except DataError as error:
        return unknown, str(error)
    read = [split_cell(cell, kind) if cell else Fault("the label is empty") for cell in cells]
    known = {*data.labels}
    return [
        None if isinstance(row, Fault) or (known and not known.issuperset(row)) else row
        for row in read
    ], "no label is one of those to train on"
