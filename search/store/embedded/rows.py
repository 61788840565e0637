"""What the catalog knows of files: a filter as SQL over its table `files`, and rows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain, product
from types import NoneType
from typing import Any

from search.exclusions import Exclusions, told_exclusions
from search.filters import Filter
from search.paths import real_path, stored_text, words_of
from search.records import DATE_SOURCES, ImageRecord
from search.store.embedded.catalog import Catalog

PRESENT = "present AND slot IS NOT NULL"
EXCLUSIONS = "exclusions"
"""Name of a fact, which an index need not have."""

_BELOW = "(path = ? OR (path > ? AND path < ?))"
"""Holds for a file or folder, and for all below it; its values are `_below`'s."""
LISTED = "SELECT value FROM json_each(?)"
"""All of a list in JSON, such as `listed` gives of texts."""
_COLUMNS = [one.name for one in fields(ImageRecord) if one.name != "labels"]
_READ = ", ".join(_COLUMNS)
_WRITTEN = f"{_READ}, camera_folded"
_MARKS = ", ".join("?" * (len(_COLUMNS) + 1))
_TEXT, _NUMBER = (str, NoneType), (int, NoneType)
_KINDS = frozenset(
    product(
        *([str], [int], [int], _NUMBER, [str], _TEXT, _NUMBER, _NUMBER, _NUMBER, _TEXT, _TEXT),
        *(_TEXT, [int]),
    )
)
"""Types that the columns of a row may have: 256 of them."""


def condition_of(where: Filter) -> tuple[str, list[Any]]:
    """An expression that holds for the present images that are asked for, and its values."""
    cameras = (stored_text(name).casefold() for name in where.cameras)
    choices: list[tuple[str, Iterable[Sequence[Any]]]] = [
        (_BELOW, map(_below, where.folders)),
        ("format = ?", ([stored_text(name.lower())] for name in where.formats)),
        ("(camera_folded >= ? AND camera_folded < ?)", ((c, f"{c}\U0010ffff") for c in cameras)),
        (
            f"id IN (SELECT file FROM labels WHERE label IN ({LISTED}))",
            [[listed(where.labels)]] if where.labels else [],
        ),
        *((f"{name} {operator} ?", [[value]]) for name, operator, value in where.bounds()),
    ]
    parts, values = [PRESENT], list[Any]()
    for expression, choice in choices:
        options = list(choice)
        if options:
            parts.append(_any_of(expression, len(options)))
            values += chain.from_iterable(options)
    return " AND ".join(parts), values


def _any_of(expression: str, count: int) -> str:
    """An expression so many times, as a tree of OR: one after the other, SQLite takes 1,000."""
    if count == 1:
        return expression
    return f"({_any_of(expression, count // 2)} OR {_any_of(expression, count - count // 2)})"


def _below(folder: str) -> tuple[str, str, str]:
    stored = stored_text(folder).rstrip("/")
    return stored, f"{stored}/", f"{stored}0"  # 0 comes next after /


def at_or_below(path: str | None) -> tuple[str, Sequence[str]]:
    """A condition of a file or folder and all below it, for None of all files, and its values."""
    return ("true", ()) if path is None else (_BELOW, _below(path))


def listed(texts: Iterable[str]) -> str:
    """The value of `LISTED`."""
    return json.dumps([stored_text(text) for text in texts])


def insert_file(
    catalog: Catalog, record: ImageRecord, slot: int | None, checksum: int | None = None
) -> None:
    """Add a file, in place of what is known of its path; its vector is there already."""
    delete_file(catalog, record.path)
    insert = f"INSERT INTO files ({_WRITTEN}, slot, checksum) VALUES ({_MARKS}, ?, ?)"
    file = catalog.run(insert, *_values(record), slot, checksum).lastrowid
    catalog.run("INSERT INTO names (rowid, words) VALUES (?, ?)", file, _words(record.path))


def move_file(catalog: Catalog, old_path: str, record: ImageRecord) -> None:
    """Change what is known of a file, but not its vector."""
    file = catalog.one(
        "SELECT id FROM files WHERE path = ? AND content = ?",
        *(stored_text(old_path), record.content),
    )
    if file is None:  # what was there gave way to another file of this batch
        return
    if record.path != old_path:
        delete_file(catalog, record.path)
        catalog.run("UPDATE names SET words = ? WHERE rowid = ?", _words(record.path), file)
    update = f"UPDATE files SET ({_WRITTEN}) = ({_MARKS}) WHERE id = ?"
    catalog.run(update, *_values(record), file)


def delete_file(catalog: Catalog, path: str) -> None:
    """Forget a file; where its vector lies becomes a hole."""
    found = catalog.run("SELECT id, slot FROM files WHERE path = ?", stored_text(path))
    for file, slot in found.fetchall():
        if slot is not None:
            catalog.run("INSERT INTO holes VALUES (?)", slot)
        catalog.run("DELETE FROM files WHERE id = ?", file)
        catalog.run("DELETE FROM names WHERE rowid = ?", file)


def read_files(catalog: Catalog, condition: str = "true", *values: Any) -> Iterator[ImageRecord]:
    """Files that fulfil a condition, without labels, as they come from the disk."""
    rows = catalog.run(f"SELECT {_READ} FROM files WHERE {condition}", *values)
    return (_record_of(catalog, row) for row in rows)


