"""The nearest vectors: exactly, or among what FAISS and a filter leave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from footwork.arrays import FloatArray, IntArray
from footwork.errors import StoreError
from search.filters import Filter
from search.store.embedded.approximate import ApproximateIndex, Covered
from search.store.embedded.catalog import Catalog
from search.store.embedded.rows import condition_of

_BLOCK = 65_536  # rows: their cosines stay in the processor's cache
_DENSE = 4
"""Gathering a row costs about so much more than reading past it."""

Nearest = tuple[IntArray, FloatArray]
"""Slots (K,) and cosines (K,), best first."""


def nearest_among_all(
    vectors: FloatArray, queries: FloatArray, top_k: int, dead: IntArray
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
    vectors: FloatArray, queries: FloatArray, top_k: int, slots: IntArray
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

    def add(self, slots: IntArray, cosines: FloatArray) -> None:
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


def _cosines(queries: FloatArray, rows: FloatArray) -> FloatArray:
    """Shape (Q, B)."""
    if len(queries) == 1:  # a product with a vector reads memory at full speed
        return (rows @ queries[0])[None]
    return queries @ rows.T


_SPARE = 10
"""Candidates for each that is asked for: 8 bits a number mix up what lies close together."""
_NARROW = 10_000
"""Images of a filter that are looked at one by one sooner than all codes are read."""
_FILTERED = 1024
"""Candidates at least from which a broad filter takes what it lets through."""
# By slot: where a filter is broad, its own index would lead through most of the table.
_LISTED = "(SELECT value AS listed FROM json_each(?)) CROSS JOIN files ON slot = listed"
_BY_SLOT = "files INDEXED BY files_by_slot"


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches one state of an index."""

    catalog: Catalog
    vectors: FloatArray
    """Shape (N, D)."""
    approximate: ApproximateIndex
    covered: Covered

    def nearest(self, queries: FloatArray, top_k: int, where: Filter) -> list[Nearest]:
        """Slots and cosines of the nearest present images of each query.

        Args:
            queries: Shape (Q, D), unit rows.
            top_k: At most so many each.
            where: Which images are asked for.
        """
        known = self.approximate.covers(self.covered)
        if _SPARE * top_k > known // 10:
            known = 0
        if where.is_empty:
            dead = self.catalog.dead_slots()
            if not known:
                return nearest_among_all(self.vectors, queries, top_k, dead)
            found = self.approximate.candidates(queries, _SPARE * top_k)
            alive = [np.setdiff1d(slots[slots >= 0], dead) for slots in found]
            if min(map(len, alive)) < top_k:  # where many were deleted
                return nearest_among_all(self.vectors, queries, top_k, dead)
            late = nearest_among_all(
                self.vectors[known:], queries, top_k, dead[dead >= known] - known
            )
            return [
                _merged(self._rescored(query, slots, top_k), (after + known, cosines), top_k)
                for query, slots, (after, cosines) in zip(queries, alive, late, strict=True)
            ]
        return self._filtered(queries, top_k, where, known)

    def _filtered(
        self, queries: FloatArray, top_k: int, where: Filter, known: int
    ) -> list[Nearest]:
        condition, values = condition_of(where)
        slots = self._slots(condition, values, limit=_NARROW + 1 if known else -1)
        if not known or len(slots) <= _NARROW:
            return nearest_among(self.vectors, queries, top_k, slots)
        count = max(_FILTERED, _SPARE * top_k)
        found = self.approximate.candidates(queries, count, all_lists=True)
        passed = [self._passing(slots, condition, values, known) for slots in found]
        if all(np.count_nonzero(slots < known) >= top_k for slots in passed):
            pairs = zip(queries, passed, strict=True)
            return [self._rescored(query, slots, top_k) for query, slots in pairs]
        return self._masked(queries, top_k, self._slots(condition, values), known)

    def _masked(
        self, queries: FloatArray, top_k: int, slots: IntArray, known: int
    ) -> list[Nearest]:
        """Where a filter is broad, but not where the query looks."""
        only = np.zeros(len(self.vectors), bool)
        only[slots] = True
        late = slots[slots >= known]
        count = _SPARE * top_k
        found = self.approximate.candidates(queries, count, all_lists=True, only=only)
        return [
            self._rescored(query, np.union1d(near[near >= 0], late), top_k)
            for query, near in zip(queries, found, strict=True)
        ]

    def _passing(
        self, slots: IntArray, condition: str, values: list[object], known: int
    ) -> IntArray:
        """Candidates that a filter lets through, and all that came later of which it does."""
        listed = json.dumps(slots[slots >= 0].tolist())
        early = self._slots(condition, [listed, *values], source=_LISTED)
        if known == len(self.vectors):
            return early
        late = self._slots(f"slot >= ? AND {condition}", [known, *values], source=_BY_SLOT)
        return np.union1d(early, late)

    def _slots(self, condition: str, values: Sequence[object], **how: Any) -> IntArray:
        slots = self.catalog.slots(condition, values, **how)
        if len(slots) and slots[-1] >= len(self.vectors):
            raise self.catalog.spoilt(
                f"a vector is said to lie where none of {len(self.vectors):,} does"
            )
        return slots

    def _rescored(self, query: FloatArray, slots: IntArray, top_k: int) -> Nearest:
        return nearest_among(self.vectors, query[None], top_k, slots)[0]


def _merged(one: Nearest, other: Nearest, top_k: int) -> Nearest:
    slots = np.concatenate([one[0], other[0]])
    cosines = np.concatenate([one[1], other[1]])
    best = np.argsort(-cosines, kind="stable")[:top_k]
    return slots[best], cosines[best]
