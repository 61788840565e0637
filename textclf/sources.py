"""From what the user calls DATA to one table a split: files, a Hub data set, or what is held."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError, DataError
from footwork.files.faults import shortened
from footwork.finetuning.data import SPLIT_NAMES
from footwork.tables.held import (
    configuration_note,
    data_name,
    held_rows,
    hint_of_columns,
    is_held,
    may_be_of_hub,
    saved_data,
)
from footwork.tables.layout import Expected, TableFormat
from footwork.tables.reader import TABLE_ENDINGS, RowStream, Table, gathered, read_table
from footwork.tables.source import TextSource, line_fault

_PART = re.compile(r"-\d+-of-(\d+)")
_PACKED = (".xlsx", ".xls", ".ods", ".gz", ".bz2", ".xz", ".zst", ".zip")
"""Endings of tables that are refused when they are read, with what to do."""
_HALF = re.compile(r"[_.-](text|label)s?(?:\.txt)?$")


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
            or a table as `held_rows` takes it, or a mapping of splits to any of these, as a
            `datasets.DatasetDict` is; what `train` names may have further splits of its own.
        table_format: How text files are read.
        names: Of columns that are stated; a first row that holds one is a header.

    Raises:
        DataError: Nothing is there, or a table cannot be read.
        ConfigError: Of a Hub data set no configuration is named, or it has none of the splits.
        TypeError: It is nothing of the kind.
    """
    loaded, name, notes = data, data_name(data), tuple[str, ...]()
    if not is_held(data):
        path = Path(data).expanduser()
        loaded = saved_data(path) if path.is_dir() else None
        if loaded is None and path.exists():
            return _read_path(path, table_format, names)
        if loaded is None:
            if not may_be_of_hub(name):
                raise DataError(f"There is no file or folder {name!r}. Check the path.")
            from footwork.tables.hub_datasets import load_hub_dataset

            loaded = load_hub_dataset(name)
            notes = configuration_note(loaded, name)
    if isinstance(loaded, Mapping):
        found = _named_splits(loaded, name, table_format, names)
        return replace(found, notes=(*notes, *found.notes))
    rows = held_rows(loaded, name, skip_bad_rows=table_format.skip_bad_rows)
    return _digested({"train": gathered(rows)})


def _read_path(path: Path, table_format: TableFormat, names: tuple[str, ...]) -> SourceTables:
    if not path.is_dir():
        return _read_files({"train": path}, table_format, names)
    if parallel := parallel_splits(path):
        return _read_parallel(path, parallel, table_format)
    files, notes = folder_splits(path)
    return replace(_read_files(files, table_format, names), notes=notes)


def part_to_answer(data: Any) -> tuple[Any, str, tuple[str, ...]]:
    """The table to answer of a data set: that of test if there is one, else validation, else train.

    Returns:
        A path, or a table that is held; what it is called; and notes on the choice. `data` itself,
        where it is one table.

    Raises:
        ConfigError: No configuration is named of several, or no split of these is there.
        DataError: The Hub refuses it or gives no answer, or it cannot be loaded.
    """
    name = data_name(data)
    loaded = data if is_held(data) else _loaded(name)
    if not isinstance(loaded, Mapping):
        return data if loaded is None else loaded, name, ()
    keys = split_keys(loaded, name)
    key = next(keys[split] for split in ("test", "validation", "train") if split in keys)
    chosen = (f"Of {name} the {key} split is used.",) if len(loaded) > 1 else ()
    notes = () if is_held(data) else configuration_note(loaded, name)
    return loaded[key], f"{name} ({key})", (*notes, *chosen)


def _loaded(data: str) -> Any | None:
    """A data set that a folder or the Hub holds, whole or by splits; None of what is a file."""
    path = Path(data).expanduser()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if "/" not in data or not may_be_of_hub(data):
            return None
        from footwork.tables.hub_datasets import load_hub_dataset

        return load_hub_dataset(data)
    except OSError:  # it is there, or its name can be none
        return None
    if not stat.S_ISDIR(mode):
        return None
    saved = saved_data(path)
    return folder_splits(path)[0] if saved is None else saved


