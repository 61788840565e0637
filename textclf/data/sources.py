"""From what the user calls DATA to one table a split: files, a Hub data set, or what is held."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError, DataError
from footwork.files.faults import shortened
from footwork.tables.format import Expected, TableFormat
from footwork.tables.held import data_name, held_rows, is_held
from footwork.tables.reader import TABLE_ENDINGS, Table, gathered, read_table
from textclf.data.hub_datasets import load_hub_dataset

SPLIT_NAMES = {
    "train": ("train", "training", "trainval"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
_PART = re.compile(r"-\d+-of-(\d+)")
_PACKED = (".xlsx", ".xls", ".ods", ".gz", ".bz2", ".xz", ".zst", ".zip")
"""Endings of tables that are refused when they are read, with what to do."""
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?::[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class SourceTables:
    """The tables of a data set as they are found."""

    splits: dict[str, Table]
    """By `train`, `validation` and `test`; a lone file is `train`."""
    sha256: str
    """Of the bytes of all files, in the order of the splits, or of the cells."""
    notes: tuple[str, ...] = ()
    """Of the choice of the files."""


def read_tables(data: Any, table_format: TableFormat, names: tuple[str, ...] = ()) -> SourceTables:
    """Read every split of a data set.

    Args:
        data: Path of a file or a folder, or a Hub id (`name`, `owner/name`, `owner/name:config`);
            or a table as `held_rows` takes it, or a mapping of splits to such, as a
            `datasets.DatasetDict` is.
        table_format: How text files are read.
        names: Of columns that are stated; a first row that holds one is a header.

    Raises:
        DataError: Nothing is there, or a table cannot be read.
        ConfigError: Of a Hub data set no configuration is named, or it has none of the splits.
        TypeError: It is nothing of the kind.
    """
    skip = table_format.skip_bad_rows
    if isinstance(data, Mapping):
        return _named_splits(data, data_name(data), skip)
    if is_held(data):
        return _digested({"train": gathered(held_rows(data, skip_bad_rows=skip))})
    data = str(data)
    path = Path(data).expanduser()
    if path.is_dir():
        files, notes = folder_splits(path)
        return replace(_read_files(files, table_format, names), notes=notes)
    if path.exists():
        return _read_files({"train": path}, table_format, names)
    if path.suffix.lower() in TABLE_ENDINGS or not _HUB_ID.fullmatch(data):
        raise DataError(f"There is no file or folder {data!r}. Check the path.")
    return _named_splits(load_hub_dataset(data), data, skip)


def folder_splits(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The file of each split in a folder, by words in the file names.

    Args:
        folder: Holds files such as `train.csv`, `my-dev.tsv` or `TREC.test.all`, itself or in
            `data`; a folder with one table is a training table.

    Returns:
        The files, and what is to be noted of the choice.

    Raises:
        DataError: No file or several for a split, or several splits for a file; the message
            lists them.
    """
    if (folder / "dataset_dict.json").exists():
        raise DataError(
            f"{folder} is a data set as `datasets` saves it to disk. Write each of its splits with "
            "to_parquet, as train.parquet and so on."
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    tables = [file for file in files if file.suffix.lower() in TABLE_ENDINGS]
    named = {file: _splits_named(file) for file in files}
    if not any(named.values()):
        if not tables and (folder / "data").is_dir():
            return folder_splits(folder / "data")
        if len(tables or files) == 1:
            return {"train": (tables or files)[0]}, ()
        raise DataError(
            f"{folder} has no file named after a split; it has {_listed(files)}. "
            "Call them train, validation and test, or name one file as DATA."
        )
    # A README about the test set is no test set, and eval.py no validation.
    likely = [file for file in files if file in tables or file.suffix.lower() in _PACKED]
    split_files = [file for file in likely if named[file]] or [f for f in files if named[f]]
    found = {
        split: _only(folder, split, paths)
        for split in SPLIT_NAMES
        if (paths := [file for file in split_files if split in named[file]])
    }
    notes = _settle_shared(found, named)
    others = [file for file in files if file not in found.values()]
    if unread := [file for file in others if named[file] or file in tables]:
        notes.append(f"Not read, being no table named after a split: {_listed(unread)}.")
    return found, tuple(notes)


def _settle_shared(found: dict[str, Path], named: Mapping[Path, Sequence[str]]) -> list[str]:
    """Make a file of train and validation train alone, say so, and refuse any other of two."""
    notes = []
    for file in dict.fromkeys(found.values()):
        if named[file] == ["train", "validation"]:
            del found["validation"]
            notes.append(f"{file.name} is named after train and validation; all of it is train.")
        elif len(named[file]) > 1:
            raise DataError(
                f"{file} is named after {' and '.join(named[file])}, and can be only one of them. "
                "Rename it, or name the training file as DATA."
            )
    return notes


def _splits_named(file: Path) -> list[str]:
    words = set(re.split(r"[^a-z]+", file.name.lower()))
    return [split for split, names in SPLIT_NAMES.items() if words & set(names)]


def _only(folder: Path, split: str, paths: list[Path]) -> Path:
    part = _PART.search(paths[0].name)
    if part and int(part[1]) > 1:
        raise DataError(
            f"{folder} has {split} in {int(part[1])} parts, of which {len(paths)} are here: "
            f"{_listed(paths)}. Join them into one file."
        )
    if len(paths) > 1:
        raise DataError(
            f"{folder} has several files for {split}: {_listed(paths)}. "
            "Leave one, or name one file as DATA."
        )
    return paths[0]


def _listed(paths: Iterable[Path]) -> str:
    return shortened(path.name for path in paths) or "no files"


def _read_files(
    paths: dict[str, Path], table_format: TableFormat, names: tuple[str, ...]
) -> SourceTables:
    splits: dict[str, Table] = {}
    digest = hashlib.sha256()
    expected, first = Expected(names=names), next(iter(paths.values()))
    for split, path in paths.items():
        alike = path.suffix == first.suffix
        splits[split] = table = read_table(
            path, table_format, expected if alike else replace(expected, beside=None)
        )
        if path is first:
            # What names the columns of one file names those of all, and tells their delimiters.
            named = table.layout is None or table.layout.header_rows > 0
            expected = Expected(
                names=(*names, *table.columns) if named else names,
                beside=None if named else table.layout,
            )
        if not path.is_file():  # a pipe gave its content only once
            digest.update(json.dumps(table.columns).encode())
            continue
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return SourceTables(splits, digest.hexdigest())


def _named_splits(loaded: Mapping[str, Any], data: str, skip_bad_rows: bool) -> SourceTables:
    splits = {}
    for split, names in SPLIT_NAMES.items():
        found = next((key for name in names for key in loaded if key.split("_")[0] == name), None)
        if found is not None:
            rows = held_rows(loaded[found], f"{data} ({found})", skip_bad_rows=skip_bad_rows)
            splits[split] = gathered(rows)
    if not splits:
        raise ConfigError(f"{data} has none of the splits train, validation, test: {list(loaded)}.")
    return _digested(splits)


def _digested(splits: dict[str, Table]) -> SourceTables:
    digest = hashlib.sha256()
    for table in splits.values():
        digest.update(repr(table.columns).encode("utf-8", "surrogatepass"))
    return SourceTables(splits, digest.hexdigest())
