"""A copy of the catalog as it last was good, beside it: what a repair goes back to.

It names vectors where they lay when it was made. New ones are only ever added behind those, which
so stay what they were, until somebody counts fewer of them or has another file named: who does
that drops the copy first.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from footwork.errors import StoreError
from footwork.files.folders import published_file
from footwork.files.plain_files import require_no_link
from search.store.embedded.catalog import (
    FILE_NAME,
    Catalog,
    open_catalog,
    open_copy,
    spoilt_catalog,
    translated,
)

COPY_NAME = "catalog-copy.sqlite"
APART, FEW = 600.0, 1000
"""A copy that is no older than so many seconds, and lacks fewer vectors than that, or than one in a
hundred, stays: `index --watch` updates whenever a photo comes, and for a million it has 0.6 GB."""


def keep_copy(folder: Path) -> str | None:
    """Renew the copy where the catalog has changed, and is sound.

    Args:
        folder: Of an embedded index, which no other process updates.

    Returns:
        What kept it from being renewed, in sentences; the one before is still there then.
    """
    path, copy = folder / FILE_NAME, folder / COPY_NAME
    try:
        require_no_link(copy)
        catalog = open_catalog(path, to_write=False)
        with closing(catalog.connection):
            state = path.stat()
            if _is_recent(copy, state, catalog):
                return None
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


def _is_recent(copy: Path, state: os.stat_result, catalog: Catalog) -> bool:
    try:
        found = copy.stat()
    except FileNotFoundError:
        return False
    log = catalog.path.with_name(f"{FILE_NAME}-wal")
    if (found.st_mtime_ns, found.st_size) == (state.st_mtime_ns, state.st_size):
        return not (log.exists() and log.stat().st_size)
    with suppress(StoreError):
        opened = open_copy(copy)
        with closing(opened.connection):
            known = opened.slot_count
            is_near = catalog.slot_count - known in range(min(FEW, known // 100))
        return is_near and 0 <= time.time() - found.st_ctime < APART
    return False


def _back_up(catalog: Catalog, target: Path) -> None:
    with (
        translated(catalog.path),
        closing(sqlite3.connect(target, isolation_level=None)) as new,
    ):
        new.execute("PRAGMA journal_mode = OFF")  # of a file that nobody has yet
        new.execute("PRAGMA synchronous = OFF")
        catalog.connection.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")  # so that a reader puts no log beside it
        (found,) = new.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise spoilt_catalog(catalog.path, str(found))
