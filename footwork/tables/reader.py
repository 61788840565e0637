"""Tables from CSV, TSV, plain text, JSON lines and Parquet, every cell as it was written.

Nothing becomes missing and nothing becomes a number: "NA", "None" and "007" stay what they are.
Every row knows its number, so that whoever finds a fault can say where.
"""

from __future__ import annotations

import itertools
import json
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from footwork.errors import DataError
from footwork.tables.cells import stored_value
from footwork.tables.columns import repeated_names, unique_names
from footwork.tables.delimited import read_records
from footwork.tables.layout import (
    ANYTHING,
    DETECT,
    FASTTEXT_MARK,
    FIRST_SPACE,
    Expected,
    Layout,
    TableFormat,
    detect_layout,
)
from footwork.tables.source import TextSource, line_fault, open_to_read_once

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
PARQUET_ENDINGS = (".parquet", ".pq")
TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".txt", *JSON_ENDINGS, *PARQUET_ENDINGS)
"""Endings of the files that hold a table; any other text file is read as well if it is named."""

# To fastText any of these divides words.
_FASTTEXT_LABEL = re.compile(rf"{FASTTEXT_MARK}(\S*)", re.ASCII)
_FASTTEXT_LABELS = re.compile(rf"\A(?:\s*{FASTTEXT_MARK}\S*)*\s*", re.ASCII)
_SHORT, _SHARED = 40, 10_000  # characters of a cell, and such cells
_FOREIGN_FILES = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"BZh": "compressed with bzip2; decompress it first",
    b"\xfd7zXZ": "compressed with xz; decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; decompress it first",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF": "a PDF document",
    b"ARROW1": "an Arrow or Feather file; save it as Parquet",
    b"\xff\xff\xff\xff": "a stream of Arrow; save it as Parquet",
    b"\x80\x04": "a pickle of Python; save the table as Parquet",
    b"\x80\x05": "a pickle of Python; save the table as Parquet",
}

Row = tuple[int, dict[str, Any] | str]
"""A row's number, and its cells by column or the reason why it cannot be read."""


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that was left out."""

    row: int
    reason: str
    source: str = ""
    """File that it stands in."""
    kind: str = "unreadable"
    """What is wrong, in a word for programs; applications have words of their own."""

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table, by columns."""

    source: str
    columns: dict[str, list[Any]]
    """N cells each: strings from text files; None where JSON or Parquet has nothing."""
    rows: list[int]
    """Line on which each row starts; in Parquet and a JSON array its number, from 1."""
    skipped: tuple[SkippedRow, ...] = ()
    notes: tuple[str, ...] = ()
    """What was detected or surprising, one sentence each."""
    layout: Layout | None = None
    """None for JSON and Parquet."""
    sha256: str | None = None
    """Of the bytes of its files, or of its cells, where it is known."""


class RowStream(Iterator[tuple[int, dict[str, Any]]]):
    """Rows one by one, as (row number, cells by column)."""

    def __init__(self, source: str, rows: Iterator[Row], skip_bad_rows: bool) -> None:
        self.source = source
        self.notes: tuple[str, ...] = ()
        """Complete with the first row."""
        self.layout: Layout | None = None
        self.types: dict[str, Any] = {}
        """Types of Arrow by column, where it has such; complete with the first row."""
        self.skipped: list[SkippedRow] = []
        """Grows while the stream is read."""
        self._rows = rows
        self._skip_bad_rows = skip_bad_rows

    def __next__(self) -> tuple[int, dict[str, Any]]:
        for row, cells in self._rows:
            if not isinstance(cells, str):
                return row, cells
            self.leave_out(row, cells)
        raise StopIteration

    def leave_out(self, row: int, reason: str) -> None:
        """List a row that cannot be used, or raise a `DataError` unless bad rows are skipped."""
        if not self._skip_bad_rows:
            raise DataError(
                f"{self.source}, row {row}: {reason}. "
                "Mend the row, or leave bad rows out with --skip-bad-rows."
            )
        self.skipped.append(SkippedRow(row, reason, self.source))


