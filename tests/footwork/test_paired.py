"""Two classifiers on the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from footwork.evaluation.metrics import PairedDifference, paired_difference


def compared(won: int, lost: int, alike: int, comparisons: int = 1) -> PairedDifference:
    one = np.repeat([True, False, True], [won, lost, alike])
    other = np.repeat([False, True, True], [won, lost, alike])
    return paired_difference(one, other, np.random.default_rng(0), comparisons)


def test_the_difference_is_the_one_of_the_accuracies() -> None:
    found = compared(30, 10, 160)
    assert found.interval.value == pytest.approx(0.1)
    assert (found.won, found.lost) == (30, 10)
    assert found.interval.low < 0.1 < found.interval.high


def test_exchanging_the_two_turns_the_sign() -> None:
    forth, back = compared(30, 10, 160).interval, compared(10, 30, 160).interval
    assert back.value == -forth.value
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.01)


def test_the_interval_is_as_wide_as_the_normal_one_where_rows_are_many() -> None:
    found = compared(300, 200, 1500).interval
    spread = np.sqrt((500 / 2000 - 0.05**2) / 2000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * spread, rel=0.03)


def test_rows_on_which_both_do_alike_prove_nothing() -> None:
    few, many = compared(0, 0, 10), compared(0, 0, 1000)
    assert not few.clear
    assert few.interval.value == many.interval.value == 0
    assert few.interval.low == -few.interval.high < many.interval.low == -many.interval.high < 0


def test_one_sided_rows_are_clear_and_even_ones_are_luck() -> None:
    assert compared(20, 0, 80).clear
    assert compared(0, 20, 80).clear
    assert not compared(11, 9, 80).clear
    assert not compared(2, 0, 98).clear


def test_many_comparisons_ask_for_more() -> None:
    one, among_ten = compared(23, 10, 167), compared(23, 10, 167, comparisons=10)
    assert one.clear
    assert not among_ten.clear
    assert among_ten.interval.low < one.interval.low < one.interval.high < among_ten.interval.high


def test_equally_good_classifiers_are_rarely_told_apart() -> None:
    generator = np.random.default_rng(0)
    draws = generator.multinomial(150, [0.05, 0.05, 0.9], 200)
    assert np.mean([compared(*map(int, draw)).clear for draw in draws]) <= 0.08
