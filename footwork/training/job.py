"""What the training loop takes: a model, its rows in an order of their own, a loss a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from footwork.arrays import AnyArray, IntArray
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (B, C) and targets (B, …) to one loss a row, (B,)."""
FILLER = -1  # stands for no row: completes the last batch where several processes need equal shares
POOL = 50  # batches whose rows are sorted together; transformers' group_by_length uses the same
JITTER = 0.1  # share of its length by which a row may move in the sort, so that batches differ


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What is trained, on what, and how it is judged."""

    model: nn.Module
    batch: Callable[[Sequence[int], int], dict[str, torch.Tensor]]
    """Rows, and an epoch counted from 0, to what the model takes."""
    targets: torch.Tensor
    """Of all rows, (N, …)."""
    numbers: Sequence[int] | Sequence[Sequence[int]]
    """What each row is called where one is named: its place in a file, say; or several places."""
    lengths: Sequence[int]
    """Tokens of each row; all alike where rows have no length."""
    loss: LossFunction
    parameter_groups: list[dict[str, Any]]
    measure: Callable[[nn.Module], dict[str, float]]
    """Metrics of the model as it stands, on every process alike."""
    judged_rows: float = math.inf
    """Rows that `measure` rests on: what differs by less than their noise is decided by the loss;
    0 decides nothing, and the last evaluation is the best."""
    pad: Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]] | None = None
    """Pads a batch to so many tokens; None where rows have no length."""
    notify: Callable[[str], None]
    """Takes progress and warnings, one line each."""
    callbacks: Sequence[Any] = ()
    """Of transformers, classes or instances: the caller's, called after ours."""
    resting: Callable[[int], Sequence[nn.Parameter]] = lambda _: ()
    """Parameters that an epoch, counted from 0, leaves as they are: no gradient, no decay."""
    penalty: Callable[[], torch.Tensor | None] = lambda: None
    """What a step adds to the mean loss of its rows."""
    stepped: Callable[[int], None] = lambda _: None
    """Called after each update, counted from 0, while its gradients are there."""


class LengthBuckets(torch.utils.data.Sampler[int]):
    """Row indices of an epoch, batch after batch of like length, the batches in random order.

    Less padding, the same rows. The order is a function of the seed and the epoch alone. Every
    `batch_size` consecutive indices are one optimizer step, however many processes and
    micro-batches share it; where it must be `complete`, `FILLER` fills the last one up.
    """

    def __init__(
        self, lengths: Sequence[int] | IntArray, batch_size: int, seed: int, *, complete: bool
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size, self.seed, self.complete = batch_size, seed, complete
        self.epoch = 0

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


class JobRows(torch.utils.data.Dataset[int]):
    """The rows of a job for a loader: items are their own numbers, batches of an epoch."""

    def __init__(self, job: TrainingJob, order: LengthBuckets) -> None:
        self._job, self._order, self._numbers = job, order, torch.tensor(job.numbers)

    def __len__(self) -> int:
        return len(self._job.lengths)

    def __getitem__(self, index: int) -> int:
        return index

    def collate(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch with `labels`, `row_weight` (1, or 0 for a filler) and `row` (its number)."""
        rows = [max(index, 0) for index in indices]
        real = torch.tensor([index != FILLER for index in indices])
        numbers = self._numbers[rows]
        numbers[~real] = FILLER
        return {
            **self._job.batch(rows, self._order.epoch),
            "labels": self._job.targets[rows],
            "row_weight": real.float(),
            "row": numbers,
        }


def is_better(
    metric: str,
    now: Mapping[str, float],
    best: Mapping[str, float] | None,
    before: Sequence[Mapping[str, float]],
    rows: float,
    *,
    greater: bool = True,
) -> bool:
    """Whether an evaluation takes the place of the best of those before, which `best` is.

    Of those within a standard error of the best value of the metric, which rests on so many rows,
    the one of the lowest loss is best: it tells models apart that make the same number of mistakes.
    """
    if best is None or not rows:
        return True
    sign = 1 if greater else -1
    top = max(sign * each[metric] for each in (*before, now))
    share = min(max(top, 0.0), 1.0)
    least = top - math.sqrt(share * (1 - share) / rows)
    if sign * now[metric] < least:
        return False
    return sign * best[metric] < least or now["loss"] < best["loss"]


def row_loss(
    task: str, label_smoothing: float = 0.0, weights: torch.Tensor | None = None
) -> LossFunction:
    """The loss of a task, a `problem_type` of transformers, one value a row.

    Smoothing spreads so much probability over all classes; weights, (C,), average 1 over the rows.
    """

    def single(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=label_smoothing
        )
        return loss if weights is None else loss * weights.to(loss.device)[targets]

    def several(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        soft = targets * (1 - label_smoothing) + label_smoothing / 2
        factor = None if weights is None else weights.to(logits.device)
        return functional.binary_cross_entropy_with_logits(
            logits, soft, pos_weight=factor, reduction="none"
        ).mean(-1)

    def value(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(logits.squeeze(-1), targets, reduction="none")

    return {SINGLE_LABEL: single, MULTI_LABEL: several, REGRESSION: value}[task]


def balanced_weights(task: str, targets: AnyArray, classes: int) -> torch.Tensor:
    """Weights that let every class count the same, for targets (N,) or (N, C).

    Single label: rows / (classes x rows of the class), as scikit-learn's "balanced". Multi-label:
    the rows without a label for each row with it. A regression has no classes.
    """
    if task == SINGLE_LABEL:
        counts = np.bincount(targets.astype(np.int64), minlength=classes)
        return torch.tensor(len(targets) / (classes * np.maximum(counts, 1)), dtype=torch.float32)
    positives = targets.astype(np.float64).sum(0)
    ratio = (len(targets) - positives) / np.maximum(positives, 1)
    return torch.tensor(np.clip(ratio, 1, 100), dtype=torch.float32)
