"""Whether an image shows what was asked for, where results end, and whether there are any.

A cosine by itself says none of this. Everything here is measured against words that have nothing
to do with the query (`footwork.prompts.none_of_these`), as the model embeds them; it needs nothing
else, so an image is judged alike in a folder of one, of a thousand, or of pizzas only.

*Texts.* The vectors of texts have much in common that no image shows, and a text that says
something unusual lies farther from the others, so that every image agrees with it more or less
strongly. So the mean of the words is taken from a text, and what is left is made a unit vector,
its `direction`: images are ranked by their cosine with that, and relevance is how far this cosine
stands above the image's cosines with the words, treated alike, in their standard deviations.

*Images.* All photographs have much in common, too; what tells them apart for a viewer lies in the
directions in which words differ. The cosine is taken within the span of these.

Measured with real vectors of CLIP ViT-B/32 (prompts `a {}`): 125 photographs, 259 names of things
whose presence was judged by eye, 115 of them there (369 pairs), 122 not. Areas under the ROC curve
(pairs; is there any), mean average precision of the ranking, how often the first is right:

    cosine                                     0.877  0.787  0.555  0.565
    z-score of the text as it is               0.951  0.854
    the same of the cosine in the collection   0.846  0.633  0.555  0.565
    z-score of the direction, as here          0.955  0.897  0.813  0.843
    cosine with the direction (the search)     0.956  0.904  0.805  0.826
    its own z-score in the collection          0.947  0.778
    both z-scores, a quarter of the latter     0.957  0.893

A null that is drawn from the collection made everything worse: what is in many images raises it. At
the threshold of 2.8, 78 % of what is there is found at all (of main subjects, 93 %), 82 % of what
is not there answers "nothing" (0.3 hits each), 70 % of the hits are right, and 56 % of the right
images are hits. With 20 images at random 61 % and 94 %, precision 88 %. Pizzas stand at 4.9 to
5.8, all else below 1.4. Of `tiny`, the best thresholds for drawn shapes lie between 2.5 and 2.95.

Image to image, photographs of one main subject judged by eye (30 subjects):

    cosine                                     0.963  0.827  0.882
    z-score in the collection                  0.979  0.859
    cosine, collection's mean taken away       0.992  0.922
    within the span of the words, as here      0.989  0.951  0.929

At 0.6, 92 % find what is like them, 81 % of those without their like find nothing; 75 % of the
hits are right, and 72 % of the right ones are hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, RealArray
from footwork.prompts.none_of_these import reference_words, z_scores

RELEVANT = 0.5
"""Relevance at which results end."""
TEXT_THRESHOLD = 2.8
"""z-score at which relevance is 0.5: best harmonic mean of precision and recall. A logistic
regression of the pairs above, of which 1 in 85 fits, has 3.4 (bootstrap, 95 %: 2.4 to 3.7)."""
TEXT_SLOPE = 1.95
"""Of that regression; the 95 % interval is 1.7 to 3.2."""
IMAGE_THRESHOLD = 0.6
"""Cosine within the span; its regression has 0.63."""
IMAGE_SLOPE = 21.6

_VARIED = 0.95  # share of the words' variance that the span holds: 133 directions of 201
_SMALLEST = 1e-6


def reference_prompts(model_id: str) -> tuple[str, ...]:
    """R texts; their vectors, as `model_id` embeds them, are what everything is measured by."""
    return tuple(f"a {word}" for word in reference_words(model_id))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A term of a query, to be measured by; made by `Relevance.text` and `Relevance.image`."""

    kind: Literal["text", "image"]
    vector: DoubleArray
    """Shape (D,), of length 1, as the model gave it."""
    direction: DoubleArray
    """Shape (D,), of length 1: what is its own in it."""
    weight: float = 1.0
    """Against the query's other terms; above 0."""


class Relevance:
    """What terms of queries and images of an index are measured by.

    References are of shape (R, D), unit rows: the vectors of `reference_prompts`.
    """

    def __init__(self, references: RealArray) -> None:
        rows = references.astype(np.float64)
        self._middle = rows.mean(axis=0)
        self._words = _unit(rows - self._middle)

    @property
    def directions(self) -> FloatArray:
        """Shape (R, D), unit rows: what is searched by for each of the words, typical queries."""
        return self._words.astype(np.float32)

    def text(self, vector: RealArray, weight: float = 1.0) -> Evidence:
        """A term that says what to find; its vector of shape (D,), of length 1."""
        own = vector.astype(np.float64)
        return Evidence("text", own, _unit(own - self._middle), weight)

    def image(self, vector: RealArray, weight: float = 1.0) -> Evidence:
        """A term that shows what to find; its vector of shape (D,), of length 1."""
        own = vector.astype(np.float64)
        return Evidence("image", own, _unit(own @ self._span @ self._span.T), weight)

    def search_vector(self, terms: Sequence[Evidence], sample: RealArray) -> DoubleArray:
        """The one vector whose nearest images are those to be judged.

        Cosines of texts and of images live on two scales; each term counts by its weight and by
        how much its evidence grows with its cosine.

        Shape (D,), of length 1. For one text it is its direction, for one image its vector; then
        the sample, (S, D), unit rows of the collection, is not looked at.
        """
        if len(terms) == 1:
            return terms[0].direction if terms[0].kind == "text" else terms[0].vector
        weights = (term.weight * self._growth(term.kind, sample) for term in terms)
        parts = [weight * term.direction for weight, term in zip(weights, terms, strict=True)]
        return _unit(np.sum(parts, axis=0))

    def of(self, terms: Sequence[Evidence], vectors: RealArray) -> DoubleArray:
        """Estimated probability that an image is what is wanted: results end below 0.5.

        Of several terms it is the weighted geometric mean, so that none can stand in for another.
        Shape (K,), of K vectors, (K, D), unit rows.
        """
        weights = np.array([term.weight for term in terms])
        logits = np.stack([self._logits(term, vectors) for term in terms])
        shares = (weights / weights.sum())[:, None]
        return np.asarray(np.exp(-(shares * np.logaddexp(0, -logits)).sum(axis=0)))

    @cached_property
    def _span(self) -> DoubleArray:
        """Orthonormal columns, (D, S): the directions in which words differ."""
        _, sizes, directions = np.linalg.svd(self._words, full_matrices=False)
        held = np.cumsum(sizes**2) / max(float((sizes**2).sum()), _SMALLEST)
        return np.asarray(directions[: int(np.searchsorted(held, _VARIED)) + 1].T)

    def _logits(self, term: Evidence, vectors: RealArray) -> DoubleArray:
        if term.kind == "text":
            cosines = vectors @ term.direction
            above = z_scores(cosines[:, None], vectors @ self._words.T)[:, 0]
            return TEXT_SLOPE * (above - TEXT_THRESHOLD)
        likeness = _unit(vectors @ self._span) @ (term.direction @ self._span)
        return np.asarray(IMAGE_SLOPE * (likeness - IMAGE_THRESHOLD))

    def _growth(self, kind: str, sample: RealArray) -> float:
        """Of the logit with the cosine of a term's direction, for a usual image."""
        if len(sample) == 0:
            return 1.0
        if kind == "text":
            spread = float((sample @ self._words.T).std(axis=1).mean())
            return TEXT_SLOPE / max(spread, _SMALLEST)
        length = float(np.linalg.norm(sample @ self._span, axis=1).mean())
        return IMAGE_SLOPE / max(length, _SMALLEST)


def _unit(rows: RealArray) -> DoubleArray:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, _SMALLEST))
