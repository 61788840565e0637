"""How much the words say, how much the examples, and how sure the two are together.

The answer to an input is a softmax over `(share * words + (1 - share) * examples) / temperature`,
where `words` are the logits of zero-shot and `examples` the scores of the taught head, stretched to
the same spread. Share, temperature and the one setting of a method are chosen together, as those
under which the true classes of examples left out are likeliest (Wolpert 1992, Stacked
generalization, Neural Networks 5): likelihood says more than the count of hits where examples are
few, and makes probabilities mean what they say. Words that are not seen to be better than chance
are not heard. Of the others a prior says, where examples are very few, that they weigh as much as
an example and a half of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from footwork.arrays import BoolArray, DoubleArray, IntArray
from footwork.evaluation.logits import log_softmax

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
TEMPERATURES = tuple(float(2.0**power) for power in np.arange(4.0, -5.5, -0.5))

WORDS_WORTH = 1.5
"""Examples a class that words that are better than chance are taken to be worth. On real vectors
(125 photographs of CLIP ViT-B/32 in 6 and in 9 classes; news, bank queries and questions of a text
encoder) the best share was 0.6 to 0.85 with one example a class and 0.3 to 0.6 with two, but for
questions, whose class names say little: there 3 cost 1.8 points with two examples, 1 cost 0.7."""
_CHANCE, _ORDERS = 0.05, 999
"""Share of orders of the labels that may fit the words as well as the true one, and how many are
tried."""
_PRIOR_ROWS = 6.0
"""Examples left out that weigh as much as the prior on the share. 6 to 20 did equally well."""
_TEMPERATURE_SPREAD = 2.0  # standard deviation of the prior on the temperature, in powers of 2
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
    """Divides the sum: above 1 is less sure."""
    stretch: float
    """Multiplies the head's scores, so that they spread as the words' logits do."""

    def logits(self, words: DoubleArray | None, scores: DoubleArray) -> DoubleArray:
        """Add up zero-shot logits, if there are any, and scores of the head, all (N, C)."""
        examples = (1.0 - self.share) * self.stretch * scores
        summed = examples if words is None else self.share * words + examples
        return summed / self.temperature


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is known of N examples from classifiers that did not know them."""

    labels: IntArray  # (N,)
    words: DoubleArray | None  # (N, C), zero-shot logits
    scores: DoubleArray
    """Shape (S, N, C), for each setting; NaN for a class that was left without an example."""
    judged: BoolArray  # (N,), whether the class of a row kept an example when the row was left out
    folds: IntArray  # (N,): rows of one number were left out together
    groups: IntArray  # (N,): rows of one number are copies, which are one piece of evidence

    def filled(self) -> DoubleArray:
        """Scores with the row's mean for a class without an example: it says nothing of it."""
        known = np.isfinite(self.scores)
        sums = np.where(known, self.scores, 0.0).sum(axis=2, keepdims=True)
        means = sums / np.maximum(known.sum(axis=2, keepdims=True), 1)
        return np.where(known, self.scores, means)


