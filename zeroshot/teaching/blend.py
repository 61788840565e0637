"""How much the words say, how much the examples, and how sure the two are together.

The answer to an image is a softmax over `temperature * (share * words + (1 - share) * examples)`,
where `words` are the logits of zero-shot and `examples` the scores of the taught head, stretched to
the same spread. Share, temperature and the one setting of a method are chosen together, as those
under which the true classes of examples left out are likeliest (Wolpert 1992, Stacked
generalization, Neural Networks 5): likelihood says more than the count of hits where examples are
few, and makes probabilities mean what they say. A prior decides where there are very few: the
words weigh as much as three examples a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.logits import FloatArray, log_softmax

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
TEMPERATURES = tuple(float(2.0**power) for power in np.arange(-4.0, 5.5, 0.5))

WORDS_WORTH = 3.0
"""Examples a class that the words are taken to be worth. On real vectors (125 photographs of CLIP
ViT-B/32 in 6 and in 9 classes; news, bank queries and questions of a text encoder) the best share
was 0.6 to 0.85 with one example a class and 0.3 to 0.6 with two, but for questions, whose class
names say little."""
_PRIOR_ROWS = 10.0
"""Examples left out that weigh as much as the prior on the share. 6 to 20 did equally well."""
_TEMPERATURE_SPREAD = 2.0
"""Standard deviation of the prior on the temperature, in powers of 2."""
_ALONE_SPREAD = 3.0
"""Standard deviation of the scores of a row, in logits, where there are no words to compare."""
_FIT_ROWS, _FIT_CELLS = 500, 50_000
"""Examples, at least, and logits that a choice looks at: with more, a random part of the examples
tells the same."""


@dataclass(frozen=True, slots=True)
class Blend:
    """One way to add up words and examples."""

    setting: int
    """Number of the method's setting."""
    share: float
    """Of the words, 0 to 1."""
    temperature: float
    """Multiplies the sum: above 1 is surer. Where textclf divides, this multiplies."""
    stretch: float
    """Multiplies the head's scores, so that they spread as the words' logits do."""

    def logits(self, words: FloatArray | None, scores: FloatArray) -> FloatArray:
        """Add up.

        Args:
            words: Shape (N, C), zero-shot logits; None where there are none.
            scores: Shape (N, C), of the head.

        Returns:
            Shape (N, C).
        """
        examples = (1.0 - self.share) * self.stretch * scores
        summed = examples if words is None else self.share * words + examples
        return self.temperature * summed


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is known of N examples from classifiers that did not know them."""

    labels: NDArray[np.int64]
    """Shape (N,)."""
    words: FloatArray | None
    """Shape (N, C), zero-shot logits."""
    scores: FloatArray
    """Shape (S, N, C), for each setting; NaN for a class that was left without an example."""
    judged: NDArray[np.bool_]
    """Shape (N,), whether the class of a row kept an example when the row was left out."""
    pictures: NDArray[np.int64]
    """Shape (N,): rows of one number are left out together."""

    def filled(self) -> FloatArray:
        """Scores with the row's mean for a class without an example: it says nothing of it."""
        known = np.isfinite(self.scores)
        sums = np.where(known, self.scores, 0.0).sum(axis=2, keepdims=True)
        means = sums / np.maximum(known.sum(axis=2, keepdims=True), 1)
        return np.where(known, self.scores, means)


def choose_blend(held_out: HeldOut, share: float | None = None) -> tuple[Blend, FloatArray]:
    """Choose share, temperature and setting on examples left out.

    Each example is also judged by the choice that the others make without it, so that the estimate
    does not profit from the choice.

    Args:
        held_out: N examples.
        share: Of the words, where it is given. 1 leaves the words alone.

    Returns:
        The choice of all examples, and the logits of each under the choice of the others, (N, C).
        An example alone of its class is judged by the words: nothing else knows the class then;
        its row is NaN where there are none.
    """
    scores, words = held_out.filled(), held_out.words
    stretches = _stretches(words, scores)
    if words is None:
        share = 0.0
    cells = list(_cells(stretches, share))
    per_class = len(held_out.labels) / scores.shape[2]
    priors = np.array([_log_prior(blend, per_class, free=share is None) for blend in cells])
    rows = _looked_at(held_out)
    likelihoods = np.stack([_log_likelihoods(blend, held_out, scores, rows) for blend in cells])
    totals = likelihoods.sum(axis=1) + priors
    best = cells[int(totals.argmax())]
    logits = best.logits(words, scores[best.setting])
    for number in np.unique(held_out.pictures[rows]):
        away = held_out.pictures[rows] == number
        without = cells[int((totals - likelihoods[:, away].sum(axis=1)).argmax())]
        one = rows[away]
        known = None if words is None else words[one]
        logits[one] = without.logits(known, scores[without.setting, one])
    alone = ~held_out.judged
    if not (share == 1.0 and words is not None):
        logits[alone] = np.nan if words is None else words[alone]
    return best, logits


def _stretches(words: FloatArray | None, scores: FloatArray) -> FloatArray:
    """One for each setting; 0 for scores that tell no class from another."""
    wanted = _ALONE_SPREAD if words is None else float(words.std(axis=1).mean())
    spreads = scores.std(axis=2).mean(axis=1)
    told = spreads > 1e-12
    return np.where(told, wanted / np.where(told, spreads, 1.0), 0.0)


def _cells(stretches: FloatArray, share: float | None) -> Iterator[Blend]:
    for setting, stretch in enumerate(stretches.tolist()):
        for one in SHARES if share is None else (share,):
            for temperature in TEMPERATURES:
                yield Blend(setting, one, temperature, stretch)


def _log_prior(blend: Blend, per_class: float, *, free: bool) -> float:
    found = -0.5 * (np.log2(blend.temperature) / _TEMPERATURE_SPREAD) ** 2
    if free:
        middle = WORDS_WORTH / (WORDS_WORTH + per_class)
        found += _PRIOR_ROWS * middle * np.log(blend.share / middle)
        found += _PRIOR_ROWS * (1.0 - middle) * np.log((1.0 - blend.share) / (1.0 - middle))
    return float(found)


def _looked_at(held_out: HeldOut) -> NDArray[np.int64]:
    rows = np.nonzero(held_out.judged)[0]
    most = max(_FIT_ROWS, _FIT_CELLS // held_out.scores.shape[2])
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _log_likelihoods(
    blend: Blend, held_out: HeldOut, scores: FloatArray, rows: NDArray[np.int64]
) -> FloatArray:
    words = None if held_out.words is None else held_out.words[rows]
    logits = blend.logits(words, scores[blend.setting, rows])
    found: FloatArray = log_softmax(logits)[np.arange(len(rows)), held_out.labels[rows]]
    return found