def read_table(
    path: Path, table_format: TableFormat = DETECT, expected: Expected = ANYTHING
) -> Table:
    """Read a table of labelled texts; what is not stated is detected, and told in the notes.

    It has at least one row; a file that has none, or a row that cannot be read (unless bad rows are
    to be skipped), is a `DataError`.
    """
    return gathered(_stream_file(path, table_format, replace(expected, labelled=True)))


def gathered(
    stream: RowStream, change: Callable[[int, dict[str, Any]], dict[str, Any]] | None = None
) -> Table:
    """All rows of a stream, by columns; a `DataError` where there are none.

    `change` is given each row's number and cells, and gives the cells that are kept.
    """
    rows: list[int] = []
    shared, spare = dict[str, str](), _SHARED  # labels recur, and are held once
    columns = {name: list[Any]() for name in stream.layout.columns} if stream.layout else {}
    for row, cells in stream:
        cells = change(row, cells) if change else cells
        for name in cells:
            if name not in columns:
                columns[name] = [None] * len(rows)
        rows.append(row)
        for name, column in columns.items():
            value = cells.get(name)
            if type(value) is str and len(value) <= _SHORT and (value in shared or spare > 0):
                value, spare = shared.setdefault(value, value), _SHARED - len(shared)
            column.append(value)
    if not rows:
        raise DataError(_no_rows(stream))
    return Table(stream.source, columns, rows, tuple(stream.skipped), stream.notes, stream.layout)


def iterate_rows(
    path: Path | None, table_format: TableFormat = DETECT, expected: Expected = ANYTHING
) -> RowStream:
    """Read rows one by one, of a table that may be larger than memory.

    As `read_table`, but a line without a delimiter is one text, in a column `text`; None reads
    standard input. What cannot be read is told when it is taken.
    """
    if path is None:
        source = TextSource(None, sys.stdin.buffer, table_format.encoding)
        return _stream_text(source, table_format, expected)
    return _stream_file(path, table_format, expected)


def _stream_file(path: Path, table_format: TableFormat, expected: Expected) -> RowStream:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a table.")
        stream = None if regular else open_to_read_once(path)
        source = TextSource(path if regular else None, stream, table_format.encoding)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if regular and (path.suffix.lower() in PARQUET_ENDINGS or source.head[:4] == b"PAR1"):
        rows = RowStream(str(path), iter(()), table_format.skip_bad_rows)
        rows._rows = _parquet_rows(path, rows)
        return rows
    for magic, kind in _FOREIGN_FILES.items():
        if source.head.startswith(magic):
            raise DataError(f"{path} is no text table: it is {kind}.")
    return _stream_text(source, table_format, expected)


def _stream_text(source: TextSource, table_format: TableFormat, expected: Expected) -> RowStream:
    notes = (source.note,) if source.note else ()
    stream = RowStream(source.name, iter(()), table_format.skip_bad_rows)
    stream.notes = notes
    first = next(filter(None, map(str.strip, source.preview())), "")
    if not first:
        return stream
    stated = table_format.delimiter is not None
    # A delimiter that is stated may be of the files beside one of JSON.
    named = source.ending in JSON_ENDINGS and (not stated or first[0] in "[{")
    if named or (not stated and looks_like_json(source)):
        stream._rows, note = json_rows(source)
        stream.notes = (*notes, *note)
        return stream
    layout = detect_layout(source, table_format, expected)
    if layout.kind == "lines" and not expected.labelled:
        refuse_broken_json(source)
    stream.layout, stream.notes = layout, (*notes, *layout.notes)
    stream._rows = _text_rows(source, layout)
    return stream


