"""A filter as SQL over the table `files`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product
from types import NoneType
from typing import Any

from search.exclusions import Exclusions
from search.filters import Filter
from search.paths import real_path, stored_text, words_of
from search.records import DATE_SOURCES, ImageRecord
from search.store.embedded.catalog import Catalog

PRESENT = "present AND slot IS NOT NULL"


def condition_of(where: Filter) -> tuple[str, list[Any]]:
    """An expression that holds for the present images that are asked for, and its values."""
    parts, values = [PRESENT], list[Any]()

    def require(expression: str, *given: Any) -> None:
        parts.append(expression)
        values.extend(given)

    def require_any(expression: str, options: Iterable[tuple[Any, ...]]) -> None:
        several = list(options)
        if several:
            joined = " OR ".join([expression] * len(several))
            require(f"({joined})", *(value for option in several for value in option))

    require_any("path = ? OR (path > ? AND path < ?)", map(below, where.folders))
    require_any("format = ?", ((stored_text(name.lower()),) for name in where.formats))
    require_any("(camera_folded >= ? AND camera_folded < ?)", map(_beginning, where.cameras))
    require_any(
        "id IN (SELECT file FROM labels WHERE label = ?)", ((stored_text(n),) for n in where.labels)
    )
    for expression, value in (
        ("date >= ?", where.since),
        ("date < ?", where.until),
        ("width >= ?", where.min_width),
        ("height >= ?", where.min_height),
        ("size >= ?", where.min_bytes),
        ("size <= ?", where.max_bytes),
    ):
        if value is not None:
            require(expression, value)
    return " AND ".join(parts), values


def below(folder: str) -> tuple[str, str, str]:
    """Values of `path = ? OR (path > ? AND path < ?)`: a file or folder, and all below it."""
    stored = stored_text(folder).rstrip("/")
    return stored, f"{stored}/", f"{stored}0"  # 0 comes next after /


def _beginning(text: str) -> tuple[str, str]:
    folded = stored_text(text).casefold()
    return folded, f"{folded}\U0010ffff"


COLUMNS = (
    "path, size, mtime_ns, ctime_ns, content, format, width, height, date, date_from, camera, "
    "fault, present"
)
_COUNT = len(COLUMNS.split(","))
_WRITTEN = f"{COLUMNS}, camera_folded"
_MARKS = ", ".join("?" * len(_WRITTEN.split(",")))
_INSERT = f"INSERT INTO files ({_WRITTEN}, slot, checksum) VALUES ({_MARKS}, ?, ?)"
_MOVE = f"UPDATE files SET ({_WRITTEN}) = ({_MARKS}) WHERE id = ?"
_TOGETHER = 10_000  # sizes asked for at once
_TEXT, _NUMBER = (str, NoneType), (int, NoneType)
_KINDS = frozenset(
    product(
        *([str], [int], [int], _NUMBER, [str], _TEXT, _NUMBER, _NUMBER, _NUMBER, _TEXT, _TEXT),
        *(_TEXT, [int]),
    )
)
"""Types that a row of `COLUMNS` may have: 256 of them."""
_LISTED = "SELECT value FROM json_each(?)"
_BELOW = "path = ? OR (path > ? AND path < ?)"
EXCLUSIONS = "exclusions"
"""Name of a fact, which an index need not have."""


def insert_file(
    catalog: Catalog, record: ImageRecord, slot: int | None, checksum: int | None = None
) -> None:
    """Add a file, in place of what is known of its path; its vector is there already."""
    delete_file(catalog, record.path)
    file = catalog.run(_INSERT, *_values(record), slot, checksum).lastrowid
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
    catalog.run(_MOVE, *_values(record), file)


def delete_file(catalog: Catalog, path: str) -> None:
    """Forget a file; where its vector lies becomes a hole."""
    found = catalog.run("SELECT id, slot FROM files WHERE path = ?", stored_text(path)).fetchone()
    if found is None:
        return
    file, slot = found
    if slot is not None:
        catalog.run("INSERT INTO holes VALUES (?)", slot)
    catalog.run("DELETE FROM files WHERE id = ?", file)
    catalog.run("DELETE FROM names WHERE rowid = ?", file)


def hide_files(catalog: Catalog, paths: Iterable[str]) -> None:
    """Note that files are not there at the moment."""
    catalog.run_many(
        "UPDATE files SET present = 0 WHERE path = ?", ((stored_text(path),) for path in paths)
    )


def read_files(catalog: Catalog, condition: str, *values: Any) -> Iterator[ImageRecord]:
    """Files that fulfil a condition, without labels, as they come from the disk."""
    rows = catalog.run(f"SELECT {COLUMNS} FROM files WHERE {condition}", *values)
    return (_sound_record(catalog, row) for row in rows)


def read_below(catalog: Catalog, path: str | None) -> Iterator[ImageRecord]:
    """Every file that is `path` or lies below it; all files without one."""
    if path is None:
        return read_files(catalog, "true")
    return read_files(catalog, _BELOW, *below(path))


def count_files(catalog: Catalog, path: str | None) -> list[int]:
    """How many of the files that `read_below` gives are images, unreadable, not there."""
    place, values = ("", ()) if path is None else (f" AND ({_BELOW})", below(path))
    return [
        catalog.one(f"SELECT count(*) FROM files WHERE {condition}{place}", *values)
        for condition in (PRESENT, "present AND slot IS NULL", "NOT present")
    ]


def read_by_path(catalog: Catalog, paths: Sequence[str]) -> list[ImageRecord]:
    """Files by their paths, without labels, in any order."""
    stored = json.dumps([stored_text(path) for path in paths])
    return list(read_files(catalog, f"path IN ({_LISTED})", stored))


def read_by_size(catalog: Catalog, sizes: Iterable[int]) -> Iterator[ImageRecord]:
    """Images of some sizes in bytes, present or not, without labels."""
    waiting = iter(dict.fromkeys(sizes))
    while some := list(islice(waiting, _TOGETHER)):
        condition = f"slot IS NOT NULL AND size IN ({_LISTED})"
        yield from read_files(catalog, condition, json.dumps(some))


def read_by_slot(catalog: Catalog, slots: Sequence[int]) -> tuple[list[ImageRecord], list[Any]]:
    """Files whose vectors lie at some places, in their order, without labels.

    Returns:
        The files, and the checksums of their vectors; None for one that has none.

    Raises:
        StoreError: The catalog knows no file of one.
    """
    rows = catalog.run(
        f"SELECT {COLUMNS}, checksum, slot FROM files WHERE slot IN ({_LISTED})",
        json.dumps(list(slots)),
    )
    found = {row[-1]: (_sound_record(catalog, row), row[-2]) for row in rows}
    if not found.keys() >= set(slots):
        raise catalog.spoilt("it has lost the file of a vector")
    return [found[slot][0] for slot in slots], [found[slot][1] for slot in slots]


def checksums_at(catalog: Catalog, slots: Sequence[int]) -> tuple[list[int], list[Any]]:
    """Which of some places hold the vector of a file, and their checksums."""
    rows = catalog.run(
        f"SELECT slot, checksum FROM files WHERE slot IN ({_LISTED})",
        json.dumps(list(slots)),
    ).fetchall()
    return [slot for slot, _ in rows], [checksum for _, checksum in rows]


def read_roots(catalog: Catalog) -> list[str]:
    """Folders and files that were indexed."""
    paths = [path for (path,) in catalog.run("SELECT path FROM roots ORDER BY path")]
    if not all(isinstance(path, str) and "\0" not in path for path in paths):
        raise catalog.spoilt("a folder has no name")
    return [real_path(path) for path in paths]


def read_exclusions(catalog: Catalog) -> Exclusions:
    """What is left out of the index.

    Raises:
        StoreError: That cannot be read.
    """
    if not catalog.one("SELECT count(*) FROM facts WHERE name = ?", EXCLUSIONS):
        return Exclusions()
    found = exclusions_of_fact(catalog.fact(EXCLUSIONS))
    if found is None:
        raise catalog.spoilt("what it leaves out is no list of texts")
    return found


def exclusions_of_fact(value: Any) -> Exclusions | None:
    """What a fact says is left out; None if it is no such fact."""
    match value:
        case {"patterns": [*patterns], "removed": [*removed]}:
            if all(isinstance(one, str) and "\0" not in one for one in (*patterns, *removed)):
                return Exclusions(tuple(patterns), tuple(removed))
    return None


def slots_of(catalog: Catalog, paths: Sequence[str]) -> tuple[list[str], list[int], list[Any]]:
    """Which of some paths have vectors, where these lie, and their checksums."""
    stored = json.dumps([stored_text(path) for path in paths])
    rows = catalog.run(
        f"SELECT path, slot, checksum FROM files WHERE slot IS NOT NULL AND path IN ({_LISTED})",
        stored,
    ).fetchall()
    return [real_path(row[0]) for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def with_labels(catalog: Catalog, records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The same files with the labels that were given to them, best first."""
    given: dict[str, dict[str, float]] = {record.path: {} for record in records}
    rows = catalog.run(
        "SELECT path, label, score FROM labels JOIN files ON files.id = labels.file "
        f"WHERE path IN ({_LISTED}) ORDER BY score DESC",
        json.dumps([stored_text(path) for path in given]),
    )
    for path, label, score in rows:
        if not (isinstance(label, str) and isinstance(score, float)):
            raise catalog.spoilt(f"a label is {label!r:.40}, its score {score!r:.40}")
        given[real_path(path)][real_path(label)] = score
    return [replace(record, labels=given[record.path]) for record in records]


