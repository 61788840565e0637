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
from search.store.embedded.catalog import FILE_NAME, spoilt_catalog
from search.store.protocol import wrong_lengths

_BYTES = 4  # of a number


class VectorFile:
    """Vectors by slot, read through the page cache.

    Args:
        path: The file; need not exist as long as nothing is read.
        width: Of a vector.
    """

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width
        self._mapped: FloatArray = np.zeros((0, width), np.float32)

    def rows(self, count: int) -> FloatArray:
        """The first `count` vectors, (count, D), mapped and not copied.

        Raises:
            StoreError: The file is missing, shorter, or not to be read.
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
                message = (
                    f"{self.path} is shorter than its catalog says, or missing ({error}). "
                    "footwork search doctor --repair keeps what is there."
                )
                raise StoreError(message) from error
        return mapped[:count]

    def write(self, slot: int, vectors: FloatArray) -> None:
        """Put vectors from `slot` on, and wait until they are on the disk.

        Raises:
            StoreError: They cannot be written.
        """
        is_new = not self.path.exists()
        try:
            with open_to_write(self.path) as file:
                self._write_at(file.fileno(), slot, vectors)
                os.fsync(file)
            if is_new:
                flush(self.path.parent)
        except OSError as error:
            message = (
                f"{self.path} cannot be written: {error.strerror}. Make room or take another "
                "folder, then run the command again; what was written before is kept."
            )
            raise StoreError(message) from error

    def stored(self) -> int:
        """Whole vectors that the file holds, named by the catalog or not."""
        size = self.path.stat().st_size if self.path.exists() else 0
        return size // (_BYTES * self.width)

    def _write_at(self, descriptor: int, slot: int, vectors: FloatArray) -> None:
        waiting = memoryview(np.ascontiguousarray(vectors, "<f4").tobytes())
        offset = slot * self.width * _BYTES
        while waiting:
            written = os.pwrite(descriptor, waiting, offset)
            waiting, offset = waiting[written:], offset + written


def checksums_of(vectors: FloatArray) -> list[int]:
    """CRC-32 of each row of (N, D), as it stands in a file."""
    return [crc32(row) for row in np.ascontiguousarray(vectors, "<f4")]


def spoilt_rows(vectors: FloatArray, checksums: Sequence[int | None]) -> NDArray[np.intp]:
    """Which rows of (N, D) are not what was written, or no unit vectors.

    Args:
        vectors: As they were read.
        checksums: N; None for a vector that was written without one.
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
    """Copies of rows of (N, D), (K, D), seen to be what was written.

    Args:
        folder: Of the index.
        vectors: All of its file.
        slots: K, as the catalog has them.
        checksums: K, as those of `spoilt_rows`.

    Raises:
        StoreError: One is not, or lies nowhere.
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
