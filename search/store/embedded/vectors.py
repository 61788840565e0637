"""A flat file of unit vectors: float32, little-endian, nothing else.

Whether they are what was written, their checksums tell, which the catalog has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import FloatArray, IntArray
from footwork.errors import StoreError
from footwork.files.folders import flush
from footwork.files.plain_files import open_plain, open_to_write
from search.store.embedded.catalog import FILE_NAME, Catalog, drop_copy, spoilt_catalog, writing
from search.store.protocol import wrong_lengths

FEWEST_HOLES = 10_000
WORST_SHARE = 0.25
"""Of holes among all vectors, from which an update compacts."""
_BYTES = 4  # of a number
_COPIED = 16_384  # vectors at once


class VectorFile:
    """Vectors by slot, read through the page cache; need not exist as long as nothing is read."""

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width
        self._mapped: FloatArray = np.zeros((0, width), np.float32)

    def rows(self, count: int) -> FloatArray:
        """The first `count` vectors, (count, D), mapped and not copied.

        `StoreError` where the file is missing, shorter, or not to be read.
        """
        mapped = self._mapped  # which other threads may replace at any moment
        if count > len(mapped):
            try:
                with open_plain(self.path) as file:
                    mapped = self._mapped = np.memmap(file, "<f4", "r", shape=(count, self.width))
            except PermissionError as error:
                message = f"{self.path} may not be read. Give yourself the right to, and try again."
                raise StoreError(message) from error
            except (OSError, ValueError, OverflowError) as error:
                raise StoreError(
                    f"{self.path} is shorter than its catalog says, or missing ({error}). "
                    "footwork search doctor --repair keeps what is there."
                ) from error
        return mapped[:count]

    def write(self, slot: int, vectors: FloatArray) -> None:
        """Put vectors from `slot` on, and wait until they are on the disk; else `StoreError`."""
        is_new = not self.path.exists()
        waiting = memoryview(np.ascontiguousarray(vectors, "<f4").tobytes())
        offset = slot * self.width * _BYTES
        try:
            with open_to_write(self.path) as file:
                while waiting:
                    written = os.pwrite(file.fileno(), waiting, offset)
                    waiting, offset = waiting[written:], offset + written
                os.fsync(file)
            if is_new:
                flush(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written: {error.strerror}. Make room or take another "
                "folder, then run the command again; what was written before is kept."
            ) from error

    def stored(self) -> int:
        """Whole vectors that the file holds, named by the catalog or not."""
        size = self.path.stat().st_size if self.path.exists() else 0
        return size // (_BYTES * self.width)


def checksums_of(vectors: FloatArray) -> list[int]:
    """CRC-32 of each row of (N, D), as it stands in a file."""
    return [crc32(row) for row in np.ascontiguousarray(vectors, "<f4")]


def spoilt_rows(vectors: FloatArray, checksums: Sequence[int | None]) -> NDArray[np.intp]:
    """Which rows of (N, D) are not what was written, or no unit vectors.

    Of N checksums those are None whose vectors were written without one.
    """
    wrong = np.zeros(len(vectors), bool)  # `np.union1d` would import masked arrays, in 15 ms
    wrong[wrong_lengths(vectors)] = True
    for row, (found, told) in enumerate(zip(checksums_of(vectors), checksums, strict=True)):
        wrong[row] |= told is not None and told != found
    return np.flatnonzero(wrong)


def sound_rows(
    folder: Path,
    vectors: FloatArray,
    slots: Sequence[int] | IntArray,
    checksums: Sequence[int | None],
) -> FloatArray:
    """Copies of K of the rows of a file, (N, D), seen to be what was written: shape (K, D).

    Of the slots, as the catalog has them, checksums are as those of `spoilt_rows`. `StoreError`
    where a row is another, or lies nowhere.
    """
    places = np.asarray(slots) if len(slots) else np.zeros(0, int)
    if places.dtype.kind != "i" or (places >= len(vectors)).any() or (places < 0).any():
        message = f"a vector is said to lie where none of {len(vectors):,} does"
        raise spoilt_catalog(folder / FILE_NAME, message)
    rows = np.array(vectors[places])
    wrong = spoilt_rows(rows, checksums)
    if len(wrong):
        raise StoreError(
            f"{folder}: {len(wrong):,} of {len(rows):,} vectors that were read are not what was "
            "written. footwork search doctor --repair forgets those that are spoilt, and the next "
            "footwork search index embeds them again."
        )
    return rows


def has_many_holes(catalog: Catalog) -> bool:
    """Whether so many vectors are no longer used that the file should shrink."""
    holes, slots = catalog.one("SELECT count(*) FROM holes"), catalog.slot_count
    return bool(holes > FEWEST_HOLES and holes > WORST_SHARE * slots)


def compact(folder: Path) -> int:
    """Write the vectors that are used into a new file, and have the catalog name that one.

    Readers may still have the old file open. Killed at any moment it leaves the old state or the
    new one, and at worst a file that nobody names. No other process may update meanwhile; labels
    that are written wait. Returned is how many vectors were given up, because nothing named them;
    where it cannot be read or written, a `StoreError` leaves all as it was.
    """
    with writing(folder / FILE_NAME) as catalog:
        before = catalog.slot_count
        slots = catalog.slots()
        if len(slots) == before and not catalog.one("SELECT count(*) FROM holes"):
            return 0
        old = folder / catalog.vectors_name
        # Never a name that was used lately: what was built for a file is known by its name.
        number = old.name.removeprefix("vectors-").removesuffix(".f32")
        new = folder / f"vectors-{int(number) + 1 if number.isdigit() else 2}.f32"
        _copy_vectors(old, new, slots, catalog.embedder.width)
        # Upwards: what a vector moves to was left, or never used, by the time that it does.
        moved = ((to, slot) for to, slot in enumerate(slots.tolist()) if to != slot)
        catalog.run_many("UPDATE files SET slot = ? WHERE slot = ?", moved)
        catalog.run("DELETE FROM holes")
        catalog.set_fact("slots", len(slots))
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
