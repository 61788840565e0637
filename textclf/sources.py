"""From what the user calls DATA to one table a split: files, a Hub data set, or what is held."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from footwork.errors import DataError
from footwork.files.faults import shortened
from footwork.tables.held import held_rows, is_held
from footwork.tables.layout import Expected, TableFormat
from footwork.tables.reader import TABLE_ENDINGS, RowStream, Table, gathered, read_table
from footwork.tables.source import TextSource, line_fault
from footwork.tables.splits import SPLIT_NAMES, SPLITS, Notes, Part, find_splits

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


def read_tables(
    data: Any,
    table_format: TableFormat,
    names: tuple[str, ...] = (),
    needed: Sequence[str] = SPLITS,
) -> SourceTables:
    """Read every split of a data set.

    Args:
        data: As `find_splits` takes it.
        table_format: How text files are read.
        names: Of columns that are stated; a first row that holds one is a header.
        needed: Of these splits there must be one.

    Raises:
        DataError: Nothing is there, there is no such split, or a table cannot be read.
        ConfigError: Of a Hub data set no configuration is named.
        TypeError: It is nothing of the kind.
    """
    parts, notes = find_splits(data, splits_in, needed)
    splits, digest = dict[str, Table](), hashlib.sha256()
    expected, first = Expected(names=names), ""
    for split, part in parts.items():
        ending = "" if is_held(part.data) else part.data.suffix
        alike = ending == (first := first or ending)
        stated = expected if alike else replace(expected, beside=None)
        table = splits[split] = read_part(part, table_format, stated, digest)
        if len(splits) == 1:
            # What names the columns of one file names those of all, and tells their delimiters.
            named = table.layout is None or table.layout.header_rows > 0
            expected = Expected(
                names=(*names, *table.columns) if named else names,
                beside=None if named else table.layout,
            )
    return SourceTables(splits, digest.hexdigest(), notes)


def read_part(
    part: Part, table_format: TableFormat, expected: Expected, digest: Any = None
) -> Table:
    """The table of one split, and its hash; a `digest` of several takes its content, too."""
    if is_held(part.data):
        table = gathered(opened_rows(part, table_format))
    else:
        table = read_table(part.data, table_format, expected)
    files = part.data.files if isinstance(part.data, TextsAndLabels) else [part.data]
    own = hashlib.sha256()
    for chunk in chain.from_iterable(_content(file, table) for file in files):
        own.update(chunk)
        if digest:
            digest.update(chunk)
    return replace(table, sha256=own.hexdigest())


def _content(file: Any, table: Table) -> Iterator[bytes]:
    """What is hashed of a file, or of what is held."""
    if is_held(file) or not file.is_file():  # a pipe gave its content only once
        yield repr(table.columns).encode("utf-8", "surrogatepass")
        return
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            yield chunk


def opened_rows(part: Part, table_format: TableFormat) -> RowStream:
    """The rows of a split that is held, or whose texts and labels stand in two files."""
    if isinstance(part.data, TextsAndLabels):
        return part.data.rows(table_format)
    return held_rows(part.data, part.name, skip_bad_rows=table_format.skip_bad_rows)


def splits_in(folder: Path) -> tuple[Mapping[str, Any], Notes]:
    """What holds the texts of each split in a folder, and notes on the choice."""
    return parallel_splits(folder) or folder_splits(folder)


def folder_splits(folder: Path) -> tuple[dict[str, Path], Notes]:
    """The file of each split in a folder, by words in the file names, and notes on the choice.

    Files are such as `train.csv`, `my-dev.tsv` or `TREC.test.all`, in the folder itself or in its
    `data`; a folder with one table is a training table.

    Raises:
        DataError: No file or several for a split, or several splits for a file; the message
            lists them.
    """
    files = _files_in(folder)
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


def _files_in(folder: Path) -> list[Path]:
    """Its files but the hidden ones, among them what a Mac puts beside others."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _splits_named(file: Path) -> list[str]:
    """The splits of whose words there are some in the name of a file."""
    words = set(re.split(r"[^a-z]+", file.name.lower()))
    return [split for split, names in SPLIT_NAMES.items() if not words.isdisjoint(names)]


