"""Write rows as they come, into a file that is complete or absent."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
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
            the first rows. A column whose type some value does not fit becomes one of floats, if
            it is of integers and nothing changes by it, else of texts.
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
    kept: Collection[str] = (),
) -> None:
    """`require_writable`, of a table: one whose columns are not the command's stays.

    Args:
        path: The file, if one is named.
        columns: Those that the command always writes.
        inputs: What is read meanwhile.
        further: How the names of others begin that it may write.
        kept: Names of those that it may write as they are.
    """
    if path is not None:
        _require_known_ending(path)

    def is_own(table: Path) -> bool:
        names = _columns_of(table)
        others = set(names).difference(columns, kept)
        return all(name.startswith(further) for name in others) and set(columns) <= set(names)

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

    rows = iter(rows)
    batches = iter(lambda: [dict(row) for row in itertools.islice(rows, _BATCH_ROWS)], [])
    first = next(batches, [])
    example = first[0] if first else dict.fromkeys(columns)
    known = schema_of(example) if schema_of and example else pyarrow.schema([])
    stated = dict(zip(known.names, known.types, strict=True))
    text = pyarrow.string()
    # Where all of the first rows have nothing, or nothing but empty lists, texts may follow; an
    # object is JSON, as in CSV, for the next one may have other keys.
    instead = {pyarrow.null(): text, pyarrow.list_(pyarrow.null()): pyarrow.list_(text)}
    types = {}
    for name in example:
        found = None
        if name not in stated:
            found = _column([row.get(name) for row in first], None, False)
        guessed = text if found is None or pyarrow.types.is_struct(found.type) else found.type
        types[name] = stated.get(name, instead.get(guessed, guessed))
    try:
        _write_batches(itertools.chain([first], batches), path, types, stated.keys())
    except pyarrow.ArrowException as error:
        raise DataError(
            f"A value does not fit its column in Parquet: {error}. "
            "Write .jsonl, whose columns have no types."
        ) from error


def _write_batches(
    batches: Iterator[list[dict[str, Any]]], path: Path, types: dict[str, Any], stated: Set[str]
) -> None:
    """Write rows with these types; all of them anew with a wider one where a value does not fit."""
    import pyarrow
    import pyarrow.parquet

    text, schema = pyarrow.string(), pyarrow.schema(types.items())
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in batches:
            cells = {name: [row.get(name) for row in batch] for name in types}
            found = {name: _column(cells[name], types[name], name in stated) for name in types}
            misfits = [name for name in types if found[name] is None]
            if misfits:
                break
            writer.write_table(pyarrow.table(found, schema))
        else:
            return
    wider = dict.fromkeys(misfits, text)
    for name in misfits:
        fractions = _column(cells[name], None, False)
        if types[name] == pyarrow.int64() and getattr(fractions, "type", None) == pyarrow.float64():
            wider[name] = fractions.type
    with tempfile.TemporaryFile(dir=path.parent) as before:
        with path.open("rb") as written:
            shutil.copyfileobj(written, before)
        file = pyarrow.parquet.ParquetFile(before)
        rows = (part.to_pylist() for part in file.iter_batches(_BATCH_ROWS))
        _write_batches(itertools.chain(rows, [batch], batches), path, types | wider, stated)


def _column(values: list[Any], kind: Any, stated: bool = True) -> Any:
    """Values as a column of Arrow, None if they do not fit or, of a type not `stated`, change."""
    import pyarrow

    if kind == pyarrow.string():
        values = [None if one is None else str(cell(one, raw=True)) for one in values]
    with suppress(pyarrow.ArrowException, OverflowError, ValueError):
        column = pyarrow.array(values, kind)
        if stated or column.to_pylist() == values:
            return column
    return None