def read_by_slot(catalog: Catalog, slots: Sequence[int]) -> tuple[list[ImageRecord], list[Any]]:
    """Files whose vectors lie at some places, in their order, without labels.

    With them come the checksums of the vectors, None for one without. `StoreError` where the
    catalog knows no file of one.
    """
    rows = catalog.run(
        f"SELECT {_READ}, checksum, slot FROM files WHERE slot IN ({LISTED})",
        json.dumps(list(slots)),
    )
    known = {slot: (_record_of(catalog, cells), checksum) for *cells, checksum, slot in rows}
    if not known.keys() >= set(slots):
        raise catalog.spoilt("it has lost the file of a vector")
    return [known[slot][0] for slot in slots], [known[slot][1] for slot in slots]


def checksums_at(catalog: Catalog, slots: Sequence[int]) -> tuple[list[int], list[Any]]:
    """Which of some places hold the vector of a file, and their checksums."""
    rows = catalog.run(
        f"SELECT slot, checksum FROM files WHERE slot IN ({LISTED})", json.dumps(list(slots))
    ).fetchall()
    return [slot for slot, _ in rows], [checksum for _, checksum in rows]


def slots_of(catalog: Catalog, paths: Sequence[str]) -> tuple[list[str], list[int], list[Any]]:
    """Which of some paths have vectors, where these lie, and their checksums."""
    rows = catalog.run(
        f"SELECT path, slot, checksum FROM files WHERE slot IS NOT NULL AND path IN ({LISTED})",
        listed(paths),
    ).fetchall()
    return [real_path(row[0]) for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def with_labels(catalog: Catalog, records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The same files with the labels that were given to them, best first."""
    given: dict[str, dict[str, float]] = {record.path: {} for record in records}
    rows = catalog.run(
        "SELECT path, label, score FROM labels JOIN files ON files.id = labels.file "
        f"WHERE path IN ({LISTED}) ORDER BY score DESC",
        listed(given),
    )
    for path, label, score in rows:
        if not (isinstance(label, str) and isinstance(score, float)):
            raise catalog.spoilt(f"a label is {label!r:.40}, its score {score!r:.40}")
        given[real_path(path)][real_path(label)] = score
    return [replace(record, labels=given[record.path]) for record in records]


def replace_labels(catalog: Catalog, labels: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Give files labels, in place of all that they had; unknown files are passed over."""
    given = {stored_text(path): named for path, named in labels}
    found = catalog.run(f"SELECT path, id FROM files WHERE path IN ({LISTED})", listed(given))
    ids = dict(found.fetchall())
    catalog.run(f"DELETE FROM labels WHERE file IN ({LISTED})", json.dumps(list(ids.values())))
    catalog.run_many(
        "INSERT INTO labels VALUES (?, ?, ?)",
        (
            (stored_text(label), file, float(score))
            for path, file in ids.items()
            for label, score in given[path].items()
        ),
    )


def read_roots(catalog: Catalog) -> list[str]:
    """Folders and files that were indexed."""
    paths = [path for (path,) in catalog.run("SELECT path FROM roots ORDER BY path")]
    if not all(isinstance(path, str) and "\0" not in path for path in paths):
        raise catalog.spoilt("a folder has no name")
    return [real_path(path) for path in paths]


def read_exclusions(catalog: Catalog) -> Exclusions:
    """What is left out of the index."""
    if not catalog.one("SELECT count(*) FROM facts WHERE name = ?", EXCLUSIONS):
        return Exclusions()
    exclusions = told_exclusions(catalog.fact(EXCLUSIONS))
    if exclusions is None:
        raise catalog.spoilt("what it leaves out is no list of texts")
    return exclusions


def wrong_words(catalog: Catalog) -> int:
    """How many files are not found by the words of their paths."""
    catalog.one("SELECT count(*) FROM names WHERE names MATCH ?", '"a"')  # that it can be asked
    rows = catalog.run("SELECT path, words FROM files LEFT JOIN names ON names.rowid = files.id")
    return sum(words != _words(real_path(path)) for path, words in rows)


def _record_of(catalog: Catalog, cells: Sequence[Any]) -> ImageRecord:
    """A row; `StoreError` if it is none that is ever written: SQLite holds anything anywhere."""
    known = dict(zip(_COLUMNS, cells, strict=True))
    sound = tuple(map(type, cells)) in _KINDS and known["date_from"] in (None, *DATE_SOURCES)
    if not sound or cells[0][:1] != "/" or "\0" in cells[0]:
        raise catalog.spoilt(f"the row of {cells[0]!r:.300} holds what none of ours does")
    for name in ("path", "camera", "fault"):
        if known[name] is not None:
            known[name] = real_path(known[name])
    known["present"] = bool(known["present"])
    return ImageRecord(**known)


def _values(record: ImageRecord) -> list[Any]:
    """Of the marks of `_WRITTEN`."""
    cells = (getattr(record, name) for name in _COLUMNS)
    camera = None if record.camera is None else stored_text(record.camera).casefold()
    return [stored_text(cell) if isinstance(cell, str) else cell for cell in cells] + [camera]


def _words(path: str) -> str:
    return " ".join(words_of(path))
