"""Which way to the nearest vectors: exact, approximate and rescored, or among a few."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.filters import Filter
from search.store.embedded.approximate import ApproximateIndex, Covered
from search.store.embedded.catalog import Catalog, SlotArray
from search.store.embedded.conditions import condition_of
from search.store.embedded.exact import Nearest, nearest_among, nearest_among_all
from search.store.protocol import FloatArray

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
        found = self.approximate.all_candidates(queries, count)
        passed = [self._passing(slots, condition, values, known) for slots in found]
        if all(np.count_nonzero(slots < known) >= top_k for slots in passed):
            pairs = zip(queries, passed, strict=True)
            return [self._rescored(query, slots, top_k) for query, slots in pairs]
        return self._masked(queries, top_k, self._slots(condition, values), known)

    def _masked(
        self, queries: FloatArray, top_k: int, slots: SlotArray, known: int
    ) -> list[Nearest]:
        """Where a filter is broad, but not where the query looks."""
        only = np.zeros(len(self.vectors), bool)
        only[slots] = True
        late = slots[slots >= known]
        found = self.approximate.all_candidates(queries, _SPARE * top_k, only)
        return [
            self._rescored(query, np.union1d(near[near >= 0], late), top_k)
            for query, near in zip(queries, found, strict=True)
        ]

    def _passing(
        self, slots: SlotArray, condition: str, values: list[object], known: int
    ) -> SlotArray:
        """Candidates that a filter lets through, and all that came later of which it does."""
        listed = json.dumps(slots[slots >= 0].tolist())
        early = self._slots(condition, [listed, *values], source=_LISTED)
        if known == len(self.vectors):
            return early
        late = self._slots(f"slot >= ? AND {condition}", [known, *values], source=_BY_SLOT)
        return np.union1d(early, late)

    def _slots(self, condition: str, values: Sequence[object], **how: Any) -> SlotArray:
        slots = self.catalog.slots(condition, values, **how)
        if len(slots) and slots[-1] >= len(self.vectors):
            raise self.catalog.spoilt(
                f"a vector is said to lie where none of {len(self.vectors):,} does"
            )
        return slots

    def _rescored(self, query: FloatArray, slots: SlotArray, top_k: int) -> Nearest:
        return nearest_among(self.vectors, query[None], top_k, slots)[0]


def _merged(one: Nearest, other: Nearest, top_k: int) -> Nearest:
    slots = np.concatenate([one[0], other[0]])
    cosines = np.concatenate([one[1], other[1]])
    best = np.argsort(-cosines, kind="stable")[:top_k]
    return slots[best], cosines[best]
