from __future__ import annotations

import numpy as np
import pytest

from footwork.training.job import FILLER, LengthBuckets

LENGTHS = np.random.default_rng(0).integers(3, 80, 1003)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 1003])
@pytest.mark.parametrize("complete", [True, False])
def test_every_row_comes_once_an_epoch(rows: int, complete: bool) -> None:
    order = list(LengthBuckets(LENGTHS[:rows], 8, 0, complete=complete))
    assert sorted(index for index in order if index != FILLER) == list(range(rows))
    assert len(order) == len(LengthBuckets(LENGTHS[:rows], 8, 0, complete=complete))
    assert len(order) % 8 == 0 or not complete


def test_batches_hold_rows_of_like_length() -> None:
    order = np.array(list(LengthBuckets(LENGTHS, 8, 0, complete=False)))[:1000].reshape(-1, 8)
    padded = LENGTHS[order].max(1).sum() * 8
    shuffled = np.random.default_rng(1).permutation(1000).reshape(-1, 8)
    assert padded < 1.15 * LENGTHS[order].sum()
    assert padded < 0.75 * LENGTHS[shuffled].max(1).sum() * 8


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        buckets = LengthBuckets(LENGTHS, 8, seed, complete=False)
        buckets.epoch = epoch
        return list(buckets)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_long_batches_do_not_all_come_first() -> None:
    order = np.array(list(LengthBuckets(LENGTHS, 8, 0, complete=False)))[:1000].reshape(-1, 8)
    means = LENGTHS[order].mean(1)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3
