"""What an index knows of its files, in SQLite: its tables, opened and checked; and their copy.

A transaction commits after the vectors that it names are on the disk: so what the catalog names is
always there, and what it does not name may be overwritten.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from footwork.arrays import IntArray
from footwork.errors import StoreError
from footwork.files.folders import published_file
from footwork.files.plain_files import require_no_link
from search.store.protocol import Embedder, told_embedder

FORMAT = 2
"""Of the tables below. A change of them counts it up, and `open_catalog` says how to go on."""

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    content TEXT NOT NULL,
    format TEXT,
    width INTEGER,
    height INTEGER,
    date INTEGER,
    camera TEXT,
    camera_folded TEXT,
    fault TEXT,
    present INTEGER NOT NULL,
    slot INTEGER
);
CREATE UNIQUE INDEX files_by_slot ON files (slot);
CREATE INDEX files_by_size ON files (size);
CREATE INDEX files_by_path ON files (path, slot) WHERE present AND slot IS NOT NULL;
CREATE INDEX files_by_date ON files (date, slot) WHERE present AND slot IS NOT NULL;
CREATE INDEX files_by_camera ON files (
    camera_folded, date, width, height, size, format, slot
) WHERE present AND slot IS NOT NULL;
CREATE INDEX files_by_format ON files (
    format, width, height, size, date, camera_folded, slot
) WHERE present AND slot IS NOT NULL;
CREATE INDEX files_absent ON files (slot) WHERE NOT present;
CREATE TABLE holes (slot INTEGER PRIMARY KEY);
CREATE TABLE labels (
    label TEXT NOT NULL,
    file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    score REAL NOT NULL,
    PRIMARY KEY (label, file)
) WITHOUT ROWID;
CREATE INDEX labels_by_file ON labels (file);
CREATE VIRTUAL TABLE names USING fts5 (words, tokenize = 'unicode61 remove_diacritics 2');
"""
_LATER = ("checksum INTEGER", "ctime_ns INTEGER", "date_from TEXT")
"""Columns that `files` has got since; a catalog of format 1 has none, or the first."""
_DATES_FROM = """
UPDATE files SET date_from = CASE
    WHEN date = CAST(strftime('%s', mtime_ns / 1000000000, 'unixepoch', 'localtime') AS INTEGER)
    THEN 'file' ELSE 'picture' END
WHERE format IS NOT NULL
"""
"""A guess, as format 1 made it at every update; which files were changed meanwhile is not known."""
_OTHERS = ("names_", "sqlite_")
"""Tables of SQLite's own making: in which a virtual one lies, or its statistics."""

FILE_NAME, COPY_NAME = "catalog.sqlite", "catalog-copy.sqlite"
APART, FEW = 600.0, 1000
"""A copy that is no older than so many seconds, and lacks fewer vectors than that, or than one in a
hundred, stays: `index --watch` updates whenever a photo comes, and for a million it has 0.6 GB."""
VECTORS = re.compile(r"vectors(-[0-9]{1,9})?\.f32")
"""What a vector file may be called."""

_MOST_SLOTS = 1 << 40
_WAIT = 10.0  # seconds for another process to end its transaction
_SETTINGS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)
_SLOTS = """
SELECT group_concat(slot) FROM holes UNION ALL
SELECT group_concat(slot) FROM files INDEXED BY files_absent WHERE NOT present
"""
_DAMAGED = (
    "The catalog is damaged: footwork search doctor --repair puts its last good copy in its place."
)
_ADVICE = {
    "SQLITE_FULL": "Free some space on the disk, then run the command again; nothing is lost.",
    "SQLITE_READONLY": (
        "The index cannot be written; make its folder writable, or copy it elsewhere."
    ),
    **dict.fromkeys(
        ("SQLITE_CANTOPEN", "SQLITE_PERM"),
        "See that its folder and the files in it may be read and written, or copy the index "
        "elsewhere.",
    ),
    "SQLITE_BUSY": "Another process writes. Wait for it, then run the command again.",
}
"""How SQLite's name of an error begins → what to do."""

