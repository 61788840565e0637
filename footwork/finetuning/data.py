"""Labelled rows in splits, as a task reads them; torch is not needed to look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, IntArray
from footwork.evaluation.baselines import majority_logits
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.result import Evaluation, evaluate_logits
from footwork.evaluation.splits import hold_out, return_unseen, strata
from footwork.tables.labels import MULTI_LABEL, SINGLE_LABEL
from footwork.tables.splits import SPLITS


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledData:
    """All splits, as they were read."""

    task: str
    """A `problem_type` of transformers."""
    labels: tuple[str, ...]
    """C class names in the order of their numbers; none for a regression."""
    splits: Mapping[str, Any]
    """`train`, `validation` and perhaps `test`; `target`, where rows of a domain are given.

    Each has a length, `targets`, (N,) class numbers, (N, C) zeros and ones, or (N,) amounts, and
    `rows`: what each is called, from 1, its place in a file, say. Those of `target` are NaN where
    none is known.
    """
    held_out: bool
    """Whether the validation rows were taken from the training ones."""
    sha256: str
    """Of all that was read, the target apart."""
    train_sha256: str | None = None
    """Of what the training rows, and validation rows that were held out, were read from."""
    target_sha256: str | None = None
    """Of the rows of the split `target`, if there is one."""
    notes: tuple[str, ...] = ()
    """What was detected or surprising, one sentence each."""
    skipped: tuple[Any, ...] = ()
    """Rows that were left out, with a reason each."""
    paired: bool = False
    """Whether a row has two inputs, which a model may read apart."""

    @property
    def contrasts(self) -> bool:
        """Whether pairs of rows teach what a class is: each row has one input, and one class."""
        return self.task == SINGLE_LABEL and not self.paired

    @property
    def judging(self) -> list[str]:
        """The splits that nothing is learned from, in their order; the last one is reported."""
        return [name for name in SPLITS[1:] if name in self.splits]

    def counts(self, split: str = "train") -> IntArray:
        """Rows of each class in a split, (C,); a row counts for each of its labels."""
        targets = self.splits[split].targets
        if self.task == MULTI_LABEL:
            return targets.sum(axis=0).astype(np.int64)
        return np.bincount(targets, minlength=len(self.labels))


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """N rows of one split: whatever a task reads, and its targets."""

    inputs: tuple[Any, ...]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def rows(self) -> Sequence[int]:
        """Their places, from 1."""
        return range(1, len(self) + 1)

    def take(self, kept: NDArray[np.generic]) -> Inputs:
        """Some of them, by number or by True and False."""
        rows = np.arange(len(self))[kept].tolist()
        return Inputs(tuple(self.inputs[row] for row in rows), self.targets[rows])


def held_out(
    targets: NDArray[Any], task: str, groups: IntArray, share: float, seed: int
) -> BoolArray:
    """Which rows validate, (N,): of like labels, no group on both sides, no class unknown there."""
    held = hold_out(groups, strata(targets, task), share, seed)
    return return_unseen(held, groups, targets, task)


def judge_as_is(
    data: LabelledData, targets: NDArray[Any], logits: NDArray[Any], noun: str = "rows"
) -> Evaluation:
    """Judge logits at temperature 1: one that is fitted on the same rows would flatter them."""
    return evaluate_logits(data.task, data.labels, targets, logits, GivenCalibration(), noun)


def judge_majority(data: LabelledData, split: Any, noun: str = "rows") -> Evaluation:
    """Judge the commonest class, the commonest set of labels or the mean of the training rows."""
    targets = data.splits["train"].targets
    logits = majority_logits(data.task, len(data.labels), targets, len(split))
    return judge_as_is(data, split.targets, logits, noun)


def remark_on_known(facts: Mapping[str, Any], judged: str | None, noun: str) -> tuple[str, ...]:
    """What is to be said where a model is judged by what it was trained on, wherever that lies.

    `facts` are those of a manifest about the data, `judged` is as `train_sha256`.
    """
    # Of a lone file the hash of all is the one of its training rows.
    if judged is None or judged not in (facts.get("train_sha256"), facts.get("sha256")):
        return ()
    return (f"It was trained on most of these {noun}: the figures say nothing of new ones.",)
