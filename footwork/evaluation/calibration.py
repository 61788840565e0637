"""Do probabilities mean what they say: temperature, error, when a label holds, when to abstain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from footwork.arrays import AnyArray, BoolArray, DoubleArray
from footwork.evaluation.logits import log_softmax, sigmoid

_SHARPEST, _FLATTEST = 0.01, 100.0  # bounds of a temperature
_FIT_CELLS = 500_000
"""Logits that a fit looks at: with more, a random part of the rows tells the same number."""
BINS = 15
FOLDS = 5
LIKELY = 0.5
"""Probability from which a label holds where nothing better is known (multi-label)."""
_THRESHOLDS = np.arange(1, 100) / 100  # what the threshold of a label may be
_BORROWED = 20.0
"""Positive rows of all labels together that count beside a label's own; see `fit_thresholds`."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The rows whose probability fell between `low` and `high`."""

    low: float
    high: float
    probability: float
    """Mean probability of the rows."""
    accuracy: float
    """Share of the rows that were right."""
    rows: int


@dataclass(frozen=True, slots=True)
class Abstention:
    """A threshold on the calibrated probability, and what it buys on the rows it is judged on."""

    threshold: float
    coverage: float
    """Share of the rows at or above the threshold."""
    accuracy: float | None
    """Share of those rows that were right; None where no row is at or above it."""
    target_accuracy: float | None
    """What the threshold was found for; None where it was given."""