Mode = Literal["read", "write", "copy"]
"""How a catalog is opened; a copy is read as it stands in its file, whatever lies beside it."""


class Catalog:
    """A catalog file with a connection to it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self.connection = path, connection

    @contextmanager
    def snapshot(self) -> Iterator[Catalog]:
        """Within the block everything is read as of one moment."""
        with translated(self.path):
            self.connection.execute("BEGIN")
            try:
                yield self
            finally:
                self.connection.rollback()

    @contextmanager
    def transaction(self) -> Iterator[Catalog]:
        """Within the block everything is written, or nothing."""
        with translated(self.path), _written(self.connection):
            yield self

    @property
    def embedder(self) -> Embedder:
        """Whose vectors they are; `StoreError` if it does not tell, as of the next two."""
        value = self.fact("embedder")
        embedder = told_embedder(value)
        if embedder is None:
            raise self.spoilt(f"it tells no model, but {value!r:.300}")
        return embedder

    @property
    def vectors_name(self) -> str:
        """Of the vector file, beside the catalog."""
        value = self.fact("vectors")
        if isinstance(value, str) and VECTORS.fullmatch(value):
            return value
        raise self.spoilt(
            f"it names {value!r:.300} as its vector file, not vectors.f32 or the like"
        )

    @property
    def slot_count(self) -> int:
        """Rows of the vector file that are used, or were."""
        value = self.fact("slots")
        if type(value) is int and 0 <= value <= _MOST_SLOTS:
            return value
        raise self.spoilt(f"it counts {value!r:.300} vectors")

    def fact(self, name: str) -> Any:
        """The value that is kept under a name; `StoreError` where there is none."""
        with suppress(TypeError, ValueError, RecursionError):
            return json.loads(self.one("SELECT value FROM facts WHERE name = ?", name))
        raise self.spoilt(f"it does not tell its {name}")

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        self.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, json.dumps(value))

    def spoilt(self, what: str) -> StoreError:
        """What is to be raised where the catalog holds what none of ours does."""
        return spoilt_catalog(self.path, what)

    def run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        return self.connection.execute(statement, values)

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row of values."""
        self.connection.executemany(statement, rows)

    def one(self, statement: str, *values: Any) -> Any:
        """The first column of the first row; None without a row."""
        row = self.run(statement, *values).fetchone()
        return row[0] if row else None

    def slots(
        self,
        condition: str = "slot IS NOT NULL",
        values: Sequence[Any] = (),
        limit: int = -1,
        source: str = "files",
    ) -> IntArray:
        """Where the vectors of files lie that fulfil a condition: the first ones, up to a limit.

        `source` is the table, and by which way into it; `values` are of its marks, and of those of
        the condition.
        """
        chosen = f"SELECT slot FROM {source} WHERE {condition} LIMIT {limit}"
        # A million numbers as one text take a third of the time that a million rows take.
        return self._numbers(self.one(f"SELECT group_concat(slot) FROM ({chosen})", *values))

    def dead_slots(self) -> IntArray:
        """Rows of the vector file that no present image has."""
        return np.sort(np.concatenate([self._numbers(row[0]) for row in self.run(_SLOTS)]))

    def _numbers(self, joined: str | None) -> IntArray:
        if not joined:
            return np.zeros(0, np.int64)
        if joined.encode().translate(None, b"0123456789,"):
            raise self.spoilt("a place of a vector is no number")
        return np.sort(np.fromstring(joined, dtype=np.int64, sep=","))


