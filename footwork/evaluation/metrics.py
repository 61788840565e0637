"""Metrics from counts and sums, and how much they could have been others on other rows.

Every metric here is a function of counts, so that one function gives the value and, fed with
resampled counts, its interval. What is undefined (a recall without a row of the class, a
correlation with a constant) is NaN inside this module and `None` where it leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from footwork.arrays import AnyArray, BoolArray, DoubleArray, IntArray
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL

METRICS: dict[str, tuple[str, ...]] = {
    SINGLE_LABEL: ("accuracy", "macro_f1", "balanced_accuracy", "mcc", "log_loss", "loss"),
    MULTI_LABEL: ("micro_f1", "macro_f1", "accuracy", "mean_average_precision", "loss"),
    REGRESSION: ("mae", "rmse", "r2", "pearson", "spearman", "loss"),
}
"""By task, what a checkpoint may be chosen by."""
PRIMARY_METRIC: dict[str, str] = {
    SINGLE_LABEL: "accuracy",
    MULTI_LABEL: "micro_f1",
    REGRESSION: "mae",
}
"""By task, what comparisons go by."""
RARE = 4
"""A class is rare that has less than its even share divided by this."""
RESAMPLES = 1000
"""Bootstrap resamples of an interval."""

_CHUNK_CELLS = 4_000_000  # numbers held at once while resampling: 32 MB as float64
_PAIRED_CELLS = 200_000_000  # rows times resamples of a paired comparison: some seconds a method


def telling_metric(task: str, counts: Iterable[int]) -> str:
    """The metric that tells good from bad: accuracy hardly sees a class that is rare.

    `counts` are the rows of each class, for a single label a row; a class without any is passed
    over.
    """
    known = [count for count in counts if count]
    if task == SINGLE_LABEL and known and min(known) * len(known) * RARE < sum(known):
        return "macro_f1"
    return PRIMARY_METRIC[task]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The three numbers by name."""
        return asdict(self)

    def overlaps(self, other: Interval) -> bool:
        """Whether they share a point."""
        return self.low <= other.high and other.low <= self.high


def ratio(numerator: AnyArray, denominator: AnyArray) -> DoubleArray:
    """Divide, with NaN and without a warning where the denominator is not above 0."""
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    result: DoubleArray = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom > 0)
    return result