@dataclass(frozen=True, slots=True)
class TextsAndLabels:
    """The files of a split whose texts and labels stand line by line in two."""

    text: Path
    label: Path
    mapping: Path | None
    """Of each label, the number that stands for it and its name."""

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        return [self.text, self.label, *([self.mapping] if self.mapping else ())]

    def rows(self, table_format: TableFormat) -> RowStream:
        """Rows of `text` and `label`; numbers that `mapping` has a class for become that."""
        sources = [TextSource(file, None, table_format.encoding) for file in self.files]
        texts, labels, *mapping = map(_lines, sources)
        if len(texts) != len(labels):
            raise DataError(
                f"{self.text} has {len(texts):,} lines and {self.label.name} {len(labels):,}: each "
                "line of the one must belong to the same line of the other. Mend them."
            )
        names = _class_names(self.mapping, mapping[0]) if self.mapping else {}

        def row(text: str, label: str) -> dict[str, Any] | str:
            if fault := line_fault(text) or line_fault(label):
                return fault
            if names and label not in names:
                return f"label {label!r} is not in mapping.txt ({shortened(names)})"
            return {"text": text, "label": names.get(label, label)}

        rows = (row(text, label.strip()) for text, label in zip(texts, labels, strict=True))
        stream = RowStream(sources[0].name, enumerate(rows, start=1), table_format.skip_bad_rows)
        stream.notes = tuple(source.note for source in sources if source.note)
        return stream


def _class_names(mapping: Path, lines: Sequence[str]) -> dict[str, str]:
    """Names by what stands for them, a pair a line; what follows a second tab is let be."""
    names = {}
    for number, line in enumerate(lines, start=1):
        if fault := line_fault(line):
            raise DataError(f"{mapping}, line {number}: {fault}.")
        parts = line.split("\t")[:2] if "\t" in line else line.split(None, 1)
        pair = [part.strip() for part in parts]
        if len(pair) == 2 and all(pair):
            names[pair[0]] = pair[1]
        elif any(pair):
            raise DataError(
                f"{mapping}, line {number}: it must be a number and the name of its class, with a "
                f"tab between, got {line!r}. Mend it."
            )
    return names


def _lines(source: TextSource) -> list[str]:
    """The lines of a file; what only some programs break lines at breaks none."""
    whole = "".join(source.lines()).removesuffix("\n")
    return [line.removesuffix("\r") for line in whole.split("\n")]


def parallel_splits(folder: Path) -> tuple[dict[str, TextsAndLabels], Notes] | None:
    """The splits of a folder whose texts and labels stand line by line in two files.

    They are such as `train_text.txt` and `train_labels.txt`, as TweetEval has them, and
    `mapping.txt` for the names of the labels. None where the training file is no such pair, or a
    split has further tables.
    """
    found: dict[str, dict[str, Path]] = {}
    for file in _files_in(folder):
        half, splits = _HALF.search(file.name.lower()), _splits_named(file)
        if half and len(splits) == 1:
            found.setdefault(splits[0], {}).setdefault(half[1], file)
        elif splits and file.suffix.lower() in TABLE_ENDINGS:
            return None
    pairs = {split: halves for split, halves in found.items() if len(halves) == 2}
    if "train" not in pairs:
        return None
    mapping = folder / "mapping.txt"
    named = mapping if mapping.is_file() else None
    read = _listed(half for halves in pairs.values() for half in halves.values())
    names = f", names of classes from {mapping.name}" if named else ""
    notes = [f"Texts and labels are read line by line from {read}{names}."]
    if alone := [half for split in found.keys() - pairs.keys() for half in found[split].values()]:
        notes.append(f"Not read, texts and labels not both being there: {_listed(alone)}.")
    return {split: TextsAndLabels(mapping=named, **pairs[split]) for split in pairs}, tuple(notes)


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