def create_catalog(path: Path) -> None:
    """Make an empty catalog; `StoreError` where it cannot be written."""
    with translated(path), closing(_connect(path, "rwc")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        added = "".join(f"ALTER TABLE files ADD COLUMN {column};" for column in _LATER)
        version = f"PRAGMA user_version = {FORMAT};"
        connection.executescript(f"BEGIN; {_SCHEMA} {added} {version} COMMIT;")


def open_catalog(path: Path, mode: Mode) -> Catalog:
    """Open a catalog that exists; one of format 1 is brought up to date.

    `StoreError` where it is missing, damaged, of another format, or cannot be read or written.
    """
    _require_plain(path)
    with translated(path), ExitStack() as held:
        connection = _connected(path, mode)
        held.callback(connection.close)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 1 and mode != "copy":
            _upgrade(path)
        elif version != FORMAT:
            raise StoreError(
                f"The index in {path.parent} has format {version}; this version of Footwork reads "
                f"format {FORMAT}. Move it away and index the photos anew, or take the version "
                "that made it."
            )
        if not _has_our_tables(connection):
            raise spoilt_catalog(path, "its tables are not those of an index")
        held.pop_all()
    return Catalog(path, connection)


@contextmanager
def reading(path: Path, mode: Mode = "read") -> Iterator[Catalog]:
    """A catalog that is open within the block, read as of one moment."""
    catalog = open_catalog(path, mode)
    with closing(catalog.connection), catalog.snapshot():
        yield catalog


@contextmanager
def writing(path: Path) -> Iterator[Catalog]:
    """A catalog that is open within the block, where everything is written, or nothing."""
    catalog = open_catalog(path, "write")
    with closing(catalog.connection), catalog.transaction():
        yield catalog


def _require_plain(path: Path) -> None:
    """See that a catalog is there, and no link to something else."""
    if path.parent.is_dir() and not (path.exists() or path.is_symlink()):
        raise spoilt_catalog(path, "it is missing")
    if not path.is_file():
        message = f"No index in {path.parent}. Make one: footwork search index FOLDER."
        raise StoreError(message)
    try:
        for end in ("", "-wal", "-shm"):
            require_no_link(path.with_name(path.name + end))
    except OSError as error:
        message = f"{path} is not opened: {error.strerror}. Put the file in its place."
        raise StoreError(message) from error
    if not path.stat().st_size:  # SQLite would delete its log, of which something may be saved
        raise spoilt_catalog(path, "it is empty")


def _upgrade(path: Path) -> None:
    """Bring tables of format 1 up to date; whether they are that now, `_has_our_tables` tells."""
    try:
        with closing(_connect(path, "rw")) as connection, _written(connection):
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            counts = range(len(_LATER)) if version == 1 else ()  # else another has done it
            known = next((n for n in counts if _has_our_tables(connection, n)), None)
            if known is not None:
                for column in _LATER[known:]:
                    connection.execute(f"ALTER TABLE files ADD COLUMN {column}")
                connection.execute(_DATES_FROM)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"The index in {path.parent} is of an earlier version, and cannot be written here "
            f"({error}). footwork search status, where it can be, brings it up to date."
        ) from error


def _has_our_tables(connection: sqlite3.Connection, later: int = len(_LATER)) -> bool:
    """Whether a file has these tables, with so many later columns, and nothing else.

    A trigger, a view or a column that computes would do what whoever made the file pleases.
    """
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    statements = {
        " ".join(str(sql).split())
        for kind, name, sql in rows.fetchall()
        if not (kind == "table" and str(name).startswith(_OTHERS))
    }
    columns = ", ".join(("slot INTEGER ", *_LATER[:later])) + ")"
    ours = (" ".join(sql.split()) for sql in _SCHEMA.split(";") if sql.strip())
    return statements == {sql.replace("slot INTEGER )", columns) for sql in ours}


def _connected(path: Path, mode: Mode) -> sqlite3.Connection:
    if mode != "read":
        return _connect(path, {"write": "rw", "copy": "ro&immutable=1"}[mode])
    try:
        return _connect(path, "ro", "SELECT count(*) FROM roots")
    except sqlite3.OperationalError:
        # On a medium that cannot be written there is no log either, unless a writer was killed.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connect(path, "ro&immutable=1")


