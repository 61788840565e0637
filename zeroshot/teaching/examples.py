"""Embedded examples: what every method learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.logits import FloatArray


@dataclass(frozen=True, slots=True)
class Examples:
    """N embedded images with their classes."""

    embeddings: NDArray[np.floating[Any]]
    """Shape (N, D), unit rows."""
    labels: NDArray[np.int64]
    """Shape (N,), class numbers below `num_classes`."""
    num_classes: int
    """C; a class may be without an example."""

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or self.labels.shape != self.embeddings.shape[:1]:
            message = (
                "`embeddings` must have shape (N, D) and `labels` (N,), "
                f"got {self.embeddings.shape} and {self.labels.shape}."
            )
            raise ValueError(message)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise ValueError(f"`labels` must be from 0 to {self.num_classes - 1}.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Examples of each class, (C,)."""
        return np.bincount(self.labels, minlength=self.num_classes)

    def without(self, rows: NDArray[np.int64]) -> Examples:
        """All examples but some."""
        kept = np.ones(len(self), dtype=bool)
        kept[rows] = False
        return Examples(self.embeddings[kept], self.labels[kept], self.num_classes)

    def class_means(self) -> FloatArray:
        """Mean embedding of each class, (C, D); zeros for one without an example."""
        from scipy.sparse import csr_array

        places = (self.labels, np.arange(len(self)))
        shape = (self.num_classes, len(self))
        shares = csr_array((1.0 / self.counts[self.labels], places), shape=shape)
        means: FloatArray = shares @ self.embeddings.astype(np.float64)
        return means

    def basis(self) -> FloatArray:
        """Orthonormal rows that span the examples, (R, D) with R at most D.

        A method that looks at examples through their inner products alone may work on R numbers
        instead of D: exact, and much less work where examples are few. Where they are not, R is D.
        """
        if 2 * len(self) >= self.embeddings.shape[1]:
            return np.eye(self.embeddings.shape[1])
        _, sizes, rows = np.linalg.svd(self.embeddings.astype(np.float64), full_matrices=False)
        kept: FloatArray = rows[sizes > 1e-7 * sizes.max(initial=0.0)]
        return kept
