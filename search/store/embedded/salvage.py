"""A catalog made anew from what can still be read of a damaged one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footwork.errors import StoreError
from search.store.embedded import file_rows
from search.store.embedded.catalog import (
    FILE_NAME,
    VECTORS,
    Catalog,
    create_catalog,
    embedder_of_fact,
    open_catalog,
    require_plain_catalog,
)
from search.store.embedded.catalog_faults import translated
from search.store.embedded.leaf_pages import leaf_rows
from search.store.embedded.tables import are_ours
from search.store.embedded.vector_file import VectorFile

_NEW, _COPY = ".catalog-repaired.sqlite", ".catalog-copy.sqlite"
_ASIDE = "catalog-damaged.sqlite"
_SPARE = 2  # ids are looked for up to so many times what the file could hold
_SMALLEST_ROW = 64  # bytes
_COLUMNS = f"id, {file_rows.COLUMNS}, slot, checksum"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came of it."""

    files: int
    labels: int
    roots: int
    aside: Path
    """The damaged catalog, kept."""


def salvage(folder: Path, embedder: Mapping[str, Any] | None) -> Salvaged:
    """Put a new catalog in place of a damaged one, which is kept beside; vectors stay as they are.

    Of an empty one without a log, it knows the model alone.

    Args:
        folder: Of an embedded index, which no other process writes.
        embedder: What the index's manifest says of the model, for a catalog that no longer does.

    Raises:
        StoreError: Nothing can be read, or the new one cannot be written; all is as it was.
    """
    path, new, aside = folder / FILE_NAME, folder / _NEW, folder / f".{_ASIDE}"
    require_plain_catalog(path)
    _remove(new)
    _set_aside(path, aside)  # before it is opened, which can change it
    try:
        with ExitStack() as held:
            damaged = _open_damaged(path, held)
            create_catalog(new)
            files, labels, roots = _fill(damaged, new, folder, embedder)
    except BaseException as error:
        _remove(new)
        _remove(aside)
        if isinstance(error, sqlite3.DatabaseError):
            raise _nothing(path) from error
        raise
    for end in ("-wal", "-shm"):  # a log of another file must never lie beside it
        path.with_name(path.name + end).unlink(missing_ok=True)
    kept = folder / _ASIDE
    _remove(kept)
    for one in folder.glob(f"{aside.name}*"):
        one.replace(folder / one.name.removeprefix("."))
    new.replace(path)
    return Salvaged(files, labels, roots, kept)


def damaged_catalog(folder: Path) -> Path | None:
    """The newest that was kept by a repair; older versions kept one for each."""
    every = folder.glob("catalog-damaged*.sqlite")
    return max(every, key=lambda path: path.lstat().st_mtime_ns, default=None)


