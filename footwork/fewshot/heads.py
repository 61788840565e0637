"""What a method leaves behind: arrays, and how they score embeddings.

Arrays are float32 as soon as they exist, and sums are taken in float64, so that a head scores the
same before it is saved and after it was loaded. Only differences within a row of scores mean
something.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, RealArray
from footwork.errors import ModelError


def products(embeddings: RealArray, rows: FloatArray) -> DoubleArray:
    """Inner products of (N, D) with (R, D), in float64: (N, R)."""
    return embeddings.astype(np.float64) @ rows.T.astype(np.float64)


@dataclass(frozen=True, slots=True)
class LinearHead:
    """A weight vector and a bias a class."""

    weights: FloatArray  # (C, D)
    bias: FloatArray  # (C,)

    def scores(self, embeddings: RealArray) -> DoubleArray:
        """Inner products with the weights, plus the bias, (N, C)."""
        return products(embeddings, self.weights) + self.bias


@dataclass(frozen=True, slots=True)
class CacheHead:
    """Examples vote for their class, the more the nearer they are."""

    keys: FloatArray  # (N, D), the examples
    values: FloatArray  # (N, C), the vote of each
    sharpness: FloatArray  # (1,): a vote falls by e when the cosine falls by 1 / sharpness

    def scores(self, embeddings: RealArray) -> DoubleArray:
        """Votes a class, (N, C)."""
        votes = np.exp(self.sharpness * (products(embeddings, self.keys) - 1.0))
        return votes @ self.values.astype(np.float64)


@dataclass(frozen=True, slots=True)
class ProjectionHead:
    """Nearest class in a space that was learned."""

    projection: FloatArray  # (R, D)
    prototypes: FloatArray  # (C, R), unit rows

    def scores(self, embeddings: RealArray) -> DoubleArray:
        """Cosines with the prototypes, (N, C)."""
        projected = products(embeddings, self.projection)
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        unit = projected / np.maximum(lengths, np.finfo(np.float32).tiny)
        return products(unit, self.prototypes)


AnyHead = LinearHead | CacheHead | ProjectionHead


def head_tensors(head: AnyHead) -> dict[str, FloatArray]:
    """The arrays of a head by name."""
    return {field.name: getattr(head, field.name) for field in fields(head)}


def head_from_tensors(kind: type[AnyHead], tensors: dict[str, FloatArray]) -> AnyHead:
    """The head that `head_tensors` took apart; a `ModelError` where an array is missing."""
    names = [field.name for field in fields(kind)]
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ModelError(f"The taught weights lack {', '.join(missing)}. Teach it again.")
    return kind(**{name: tensors[name] for name in names})
