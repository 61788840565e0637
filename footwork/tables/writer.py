"""Write rows as they come, into a file that is complete or absent."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError, DataError
from footwork.files.folders import published_file
from footwork.files.outputs import require_writable, unwritable
from footwork.files.paths import path_line
from footwork.tables.cells import cell, csv_writer, text_of

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ENDINGS = (*_DELIMITERS, ".jsonl", ".parquet")
_BATCH_ROWS = 10_000
_FIRST_ROW = 1 << 20  # characters

SchemaOf = Callable[[Mapping[str, Any]], Any]
"""From the first row to a schema of pyarrow."""


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    schema_of: SchemaOf | None = None,
    columns: Sequence[str] = (),
    *,
    raw_cells: bool = False,
) -> None:
    """Write rows to a file that is complete or absent; it ends in .csv, .tsv, .jsonl or .parquet.

    Args:
        rows: The first one's keys are the columns. Lists and mappings stand in CSV as JSON,
            None as an empty cell.
        path: Another ending is a `ConfigError`, what cannot be written a `DataError`.
        schema_of: The types of columns in Parquet; of others, and with None, they are taken from
            the first rows, and a value of another type than its column is a `DataError`.
        columns: Of a table without rows.
        raw_cells: Leave alone what a spreadsheet would run; see `footwork.tables.cells`.
    """
    _require_known_ending(path)
    ending = path.suffix.lower()
    try:
        with published_file(path) as sibling:
            if ending == ".parquet":
                _write_parquet(rows, sibling, schema_of, columns)
            elif ending == ".jsonl":
                with sibling.open("w", encoding="utf-8", newline="\n") as file:
                    lines = (json.dumps(dict(row), ensure_ascii=False, default=str) for row in rows)
                    file.writelines(f"{line}\n" for line in lines)
            else:
                written = partial(cell, raw=raw_cells)
                _write_csv(rows, sibling, columns, _DELIMITERS[ending], written)
    except OSError as error:
        # Not the text of the error: pyarrow's names the sibling.
        raise unwritable(path, os.strerror(error.errno or errno.EIO).lower()) from error


def _require_known_ending(path: Path) -> None:
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"The ending of {path_line(path.name)} must be one of {', '.join(_ENDINGS)}, "
            f"got {path.suffix or 'none'!r}."
        )


def require_table(
    path: Path | None,
    columns: Sequence[str],
    inputs: Iterable[str | Path | None] = (),
    further: tuple[str, ...] = (),
) -> None:
    """`require_writable`, of a table: one whose columns are not the command's stays.

    Args:
        path: The file, if one is named.
        columns: Those that the command always writes.
        inputs: What is read meanwhile.
        further: How the names of all others begin that it may write.
    """
    if path is not None:
        _require_known_ending(path)

    def is_own(table: Path) -> bool:
        names = _columns_of(table)
        known = all(name in columns or name.startswith(further) for name in names)
        return known and set(columns) <= set(names)

    require_writable(path, is_own, inputs)


def _columns_of(path: Path) -> Sequence[str]:
    """Names of the columns of a table that was written here; none of what is no such table."""
    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            import pyarrow.parquet

            return pyarrow.parquet.read_schema(path).names
        with path.open(encoding="utf-8", newline="") as file:
            if ending == ".jsonl":
                row = json.loads(file.readline(_FIRST_ROW))
                return tuple(row) if isinstance(row, dict) else ()
            names = next(csv.reader(file, delimiter=_DELIMITERS[ending]), ())
            return tuple(map(text_of, names))
    except (OSError, ValueError, csv.Error, RecursionError):  # pyarrow's are ValueErrors
        return ()


def _write_csv(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    columns: Sequence[str],
    delimiter: str,
    written: Callable[[Any], Any],
) -> None:
    rows = iter(rows)
    first = next(rows, None)
    names = list(columns if first is None else first)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv_writer(file, delimiter)
        if names:
            writer.writerow(map(written, names))
        for row in itertools.chain([] if first is None else [first], rows):
            writer.writerow([written(row.get(name)) for name in names])


def _write_parquet(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    schema_of: SchemaOf | None,
    columns: Sequence[str],
) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = iter(rows)
    batch = [dict(row) for row in itertools.islice(rows, _BATCH_ROWS)]
    example = batch[0] if batch else dict.fromkeys(columns)
    known = schema_of(example) if schema_of and example else pyarrow.schema([])
    try:
        rest = [name for name in example if name not in known.names]
        seen = [{name: row.get(name) for name in rest} for row in batch or [example]]
        text = pyarrow.string()
        # Where all of the first rows have nothing, or nothing but empty lists, texts may follow.
        absent = {pyarrow.null(): text, pyarrow.list_(pyarrow.null()): pyarrow.list_(text)}
        for field in pyarrow.Table.from_pylist(seen).schema:
            known = known.append(field.with_type(absent.get(field.type, field.type)))
        schema = pyarrow.schema([known.field(name) for name in example])
        table = pyarrow.Table.from_pylist(batch, schema=schema)
        with pyarrow.parquet.ParquetWriter(path, table.schema) as writer:
            writer.write_table(table)
            while batch := [dict(row) for row in itertools.islice(rows, _BATCH_ROWS)]:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=table.schema))
    except pyarrow.ArrowException as error:
        raise DataError(
            f"A value does not fit its column in Parquet: {error}. "
            "Write .jsonl, whose columns have no types."
        ) from error