def _fill(
    damaged: sqlite3.Connection, new: Path, folder: Path, embedder: Mapping[str, Any] | None
) -> tuple[int, int, int]:
    facts = _facts(damaged)
    model = embedder_of_fact(facts.get("embedder")) or embedder_of_fact(embedder)
    rows = [*_rows(damaged)]
    rows += _stray_rows(damaged, folder / FILE_NAME, new)
    if model is None or (not rows and (folder / FILE_NAME).stat().st_size):
        raise _nothing(folder / FILE_NAME)
    vectors = str(facts.get("vectors"))
    if not (VECTORS.fullmatch(vectors) and (folder / vectors).exists()):
        vectors = _vectors_name(folder)
    stored = VectorFile(folder / vectors, model.width).stored()
    catalog = open_catalog(new, to_write=True)
    with closing(catalog.connection):
        with catalog.transaction():
            ids = _insert(catalog, rows, stored)
            catalog.set_fact("embedder", asdict(model))
            catalog.set_fact("vectors", vectors)
            catalog.set_fact("slots", stored)
            if file_rows.exclusions_of_fact(facts.get(file_rows.EXCLUSIONS)) is not None:
                catalog.set_fact(file_rows.EXCLUSIONS, facts[file_rows.EXCLUSIONS])
            catalog.run(
                "INSERT INTO holes SELECT value FROM json_each(?)", _unnamed(catalog, stored)
            )
            roots = [row[0] for row in _all(damaged, "SELECT path FROM roots")]
            sound = [(root,) for root in roots if isinstance(root, str) and "\0" not in root]
            catalog.run_many("INSERT OR IGNORE INTO roots VALUES (?)", sound)
            labels = _insert_labels(catalog, damaged, ids)
        catalog.run("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(ids), labels, len(roots)


def _nothing(path: Path) -> StoreError:
    return StoreError(
        f"Nothing can be read of {path}. Move the index away, and index the photos anew."
    )


def _insert(catalog: Catalog, rows: list[Any], stored: int) -> dict[int, int]:
    """Files that make sense; old id → new id."""
    ids, taken = {}, set[int]()
    for number, *cells, slot, checksum in rows:
        with suppress(TypeError, ValueError, AttributeError, sqlite3.Error):
            record = file_rows.record_of(cells)
            sound = slot is None or (isinstance(slot, int) and 0 <= slot < stored)
            if not sound or slot in taken or number in ids:
                continue
            if (slot is None and record.fault is None) or not record.path.startswith("/"):
                continue
            if catalog.one("SELECT 1 FROM files WHERE path = ?", cells[0]):
                continue
            known = checksum if isinstance(checksum, int) else None
            file_rows.insert_file(catalog, record, slot, known)
            taken |= set() if slot is None else {slot}
            ids[number] = catalog.one("SELECT max(id) FROM files")
    return ids


def _insert_labels(catalog: Catalog, damaged: sqlite3.Connection, ids: Mapping[int, int]) -> int:
    count = 0
    for label, file, score in _all(damaged, "SELECT label, file, score FROM labels"):
        if file in ids and isinstance(label, str) and isinstance(score, float):
            catalog.run("INSERT OR IGNORE INTO labels VALUES (?, ?, ?)", label, ids[file], score)
            count += 1
    return count


def _unnamed(catalog: Catalog, stored: int) -> str:
    named = set(catalog.slots("slot IS NOT NULL", ()).tolist())
    return json.dumps([slot for slot in range(stored) if slot not in named])


def _facts(damaged: sqlite3.Connection) -> dict[str, Any]:
    facts = {}
    for name, value in _all(damaged, "SELECT name, value FROM facts"):
        with suppress(ValueError, TypeError, RecursionError):
            facts[name] = json.loads(value)
    return facts


def _rows(damaged: sqlite3.Connection) -> Iterator[Any]:
    """All rows that can be read, whichever pages are spoilt: by halves, down to a single one."""

    def read(low: int, high: int) -> list[Any]:
        return damaged.execute(
            f"SELECT {_COLUMNS} FROM files NOT INDEXED WHERE id >= ? AND id < ?", (low, high)
        ).fetchall()

    pages, size = (
        damaged.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    most = _SPARE * pages * size // _SMALLEST_ROW
    highest = max((row[0] or 0 for row in _all(damaged, "SELECT max(id) FROM files")), default=most)
    yield from _by_halves(read, (1, highest + 1), most)


def _stray_rows(damaged: sqlite3.Connection, path: Path, new: Path) -> Iterator[tuple[Any, ...]]:
    """Rows to which no way leads any more, but for those that are known to be forgotten."""
    holes = {slot for (slot,) in _all(damaged, "SELECT slot FROM holes")}
    with closing(_connect(new)) as connection:
        stored = [row[1] for row in connection.execute("PRAGMA table_info(files)")]
    wanted = [stored.index(name) for name in _COLUMNS.split(", ")]
    for row in leaf_rows(path, len(stored)):
        if row[stored.index("slot")] not in holes:
            yield tuple(row[place] for place in wanted)


def _by_halves(
    read: Callable[[int, int], list[Any]], every: tuple[int, int], most: int
) -> Iterator[Any]:
    """Args: reads ids from one to another; all of them; failures after which it is given up."""
    waiting = [every]
    while waiting and most > 0:
        low, high = waiting.pop()
        try:
            yield from read(low, high)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            most -= 1
            middle = (low + high) // 2
            if middle > low:
                waiting += [(middle, high), (low, middle)]


def _all(damaged: sqlite3.Connection, statement: str) -> Iterator[Any]:
    """Rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        yield from damaged.execute(statement)


def _open_damaged(path: Path, held: ExitStack) -> sqlite3.Connection:
    """A connection by which tables are known, if need be to a copy with another first page."""
    if path.stat().st_size:  # else SQLite would delete its log
        connection = held.enter_context(closing(_connect(path)))
        if _knows_tables(connection):
            return connection
    copy = path.with_name(_COPY)
    _remove(copy)  # of a repair that was killed; its log would be taken for the new one's
    held.callback(_remove, copy)
    _replace_first_page(path, copy)
    return held.enter_context(closing(_connect(copy)))


def _connect(path: Path) -> sqlite3.Connection:
    with translated(path), ExitStack() as held:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
        held.callback(connection.close)
        connection.execute("PRAGMA trusted_schema = OFF")
        held.pop_all()
    return connection


def _knows_tables(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT id FROM files LIMIT 0")
        return are_ours(connection)
    except sqlite3.DatabaseError:
        return False


def _replace_first_page(path: Path, copy: Path) -> None:
    """Tables of a new catalog begin at the same pages, so that its first page fits any other.

    In place of an empty one all of its pages are taken.

    Source: the header of a database, https://www.sqlite.org/fileformat2.html, section 1.3.
    """
    fresh = copy.with_name(f"{_COPY}-fresh")
    _remove(fresh)
    try:
        create_catalog(fresh)
        with closing(sqlite3.connect(fresh)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        length = path.stat().st_size
        page = bytearray(fresh.read_bytes()[: size if length else None])
        page[28:32] = (max(length, len(page)) // size).to_bytes(4)  # pages of the file
        page[32:40] = bytes(8)  # no free pages are known
        _copy(path, copy)
        with copy.open("r+b") as file:
            file.write(page)
    finally:
        _remove(fresh)


def _vectors_name(folder: Path) -> str:
    every = [path for path in folder.glob("vectors*.f32") if VECTORS.fullmatch(path.name)]
    newest = max(every, key=lambda path: path.lstat().st_mtime_ns, default=None)
    return "vectors.f32" if newest is None else newest.name


def _set_aside(path: Path, aside: Path) -> None:
    _remove(aside)
    try:
        _copy(path, aside)
    except OSError as error:
        _remove(aside)
        message = f"{aside} cannot be written: {error.strerror}. Make room; nothing was changed."
        raise StoreError(message) from error


def _copy(path: Path, target: Path) -> None:
    """With its log, if there is anything in that."""
    for end in ("", "-wal"):
        source = path.with_name(path.name + end)
        if not end or (source.exists() and source.stat().st_size):
            shutil.copy2(source, target.with_name(target.name + end))


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