def mean_defined(values: DoubleArray) -> DoubleArray:
    """Average the last axis over what is not NaN; NaN where nothing is left."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def confusion_counts(targets: IntArray, predictions: IntArray, num_classes: int) -> IntArray:
    """Count rows of class numbers, (N,) each, by true and predicted class: (C, C)."""
    cells = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """What precision, recall and F1 need, shapes (..., C)."""

    hits: AnyArray
    targets: AnyArray
    predicted: AnyArray

    @property
    def precision(self) -> DoubleArray:
        """Share of the predicted that is right; NaN for a class never predicted."""
        return ratio(self.hits, self.predicted)

    @property
    def recall(self) -> DoubleArray:
        """Share of the true that is found; NaN for a class without a row."""
        return ratio(self.hits, self.targets)

    @property
    def f1(self) -> DoubleArray:
        """Harmonic mean of the two; NaN for a class neither present nor predicted."""
        return ratio(2.0 * self.hits, self.targets + self.predicted)


def class_counts(confusion: AnyArray) -> ClassCounts:
    """Reduce a (C, C) confusion matrix to counts a class."""
    return ClassCounts(np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def single_label_scores(counts: ClassCounts) -> dict[str, DoubleArray]:
    """`accuracy`, `macro_f1`, `balanced_accuracy` and `mcc`, shapes (...), of counts (..., C).

    Averages run over the classes that occur among the targets or (F1) the predictions, as
    scikit-learn's do. Matthews correlation is NaN where targets or predictions are constant.
    """
    rows = counts.targets.sum(axis=-1).astype(np.float64)
    hits = counts.hits.sum(axis=-1).astype(np.float64)
    target_share = counts.targets / rows[..., None]
    predicted_share = counts.predicted / rows[..., None]
    agreement = hits / rows - (target_share * predicted_share).sum(axis=-1)
    spread = (1.0 - (target_share**2).sum(axis=-1)) * (1.0 - (predicted_share**2).sum(axis=-1))
    spread = np.where(spread > 1e-12, spread, 0.0)
    return {
        "accuracy": hits / rows,
        "macro_f1": mean_defined(counts.f1),
        "balanced_accuracy": mean_defined(counts.recall),
        "mcc": ratio(agreement, np.sqrt(spread)),
    }


def multi_label_scores(counts: ClassCounts) -> dict[str, DoubleArray]:
    """Score multi-label decisions: `micro_f1` over all, `macro_f1` over the labels that occur."""
    total = ClassCounts(
        *(part.sum(axis=-1) for part in (counts.hits, counts.targets, counts.predicted))
    )
    return {"micro_f1": total.f1, "macro_f1": mean_defined(counts.f1)}


def centred_moments(targets: AnyArray, predictions: AnyArray) -> DoubleArray:
    """What `regression_scores` needs sums of, (N, 7): |error|, error², t, p, t * t, p * p, t * p.

    Both are centred first: sums of squares of large, close numbers lose their digits.
    """
    error = predictions.astype(np.float64) - targets
    t, p = (values - values.astype(np.float64).mean() for values in (targets, predictions))
    return np.stack((np.abs(error), error**2, t, p, t * t, p * p, t * p), axis=1)


def regression_scores(sums: DoubleArray, rows: int) -> dict[str, DoubleArray]:
    """Score a regression from the sums of `centred_moments`, (..., 7), over its rows.

    `mae` and `rmse` are in the target's unit; `r2` is NaN for constant targets, `pearson` where
    either is constant.
    """
    absolute, squared, t, p, tt, pp, tp = np.moveaxis(sums / rows, -1, 0)
    # What rounding leaves of a variance that is 0 is cleared.
    target_variance, variance = (
        np.where(squares - mean * mean > 1e-12 * squares, squares - mean * mean, 0.0)
        for squares, mean in ((tt, t), (pp, p))
    )
    spread = target_variance * variance
    return {
        "mae": absolute,
        "rmse": np.sqrt(squared),
        "r2": 1.0 - ratio(squared, target_variance),
        "pearson": ratio(tp - t * p, np.sqrt(spread)),
    }


def spearman(targets: AnyArray, predictions: AnyArray, weights: AnyArray) -> DoubleArray:
    """Correlate ranks, (N,), ties at their middle; a weight w, of (N, R), counts a row w times.

    Shape (R,); NaN where either is constant.
    """
    centred = []
    for values in (targets, predictions):
        _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        in_group = np.add.reduceat(weights[np.argsort(group, kind="stable")], starts, axis=0)
        ranks = np.cumsum(in_group, axis=0, dtype=np.float64) - (in_group - 1.0) / 2.0
        centred.append(ranks[group] - (weights.sum(axis=0) + 1.0) / 2.0)
    x, y = centred
    xx, yy, xy = (np.einsum("nr,nr,nr->r", weights, a, b) for a, b in ((x, x), (y, y), (x, y)))
    return ratio(xy, np.sqrt(xx * yy))


def places_among(targets: BoolArray, scores: AnyArray) -> IntArray:
    """Rank the rows of one label, (N,), by its distinct scores of positives, from the highest.

    A row that scores as a positive, or above it and below the next, has its place; one that scores
    below them all has the place after the last.
    """
    return np.searchsorted(np.unique(-scores[targets]), -scores)


def average_precision(targets: BoolArray, places: IntArray, weights: AnyArray) -> DoubleArray:
    """Average the precision over the positives of one label, ties taken together.

    Of targets and `places_among`, (N,), and how often each row counts, (N, R): shape (R,), NaN
    without a positive row.
    """
    hits = places[targets]
    size, precisions = int(hits.max(initial=-1)) + 1, np.full(weights.shape[1], np.nan)
    for resample, often in enumerate(weights.T if size else ()):
        seen = np.bincount(places, often, size + 1)[:size].cumsum()
        gained = np.bincount(hits, often[targets], size)
        found = gained.cumsum()
        if found[-1]:
            precisions[resample] = (found / np.maximum(seen, 1) * gained).sum() / found[-1]
    return precisions


# Intervals


def percentile_interval(
    value: float, samples: DoubleArray, confidence: float = 0.95
) -> Interval | None:
    """Put the percentile bootstrap interval around a value; None where it is undefined, NaN.

    Samples, (R,), in which the metric is undefined are left out. The interval is widened to hold
    the value, which a skewed metric on few rows can otherwise leave.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if not np.isfinite(value):
        return None
    defined = samples[np.isfinite(samples)]
    if not len(defined):
        return Interval(float(value), float(value), float(value))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, (tail, 1.0 - tail))
    return Interval(float(value), float(min(low, value)), float(max(high, value)))


