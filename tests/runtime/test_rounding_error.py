"""Laws of what bf16 may have turned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.rounding_error import DEVIATIONS, MOST_SAMPLES, SAMPLE, RoundingError

MARGINS = np.linspace(0.01, 1.0, 100)


def margin(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.abs(logits[:, 1] - logits[:, 0]).astype(np.float64)


def within_reach(errors: NDArray[np.float64], distances: NDArray[np.float64]) -> set[int]:
    """Which of two-label rows with such margins may be turned by such errors, (S, 2)."""
    answers = np.stack([np.zeros_like(distances), distances], axis=1).astype(np.float32)
    error = RoundingError()
    error.add(errors.astype(np.float32))
    return set(error.within_reach(margin, answers).tolist())


def test_what_moves_all_labels_alike_moves_no_decision() -> None:
    one = np.random.default_rng(0).normal(scale=0.1, size=SAMPLE)
    assert not within_reach(np.stack([one, one], axis=1), MARGINS)


def test_what_moves_two_labels_apart_counts_twice() -> None:
    one = np.random.default_rng(0).normal(scale=0.02, size=SAMPLE)
    reach = DEVIATIONS * 2 * one.std(ddof=1)
    # Far enough off that no error folds a margin over: the measure is exact.
    found = within_reach(np.stack([one, -one], axis=1), np.r_[MARGINS[:40], np.full(4000, 9.0)])
    assert found == set(np.flatnonzero(MARGINS[:40] < reach).tolist())


def test_a_bias_is_no_error() -> None:
    assert not within_reach(np.tile([0.3, -0.2], (SAMPLE, 1)), MARGINS)


def test_what_is_infinitely_far_is_never_within_reach() -> None:
    error = RoundingError()
    error.add(np.ones((SAMPLE, 1), np.float32))
    answers = np.zeros((3, 1), np.float32)
    assert len(error.within_reach(lambda logits: np.full(len(logits), np.inf), answers)) == 0


def test_the_samples_are_bounded_and_the_first_are_kept() -> None:
    error = RoundingError()
    assert error.wanted == SAMPLE
    error.add(np.zeros((MOST_SAMPLES, 2), np.float32))
    error.add(np.ones((5, 2), np.float32))
    assert error.wanted == 0
    np.testing.assert_array_equal(error.bias, [0, 0])
