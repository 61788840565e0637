"""Whether vectors are what was written: each has a checksum in the catalog."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from footwork.errors import StoreError
from search.store.embedded import file_rows
from search.store.embedded.catalog import FILE_NAME, Catalog, SlotArray
from search.store.embedded.catalog_faults import spoilt_catalog
from search.store.protocol import FloatArray, wrong_lengths

_TRIED = 64
"""Vectors looked at before the first answer: 1.5 milliseconds; all of few images are seen."""


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


def try_some(catalog: Catalog, vectors: FloatArray) -> None:
    """Look at some of all vectors, others each time: what is wrong may come into no answer.

    Raises:
        StoreError: One of them is not what was written.
    """
    drawn = random.sample(range(len(vectors)), min(_TRIED, len(vectors)))
    slots, checksums = file_rows.checksums_at(catalog, drawn)
    sound_rows(catalog.path.parent, vectors, slots, checksums)


def sound_rows(
    folder: Path,
    vectors: FloatArray,
    slots: Sequence[int] | SlotArray,
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
