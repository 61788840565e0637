"""What bf16 adds to the logits of a model, and which decisions it could have turned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Closeness = Callable[[FloatArray], NDArray[np.float64]]
"""(N, C) logits → (N,) distances, in logits, to where a decision changes."""

SAMPLE = 16
"""Rows on which the error is measured before it is relied on."""
MOST_SAMPLES = 256
DEVIATIONS = 4.5
"""A decision closer than so many standard deviations of the error may have been turned by it.

Where half of the decisions lie within a logit of the border, and bf16 errs by 0.03, one in 80
million lies farther off and is turned; one in 250,000 should the sample have given two thirds of
the error. Two orders of a float32 sum, 1e-5 apart, turn one in 200,000.
"""


class RoundingError:
    """The error of bf16 on a model, as far as it was measured. Nothing is known at first."""

    def __init__(self) -> None:
        self._samples: list[FloatArray] = []

    @property
    def wanted(self) -> int:
        """Rows that are still to be measured before it can be relied on."""
        return max(0, SAMPLE - len(self._samples))

    @property
    def bias(self) -> FloatArray:
        """The same for every row, (C,): mostly the rounding of weights."""
        mean: FloatArray = np.mean(self._samples, axis=0)
        return mean

    def add(self, errors: FloatArray) -> None:
        """Take note of bf16 minus float32 on some rows, (S, C)."""
        self._samples += list(errors)[: MOST_SAMPLES - len(self._samples)]

    def within_reach(self, closeness: Closeness, answers: FloatArray) -> NDArray[np.int64]:
        """The rows of `answers` (N, C), without bias, that lie within reach of another decision.

        How far an error moves a decision is tried out: what moves all labels of a row alike moves
        none, what moves two apart counts twice.
        """
        errors = np.array(self._samples) - self.bias
        distances = closeness(answers)
        with np.errstate(invalid="ignore"):  # infinitely far stays so
            moved = closeness(answers + np.resize(errors, answers.shape)) - distances
        if not np.isfinite(moved).any():
            return np.zeros(0, np.int64)
        freedom = max(len(errors) - 1, 1) / len(errors)
        spread = np.sqrt(np.nanmean(moved**2) / freedom)
        return np.flatnonzero(distances < DEVIATIONS * spread)