def _text_rows(source: TextSource, layout: Layout) -> Iterator[Row]:
    if layout.dialect is None:
        yield from _line_rows(source, layout)
        return
    header: list[str] = []
    width = len(layout.columns)
    for place, record in enumerate(read_records(source.lines(), layout.dialect, width), start=1):
        if place <= layout.header_rows and record.fault is None:
            header = record.cells
            continue
        cells, fault = record.cells, record.fault
        if fault is None and cells == header and width > 1:
            fault = "it repeats the header"
        if header and not any(header[len(cells) :]):
            cells = [*cells, *[""] * (width - len(cells))]
        if fault is None and len(cells) != width:
            many = "cell" if len(cells) == 1 else "cells"
            fault = f"it has {len(cells)} {many}, expected {width}"
            if record.lines > 1:
                last = record.row + record.lines - 1
                fault += f" (a quote makes one row of the lines up to {last})"
        yield record.row, fault or dict(zip(layout.columns, cells, strict=False))


def _line_rows(source: TextSource, layout: Layout) -> Iterator[Row]:
    header = layout.header_rows
    for row, line in enumerate(source.lines(), start=1):
        text = line.rstrip("\r\n")
        if header and text.strip():
            header -= 1
        elif fault := line_fault(line):
            yield row, fault
        elif layout.kind == "lines":
            yield row, {layout.columns[0]: text}
        elif layout.kind == FIRST_SPACE and text.strip():
            label, _, text = text.strip().partition(" ")
            yield row, {"label": label, "text": text.strip()}
        elif text.strip():
            yield row, _fasttext(text)


def _fasttext(line: str) -> dict[str, Any]:
    text = _FASTTEXT_LABELS.sub("", line, count=1)
    labels = [label for label in _FASTTEXT_LABEL.findall(line.removesuffix(text)) if label]
    return {"label": labels if len(labels) > 1 else "".join(labels), "text": text}


def _parquet_rows(path: Path, stream: RowStream) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = arrow_rows(file.iter_batches(), file.schema_arrow, stream)
            yield from enumerate(rows, start=1)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def arrow_rows(
    batches: Iterable[Any], schema: Any, stream: RowStream
) -> Iterator[dict[str, Any] | str]:
    """Cells by column of each row of Arrow's batches, or why it cannot be read.

    Where `datasets` wrote into the schema that numbers stand for classes, they become their names.
    `stream` takes the types of the columns, and what is to be noted of their names.
    """
    from pyarrow import list_, string
    from pyarrow.types import is_dictionary, is_large_list, is_list, is_string_view

    noted, names = _noted_features(schema.metadata or {}), dict[str, Sequence[str]]()
    types, stream.notes = stream.types, (*stream.notes, *repeated_names(schema.names))
    for column, field in zip(unique_names(schema.names), schema, strict=True):
        kind = getattr(field.type, "storage_type", field.type)
        texts = kind.value_type if is_dictionary(kind) else kind
        # Texts and categories of polars; of the latter Arrow makes none from those of Python.
        types[column] = string() if is_string_view(texts) else kind
        feature = noted.get(field.name)
        while isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names[column] = list(map(str, feature.get("names") or ()))
            types[column] = list_(string()) if is_list(kind) or is_large_list(kind) else string()
    for batch in batches:
        for row in zip(*map(_values, batch.columns), strict=True):
            try:
                yield {
                    name: _class_name(value, names[name]) if name in names else stored_value(value)
                    for name, value in zip(types, row, strict=True)
                }
            except IndexError as error:
                yield str(error)


def _values(column: Any) -> list[Any]:
    """What a column of Arrow holds, as texts where Python has no date or time so late or early."""
    from pyarrow import string

    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return list(column.cast(string()).to_pylist())


