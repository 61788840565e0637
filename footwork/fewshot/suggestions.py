"""Which images to label next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.evaluation.logits import FloatArray


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image whose label would teach much."""

    path: Path
    reason: str
    """A clause."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Images without a label, as the taught classifier sees them."""

    paths: Sequence[Path]
    embeddings: NDArray[Any]
    """Shape (M, D), unit rows."""
    probabilities: FloatArray
    """Shape (M, C)."""
    unfamiliar: NDArray[np.bool_]
    """Shape (M,), whether it is like none of the classes."""


def suggest(
    candidates: Candidates, known: NDArray[Any], class_names: Sequence[str], count: int
) -> tuple[Suggestion, ...]:
    """Choose images that the classifier is unsure of, and that differ from what it has seen.

    One after the other, the largest product of the two: how small the lead of the first class over
    the second is, and how far, in cosine, the nearest example or earlier choice. Uncertainty alone
    would name ten views of one thing; distance alone (k-center, Sener and Savarese 2018,
    arXiv:1708.00489) would name what is of no class.

    Args:
        candidates: M images.
        known: Shape (N, D), unit rows, of the examples.
        class_names: C.
        count: How many, at most.
    """
    best = np.sort(candidates.probabilities, axis=1)[:, ::-1]
    unsure = 1.0 - (best[:, 0] - best[:, 1])
    nearest = np.full(len(candidates.paths), -1.0)
    for row in known:
        np.maximum(nearest, candidates.embeddings @ row, out=nearest)
    chosen: list[Suggestion] = []
    free = np.ones(len(nearest), dtype=bool)
    for _ in range(min(count, len(nearest))):
        worth = np.where(free, unsure * np.maximum(1.0 - nearest, 0.0), -1.0)
        number = int(worth.argmax())
        if worth[number] <= 0.0:
            break
        free[number] = False
        np.maximum(nearest, candidates.embeddings @ candidates.embeddings[number], out=nearest)
        chosen.append(
            Suggestion(candidates.paths[number], _reason(candidates, number, class_names))
        )
    return tuple(chosen)


def _reason(candidates: Candidates, number: int, class_names: Sequence[str]) -> str:
    probabilities = candidates.probabilities[number]
    first, second = np.argsort(-probabilities, kind="stable")[:2].tolist()
    if candidates.unfamiliar[number]:
        return f"like none of the classes; nearest to {class_names[first]}"
    return (
        f"{class_names[first]} ({probabilities[first]:.0%}) or "
        f"{class_names[second]} ({probabilities[second]:.0%})"
    )
