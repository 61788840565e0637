"""The SQLite file that says what is known of each image, and which row of the vector file is its.

A transaction commits after the vectors that it names are on the disk: so what the catalog names is
always there, and what it does not name may be overwritten.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import StoreError

FILE_NAME = "catalog.sqlite"
FORMAT = 1
"""Of the tables below. A change of them counts it up, and `open_catalog` says how to go on."""

SlotArray = NDArray[np.int64]
"""Rows of the vector file, ascending."""

_WAIT = 10.0  # seconds for another process to end its transaction
_DAMAGED = "The catalog is damaged: footwork search doctor --repair saves what can be read."

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

_SLOTS = """
SELECT group_concat(slot) FROM holes UNION ALL
SELECT group_concat(slot) FROM files INDEXED BY files_absent WHERE NOT present
"""


class Catalog:
    """A catalog file, opened to read, or to read and write.

    Args:
        path: The file.
        connection: To it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

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
        with translated(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
                self.connection.commit()
            except BaseException:
                self.connection.rollback()
                raise

    def fact(self, name: str) -> Any:
        """A value of `set_fact`."""
        return json.loads(self.one("SELECT value FROM facts WHERE name = ?", name))

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        self.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, json.dumps(value))

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
        self, condition: str, values: Sequence[Any], limit: int = -1, source: str = "files"
    ) -> SlotArray:
        """Where the vectors of files lie that fulfil a condition.

        Args:
            condition: Over the table `files`.
            values: Of the marks of source and condition.
            limit: Files at most, whichever come first; all if negative.
            source: The table, and by which way into it.
        """
        chosen = f"SELECT slot FROM {source} WHERE {condition} LIMIT {limit}"
        # A million numbers as one text take a third of the time that a million rows take.
        return _numbers(self.one(f"SELECT group_concat(slot) FROM ({chosen})", *values))

    def dead_slots(self) -> SlotArray:
        """Rows of the vector file that no present image has."""
        return np.sort(np.concatenate([_numbers(row[0]) for row in self.run(_SLOTS)]))


def create_catalog(path: Path) -> None:
    """Make an empty catalog.

    Raises:
        StoreError: The file cannot be written.
    """
    with translated(path), closing(_connect(path, "rwc")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")


def open_catalog(path: Path, *, to_write: bool) -> Catalog:
    """Open a catalog that exists.

    Raises:
        StoreError: It is missing, damaged, of another format, or cannot be read or written.
    """
    if not path.is_file():
        message = f"No index in {path.parent}. Make one: footwork search index FOLDER."
        raise StoreError(message)
    if not path.stat().st_size:  # SQLite would delete its log, of which something may be saved
        raise StoreError(f"{path} is empty. {_DAMAGED}") from sqlite3.DatabaseError("it is empty")
    with translated(path):
        connection = _connect(path, "rw") if to_write else _connect_to_read(path)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        connection.close()
        raise StoreError(
            f"The index in {path.parent} has format {version}; this version of Footwork reads "
            f"format {FORMAT}. Take the version that made it, or index the photos anew elsewhere."
        )
    return Catalog(path, connection)


def empty_log(path: Path) -> None:
    """Bring all into the catalog itself: it may be copied to where nothing can be written."""
    catalog = open_catalog(path, to_write=True)
    with translated(path), closing(catalog.connection) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors in words that help.

    Raises:
        StoreError: Any of them.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}. {_advice(error)}") from error


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite tells of a spoilt file, and not of what is around it."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR"))


def _advice(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return "Free some space on the disk, then run the command again; nothing is lost."
    if name.startswith("SQLITE_READONLY"):
        return "The index cannot be written; make its folder writable, or copy it elsewhere."
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM")):
        return (
            "See that its folder and the files in it may be read and written, or copy "
            "the index elsewhere."
        )
    if name.startswith("SQLITE_BUSY"):
        return "Another process writes. Wait for it, then run the command again."
    if is_damage(error):
        return _DAMAGED
    return "Run the command again; if it fails once more: footwork search doctor."


def _connect_to_read(path: Path) -> sqlite3.Connection:
    try:
        connection = _connect(path, "ro")
        connection.execute("SELECT count(*) FROM roots")
    except sqlite3.OperationalError:
        # On a medium that cannot be written there is no log either, unless a writer was killed.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        connection = _connect(path, "ro&immutable=1")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_WAIT, isolation_level=None
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _numbers(joined: str | None) -> SlotArray:
    if not joined:
        return np.zeros(0, np.int64)
    return np.sort(np.fromstring(joined, dtype=np.int64, sep=","))
