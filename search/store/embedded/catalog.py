"""What an index knows of its files, in SQLite: its tables, opened and checked.

A transaction commits after the vectors that it names are on the disk: so what the catalog names is
always there, and what it does not name may be overwritten.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from footwork.arrays import IntArray
from footwork.errors import StoreError
from footwork.files.plain_files import require_no_link
from search.store.protocol import Embedder

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


FILE_NAME = "catalog.sqlite"

_WAIT = 10.0  # seconds for another process to end its transaction

VECTORS = re.compile(r"vectors(-[0-9]{1,9})?\.f32")
"""What a vector file may be called."""
_WIDEST, _MOST_SLOTS = 1 << 16, 1 << 40

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


class Catalog:
    """A catalog file, opened to read, or to read and write.

    Args:
        path: The file.
        connection: To it.
    """

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
        """Whose vectors they are.

        Raises:
            StoreError: It does not tell.
        """
        value = self.fact("embedder")
        found = embedder_of_fact(value)
        if found is None:
            raise self.spoilt(f"it tells no model, but {value!r:.300}")
        return found

    @property
    def vectors_name(self) -> str:
        """Of the vector file, beside the catalog.

        Raises:
            StoreError: It tells none.
        """
        value = self.fact("vectors")
        if isinstance(value, str) and VECTORS.fullmatch(value):
            return value
        raise self.spoilt(
            f"it names {value!r:.300} as its vector file, not vectors.f32 or the like"
        )

    @property
    def slot_count(self) -> int:
        """Rows of the vector file that are used, or were.

        Raises:
            StoreError: It does not tell.
        """
        value = self.fact("slots")
        if type(value) is int and 0 <= value <= _MOST_SLOTS:
            return value
        raise self.spoilt(f"it counts {value!r:.300} vectors")

    def fact(self, name: str) -> Any:
        """The value that is kept under a name; `StoreError` where there is none."""
        with suppress(TypeError, ValueError, RecursionError):
            return json.loads(self.one("SELECT value FROM facts WHERE name = ?", name))
        raise self.spoilt(f"it does not tell its {name}")

    def spoilt(self, what: str) -> StoreError:
        """What is to be raised where the catalog holds what none of ours does."""
        return spoilt_catalog(self.path, what)

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
    ) -> IntArray:
        """Where the vectors of files lie that fulfil a condition.

        Args:
            condition: Over the table `files`.
            values: Of the marks of source and condition.
            limit: Files at most, whichever come first; all if negative.
            source: The table, and by which way into it.
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


def embedder_of_fact(value: Any) -> Embedder | None:
    """The model that a fact, or a manifest, tells; None where it tells none."""
    try:
        found = Embedder(**value)
        texts = (found.model_id, found.fingerprint, found.revision or "")
        sound = all(isinstance(text, str) and "\0" not in text for text in texts)
        return found if sound and found.width in range(1, _WIDEST) else None
    except TypeError:
        return None


def create_catalog(path: Path) -> None:
    """Make an empty catalog.

    Raises:
        StoreError: The file cannot be written.
    """
    with translated(path), closing(_connect(path, "rwc")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        added = "".join(f"ALTER TABLE files ADD COLUMN {column};" for column in _LATER)
        version = f"PRAGMA user_version = {FORMAT};"
        connection.executescript(f"BEGIN; {_SCHEMA} {added} {version} COMMIT;")


def open_catalog(path: Path, *, to_write: bool) -> Catalog:
    """Open a catalog that exists.

    Raises:
        StoreError: It is missing, damaged, of another format, or cannot be read or written.
    """
    require_plain_catalog(path)
    if not path.stat().st_size:  # SQLite would delete its log, of which something may be saved
        raise spoilt_catalog(path, "it is empty")
    with translated(path), ExitStack() as held:
        connection = _connect(path, "rw") if to_write else _connect_to_read(path)
        held.callback(connection.close)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 1:
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


def open_copy(path: Path) -> Catalog:
    """Open the copy of a catalog, to read: as it stands in its file, whatever lies beside that.

    Raises:
        StoreError: It is missing, damaged, of another format, or cannot be read.
    """
    require_plain_catalog(path)
    with translated(path), ExitStack() as held:
        connection = _connect(path, "ro&immutable=1")
        held.callback(connection.close)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT or not _has_our_tables(connection):
            raise spoilt_catalog(path, "its tables are not those of an index of this version")
        held.pop_all()
    return Catalog(path, connection)


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
    """Whether a file has these tables and nothing else, as its own schema tells.

    A trigger, a view or a column that computes would do what whoever made the file pleases.

    Args:
        connection: To the file.
        later: How many of the later columns it is to have.
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


def require_plain_catalog(path: Path) -> None:
    """See that a catalog is there, and no link to something else.

    Raises:
        StoreError: It is not.
    """
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


def empty_log(path: Path) -> None:
    """Bring all into the catalog itself: it may be copied to where nothing can be written."""
    catalog = open_catalog(path, to_write=True)
    with translated(path), closing(catalog.connection) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _connect_to_read(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path, "ro", "SELECT count(*) FROM roots")
    except sqlite3.OperationalError:
        # On a medium that cannot be written there is no log either, unless a writer was killed.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connect(path, "ro&immutable=1")


def _connect(path: Path, mode: str, *statements: str) -> sqlite3.Connection:
    """A connection of a mode, through which some statements have been executed."""
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
    """SQLite's errors in words that help.

    Raises:
        StoreError: Any of them.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}. {_advice(error)}") from error


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
