"""Rows and tables that are read as a training reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from footwork.tables.layout import TableFormat
from footwork.tables.writer import write_rows
from textclf.data import DataOptions, TextData, load_data

FOUND_OUT, SKIP = DataOptions(), DataOptions(table_format=TableFormat(skip_bad_rows=True))


def rows_of(labels: Sequence[Any], name: str = "label") -> list[dict[str, Any]]:
    return [{"text": f"this is text {i}", name: label} for i, label in enumerate(labels)]


def load(folder: Path, rows: Sequence[dict[str, Any]], options: DataOptions = SKIP) -> TextData:
    write_rows(rows, folder / "data.jsonl")
    return load_data(str(folder / "data.jsonl"), options)


def load_csv(folder: Path, content: str, options: DataOptions = FOUND_OUT) -> TextData:
    (folder / "data.csv").write_text(content)
    return load_data(str(folder / "data.csv"), options)