def choose_blend(held_out: HeldOut, share: float | None = None) -> tuple[Blend, DoubleArray]:
    """Choose share, temperature and setting on examples left out.

    The words are heard only where they are seen to be better than chance, unless their `share` is
    given; 1 leaves them alone. Each example is also judged by the choice that the examples of the
    other folds make, so that the estimate does not profit from it.

    Returns:
        The choice of all examples, and the logits of each under the choice of the others, (N, C).
        An example alone of its class is judged by the words: nothing else knows the class then;
        its row is NaN where they are not heard.
    """
    scores, words = held_out.filled(), held_out.words
    shares: Sequence[float] = SHARES if share is None else (share,)
    if share is None and not held_out.judged.any():
        shares = SHARES[1:]  # nothing is left out that could tell whether words help
    if words is None or (share is None and not better_than_chance(words, held_out)):
        words, shares = None, (0.0,)
    stretches = _stretches(words, scores).tolist()
    blends = [
        Blend(setting, share, temperature, stretch)
        for share in shares
        for setting, stretch in enumerate(stretches)
        for temperature in TEMPERATURES
    ]
    per_class = len(np.unique(held_out.groups)) / scores.shape[2]
    priors = np.array([_log_prior(blend, per_class, free=len(shares) > 1) for blend in blends])
    rows = np.nonzero(held_out.judged)[0]
    rows = rows[np.sort(np.unique(held_out.groups[rows], return_index=True)[1])]
    if len(rows) > (most := max(_FIT_ROWS, _FIT_CELLS // scores.shape[2])):
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    likelihoods = np.stack([_log_likelihoods(blend, held_out, scores, rows) for blend in blends])
    best = _choose(blends, priors, likelihoods)
    logits = best.logits(words, scores[best.setting])
    for number in np.unique(held_out.folds[rows]):
        away = held_out.folds[rows] == number
        without = _choose(blends, priors, likelihoods[:, ~away])
        copies = np.isin(held_out.groups, held_out.groups[rows[away]])
        left_out = np.nonzero(copies & held_out.judged)[0]
        words_there = None if words is None else words[left_out]
        logits[left_out] = without.logits(words_there, scores[without.setting, left_out])
    alone = ~held_out.judged
    if share != 1.0 or words is None:
        logits[alone] = np.nan if words is None else words[alone]
    return best, logits


def better_than_chance(words: DoubleArray, held_out: HeldOut) -> bool:
    """Say whether examples show that the words know the classes: a permutation test.

    The true classes must have higher logits than the same labels in all but one in twenty other
    orders, and more examples must be right than by guessing. Very few examples can show nothing:
    three of as many classes have but 6 orders.
    """
    _, firsts = np.unique(held_out.groups, return_index=True)
    words, labels = words[firsts], held_out.labels[firsts]
    if (words.argmax(axis=1) == labels).mean() <= 1.0 / words.shape[1]:
        return False
    orders = np.random.default_rng(0).permuted(np.tile(labels, (_ORDERS, 1)), axis=1)
    others = words[np.arange(len(labels)), orders].sum(axis=1)
    own = float(words[np.arange(len(labels)), labels].sum())
    return float((others >= own - 1e-9 * abs(own)).mean()) <= _CHANCE


def _stretches(words: DoubleArray | None, scores: DoubleArray) -> DoubleArray:
    """One for each setting; 0 for scores that tell no class from another."""
    wanted = _ALONE_SPREAD if words is None else float(words.std(axis=1).mean())
    spreads = scores.std(axis=2).mean(axis=1)
    told = spreads > 1e-12
    return np.where(told, wanted / np.where(told, spreads, 1.0), 0.0)


def _choose(blends: Sequence[Blend], priors: DoubleArray, likelihoods: DoubleArray) -> Blend:
    """Take the first setting without words, unless others are better.

    Words are where they make the true classes likelier at all, since they are better than chance
    already; a setting by more than one standard error, the rule of Breiman et al. 1984,
    Classification and Regression Trees, section 3.4.3.
    """
    totals = likelihoods.sum(axis=1) + priors
    kinds = np.array([(blend.share > 0.0, blend.setting) for blend in blends])
    best, *others = (
        int(np.where((kinds == kind).all(axis=1), totals, -np.inf).argmax())
        for kind in np.unique(kinds, axis=0)
    )
    for other in others:
        gains = likelihoods[other] - likelihoods[best]
        total = float(gains.sum())
        variance = float((gains**2).sum()) - total**2 / max(1, len(gains))
        words_first = blends[other].share > 0.0 == blends[best].share
        if total > (0.0 if words_first else np.sqrt(max(0.0, variance))):
            best = other
    return blends[best]


def _log_prior(blend: Blend, per_class: float, *, free: bool) -> float:
    prior = -0.5 * (np.log2(blend.temperature) / _TEMPERATURE_SPREAD) ** 2
    if free and blend.share > 0.0:
        middle = WORDS_WORTH / (WORDS_WORTH + per_class)
        prior += _PRIOR_ROWS * middle * np.log(blend.share / middle)
        prior += _PRIOR_ROWS * (1.0 - middle) * np.log((1.0 - blend.share) / (1.0 - middle))
    return float(prior)


def _log_likelihoods(
    blend: Blend, held_out: HeldOut, scores: DoubleArray, rows: IntArray
) -> DoubleArray:
    words = None if held_out.words is None else held_out.words[rows]
    logits = blend.logits(words, scores[blend.setting, rows])
    return log_softmax(logits)[np.arange(len(rows)), held_out.labels[rows]]
