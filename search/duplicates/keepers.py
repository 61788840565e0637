"""Which image of each group of duplicates to keep.

Each image is compared with kept ones alone, and joins one of which it can be made itself: a chain
of likenesses never joins two different photos. One of which a kept image can be made takes its
place; what had joined that is compared anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import FloatArray
from footwork.errors import ImageError
from footwork.files.faults import why
from footwork.images.ahead import decoded_ahead
from search.duplicates.alterations import OpenedImage, Verdict, open_image, verdict
from search.duplicates.looks import Look, best_placing, look_of
from search.records import ImageRecord
from search.store.protocol import Store

_BLOCK = 1024
_CANDIDATES = 32  # images whose embeddings an image's is compared with
_OPENED = 256  # images that are kept open
_COMPARED = 8  # kept images that an image itself is compared with
_WORKERS = 4
_WIDTH = 64  # numbers of a projection
_CHUNK = 16_384  # rows compared at once with a block
_ROUNDING = 1e-4  # of float32, in a cosine

OnProgress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


@dataclass(frozen=True, slots=True)
class Joined:
    """An image that can be made of the one that is kept."""

    row: int
    cosine: float
    changes: tuple[str, ...]


@dataclass(slots=True)
class Keepers:
    """Goes through contents, those that are rather kept first."""

    store: Store
    records: Sequence[ImageRecord]
    projected: FloatArray
    """Their vectors, of `projected`, (N, W + 2)."""
    cosine: float
    """Least one of those that are compared."""
    may_open: Callable[[int], bool] | None
    """Asked once of each row that is to be opened; None opens none: all that agree are similar."""
    members: dict[int, list[Joined]] = field(default_factory=dict)
    """Row of a kept content → those that can be made of it."""
    similar: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Row of a kept content → that of one that it is similar to, and their cosine."""
    unread: set[int] = field(default_factory=set)
    """Contents that may have joined others, if they could have been read."""
    _kept_by: dict[int, int] = field(default_factory=dict)
    _ousted: set[int] = field(default_factory=set)
    _looks: dict[int, Look | None] = field(default_factory=dict)
    _opened: dict[int, OpenedImage] = field(default_factory=dict)

    def run(self, on_progress: OnProgress) -> None:
        """Go through them all."""
        total = len(self.records)
        for start in range(0, total, _BLOCK):
            rows = range(start, min(start + _BLOCK, total))
            pairs = self._pairs(rows)
            self._look_at({row for mine, others in pairs.items() for row in (mine, *others)})
            for row in rows:
                self._place(row, pairs.get(row, {}))
            on_progress(rows.stop, total)

    def _pairs(self, rows: range) -> dict[int, dict[int, float]]:
        """Contents of a block → those before them that their embeddings agree with → cosines."""
        block = self.projected[rows.start : rows.stop]
        likely: dict[int, list[tuple[float, int]]] = defaultdict(list)
        parts = ((self.projected[: rows.start], 0, _CANDIDATES), (block, rows.start, _BLOCK))
        for others, first, most in parts:
            for place, near, bounds in near_rows(block, others, self.cosine, most):
                row = rows.start + place
                pairs = zip(bounds.tolist(), (near + first).tolist(), strict=True)
                likely[row] += [pair for pair in pairs if pair[1] < row]
        chosen = {
            row: [other for _, other in sorted(pairs, reverse=True)[:_CANDIDATES]]
            for row, pairs in likely.items()
            if pairs
        }
        asked = sorted({row for mine, others in chosen.items() for row in (mine, *others)})
        paths = {row: self.records[row].path for row in asked}
        by_path = self.store.vectors(list(paths.values()))
        vectors = {row: by_path[path] for row, path in paths.items() if path in by_path}
        agreeing = {}
        for row, candidates in chosen.items():
            there = [other for other in candidates if other in vectors]  # else forgotten meanwhile
            if there and row in vectors:
                cosines = np.stack([vectors[other] for other in there]) @ vectors[row]
                told = zip(there, cosines.tolist(), strict=True)
                agreeing[row] = {other: cosine for other, cosine in told if cosine >= self.cosine}
        return {row: some for row, some in agreeing.items() if some}

    def _look_at(self, rows: set[int]) -> None:
        if self.may_open is None:
            return
        fresh = sorted(rows - self._looks.keys())
        known = [row for row in fresh if self.may_open(row)]
        self._looks |= dict.fromkeys(fresh)
        paths = {self.records[row].path: row for row in known}
        for path, look in decoded_ahead(sorted(paths), look_of, _WORKERS):
            self._looks[paths[path]] = None if isinstance(look, ImageError) else look

    def _place(self, row: int, others: Mapping[int, float]) -> None:
        """Have a content join a kept one, or take the places of some, or stand for itself."""
        self._kept_by[row] = row
        if self.may_open is not None and others and self._looks.get(row) is None:
            self.unread.add(row)
            return
        cosines: dict[int, float] = {}
        for other in sorted(others, key=lambda other: (-others[other], other)):
            cosines.setdefault(self._kept_by[other], others[other])
        taken = []
        for kept, cosine in list(cosines.items())[:_COMPARED]:
            told = self._verdict(row, kept)
            if told is None:
                continue
            if told.kept == 1:
                self.similar.pop(row, None)
                self._kept_by[row] = kept
                self.members.setdefault(kept, []).append(Joined(row, cosine, told.changes))
                return
            if told.kept == 0 and row not in self._ousted:
                taken.append(kept)
            else:
                self.similar.setdefault(row, (kept, cosine))
        for kept in taken:
            self._oust(kept, row, cosines[kept])

    def _verdict(self, row: int, kept: int) -> Verdict | None:
        if self.may_open is None:
            return Verdict(None)
        look, kept_look = self._looks.get(row), self._looks.get(kept)
        if look is None or kept_look is None:
            self.unread.add(kept)
            return None
        placing = best_placing(look, kept_look)
        if placing is None:
            return None
        try:
            return verdict(self._image(row), self._image(kept), placing)
        except Exception as error:  # noqa: BLE001 - gone or spoilt since it was looked at
            why(error)
            self.unread.add(row)
            return None

    def _image(self, row: int) -> OpenedImage:
        if row not in self._opened:
            if len(self._opened) >= _OPENED:
                self._opened.clear()
            self._opened[row] = open_image(self.records[row])
        return self._opened[row]

    def _oust(self, kept: int, better: int, cosine: float) -> None:
        """Give the place of a kept content to another, of which it can be made."""
        freed = {kept: cosine, **{one.row: one.cosine for one in self.members.pop(kept, ())}}
        self._ousted |= freed.keys()
        self.similar.pop(kept, None)
        before: dict[int, float] = {better: 1.0}
        for row, near in freed.items():
            self._place(row, dict.fromkeys(before, near))
            if self._kept_by[row] == row:  # the others lead to these
                before[row] = near


