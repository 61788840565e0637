"""Metrics from counts and sums, in numpy alone.

Every metric here is a function of counts, so that one function gives the value and, fed with
resampled counts, its interval. What is undefined (a recall without a row of the class, a
correlation with a constant) is NaN inside this module and `None` where it leaves it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, DoubleArray, IntArray
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


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return asdict(self)

    def overlaps(self, other: Interval) -> bool:
        """Say whether the two intervals share a point."""
        return self.low <= other.high and other.low <= self.high


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> DoubleArray:
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
    """Count rows by true (first axis) and predicted (second axis) class.

    Args:
        targets: Shape (N,), class numbers.
        predictions: Shape (N,), class numbers.
        num_classes: C.

    Returns:
        Shape (C, C).
    """
    cells = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """What precision, recall and F1 need, shapes (..., C)."""

    hits: NDArray[Any]
    targets: NDArray[Any]
    predicted: NDArray[Any]

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


def class_counts(confusion: NDArray[Any]) -> ClassCounts:
    """Reduce a (C, C) confusion matrix to counts a class."""
    return ClassCounts(np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def single_label_scores(counts: ClassCounts) -> dict[str, DoubleArray]:
    """Score single-label predictions.

    Averages run over the classes that occur among the targets or (F1) the predictions, as
    scikit-learn's do.

    Args:
        counts: Shapes (..., C).

    Returns:
        `accuracy`, `macro_f1`, `balanced_accuracy` and `mcc` (Matthews correlation; NaN where
        targets or predictions are constant), shapes (...).
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


def centred_moments(targets: NDArray[Any], predictions: NDArray[Any]) -> DoubleArray:
    """Prepare the row values whose sums `regression_scores` needs.

    Both are centred first: sums of squares of large, close numbers lose their digits.

    Args:
        targets: Shape (N,).
        predictions: Shape (N,).

    Returns:
        Shape (N, 7): absolute error, squared error, t, p, t * t, p * p, t * p.
    """
    error = predictions.astype(np.float64) - targets
    t, p = (values - values.astype(np.float64).mean() for values in (targets, predictions))
    return np.stack((np.abs(error), error**2, t, p, t * t, p * p, t * p), axis=1)


def regression_scores(sums: DoubleArray, rows: int) -> dict[str, DoubleArray]:
    """Score a regression from the sums of `centred_moments` over its rows.

    Args:
        sums: Shape (..., 7).
        rows: N.

    Returns:
        `mae` and `rmse` in the target's unit, `r2` (NaN for constant targets), `pearson` (NaN
        where either is constant), shapes (...).
    """
    absolute, squared, t, p, tt, pp, tp = np.moveaxis(sums / rows, -1, 0)
    target_variance = _positive(tt - t * t, tt)
    spread = target_variance * _positive(pp - p * p, pp)
    return {
        "mae": absolute,
        "rmse": np.sqrt(squared),
        "r2": 1.0 - ratio(squared, target_variance),
        "pearson": ratio(tp - t * p, np.sqrt(spread)),
    }


def _positive(variance: DoubleArray, scale: DoubleArray) -> DoubleArray:
    """Clear what rounding leaves of a variance that is 0."""
    return np.where(variance > 1e-12 * scale, variance, 0.0)


def spearman(
    targets: NDArray[Any], predictions: NDArray[Any], weights: NDArray[Any]
) -> DoubleArray:
    """Correlate ranks, ties at their middle; a weight w counts a row w times.

    Args:
        targets: Shape (N,).
        predictions: Shape (N,).
        weights: Shape (N, R), whole numbers.

    Returns:
        Shape (R,); NaN where either is constant.
    """
    middle = (weights.sum(axis=0) + 1.0) / 2.0
    x, y = (_weighted_ranks(values, weights) - middle for values in (targets, predictions))
    xx, yy, xy = (np.einsum("nr,nr,nr->r", weights, a, b) for a, b in ((x, x), (y, y), (x, y)))
    return ratio(xy, np.sqrt(xx * yy))


def _weighted_ranks(values: NDArray[Any], weights: NDArray[Any]) -> DoubleArray:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    in_group = np.add.reduceat(weights[np.argsort(group, kind="stable")], starts, axis=0)
    middle = np.cumsum(in_group, axis=0, dtype=np.float64) - (in_group - 1.0) / 2.0
    ranks: DoubleArray = middle[group]
    return ranks


def average_precision(
    targets: BoolArray, scores: NDArray[Any], weights: NDArray[Any]
) -> DoubleArray:
    """Average the precision over the positives of one label, ties taken together.

    Args:
        targets: Shape (N,), True for the rows that carry the label.
        scores: Shape (N,), higher for more likely.
        weights: Shape (N, R), how often each row counts.

    Returns:
        Shape (R,); NaN without a positive row.
    """
    order = np.argsort(-scores, kind="stable")
    positives = np.nonzero(targets[order])[0]
    if not len(positives):
        return np.full(weights.shape[1], np.nan)
    falling = -scores[order]
    ends, first = np.unique(
        np.searchsorted(falling, falling[positives], side="right"), return_index=True
    )
    counted = weights[order[: ends[-1]]]
    segments = np.concatenate(([0], ends[:-1]))
    seen = np.cumsum(np.add.reduceat(counted, segments, axis=0), axis=0, dtype=np.float64)
    gained = np.add.reduceat(counted[positives], first, axis=0)
    found = np.cumsum(gained, axis=0, dtype=np.float64)
    precision = np.nan_to_num(ratio(found, seen))
    return ratio((precision * gained).sum(axis=0), found[-1])
