"""Write rows as they come, into a file that is complete or absent."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.errors import ConfigError, DataError
from runtime.folders import followed
from runtime.paths import path_line

_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
_BATCH_ROWS = 10_000

SchemaOf = Callable[[Mapping[str, Any]], Any]
"""From the first row to a schema of pyarrow."""


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    schema_of: SchemaOf | None = None,
    columns: Sequence[str] = (),
) -> None:
    """Write rows to a sibling of `path`, flush it, and rename it.

    Args:
        rows: The first one's keys are the columns. Lists and mappings stand in CSV as JSON,
            None as an empty cell.
        path: Ends in .csv, .tsv, .jsonl or .parquet.
        schema_of: The types of Parquet; None takes them from the first rows.
        columns: Of a table without rows.

    Raises:
        ConfigError: Another ending.
        DataError: The file cannot be written, or a value is of another type than its column.
    """
    writers: dict[str, Callable[[Iterable[Mapping[str, Any]], Path], None]] = {
        ".csv": lambda rows, path: _write_csv(rows, path, columns, ","),
        ".tsv": lambda rows, path: _write_csv(rows, path, columns, "\t"),
        ".jsonl": _write_json_lines,
        ".parquet": lambda rows, path: _write_parquet(rows, path, schema_of, columns),
    }
    require_known_ending(path)
    write = writers[path.suffix.lower()]
    with _complete_or_absent(path) as sibling:
        write(rows, sibling)


def require_known_ending(path: Path) -> None:
    """See that rows can be written as the ending of a path says.

    Raises:
        ConfigError: It says nothing known.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"The ending of {path_line(path.name)} must be one of {', '.join(_ENDINGS)}, "
            f"got {path.suffix or 'none'!r}."
        )


@contextmanager
def _complete_or_absent(path: Path) -> Iterator[Path]:
    target = followed(path)
    sibling = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield sibling
        with sibling.open("rb+") as file:
            os.fsync(file.fileno())
        sibling.replace(target)
    except OSError as error:
        # Not the text of the error: pyarrow's names the sibling.
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise DataError(f"{path} cannot be written: {reason}.") from error
    finally:
        # What keeps it from being written may keep it from being removed.
        with suppress(OSError):
            sibling.unlink()


def _write_csv(
    rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str], delimiter: str
) -> None:
    rows = iter(rows)
    first = next(rows, None)
    names = list(columns if first is None else first)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n")
        if names:
            writer.writeheader()
        for row in itertools.chain([] if first is None else [first], rows):
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple, Mapping)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _write_json_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(dict(row), ensure_ascii=False) + "\n")


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
    schema = schema_of(example) if schema_of and example else None
    try:
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