def _noted_features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """What `datasets` wrote of the columns into a schema, by their names."""
    with suppress(ValueError, KeyError, TypeError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return features if isinstance(features, dict) else {}
    return {}


def _class_name(value: Any, names: Sequence[str]) -> Any:
    """A number of a class, or several in a list, as the names."""
    if isinstance(value, list):
        return [_class_name(one, names) for one in value]
    if not isinstance(value, int) or not names:
        return stored_value(value)
    if value >= len(names):
        raise IndexError(f"its class is {value}, and there are names of 0 to {len(names) - 1}")
    # The Hub marks rows whose labels are withheld with -1.
    return None if value < 0 else names[value]


def _no_rows(stream: RowStream) -> str:
    if stream.skipped:
        first = stream.skipped[0]
        return (
            f"{stream.source} has no row that can be read: all {len(stream.skipped)} "
            f"are bad (row {first.row}: {first.reason})."
        )
    if stream.layout and stream.layout.header_rows:
        names = ", ".join(stream.layout.columns)
        return f"{stream.source} has a header ({names}) and no rows. Add rows below it."
    return f"{stream.source} is empty. A table needs rows."


_JSON_SAMPLE_LINES = 1000


def looks_like_json(source: TextSource) -> bool:
    """Whether a text whose name does not tell holds JSON objects; the first may be broken."""
    lines = (line.strip() for line in source.preview() if line.strip())
    first = next(lines)
    if first.startswith("[") and not source.ending:
        return first == "[" or first.startswith('[{"')
    tried = itertools.chain([first], itertools.islice(lines, _JSON_SAMPLE_LINES))
    return first.startswith("{") and any(isinstance(_parsed(line), dict) for line in tried)


def refuse_broken_json(source: TextSource) -> None:
    """Refuse to take for a text what begins as a JSON object does and is none."""
    lines = enumerate(source.preview(), start=1)
    row, first = next((row, line.strip()) for row, line in lines if line.strip())
    if first.startswith("{"):
        raise DataError(
            f"{source.name}, row {row}: it begins as a JSON object does, but {_parsed(first)}. "
            "Mend the row; with --format lines `textclf predict` takes each line as one text."
        )


def json_rows(source: TextSource) -> tuple[Iterator[Row], tuple[str, ...]]:
    """The rows of a JSON text, each an object or why it is none, and what is to be noted of it.

    Lines are numbered as an editor shows them, elements of an array from 1.
    """
    first = next((line for line in source.preview() if line.strip()), "")
    if first.lstrip().startswith("["):
        return _array_rows(source), ("One JSON array: rows are numbered by its elements.",)
    lines = enumerate(source.lines(), start=1)
    return ((row, line_fault(line) or _parsed(line)) for row, line in lines if line.strip()), ()


def _parsed(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line.strip(), object_pairs_hook=_keys_once)
    except json.JSONDecodeError as error:
        return f"it is not valid JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON: {error}"
    return _object_or_fault(value)


class _Repeating(dict[str, Any]):
    """An object that has a key twice."""


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _Repeating(value)


def _object_or_fault(value: Any) -> dict[str, Any] | str:
    if not isinstance(value, dict):
        kind = type(value).__name__
        return f'it must be a JSON object such as {{"text": …, "label": …}}, got a {kind}'
    if isinstance(value, _Repeating):
        return "it has a key twice"
    try:
        json.dumps(value, ensure_ascii=False).encode()
        return {name: stored_value(one) for name, one in value.items()}
    except UnicodeEncodeError:
        return "it holds half a surrogate pair, which is no character"
    except RecursionError:
        return "its lists or objects are nested too deeply"


def _array_rows(source: TextSource) -> Iterator[Row]:
    text = "".join(source.lines())
    if fault := line_fault(text):
        raise DataError(f"{source.name}: {fault}.")
    try:
        values = json.loads(text, object_pairs_hook=_keys_once)
    except json.JSONDecodeError as error:
        # Lines that happen to begin with a bracket are told as lines.
        raise DataError(
            f"{source.name}, row {error.lineno}: it is not valid JSON: {error.msg} at column "
            f"{error.colno}. Expected one array of objects, or one object a line."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source.name} is not valid JSON: {error}") from error
    for row, value in enumerate(values, start=1):
        yield row, _object_or_fault(value)