def folder_splits(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The file of each split in a folder, by words in the file names, and notes on the choice.

    Files are such as `train.csv`, `my-dev.tsv` or `TREC.test.all`, in the folder itself or in its
    `data`; a folder with one table is a training table.

    Raises:
        DataError: No file or several for a split, or several splits for a file; the message
            lists them.
    """
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


def _splits_named(file: Path) -> list[str]:
    """The splits of whose words there are some in the name of a file."""
    words = set(re.split(r"[^a-z]+", file.name.lower()))
    return [split for split, names in SPLIT_NAMES.items() if not words.isdisjoint(names)]


def parallel_splits(folder: Path) -> dict[str, dict[str, Path]]:
    """The files of each split, under `text` and `label`, where those stand line by line in two.

    They are such as `train_text.txt` and `train_labels.txt`, as TweetEval has them. There is none
    where the training file is no such pair, or a split has further tables.
    """
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        half, splits = _HALF.search(file.name.lower()), _splits_named(file)
        if half and len(splits) == 1:
            found.setdefault(splits[0], {}).setdefault(half[1], file)
        elif splits and file.suffix.lower() in TABLE_ENDINGS:
            return {}
    return found if len(found.get("train", ())) == 2 else {}


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
        stated = expected if alike else replace(expected, beside=None)
        splits[split] = table = read_table(path, table_format, stated)
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


def _read_parallel(
    folder: Path, files: Mapping[str, Mapping[str, Path]], table_format: TableFormat
) -> SourceTables:
    mapping, names = folder / "mapping.txt", dict[str, str]()
    if mapping.is_file():
        cells = [line.split("\t") for line in _lines(TextSource(mapping, None, "utf-8"))]
        names = {row[0].strip(): row[1].strip() for row in cells if len(row) > 1}
    pairs = {split: halves for split, halves in files.items() if len(halves) == 2}
    read = [half for halves in pairs.values() for half in halves.values()]
    digest, splits = hashlib.sha256(), dict[str, Table]()
    for split in filter(pairs.__contains__, SPLIT_NAMES):
        splits[split] = _parallel_table(pairs[split], names, table_format)
    for path in [*read, mapping] if names else read:
        digest.update(path.read_bytes())
    named = f", names of classes from {mapping.name}" if names else ""
    notes = [f"Texts and labels are read line by line from {_listed(read)}{named}."]
    if alone := [half for halves in files.values() for half in halves.values() if half not in read]:
        notes.append(f"Not read, texts and labels not both being there: {_listed(alone)}.")
    return SourceTables(splits, digest.hexdigest(), tuple(notes))


def _parallel_table(
    files: Mapping[str, Path], names: Mapping[str, str], table_format: TableFormat
) -> Table:
    """One split; numbers that `names` has a class for become that."""
    sources = [TextSource(files[half], None, table_format.encoding) for half in ("text", "label")]
    texts, labels = map(_lines, sources)
    if len(texts) != len(labels):
        raise DataError(
            f"{files['text']} has {len(texts):,} lines and {files['label'].name} {len(labels):,}: "
            "each line of the one must belong to the same line of the other. Mend them."
        )

    def row(text: str, label: str) -> dict[str, Any] | str:
        if names and label not in names:
            return f"label {label!r} is not in mapping.txt ({shortened(names)})"
        return line_fault(text) or {"text": text, "label": names.get(label, label)}

    rows = (row(text, label.strip()) for text, label in zip(texts, labels, strict=True))
    stream = RowStream(sources[0].name, enumerate(rows, start=1), table_format.skip_bad_rows)
    stream.notes = tuple(source.note for source in sources if source.note)
    return gathered(stream)


def _lines(source: TextSource) -> list[str]:
    """The lines of a file; what only some programs break lines at breaks none."""
    whole = "".join(source.lines()).removesuffix("\n")
    return [line.removesuffix("\r") for line in whole.split("\n")]


def _named_splits(
    loaded: Mapping[str, Any], data: str, table_format: TableFormat, names: tuple[str, ...] = ()
) -> SourceTables:
    keys, splits = split_keys(loaded, data), dict[str, Table]()
    unread = [repr(key) for key in loaded if key not in keys.values()]
    note = f"Not read of {data}, being no train, validation or test: {shortened(unread)}."
    notes = [note] if unread else []
    for split, key in keys.items():
        part, skip = loaded[key], table_format.skip_bad_rows
        if is_held(part) and not isinstance(part, Mapping):
            own = {split: gathered(held_rows(part, f"{data} ({key})", skip_bad_rows=skip))}
        else:
            found = read_tables(part, table_format, names)
            own, notes = found.splits, [*notes, *found.notes]
        if split == "train":
            names = (*names, *(name for table in own.values() for name in table.columns))
        elif split not in own and len(own) > 1:
            raise ConfigError(f"{data_name(part)} must be one {split}; it has {', '.join(own)}.")
        else:
            if split in splits:
                notes.append(f"The {split} of {data} itself is not read: another one is given.")
            own = {split: own.get(split) or next(iter(own.values()))}
        splits |= own
    ordered = {split: splits[split] for split in SPLIT_NAMES if split in splits}
    return replace(_digested(ordered), notes=tuple(notes))


def split_keys(loaded: Mapping[str, Any], data: str) -> dict[str, str]:
    """What a data set calls its train, validation and test; a `ConfigError` if it has none."""
    keys = {
        split: key
        for split, names in SPLIT_NAMES.items()
        if (key := next((k for name in names for k in loaded if k.split("_")[0] == name), None))
    }
    if not keys:
        raise ConfigError(
            f"{data} has none of the splits train, validation, test; it has "
            f"{shortened(map(repr, loaded))}. Write those that you want as files of these names "
            "into a folder (to_parquet of `datasets`), and name the folder."
            f"{hint_of_columns(loaded)}"
        )
    return keys


def _digested(splits: dict[str, Table]) -> SourceTables:
    digest = hashlib.sha256()
    for table in splits.values():
        digest.update(repr(table.columns).encode("utf-8", "surrogatepass"))
    return SourceTables(splits, digest.hexdigest())
