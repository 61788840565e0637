"""Whether an input is like any of the classes at all.

A softmax over classes always names one. Two things tell an input of none of them: it does not lean
towards the examples of any class, seen from the middle of all classes (the raw cosines of two
photographs are large whatever they show), and no class name stands above unrelated words (see
`footwork.prompts.none_of_these`). Both are measured on examples left out, put on one scale and
added.

Measured on photographs of nine classes, of which two were kept away (real vectors of CLIP ViT-B/32,
40 random choices, 2, 4, 8 and 16 examples a class), the area under the ROC curve, known classes
against the two:

    both, as here                              0.89  0.91  0.92  0.94
    class names alone                          0.90  0.90  0.92  0.92
    examples alone, from the middle            0.73  0.78  0.81  0.86
    cosine with the nearest example            0.64  0.68  0.72  0.77
    Mahalanobis distance of the discriminant   0.66  0.71  0.75  0.78
    highest probability                        0.72  0.75  0.77  0.81

The threshold is the conformal one (Vovk et al. 2005): of inputs of the classes, drawn as the
examples were, at most the stated share falls below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, RealArray
from footwork.fewshot.examples import Examples, Folds
from footwork.fewshot.heads import products
from footwork.prompts.class_embeddings import unit_rows

_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How much an input is like what was taught."""

    middle: FloatArray  # (D,), the mean of the class means
    directions: FloatArray  # (C, D), from the middle to each class, unit rows
    leaning: tuple[float, float]
    """Mean and standard deviation over examples left out."""
    z_score: tuple[float, float]
    """The same of the best class name's z-score; (0, 0) where there are no words."""

    def scores(self, embeddings: RealArray, z_scores: DoubleArray | None) -> DoubleArray:
        """How familiar each of N unit rows is, (N,): 0 is usual for an example, less is stranger.

        Where no class has a second example nothing is known to be usual, and all are 0.
        `z_scores`, (N,), are of the best class name; None where there are no words.
        """
        leaning = _standardised(_leaning(embeddings, self.middle, self.directions), self.leaning)
        return leaning if z_scores is None else leaning + _standardised(z_scores, self.z_score)


def learn_familiarity(
    examples: Examples, folds: Folds, z_scores: DoubleArray | None
) -> tuple[Familiarity, DoubleArray]:
    """Learn it from at least two classes, leaving out rows of a fold together.

    Returns:
        And how familiar each example is to the others, (N,): NaN without another of its class.
    """
    leaning = np.full(len(examples), np.nan)
    sums = examples.class_means() * examples.counts[:, None]
    for fold in folds:
        rows, labels = examples.embeddings[fold], examples.labels[fold]
        counts = examples.counts - np.bincount(labels, minlength=examples.num_classes)
        known = counts > 0
        if known.sum() > 1:
            rest = sums.copy()
            np.subtract.at(rest, labels, rows.astype(np.float64))
            view = _view(rest[known] / counts[known, None])
            leaning[fold] = np.where(known[labels], _leaning(rows, *view), np.nan)
    judged = np.isfinite(leaning)
    words = (0.0, 0.0) if z_scores is None else _moments(z_scores[judged])
    view = _view(examples.class_means()[examples.counts > 0])
    learned = Familiarity(*view, _moments(leaning[judged]), words)
    scores = _standardised(leaning, learned.leaning)
    return learned, scores if z_scores is None else scores + _standardised(z_scores, words)


def familiarity_threshold(familiarities: DoubleArray, refused: float) -> float | None:
    """What is less familiar than this is none of the classes; None where no example is known.

    Of examples left out, (N,), NaN where unknown, the share `refused` may fall below. With fewer
    than 1 / `refused` the threshold is the strangest of them, and refuses 1 in N + 1.
    """
    known = np.sort(familiarities[np.isfinite(familiarities)])
    if not len(known):
        return None
    return float(known[max(1, int((len(known) + 1) * refused)) - 1])


def _view(means: DoubleArray) -> tuple[FloatArray, FloatArray]:
    middle = means.mean(axis=0)
    return middle.astype(np.float32), unit_rows(means - middle)


def _leaning(embeddings: RealArray, middle: FloatArray, directions: FloatArray) -> DoubleArray:
    """Highest cosine with a direction, seen from the middle, (N,)."""
    away = embeddings.astype(np.float64) - middle
    lengths = np.maximum(np.linalg.norm(away, axis=1), _SMALLEST_SPREAD)
    return products(away, directions).max(axis=1) / lengths


def _moments(values: DoubleArray) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (0.0, 0.0)


def _standardised(values: DoubleArray, moments: tuple[float, float]) -> DoubleArray:
    mean, spread = moments
    if spread < _SMALLEST_SPREAD:  # no examples tell what is usual
        return 0.0 * values
    return (values - mean) / spread
