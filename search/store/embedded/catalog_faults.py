"""What goes wrong with a catalog, in words that help."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from footwork.errors import StoreError

_DAMAGED = "The catalog is damaged: footwork search doctor --repair saves what can be read."


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
