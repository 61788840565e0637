"""What a classifier must beat: the commonest answer, and TF-IDF with a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from footwork.arrays import BoolArray, FloatArray
from footwork.evaluation.result import Evaluation
from footwork.finetuning.data import judge_majority
from footwork.finetuning.validation import judge_baseline
from textclf.linear import fit_linear

if TYPE_CHECKING:
    from textclf.data import Examples, TextData

_TEXT_CHARACTERS = 2_000
"""What is read of one text."""
_TRAIN_CHARACTERS = 10_000_000
"""What is read of the training split: less than a minute."""
_TRAIN_CELLS = 3_000_000
"""Training rows times classes: about a minute."""


def fit_baselines(data: TextData, split: str) -> dict[str, Evaluation]:
    """Fit both baselines on the training split and judge them on another.

    For the linear model only the beginning of a long text is read, and a training split that would
    take minutes is sampled, which the evaluation's remarks then say.

    Returns:
        The commonest answer, and TF-IDF with a linear model, by name.
    """
    train = _beginnings(data.train)
    chosen = _affordable_rows(train, len(data.labels))
    model = fit_linear(train.take(chosen), data.task, max(1, len(data.labels)))
    notes = []
    if not chosen.all():
        notes.append(
            f"The linear baseline was fitted on {chosen.sum():,} of {len(train):,} training rows, "
            "drawn at random, to be done in minutes."
        )
    if not len(model.idf):
        notes.append("Nothing for a linear model: all training rows have one target, or no word.")

    def logits(name: str) -> FloatArray:
        judged = _beginnings(data.splits[name])
        return model.logits(judged.texts, judged.pairs)

    linear = replace(judge_baseline(data, split, logits), remarks=tuple(notes))
    return {"majority": judge_majority(data, data.splits[split]), "linear": linear}


def fit_and_answer(data: TextData, known: Sequence[int], asked: Sequence[int]) -> FloatArray:
    """Fit the linear baseline on some training rows; its logits, (R, C), for others, ascending."""

    def some(rows: Sequence[int]) -> Examples:
        mask = np.zeros(len(data.train), bool)
        mask[rows] = True
        return _beginnings(data.train.take(mask))

    model, judged = fit_linear(some(known), data.task, max(1, len(data.labels))), some(asked)
    return model.logits(judged.texts, judged.pairs).astype(np.float32)


def _beginnings(examples: Examples) -> Examples:
    def cut(texts: list[str]) -> list[str]:
        return [text[:_TEXT_CHARACTERS] for text in texts]

    pairs = None if examples.pairs is None else cut(examples.pairs)
    return replace(examples, texts=cut(examples.texts), pairs=pairs)


def _affordable_rows(train: Examples, num_classes: int) -> BoolArray:
    """Choose the training rows: all, or a random part where they would take minutes."""
    sizes = np.array([len(text) for text in train.texts], np.int64)
    if train.pairs is not None:
        sizes += [len(text) for text in train.pairs]
    order = np.random.default_rng(0).permutation(len(sizes))
    by_text = int(np.searchsorted(np.cumsum(sizes[order]), _TRAIN_CHARACTERS))
    by_class = _TRAIN_CELLS // max(1, num_classes)
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[order[: max(1, min(by_text, by_class))]] = True
    return chosen