@dataclass(frozen=True, slots=True)
class GivenCalibration:
    """A temperature, and thresholds, that were chosen on other rows."""

    temperature: float = 1.0
    abstain_below: float | None = None
    """Probability; None never abstains."""
    thresholds: tuple[float, ...] = ()
    """Probability from which each of C labels holds (multi-label); none are 0.5 for all."""

    def margins(self, logits: AnyArray) -> DoubleArray:
        """How far above its threshold each label is, in raw logits, (N, C): from 0 on it holds."""
        bars = np.array(self.thresholds or LIKELY)
        return logits - self.temperature * np.log(bars / (1 - bars))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities can be trusted, before and after division by the temperature."""

    temperature: float
    ece_before: float
    """Of the raw logits."""
    ece_after: float | None
    """Each row is judged with a temperature that was fitted without it: cross-fitted, or given."""
    bins_before: tuple[ReliabilityBin, ...]
    bins_after: tuple[ReliabilityBin, ...]
    abstention: Abstention | None
    thresholds: tuple[float, ...] = ()
    """Probability from which each label holds; none for a single label a row."""
    fitted: bool = True
    """Temperature and thresholds were chosen on these rows; else they were given."""

    @property
    def abstain_below(self) -> float | None:
        """The probability below which not to answer; None where no threshold can be trusted."""
        return self.abstention.threshold if self.abstention else None

    @property
    def given(self) -> GivenCalibration:
        """What other rows are to be judged with."""
        return GivenCalibration(self.temperature, self.abstain_below, self.thresholds)

    @property
    def note(self) -> str | None:
        """What a temperature says that the search for it ended at; None for any other."""
        if _SHARPEST < self.temperature < _FLATTEST:
            return None
        flat = "the classifier is hardly better than chance"
        sharp = "the logits hardly differ from row to row"
        why = flat if self.temperature >= _FLATTEST else sharp
        return f"the temperature is at the end of its search: {why}"

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "abstain_below": self.abstain_below, "note": self.note}


def fit_temperature(logits: AnyArray, targets: AnyArray) -> float:
    """Find the one number to divide logits by, so that probabilities are most likely.

    The negative log-likelihood is convex in 1 / temperature, so its slope crosses 0 once. Each
    target gives 1 / (N + 2) of its mass to the alternatives, as Platt scaling does, so that a split
    without an error does not ask for infinite confidence.

    Source: Guo et al. 2017, section 4.2 (arXiv:1706.04599); the smoothing from Platt 1999.

    Args:
        logits: Shape (N, C), finite.
        targets: Shape (N,), class numbers, for a softmax; shape (N, C), 0 or 1, for sigmoids.

    Returns:
        Between 0.01 and 100; 1 where no temperature is better than another.
    """
    from scipy.optimize import brentq

    if not logits.size:
        return 1.0
    most = max(1000, _FIT_CELLS // logits.shape[1])
    if len(logits) > most:
        chosen = np.random.default_rng(0).choice(len(logits), most, replace=False)
        logits, targets = logits[chosen], targets[chosen]
    logits, share = logits.astype(np.float64), 1.0 / (len(logits) + 2.0)
    centred = logits - logits.mean(axis=1, keepdims=True)
    # The spread of the smoothing has mean logit 0 after centring.
    of_targets = centred[np.arange(len(logits)), targets] if targets.ndim == 1 else None
    soft = targets.astype(np.float64) * (1.0 - 2.0 * share) + share

    def slope(inverse: float) -> float:
        """By 1 / temperature, increasing."""
        if of_targets is None:
            return float(((sigmoid(inverse * logits) - soft) * logits).mean())
        expected = (np.exp(log_softmax(inverse * centred)) * centred).sum(axis=1)
        return float(expected.mean() - (1.0 - share) * of_targets.mean())

    low, high = slope(1.0 / _FLATTEST), slope(1.0 / _SHARPEST)
    if low == high:
        return 1.0
    if low >= 0 or high <= 0:
        return _FLATTEST if low >= 0 else _SHARPEST
    ends = np.log((_SHARPEST, _FLATTEST))
    return float(np.exp(brentq(lambda log: slope(np.exp(-log)), *ends, xtol=1e-10)))


def fit_thresholds(probabilities: AnyArray, targets: AnyArray) -> tuple[float, ...]:
    """Find from which probability on each label is to be given: where its F1 is largest.

    Of calibrated probabilities and targets of 0 and 1, (N, C): C hundredths from 0.01 to 0.99; 0.5
    for all where no label holds in any row.

    The best threshold of a label with few positive rows is an accident of these rows, and that of a
    label with none is no number at all. So beside its own rows each label counts 20 positive ones
    of all labels together, with what is given and right among them: with none of its own it takes
    the threshold that all labels would share, with hundreds its own.

    Source: thresholds that maximise F1, Lipton et al. 2014 (arXiv:1402.1892).
    """
    holds = targets > 0.5
    positives, width = holds.sum(axis=0), holds.shape[1]
    if not positives.any():
        return (LIKELY,) * width
    passed = np.searchsorted(_THRESHOLDS, probabilities, side="right")
    cells, shape = (passed * width + np.arange(width)).ravel(), (len(_THRESHOLDS) + 1, width)
    given, right = (
        np.bincount(cells, weights, np.prod(shape)).reshape(shape)[::-1].cumsum(axis=0)[-2::-1]
        for weights in (None, holds.ravel())
    )  # at each threshold, (99, C)
    borrowed = _BORROWED / positives.sum()
    right = right + borrowed * right.sum(axis=1, keepdims=True)
    given = given + borrowed * given.sum(axis=1, keepdims=True)
    f1 = 2 * right / (given + positives + _BORROWED)
    return tuple(_THRESHOLDS[f1.argmax(axis=0)].tolist())


def cross_fitted_margins(logits: AnyArray, targets: AnyArray, temperature: float) -> DoubleArray:
    """`GivenCalibration.margins` of rows, (N, C), each by thresholds that were found without it."""
    margins = np.empty(logits.shape)
    for held in _folds(len(logits), seed=0):
        thresholds = fit_thresholds(sigmoid(logits[~held] / temperature), targets[~held])
        given = GivenCalibration(temperature, thresholds=thresholds)
        margins[held] = given.margins(logits[held])
    return margins


def reliability_bins(probabilities: AnyArray, hits: AnyArray) -> tuple[ReliabilityBin, ...]:
    """Sort rows by probability, and whether it was so, (N,), into 15 bins of equal width.

    Source: Guo et al. 2017, section 2 (arXiv:1706.04599).
    """
    index = np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1)
    rows = np.bincount(index, minlength=BINS)
    total = np.bincount(index, probabilities, minlength=BINS)
    right = np.bincount(index, hits, minlength=BINS)
    return tuple(
        ReliabilityBin(
            i / BINS,
            (i + 1) / BINS,
            probability=float(total[i] / rows[i]),
            accuracy=float(right[i] / rows[i]),
            rows=int(rows[i]),
        )
        for i in np.nonzero(rows)[0].tolist()
    )


def merged_bins(bins: Sequence[ReliabilityBin], least: int) -> list[ReliabilityBin]:
    """Put neighbouring bins together until each has `least` rows; few that are left join the last.

    To be drawn: the rate of three rows is noise that looks like a fault.
    """
    merged: list[ReliabilityBin] = []
    for each in bins:
        if merged and merged[-1].rows < least:
            each = _joined(merged.pop(), each)
        merged.append(each)
    if len(merged) > 1 and merged[-1].rows < least:
        last = merged.pop()
        merged.append(_joined(merged.pop(), last))
    return merged


def _joined(one: ReliabilityBin, other: ReliabilityBin) -> ReliabilityBin:
    rows = one.rows + other.rows
    probability = (one.probability * one.rows + other.probability * other.rows) / rows
    accuracy = (one.accuracy * one.rows + other.accuracy * other.rows) / rows
    return ReliabilityBin(one.low, other.high, probability, accuracy, rows)


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Average the gap between probability and accuracy over the rows.

    Source: Naeini et al. 2015 (AAAI), with the 15 equal-width bins of Guo et al. 2017
    (arXiv:1706.04599), so that figures compare with the literature's.
    """
    rows = sum(each.rows for each in bins)
    return sum(each.rows * abs(each.accuracy - each.probability) for each in bins) / rows


