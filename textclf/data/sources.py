"""From what the user calls DATA to one table per split: a file, a folder or a Hub data set."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import ConfigError, DataError
from runtime.tables.format import TableFormat
from runtime.tables.reader import TABLE_ENDINGS, Table, read_table

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?::[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class SourceTables:
    """The tables of a data set as they are found."""

    splits: dict[str, Table]
    """By `train`, `validation` and `test`; a lone file is `train`."""
    sha256: str
    """Of the bytes of all files, in the order of the splits."""


def read_tables(data: str, table_format: TableFormat) -> SourceTables:
    """Read every split of a data set.

    Args:
        data: Path of a file or a folder, or a Hub id (`name`, `owner/name`, `owner/name:config`).
        table_format: How text files are read.

    Raises:
        DataError: Nothing is there, or a table cannot be read.
        ConfigError: The name can be neither a path nor a Hub id.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        return _read_files(folder_splits(path), table_format)
    if path.exists():
        return _read_files({"train": path}, table_format)
    if path.suffix.lower() in TABLE_ENDINGS or not _HUB_ID.fullmatch(data):
        raise DataError(f"There is no file or folder {data!r}. Check the path.")
    return _read_hub(data)


def folder_splits(folder: Path) -> dict[str, Path]:
    """The file of each split in a folder, by words in the file names.

    Args:
        folder: Holds files such as `train.csv`, `my-dev.tsv` or `TREC.test.all`; a folder with
            one table is a training table.

    Raises:
        DataError: No file or several for a split; the message lists them.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    named: dict[str, list[Path]] = {split: [] for split in SPLIT_NAMES}
    for file in files:
        words = re.split(r"[^a-z]+", file.name.lower())
        for split, names in SPLIT_NAMES.items():
            if set(words) & set(names):
                named[split].append(file)
    tables = [file for file in files if file.suffix.lower() in TABLE_ENDINGS]
    if not any(named.values()) and len(tables or files) == 1:
        return {"train": (tables or files)[0]}
    found = {split: _only(folder, split, paths) for split, paths in named.items() if paths}
    if not found:
        raise DataError(
            f"{folder} has no file named after a split; it has {_listed(files)}. "
            "Call them train, validation and test, or name one file as DATA."
        )
    return found


def _only(folder: Path, split: str, paths: list[Path]) -> Path:
    # A README about the test set is no test set.
    tables = [path for path in paths if path.suffix.lower() in TABLE_ENDINGS] or paths
    if len(tables) > 1:
        raise DataError(
            f"{folder} has several files for {split}: {_listed(tables)}. "
            "Leave one, or name one file as DATA."
        )
    return tables[0]


def _listed(paths: Iterable[Path]) -> str:
    names = [path.name for path in paths]
    shown = ", ".join(names[:10]) or "no files"
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _read_files(paths: dict[str, Path], table_format: TableFormat) -> SourceTables:
    splits: dict[str, Table] = {}
    digest = hashlib.sha256()
    first: Path | None = None
    for split, path in paths.items():
        if first is not None and path.suffix == first.suffix:
            table_format = _like(next(iter(splits.values())), table_format)
        splits[split] = read_table(path, table_format)
        first = first or path
        if not path.is_file():  # a pipe gave its content only once
            digest.update(json.dumps(splits[split].columns).encode())
            continue
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return SourceTables(splits, digest.hexdigest())


def _like(table: Table, table_format: TableFormat) -> TableFormat:
    """The format of a table, so that a small file beside it is not read otherwise."""
    layout = table.layout
    if layout is None or layout.kind == "lines":
        return table_format
    if layout.dialect is None:
        return replace(
            table_format, delimiter=layout.kind if layout.kind == "first-space" else None
        )
    return replace(table_format, delimiter=layout.dialect.delimiter, header=layout.header)


def _read_hub(data: str) -> SourceTables:
    from datasets import load_dataset
    from huggingface_hub.errors import HfHubHTTPError

    name, _, config = data.partition(":")
    try:
        loaded: Any = load_dataset(name, config or None)
    except (OSError, ValueError, RuntimeError, HfHubHTTPError) as error:
        raise DataError(
            f"There is no file or folder {data!r}, and the Hub data set of this name cannot be "
            f"loaded: {_first_line(error)} Use a local file: download the data set where there "
            "is a network, and give the path of its CSV, JSON lines or Parquet."
        ) from error
    splits = {}
    for split, names in SPLIT_NAMES.items():
        found = next((key for name in names for key in loaded if key.split("_")[0] == name), None)
        if found is not None:
            splits[split] = hub_table(loaded[found], f"{data} ({found})")
    if not splits:
        raise ConfigError(f"{data} has none of the splits train, validation, test: {list(loaded)}.")
    digest = hashlib.sha256()
    for table in splits.values():
        digest.update(repr(table.columns).encode())
    return SourceTables(splits, digest.hexdigest())


def hub_table(dataset: Any, source: str) -> Table:
    """A split of a Hub data set, with the names of its classes instead of their numbers.

    Args:
        dataset: A `datasets.Dataset`.
        source: Named in errors.
    """
    columns: dict[str, list[Any]] = {name: list(dataset[name]) for name in dataset.column_names}
    for name, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)
        if names := getattr(inner, "names", None):
            columns[name] = [_class_name(value, names) for value in columns[name]]
    return Table(source, columns, list(range(1, len(dataset) + 1)))


def _class_name(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_class_name(one, names) for one in value]
    # The Hub marks rows whose labels are withheld with -1.
    return None if value is None or value < 0 else names[value]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')}." if lines else f"{type(error).__name__}."
