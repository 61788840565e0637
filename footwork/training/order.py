"""Batches of texts of like length: less padding, the same rows.

The order of an epoch is a function of the seed and the epoch alone. Every `batch_size` consecutive
indices are one optimizer step, however many processes and micro-batches share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from footwork.arrays import IntArray

FILLER = -1  # stands for no row: completes the last batch where several processes need equal shares
POOL = 50  # batches whose rows are sorted together; transformers' group_by_length uses the same
JITTER = 0.1  # share of its length by which a row may move in the sort, so that batches differ


class LengthBuckets(torch.utils.data.Sampler[int]):
    """Row indices of an epoch, batch after batch of like length, the batches in random order.

    Args:
        lengths: Tokens of each of N rows.
        batch_size: Rows a step, over all processes.
        seed: Of the order.
        complete: Fill the last batch up with `FILLER`.
    """

    def __init__(
        self,
        lengths: Sequence[int] | IntArray,
        batch_size: int,
        seed: int,
        *,
        complete: bool,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.complete = complete
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order `__iter__` gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        rows = len(self.lengths)
        return -(-rows // self.batch_size) * self.batch_size if self.complete else rows

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        rows = random.permutation(len(self.lengths))
        noisy = self.lengths * random.uniform(1 - JITTER, 1 + JITTER, len(self.lengths))
        full = len(rows) // self.batch_size * self.batch_size
        pool = POOL * self.batch_size
        batches: list[IntArray] = []
        for start in range(0, full, pool):
            part = rows[start : min(start + pool, full)]
            part = part[np.argsort(-noisy[part], kind="stable")]
            batches += np.split(part, len(part) // self.batch_size)
        for index in random.permutation(len(batches)):
            yield from batches[index].tolist()
        yield from rows[full:].tolist()  # any rows, not the shortest ones
        yield from [FILLER] * (len(self) - len(rows))
