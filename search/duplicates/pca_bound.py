"""Unit rows as much shorter ones that tell, without a mistake, what cannot be alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import FloatArray

_WIDTH = 64
_CHUNK = 16_384  # rows compared at once with a block
_ROUNDING = 1e-4  # of float32, in a cosine


class PcaBound:
    """Projections onto the directions in which a collection differs most.

    A projection never makes a distance longer, so the cosine that it allows is never lower than
    the true one. The eighth of the numbers does for 512 of them, and what is left to compare in
    full is next to nothing. It is made of a sample, (S, D), unit rows as those to come.
    """

    def __init__(self, sample: FloatArray) -> None:
        centred = sample.astype(np.float64)
        _, directions = np.linalg.eigh(centred.T @ centred)
        self._basis = directions[:, ::-1][:, :_WIDTH].astype(np.float32)

    @property
    def width(self) -> int:
        """Of a projection, with what distances are computed by."""
        return self._basis.shape[1] + 2

    def project(self, vectors: FloatArray) -> FloatArray:
        """Shape (N, width), from (N, D)."""
        rows = vectors @ self._basis
        halves = -np.einsum("nd,nd->n", rows, rows)[:, None] / 2
        return np.concatenate([rows, halves, np.ones_like(halves)], axis=1)


def near_rows(
    block: FloatArray, others: FloatArray, cosine: float, most: int
) -> Iterator[tuple[int, NDArray[np.intp], FloatArray]]:
    """Which projections, (N, width), allow at least a cosine with those of a block, (B, width).

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
