"""The nearest vectors, by looking at every one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from footwork.errors import StoreError
from search.store.embedded.catalog import SlotArray
from search.store.protocol import FloatArray

_BLOCK = 65_536  # rows: their cosines stay in the processor's cache
_DENSE = 4
"""Gathering a row costs about so much more than reading past it."""

Nearest = tuple[SlotArray, FloatArray]
"""Slots (K,) and cosines (K,), best first."""


def nearest_among_all(
    vectors: FloatArray, queries: FloatArray, top_k: int, dead: SlotArray
) -> list[Nearest]:
    """The best of all rows but some.

    Args:
        vectors: Shape (N, D), unit rows.
        queries: Shape (Q, D), unit rows.
        top_k: At most so many each.
        dead: Slots that are passed over, ascending.
    """
    best = _Best(len(queries), top_k)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        cosines = _cosines(queries, block)
        first, last = np.searchsorted(dead, (start, start + len(block)))
        cosines[:, dead[first:last] - start] = -np.inf
        best.add(np.arange(start, start + len(block)), cosines)
    return best.sorted()


def nearest_among(
    vectors: FloatArray, queries: FloatArray, top_k: int, slots: SlotArray
) -> list[Nearest]:
    """The best of some rows.

    Args:
        vectors: Shape (N, D), unit rows.
        queries: Shape (Q, D), unit rows.
        top_k: At most so many each.
        slots: The rows that count, ascending.
    """
    if len(slots) * _DENSE > len(vectors):
        others = np.ones(len(vectors), bool)
        others[slots] = False
        return nearest_among_all(vectors, queries, top_k, np.flatnonzero(others))
    best = _Best(len(queries), top_k)
    for start in range(0, len(slots), _BLOCK):
        part = slots[start : start + _BLOCK]
        best.add(part, _cosines(queries, vectors[part]))
    return best.sorted()


class _Best:
    """The K best of each query so far."""

    def __init__(self, queries: int, top_k: int) -> None:
        self._top_k = top_k
        self._slots = np.zeros((queries, 0), np.int64)
        self._cosines = np.zeros((queries, 0), np.float32)

    def add(self, slots: SlotArray, cosines: FloatArray) -> None:
        """Take in a block: slots (B,), cosines (Q, B)."""
        if cosines.shape[1] > self._top_k:
            kept = np.argpartition(cosines, -self._top_k, axis=1)[:, -self._top_k :]
            cosines, named = np.take_along_axis(cosines, kept, 1), slots[kept]
        else:
            named = np.broadcast_to(slots, cosines.shape)
        self._slots = np.concatenate([self._slots, named], axis=1)
        self._cosines = np.concatenate([self._cosines, cosines], axis=1)

    def sorted(self) -> list[Nearest]:
        """Slots and cosines of each query, best first; of equal ones the older."""
        answers = []
        for slots, cosines in zip(self._slots, self._cosines, strict=True):
            order = np.lexsort((slots, -cosines))[: self._top_k]
            if np.isnan(cosines).any():  # they take the places of others
                raise StoreError(
                    "Vectors of the index are no numbers. footwork search doctor --repair forgets "
                    "those, and the next footwork search index embeds their images again."
                )
            order = order[np.isfinite(cosines[order])]
            answers.append((slots[order], cosines[order]))
        return answers


def _cosines(queries: FloatArray, rows: NDArray[np.float32]) -> FloatArray:
    """Shape (Q, B)."""
    if len(queries) == 1:  # a product with a vector reads memory at full speed
        return (rows @ queries[0])[None]
    return queries @ rows.T
