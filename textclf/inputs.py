"""Texts to classify: a table, or standard input as lines, CSV or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from runtime.errors import ConfigError, DataError
from runtime.tables.format import Expected
from runtime.tables.json_rows import json_rows
from runtime.tables.reader import DETECT, RowStream, TableFormat, iterate_rows
from runtime.tables.text_lines import TextSource, line_fault, open_to_read_once

InputFormat = Literal["auto", "lines", "csv", "tsv", "jsonl"]
INPUT_FORMATS = ("auto", "lines", "csv", "tsv", "jsonl")
STANDARD_INPUT = "-"
_DELIMITERS = {"csv": ",", "tsv": "\t"}


def open_rows(
    source: str,
    input_format: InputFormat = "auto",
    table_format: TableFormat = DETECT,
    names: tuple[str, ...] = (),
) -> RowStream:
    """Read rows one by one, in bounded memory.

    Args:
        source: A file, or `-` for standard input.
        input_format: `lines` takes each line as one text, whatever it holds; `auto` looks.
        table_format: What is stated of a table; the rest is detected.
        names: Of columns that are stated or trained on; a first row that holds one is a header.

    Raises:
        DataError: There is no such file, or, while rows are taken, one cannot be read.
    """
    if input_format not in INPUT_FORMATS:
        raise ConfigError(
            f"`format` must be one of {', '.join(INPUT_FORMATS)}, got {input_format!r}."
        )
    path = None if source == STANDARD_INPUT else Path(source).expanduser()
    if input_format in ("lines", "jsonl"):
        return _text_rows(path, input_format, table_format)
    if input_format in _DELIMITERS and table_format.delimiter is None:
        table_format = replace(table_format, delimiter=_DELIMITERS[input_format])
    return iterate_rows(path, table_format, Expected(names=names))


def _text_rows(path: Path | None, input_format: str, table_format: TableFormat) -> RowStream:
    try:
        source = (
            TextSource(path, None, table_format.encoding)
            if path is not None and path.is_file()
            else TextSource(
                None,
                open_to_read_once(path) if path else sys.stdin.buffer,
                table_format.encoding,
            )
        )
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    rows, notes = json_rows(source) if input_format == "jsonl" else (_lines(source), ())
    result = RowStream(source.name, rows, table_format.skip_bad_rows)
    result.notes = (*((source.note,) if source.note else ()), *notes)
    return result


def _lines(source: TextSource) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for row, line in enumerate(source.lines(), start=1):
        yield row, line_fault(line) or {"text": line.rstrip("\r\n")}
