"""What bf16 adds to the logits of a model, and which decisions it could have turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, IntArray

Closeness = Callable[[FloatArray], DoubleArray]
"""(N, C) logits → (N,) distances, in logits, to where a decision changes."""

SAMPLE = 16
"""Different texts on which the error is measured before it is relied on."""
MOST_SAMPLES = 256
DEVIATIONS = 4.5
"""A decision closer than so many standard deviations of the error may have been turned by it.

Where half of the decisions lie within a logit of the border, and bf16 errs by 0.03, one in 96
million lies farther off and is turned; one in 170,000 should the sample have given two thirds of
the error. Two orders of a float32 sum, 1e-5 apart, turn one in 200,000.
"""
_TRIED = 32
"""Errors tried out on each row: they give their standard deviation to an eighth."""


class RoundingError:
    """The error of bf16 on a model, as far as it was measured. Nothing is known at first."""

    def __init__(self) -> None:
        self._samples: dict[tuple[int, ...], FloatArray] = {}

    @property
    def wanted(self) -> int:
        """Texts that are still to be measured before it can be relied on."""
        return max(0, SAMPLE - len(self._samples))

    @property
    def bias(self) -> FloatArray:
        """The same for every row, (C,): mostly the rounding of weights."""
        mean: FloatArray = np.mean(list(self._samples.values()), axis=0)
        return mean

    def to_measure(self, texts: Sequence[tuple[int, ...]]) -> IntArray:
        """The rows of different texts, (S,), that are to be measured: at most `wanted`.

        Of the shorter half, if it has so many: the error hardly depends on length, the cost does.

        Args:
            texts: Token ids.
        """
        first = dict(zip(reversed(texts), reversed(range(len(texts))), strict=True))
        new = sorted((len(text), row) for text, row in first.items() if text not in self._samples)
        shorter = np.array([row for _, row in new], np.int64)[: max(self.wanted, len(new) // 2)]
        few = np.linspace(0, len(shorter) - 1, min(self.wanted, len(shorter)))
        return shorter[few.astype(np.int64)]

    def add(self, texts: Sequence[tuple[int, ...]], errors: FloatArray) -> None:
        """Take note of bf16 minus float32, (S, C), on some texts; a known one tells nothing new."""
        for text, error in zip(texts, errors, strict=True):
            if len(self._samples) < MOST_SAMPLES:
                self._samples.setdefault(text, error)

    def within_reach(self, closeness: Closeness, answers: FloatArray) -> IntArray:
        """The rows of `answers` (N, C), without bias, that lie within reach of another decision.

        How far errors move the decision of each row is tried out: what moves all labels alike moves
        none, what moves two apart counts twice, and the mean over windows of a text moves less.
        """
        errors = np.array(list(self._samples.values())) - self.bias
        distances = closeness(answers)
        generator, squares = np.random.default_rng(0), np.zeros(len(answers))
        for _ in range(_TRIED):
            drawn = errors[generator.integers(len(errors), size=len(answers))]
            with np.errstate(invalid="ignore"):  # infinitely far stays so
                squares += np.nan_to_num(closeness(answers + drawn) - distances) ** 2
        spread = np.sqrt(squares / _TRIED * len(errors) / max(len(errors) - 1, 1))
        return np.flatnonzero(distances < DEVIATIONS * spread)
