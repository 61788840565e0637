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
    ctime_ns INTEGER,
    content TEXT NOT NULL,
    format TEXT,
    width INTEGER,
    height INTEGER,
    date INTEGER,
    date_from TEXT,
    camera TEXT,
    camera_folded TEXT,
    fault TEXT,
    present INTEGER NOT NULL,
    slot INTEGER,
    checksum INTEGER
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
_OTHERS = ("names_", "sqlite_")
"""Tables of SQLite's own making: in which a virtual one lies, or its statistics."""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make them in an empty file."""
    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")


def are_ours(connection: sqlite3.Connection) -> bool:
    """Whether a file has these tables and nothing else, as its own schema tells.

    A trigger, a view or a column that computes would do what whoever made the file pleases.
    """
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    found = {
        _one_line(str(sql))
        for kind, name, sql in rows.fetchall()
        if not (kind == "table" and str(name).startswith(_OTHERS))
    }
    return found == {_one_line(one) for one in _SCHEMA.split(";") if one.strip()}


def _one_line(statement: str) -> str:
    return " ".join(statement.split())
