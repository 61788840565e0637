"""Which inputs to label next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, DoubleArray


@dataclass(frozen=True, slots=True)
class Candidates:
    """M inputs without a label, as the taught classifier sees them."""

    embeddings: NDArray[Any]
    """Shape (M, D), unit rows."""
    probabilities: DoubleArray
    """Shape (M, C)."""
    unfamiliar: BoolArray
    """Shape (M,), whether it is like none of the classes."""


def suggest(
    candidates: Candidates, known: NDArray[Any], class_names: Sequence[str], count: int
) -> list[tuple[int, str]]:
    """Choose inputs that the classifier is unsure of, and that differ from what it has seen.

    One after the other, the largest product of the two: how small the lead of the first class over
    the second is, and how far, in cosine, the nearest example or earlier choice. Uncertainty alone
    would name ten views of one thing; distance alone (k-center, Sener and Savarese 2018,
    arXiv:1708.00489) would name what is of no class.

    Args:
        candidates: M inputs.
        known: Shape (N, D), unit rows, of the examples.
        class_names: C.
        count: How many, at most.

    Returns:
        The number of each, and a clause that says why.
    """
    embeddings, probabilities = candidates.embeddings, candidates.probabilities
    best = np.sort(probabilities, axis=1)[:, ::-1]
    unsure = 1.0 - (best[:, 0] - best[:, 1])
    nearest = np.full(len(embeddings), -1.0)
    for row in known:
        np.maximum(nearest, embeddings @ row, out=nearest)
    chosen: list[tuple[int, str]] = []
    free = np.ones(len(nearest), dtype=bool)
    for _ in range(min(count, len(nearest))):
        worth = np.where(free, unsure * np.maximum(1.0 - nearest, 0.0), -1.0)
        number = int(worth.argmax())
        if worth[number] <= 0.0:
            break
        free[number] = False
        np.maximum(nearest, embeddings @ embeddings[number], out=nearest)
        first, second = np.argsort(-probabilities[number], kind="stable")[:2].tolist()
        reason = " or ".join(
            f"{class_names[label]} ({probabilities[number, label]:.0%})"
            for label in (first, second)
        )
        if candidates.unfamiliar[number]:
            reason = f"like none of the classes; nearest to {class_names[first]}"
        chosen.append((number, reason))
    return chosen
