"""What a taught classifier will be worth, told from examples that it did not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bootstrap import wilson_interval
from runtime.calibration import Abstention, abstention_threshold
from runtime.logits import FloatArray, log_softmax
from runtime.metrics import Interval, confusion_counts
from zeroshot.teaching.blend import Blend, HeldOut, choose_blend
from zeroshot.teaching.examples import Examples
from zeroshot.teaching.folds import make_folds
from zeroshot.teaching.methods import METHOD
from zeroshot.teaching.options import TeachOptions

_MOST_CONFUSIONS = 5
_MISTAKEN = 0.9
"""Probability of another class from which an example's own label is doubted."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A method with its settings chosen, and the answers to examples that were left out."""

    method: str
    setting: float
    blend: Blend
    logits: FloatArray
    """Shape (N, C), each row by a classifier and a blend that did not know it; NaN where an
    example was alone of its class and there are no words."""
    labels: NDArray[np.int64]
    judged: NDArray[np.bool_]
    """Shape (N,): the class had another example. The others are judged by the words."""
    folds: int
    """Classifiers that were fitted; as many as pictures is leave-one-out."""

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Rows that anything is known of, (N,)."""
        known: NDArray[np.bool_] = np.isfinite(self.logits[:, 0])
        return known

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the answer was right, (N,)."""
        found: NDArray[np.bool_] = (self.logits.argmax(axis=1) == self.labels) & self.answered
        return found

    @property
    def accuracy(self) -> Interval | None:
        """Expected on new images of the kind; None where no example is judged.

        The classifier that is saved knows one example more, so it should be a little better.
        """
        return _share(self.hits[self.answered]) if self.judged.any() else None

    def probabilities(self) -> FloatArray:
        """Of the rows, (N, C)."""
        return np.exp(log_softmax(self.logits))

    def abstention(self, target_accuracy: float) -> Abstention | None:
        """The probability from which a share of the labels is right, if so many examples tell."""
        rows = self.answered & self.judged
        if not rows.any():
            return None
        top = self.probabilities()[rows].max(axis=1)
        return abstention_threshold(top, self.hits[rows], target_accuracy)

    def recalls(self, num_classes: int) -> list[float | None]:
        """Share of each class that was found; None for one of which nothing is known."""
        rows = self.answered
        found = np.bincount(self.labels[rows], self.hits[rows], minlength=num_classes)
        counts = np.bincount(self.labels[rows], minlength=num_classes)
        pairs = zip(found.tolist(), counts.tolist(), strict=True)
        return [hits / count if count else None for hits, count in pairs]

    def confusions(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """The commonest errors: of which class, taken for which, how often."""
        rows = self.answered
        taken = self.logits[rows].argmax(axis=1)
        table = confusion_counts(self.labels[rows], taken, len(class_names))
        np.fill_diagonal(table, 0)
        order = np.argsort(-table, axis=None, kind="stable")[:_MOST_CONFUSIONS]
        cells = [
            (int(i), int(j)) for i, j in zip(*np.unravel_index(order, table.shape), strict=True)
        ]
        return [
            {"class": class_names[i], "taken_for": class_names[j], "examples": int(table[i, j])}
            for i, j in cells
            if table[i, j]
        ]

    def mistaken(self) -> list[tuple[int, int, float]]:
        """Examples that all others take for another class: row, class, probability."""
        probabilities = self.probabilities()
        rows = self.answered & self.judged & ~self.hits & (probabilities.max(axis=1) >= _MISTAKEN)
        order = sorted(np.nonzero(rows)[0].tolist(), key=lambda row: -probabilities[row].max())
        return [
            (row, int(probabilities[row].argmax()), float(probabilities[row].max()))
            for row in order
        ]


def try_method(
    name: str,
    examples: Examples,
    pictures: NDArray[np.int64],
    words: FloatArray | None,
    options: TeachOptions,
) -> Trial:
    """Choose a method's settings on examples left out, and judge each without it.

    Args:
        name: Of the method.
        examples: N.
        pictures: Shape (N,), as `same_pictures` numbers them.
        words: Shape (N, C), zero-shot logits; None where there are none.
        options: Share of the words, and seed.
    """
    method = METHOD[name]
    folds = make_folds(examples, pictures, method.most_folds)
    scores = method.held_out_scores(examples, folds, options.seed)
    together = np.zeros(len(examples), dtype=np.int64)
    for number, fold in enumerate(folds):
        together[fold] = number
    judged = np.isfinite(scores[0, np.arange(len(examples)), examples.labels])
    if not judged.any():
        # One example a class: only how far scores spread can be told, and not of two classes.
        known = method.fit(examples, method.settings[0], options.seed).scores(examples.embeddings)
        scores = np.broadcast_to(known, scores.shape)
    held_out = HeldOut(examples.labels, words, scores, judged, together)
    blend, logits = choose_blend(held_out, options.words)
    return Trial(
        name,
        method.settings[blend.setting],
        blend,
        logits,
        examples.labels,
        judged,
        len(folds),
    )


def zero_shot_accuracy(words: FloatArray, labels: NDArray[np.int64]) -> Interval:
    """Of the words alone, on the same examples.

    Args:
        words: Shape (N, C), zero-shot logits.
        labels: Shape (N,).
    """
    return _share(words.argmax(axis=1) == labels)


def _share(hits: NDArray[np.bool_]) -> Interval:
    return wilson_interval(int(hits.sum()), len(hits))