def principal_axes(sample: FloatArray) -> FloatArray:
    """In which a collection differs most, (D, W), by a sample of its unit rows, (S, D)."""
    exact = sample.astype(np.float64)
    _, directions = np.linalg.eigh(exact.T @ exact)
    return np.asarray(directions[:, ::-1][:, :_WIDTH], np.float32)


def projected(vectors: FloatArray, axes: FloatArray) -> FloatArray:
    """Unit rows, (N, D), as much shorter ones, (N, W + 2), that tell what cannot be alike.

    A projection never makes a distance longer, so the cosine that it allows is never lower than
    the true one. The eighth of the numbers does for 512 of them, and what is left to compare in
    full is next to nothing.
    """
    rows = vectors @ axes
    halves = -np.einsum("nd,nd->n", rows, rows)[:, None] / 2
    return np.concatenate([rows, halves, np.ones_like(halves)], axis=1)


def near_rows(
    block: FloatArray, others: FloatArray, cosine: float, most: int
) -> Iterator[tuple[int, NDArray[np.intp], FloatArray]]:
    """Which projections, (N, W + 2), allow at least a cosine with those of a block, (B, W + 2).

    Told are a row of the block, rows of the others, of each chunk of them the likeliest so many,
    and what their cosines are at most.
    """
    turned = block.copy()
    turned[:, -2:] = block[:, :-3:-1]  # so that a product is minus half the squared distance
    least = cosine - 1 - _ROUNDING
    for start in range(0, len(others), _CHUNK):
        allowed = turned @ others[start : start + _CHUNK].T
        near = allowed >= least
        for row in np.flatnonzero(near.any(axis=1)):
            found = np.flatnonzero(near[row])
            if len(found) > most:
                found = found[np.argpartition(allowed[row, found], -most)[-most:]]
            yield int(row), found + start, 1 + allowed[row, found]
