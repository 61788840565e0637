"""The tables of a catalog, and whether those of a file are the same."""

from __future__ import annotations

import sqlite3

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


def create_tables(connection: sqlite3.Connection) -> None:
    """Make them in an empty file."""
    version = f"PRAGMA user_version = {FORMAT};"
    connection.executescript(f"BEGIN; {_SCHEMA} {_added(0)} {version} COMMIT;")


def upgrade_tables(connection: sqlite3.Connection) -> None:
    """Bring those of format 1 up to date; `are_ours` tells whether they are that now."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone() == (1,):  # still: another may have
            known = next((n for n in range(len(_LATER)) if _has_tables(connection, n)), None)
            if known is not None:
                for statement in filter(str.strip, _added(known).split(";")):
                    connection.execute(statement)
                connection.execute(_DATES_FROM)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def are_ours(connection: sqlite3.Connection) -> bool:
    """Whether a file has these tables and nothing else, as its own schema tells.

    A trigger, a view or a column that computes would do what whoever made the file pleases.
    """
    return _has_tables(connection, len(_LATER))


def _has_tables(connection: sqlite3.Connection, later: int) -> bool:
    """The same of tables with so many of the later columns."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    found = {
        _one_line(str(sql))
        for kind, name, sql in rows.fetchall()
        if not (kind == "table" and str(name).startswith(_OTHERS))
    }
    columns = ", ".join(("slot INTEGER ", *_LATER[:later])) + ")"
    schema = (_one_line(one) for one in _SCHEMA.split(";") if one.strip())
    return found == {one.replace("slot INTEGER )", columns) for one in schema}


def _added(known: int) -> str:
    return "".join(f"ALTER TABLE files ADD COLUMN {column};" for column in _LATER[known:])


def _one_line(statement: str) -> str:
    return " ".join(statement.split())
