"""Laws of what bf16 may have turned."""

from __future__ import annotations

import numpy as np

from footwork.arrays import DoubleArray, FloatArray
from footwork.inference.sequences import DEVIATIONS, MOST_SAMPLES, SAMPLE, RoundingError

MARGINS = np.linspace(0.01, 1.0, 100)


def texts(count: int, start: int = 0) -> list[tuple[int, ...]]:
    """Different ones, each one token longer than the one before."""
    return [(1,) * (start + i) for i in range(1, count + 1)]


def margin(logits: FloatArray) -> DoubleArray:
    return np.abs(logits[:, 1] - logits[:, 0]).astype(np.float64)


def within_reach(errors: DoubleArray, distances: DoubleArray) -> set[int]:
    """Which of two-label rows with such margins may be turned by such errors, (S, 2)."""
    answers = np.stack([np.zeros_like(distances), distances], axis=1).astype(np.float32)
    error = RoundingError()
    error.add(texts(len(errors)), errors.astype(np.float32))
    return set(error.within_reach(margin, answers).tolist())


def test_what_moves_all_labels_alike_moves_no_decision() -> None:
    one = np.random.default_rng(0).normal(scale=0.1, size=SAMPLE)
    assert not within_reach(np.stack([one, one], axis=1), MARGINS)


def test_what_moves_two_labels_apart_counts_twice() -> None:
    one = np.random.default_rng(0).normal(scale=0.02, size=SAMPLE)
    reach = DEVIATIONS * 2 * one.std(ddof=1)
    found = within_reach(np.stack([one, -one], axis=1), MARGINS)
    # Each row tries out a sample of the errors.
    assert set(np.flatnonzero(0.5 * reach > MARGINS)) <= found
    assert not found & set(np.flatnonzero(1.5 * reach < MARGINS))


def test_a_row_is_within_reach_whoever_else_is_asked() -> None:
    errors = np.zeros((SAMPLE, 2))
    errors[1:, 0] = np.random.default_rng(1).normal(scale=0.02, size=SAMPLE - 1)
    assert within_reach(errors, np.array([0.02])) == {0}  # the first error alone is nothing


def test_the_mean_of_windows_errs_less_but_not_nothing() -> None:
    one = np.random.default_rng(2).normal(scale=0.1, size=(SAMPLE, 2)).astype(np.float32)
    error = RoundingError()
    error.add(texts(SAMPLE), one)

    def pooled(logits: FloatArray) -> DoubleArray:
        return np.repeat(margin(logits.reshape(-1, SAMPLE, 2).mean(1)), SAMPLE)

    far, near = 0.5, 0.02
    answers = np.zeros((2 * SAMPLE, 2), np.float32)
    answers[:SAMPLE, 1], answers[SAMPLE:, 1] = far, near
    found = error.within_reach(pooled, answers)
    np.testing.assert_array_equal(found, np.arange(SAMPLE, 2 * SAMPLE))


def test_a_bias_is_no_error() -> None:
    assert not within_reach(np.tile([0.3, -0.2], (SAMPLE, 1)), MARGINS)


def test_what_is_infinitely_far_is_never_within_reach() -> None:
    error = RoundingError()
    error.add(texts(SAMPLE), np.ones((SAMPLE, 1), np.float32))
    answers = np.zeros((3, 1), np.float32)
    assert len(error.within_reach(lambda logits: np.full(len(logits), np.inf), answers)) == 0


def test_the_samples_are_bounded_and_the_first_are_kept() -> None:
    error = RoundingError()
    assert error.wanted == SAMPLE
    error.add(texts(MOST_SAMPLES), np.zeros((MOST_SAMPLES, 2), np.float32))
    error.add(texts(5, start=MOST_SAMPLES), np.ones((5, 2), np.float32))
    assert error.wanted == 0
    np.testing.assert_array_equal(error.bias, [0, 0])


def test_different_texts_of_the_shorter_half_are_measured() -> None:
    error = RoundingError()
    many = texts(80)
    rows = error.to_measure([*reversed(many), *many])
    lengths = [len([*reversed(many), *many][row]) for row in rows]
    assert len(rows) == len(set(lengths)) == SAMPLE
    assert (min(lengths), max(lengths)) == (1, 40)


def test_a_known_text_is_not_measured_again() -> None:
    error = RoundingError()
    error.add(texts(3), np.zeros((3, 2), np.float32))
    assert error.wanted == SAMPLE - 3
    assert error.to_measure(texts(5)).tolist() == [3, 4]
    error.add(texts(3), np.ones((3, 2), np.float32))
    assert error.wanted == SAMPLE - 3