def wilson_interval(hits: float, rows: int, z: float = 1.96) -> Interval:
    """Bound a proportion, also at 0 and 1, where a bootstrap interval has no width.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    share, square = hits / rows, z * z / rows
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * float(np.sqrt(share * (1 - share) / rows + square / (4 * rows)))
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def share_interval(hits: int, rows: int, samples: DoubleArray) -> Interval:
    """The bootstrap's interval of a share; Wilson's where all rows count, or none: no spread."""
    drawn = percentile_interval(hits / rows, samples) if 0 < hits < rows else None
    return drawn or wilson_interval(hits, rows)


def bootstrap_class_counts(confusion: IntArray, generator: np.random.Generator) -> ClassCounts:
    """Resample the rows behind a confusion matrix, (C, C), which has one at least: shapes (R, C).

    Drawing N rows with replacement draws the cells from a multinomial: exact, and independent
    of N in time.
    """
    num_classes = len(confusion)
    true, predicted = np.nonzero(confusion)
    cells = confusion[true, predicted]
    rows, shares = int(cells.sum()), cells / cells.sum()
    diagonal = true == predicted
    sums = np.zeros((3, RESAMPLES, num_classes))
    for index in range(RESAMPLES):
        drawn = generator.multinomial(rows, shares)
        sums[0, index] = np.bincount(true, drawn * diagonal, minlength=num_classes)
        sums[1, index] = np.bincount(true, drawn, minlength=num_classes)
        sums[2, index] = np.bincount(predicted, drawn, minlength=num_classes)
    return ClassCounts(sums[0], sums[1], sums[2])


def row_weights(
    rows: int, generator: np.random.Generator, resamples: int = RESAMPLES, width: int = 1
) -> Iterator[DoubleArray]:
    """Draw how often each row is in each resample, in chunks (r, N) that fit in memory.

    The caller will hold `width` numbers for each row of each resample. Each line sums to N, the r
    to R.
    """
    chunk = max(1, min(resamples, _CHUNK_CELLS // (rows * width)))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(0, rows, (size, rows), dtype=np.uint32).astype(np.int64)
        drawn += np.arange(size)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(float)


def bootstrap_sums(
    values: AnyArray, generator: np.random.Generator, resamples: int = RESAMPLES
) -> DoubleArray:
    """Resample rows, (N, K), and add them up: (R, K)."""
    table = values.astype(np.float64)
    chunks = row_weights(len(table), generator, resamples)
    return np.concatenate([weights @ table for weights in chunks])


@dataclass(frozen=True, slots=True)
class PooledMetric:
    """A metric of several runs on the same rows: its mean over them, and that of resamples."""

    value: float
    rows: int
    samples: DoubleArray  # (R,); the rows of a resample are the same for all that are compared

    @classmethod
    def of(cls, summands: Sequence[AnyArray]) -> PooledMetric:
        """The mean of ratios of sums, of each run's summands (N, 2): numerator, denominator."""
        table = np.concatenate(summands, axis=1, dtype=np.float64)
        rows = len(table)
        # The ends of an interval lie further out the more comparisons there are.
        resamples = int(np.clip(_PAIRED_CELLS // rows, RESAMPLES, 4 * RESAMPLES))
        sums = bootstrap_sums(table, np.random.default_rng(0), resamples)
        whole = table.sum(axis=0)
        values, drawn = (ratio(each[..., ::2], each[..., 1::2]) for each in (whole, sums))
        return cls(float(values.mean()), rows, drawn.mean(axis=-1))

    def interval(self, *, is_share: bool) -> Interval | None:
        """Where it would lie on other rows; None where it is undefined.

        Of a share of the rows Wilson's, where all of them count, or none.
        """
        if is_share and self.value in (0.0, 1.0):
            return wilson_interval(self.value * self.rows, self.rows)
        return percentile_interval(self.value, self.samples)

    def minus(self, other: PooledMetric, comparisons: int = 1) -> Interval | None:
        """How it differs from another on the same rows: a paired bootstrap.

        Comparisons that are looked at together share the 5 % of error (Bonferroni).
        """
        difference, samples = self.value - other.value, self.samples - other.samples
        return percentile_interval(difference, samples, 1.0 - 0.05 / comparisons)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How the accuracy of one classifier differs from that of another on the same rows."""

    interval: Interval
    """Accuracy minus the other's; of several comparisons all intervals hold together at 95 %."""
    won: int
    """Rows that only this one has right."""
    lost: int
    """Rows that only the other one has right."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves no room for 0."""
        return self.interval.low > 0 or self.interval.high < 0

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "clear": self.clear}


def paired_difference(
    hits: BoolArray, other_hits: BoolArray, generator: np.random.Generator, comparisons: int = 1
) -> PairedDifference:
    """Resample rows, each with whether it was right by both classifiers, (N,) each, N at least 1.

    Only three counts matter (won, lost, alike), so the resamples are drawn from a multinomial:
    exact, and independent of N in time. Comparisons that are looked at together share the 5 % of
    error (Bonferroni). Of classifiers equally good, 0 to 6 % were called different (1,500 simulated
    pairs for each of 20, 67, 150 and 1,000 rows, of which they answered 2 to 30 % differently).
    """
    rows = len(hits)
    won, lost = int((hits & ~other_hits).sum()), int((~hits & other_hits).sum())
    if not won + lost:  # nothing to resample, but rows that differ may be rare
        most = wilson_interval(0, rows).high
        return PairedDifference(Interval(0.0, -most, most), won, lost)
    shares = np.array([won, lost, rows - won - lost]) / rows
    # The ends lie further out the more comparisons there are.
    drawn = generator.multinomial(rows, shares, 10 * RESAMPLES * comparisons)
    samples = (drawn[:, 0] - drawn[:, 1]) / rows
    interval = percentile_interval((won - lost) / rows, samples, 1.0 - 0.05 / comparisons)
    assert interval is not None
    return PairedDifference(interval, won, lost)