def replace_labels(catalog: Catalog, labels: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Give files labels, in place of all that they had; unknown files are passed over."""
    given = {stored_text(path): named for path, named in labels}
    found = catalog.run(
        f"SELECT path, id FROM files WHERE path IN ({_LISTED})", json.dumps(list(given))
    )
    ids = dict(found.fetchall())
    listed = json.dumps(list(ids.values()))
    catalog.run(f"DELETE FROM labels WHERE file IN ({_LISTED})", listed)
    catalog.run_many(
        "INSERT INTO labels VALUES (?, ?, ?)",
        (
            (stored_text(label), ids[path], float(score))
            for path, named in given.items()
            if path in ids
            for label, score in named.items()
        ),
    )


def wrong_words(catalog: Catalog) -> int:
    """How many files are not found by the words of their paths."""
    catalog.one("SELECT count(*) FROM names WHERE names MATCH ?", '"a"')  # that it can be asked
    rows = catalog.run("SELECT path, words FROM files LEFT JOIN names ON names.rowid = files.id")
    return sum(words != _words(real_path(path)) for path, words in rows)


def record_of(row: Sequence[Any]) -> ImageRecord:
    """A row of `COLUMNS`.

    Raises:
        ValueError: SQLite holds any value in any column, and one is none that is ever written.
    """
    cells = row[:_COUNT]
    path, size, mtime_ns, ctime_ns, content, kind, *cells_of_picture, fault, present = cells
    width, height, date, date_from, camera = cells_of_picture
    sound = tuple(map(type, cells)) in _KINDS and date_from in (None, *DATE_SOURCES)
    if not sound or path[:1] != "/" or "\0" in path:
        raise ValueError(row)
    return ImageRecord(
        path=real_path(path),
        size=size,
        mtime_ns=mtime_ns,
        ctime_ns=ctime_ns,
        content=content,
        format=kind,
        width=width,
        height=height,
        date=date,
        date_from=date_from,
        camera=None if camera is None else real_path(camera),
        fault=None if fault is None else real_path(fault),
        present=bool(present),
    )


def _sound_record(catalog: Catalog, row: Sequence[Any]) -> ImageRecord:
    with suppress(ValueError):
        return record_of(row)
    raise catalog.spoilt(f"the row of {row[0]!r:.300} holds what none of ours does")


def _values(record: ImageRecord) -> tuple[Any, ...]:
    camera = None if record.camera is None else stored_text(record.camera)
    return (
        stored_text(record.path),
        record.size,
        record.mtime_ns,
        record.ctime_ns,
        record.content,
        record.format,
        record.width,
        record.height,
        record.date,
        record.date_from,
        camera,
        None if record.fault is None else stored_text(record.fault),
        int(record.present),
        None if camera is None else camera.casefold(),
    )


def _words(path: str) -> str:
    return " ".join(words_of(path))