def _connect(path: Path, mode: str, *statements: str) -> sqlite3.Connection:
    """A connection of a mode of SQLite's, through which some statements have been executed."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_WAIT,
        isolation_level=None,
        check_same_thread=False,  # `EmbeddedStore` lends it to one thread at a time
    )
    try:
        for statement in (*_SETTINGS, *statements):
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _written(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as `StoreError`, in words that help."""
    try:
        yield
    except sqlite3.Error as error:
        advice = "Run the command again; if it fails once more: footwork search doctor."
        if is_damage(error):
            advice = _DAMAGED
        name = getattr(error, "sqlite_errorname", "")
        advice = next((told for begin, told in _ADVICE.items() if name.startswith(begin)), advice)
        raise StoreError(f"{path}: {error}. {advice}") from error


def spoilt_catalog(path: Path, what: str) -> StoreError:
    """What is to be raised where a catalog holds what none of ours does."""
    error = StoreError(f"{path}: {what}. {_DAMAGED}")
    error.__cause__ = sqlite3.DatabaseError(what)
    return error


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite tells of a spoilt file, and not of what is around it."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR"))


def empty_log(path: Path) -> None:
    """Bring all into the catalog itself: it may be copied to where nothing can be written."""
    catalog = open_catalog(path, "write")
    with translated(path), closing(catalog.connection) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def keep_copy(folder: Path, *, at_once: bool = False) -> str | None:
    """Renew the copy, to which a repair goes back, where the catalog has changed, and is sound.

    It names vectors where they lay when it was made. New ones are only ever added behind those,
    which so stay what they were, until somebody counts fewer of them or has another file named:
    who does that drops the copy first.

    A young one that lacks few vectors stays unless `at_once`, which asks for what else has changed.
    No other process may update meanwhile. Returned is what kept it from being renewed, in
    sentences; the one before is still there then.
    """
    path, copy = folder / FILE_NAME, folder / COPY_NAME
    try:
        require_no_link(copy)
        catalog = open_catalog(path, "read")
        with closing(catalog.connection):
            state = path.stat()
            if not _is_recent(copy, state, catalog, 0.0 if at_once else APART):
                with published_file(copy) as temporary:
                    _back_up(catalog, temporary)
                    os.utime(temporary, ns=(state.st_mtime_ns, state.st_mtime_ns))
    except StoreError as error:
        return f"The catalog was not copied. {error}"
    except OSError as error:
        return (
            f"The catalog was not copied. {copy} cannot be written: {error.strerror}. Make room, "
            "or what stands there away; the index is complete."
        )
    return None


def drop_copy(folder: Path) -> None:
    """Delete the copy: something that it names is about to be no longer so."""
    (folder / COPY_NAME).unlink(missing_ok=True)


def copy_time(folder: Path) -> str | None:
    """When the catalog was last changed before it was copied; None without a copy."""
    with suppress(OSError, OverflowError, ValueError):  # of the year 10,000
        changed = (folder / COPY_NAME).stat().st_mtime
        return f"{datetime.fromtimestamp(changed):%Y-%m-%d %H:%M}"
    return None


def _is_recent(copy: Path, state: os.stat_result, catalog: Catalog, apart: float) -> bool:
    try:
        found = copy.stat()
    except FileNotFoundError:
        return False
    log = catalog.path.with_name(f"{FILE_NAME}-wal")
    if (found.st_mtime_ns, found.st_size) == (state.st_mtime_ns, state.st_size):
        return not (log.exists() and log.stat().st_size)
    with suppress(StoreError), reading(copy, "copy") as opened:
        known = opened.slot_count
        is_near = catalog.slot_count - known in range(min(FEW, known // 100))
        return is_near and 0 <= time.time() - found.st_ctime < apart
    return False


def _back_up(catalog: Catalog, target: Path) -> None:
    with translated(catalog.path), closing(sqlite3.connect(target, isolation_level=None)) as new:
        new.execute("PRAGMA journal_mode = OFF")  # of a file that nobody has yet
        new.execute("PRAGMA synchronous = OFF")
        catalog.connection.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")  # so that a reader puts no log beside it
        (found,) = new.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise spoilt_catalog(catalog.path, str(found))
