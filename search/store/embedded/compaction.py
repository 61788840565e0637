"""A vector file without holes, written beside the old one, which readers may still have open."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np

from footwork.arrays import IntArray
from footwork.errors import StoreError
from footwork.files.folders import flush
from search.store.embedded.catalog import FILE_NAME, Catalog, open_catalog
from search.store.embedded.catalog_copy import drop_copy
from search.store.embedded.vectors import VectorFile

FEWEST_HOLES = 10_000
WORST_SHARE = 0.25
"""Of holes among all vectors, from which an update compacts."""
_COPIED = 16_384  # vectors at once


def is_worthwhile(catalog: Catalog) -> bool:
    """Whether so many vectors are no longer used that the file should shrink."""
    holes, slots = catalog.one("SELECT count(*) FROM holes"), catalog.slot_count
    return bool(holes > FEWEST_HOLES and holes > WORST_SHARE * slots)


def compact(folder: Path) -> int:
    """Write the vectors that are used into a new file, and have the catalog name that one.

    Killed at any moment it leaves the old state or the new one, and at worst a file that nobody
    names. Labels that are written meanwhile wait.

    Args:
        folder: Of an embedded index, which no other process updates.

    Returns:
        How many vectors were given up, because nothing named them.

    Raises:
        StoreError: It cannot be read or written; all is as it was.
    """
    catalog = open_catalog(folder / FILE_NAME, to_write=True)
    with closing(catalog.connection), catalog.transaction():
        before = catalog.slot_count
        slots = catalog.slots("slot IS NOT NULL", ())
        if len(slots) == before and not catalog.one("SELECT count(*) FROM holes"):
            return 0
        old = folder / catalog.vectors_name
        # Never a name that was used lately: what was built for a file is known by its name.
        number = old.name.removeprefix("vectors-").removesuffix(".f32")
        new = folder / f"vectors-{int(number) + 1 if number.isdigit() else 2}.f32"
        _copy_vectors(old, new, slots, catalog.embedder.width)
        _renumber(catalog, slots)
        catalog.set_fact("vectors", new.name)
        drop_copy(folder)
    old.unlink(missing_ok=True)
    return int(before - len(slots))


def _copy_vectors(old: Path, new: Path, slots: IntArray, width: int) -> None:
    vectors = VectorFile(old, width).rows(int(slots[-1]) + 1 if len(slots) else 0)
    try:
        new.unlink(missing_ok=True)  # of a process that was killed, or a link
        with new.open("xb") as file:
            for start in range(0, len(slots), _COPIED):
                part = vectors[slots[start : start + _COPIED]]
                file.write(np.ascontiguousarray(part, "<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())
        flush(new.parent)
    except OSError as error:
        new.unlink(missing_ok=True)
        message = f"{new} cannot be written: {error.strerror}. Make room; nothing was changed."
        raise StoreError(message) from error


def _renumber(catalog: Catalog, slots: IntArray) -> None:
    # Upwards: what a vector moves to was left, or never used, by the time that it does.
    moved = ((new, int(old)) for new, old in enumerate(slots.tolist()) if new != old)
    catalog.run_many("UPDATE files SET slot = ? WHERE slot = ?", moved)
    catalog.run("DELETE FROM holes")
    catalog.set_fact("slots", len(slots))