def abstention_threshold(
    probabilities: DoubleArray, hits: BoolArray, target_accuracy: float = 0.95, risk: float = 0.05
) -> Abstention | None:
    """Find the smallest probability at and above which predictions can be trusted.

    A threshold counts only if the exact (Clopper-Pearson) lower bound of the accuracy above it,
    at confidence 1 - `risk`, reaches the target: 59 rows without an error are the least that
    can show 95 %. Taking the point estimate instead would pick a threshold whose true accuracy
    is below the target about every second time; with the bound it was so in 5 % of 300
    simulated splits of 800 rows.

    Source: selective classification with guaranteed risk, Geifman and El-Yaniv 2017
    (arXiv:1705.08500), with the bound a threshold, not over all of them at once.

    Args:
        probabilities: Shape (N,), calibrated, of the predicted class.
        hits: Shape (N,), whether the prediction was right.
        target_accuracy: Share of the answered rows that should be right.
        risk: Probability, for one threshold, that its accuracy is below the target after all.

    Returns:
        None where no threshold qualifies. The threshold has four digits, rounded down, so that
        the same row is on the same side of it in float32.
    """
    from scipy.special import betaincinv

    floored = np.floor(probabilities * 1e4) / 1e4
    order = np.argsort(-floored, kind="stable")
    ends = np.append(np.nonzero(np.diff(floored[order]))[0], len(order) - 1)
    rows = ends + 1.0
    right = np.cumsum(hits[order])[ends].astype(np.float64)
    bounds = np.zeros(len(rows))
    some = right > 0
    bounds[some] = betaincinv(right[some], rows[some] - right[some] + 1.0, risk)
    trusted = np.nonzero(bounds >= target_accuracy)[0]
    if not len(trusted):
        return None
    last = trusted[-1]
    return Abstention(
        threshold=float(floored[order][ends[last]]),
        coverage=float(rows[last] / len(order)),
        accuracy=float(right[last] / rows[last]),
        target_accuracy=target_accuracy,
    )


def calibrate(logits: AnyArray, targets: AnyArray, seed: int = 0) -> Calibration:
    """Measure calibration, and mend it with one temperature; the seed decides the five folds.

    With a softmax the judged event is "the predicted class is right". With sigmoids it is "the
    label holds", over all rows and labels together, so the many easy negatives weigh most; each
    label gets a threshold, and no abstention is offered. Shapes as for `fit_temperature`, with at
    least one row.
    """
    rows, temperature = len(logits), fit_temperature(logits, targets)
    before = reliability_bins(*_events(logits, targets))
    after: tuple[ReliabilityBin, ...] = ()
    if rows > 1:
        judged = []
        for held in _folds(rows, seed):
            divisor = fit_temperature(logits[~held], targets[~held])
            judged.append(_events(logits[held] / divisor, targets[held]))
        after = reliability_bins(*map(np.concatenate, zip(*judged, strict=True)))
    single, scaled = targets.ndim == 1, logits / temperature
    return Calibration(
        temperature=temperature,
        ece_before=expected_calibration_error(before),
        ece_after=expected_calibration_error(after) if after else None,
        bins_before=before,
        bins_after=after,
        abstention=abstention_threshold(*_events(scaled, targets)) if single else None,
        thresholds=() if single else fit_thresholds(sigmoid(scaled), targets),
    )


def judge_calibration(logits: AnyArray, targets: AnyArray, given: GivenCalibration) -> Calibration:
    """Measure what a temperature and thresholds from elsewhere are worth; fits nothing.

    Shapes as for `calibrate`, of raw logits. With sigmoids a row is right if its whole set of
    labels is.
    """
    scaled = logits / given.temperature
    before, after = (reliability_bins(*_events(each, targets)) for each in (logits, scaled))
    abstention = None
    if given.abstain_below is not None:
        if targets.ndim == 1:
            top, right = _events(scaled, targets)
        else:
            top = sigmoid(scaled).max(axis=1)
            right = ((given.margins(logits) >= 0) == (targets > 0.5)).all(axis=1)
        kept = top >= given.abstain_below
        accuracy = float(right[kept].mean()) if kept.any() else None
        abstention = Abstention(given.abstain_below, float(kept.mean()), accuracy, None)
    return Calibration(
        temperature=given.temperature,
        ece_before=expected_calibration_error(before),
        ece_after=expected_calibration_error(after),
        bins_before=before,
        bins_after=after,
        abstention=abstention,
        thresholds=() if targets.ndim == 1 else given.thresholds or (LIKELY,) * targets.shape[1],
        fitted=False,
    )


def _folds(rows: int, seed: int) -> Iterator[BoolArray]:
    """Which of the rows, (N,), are held out, one fold after the other."""
    folds = np.random.default_rng(seed).permutation(rows) % min(FOLDS, rows)
    return (folds == fold for fold in range(folds.max() + 1))


def _events(logits: AnyArray, targets: AnyArray) -> tuple[DoubleArray, BoolArray]:
    """Flatten into probabilities and whether what they speak of was so."""
    if targets.ndim == 2:
        return sigmoid(logits).ravel(), (targets > 0.5).ravel()
    return np.exp(log_softmax(logits).max(axis=1)), logits.argmax(axis=1) == targets
