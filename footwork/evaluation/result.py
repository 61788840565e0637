"""How good a classifier is on a split: figures with intervals, a class at a time, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, DoubleArray, IntArray
from footwork.errors import DataError, ModelError
from footwork.evaluation.calibration import (
    Calibration,
    GivenCalibration,
    calibrate,
    judge_calibration,
)
from footwork.evaluation.intervals import (
    RESAMPLES,
    bootstrap_class_counts,
    bootstrap_sums,
    percentile_interval,
    row_weights,
    share_interval,
)
from footwork.evaluation.logits import log_softmax
from footwork.evaluation.metrics import (
    METRICS,
    PRIMARY_METRIC,
    ClassCounts,
    Interval,
    average_precision,
    centred_moments,
    class_counts,
    confusion_counts,
    mean_defined,
    multi_label_scores,
    regression_scores,
    single_label_scores,
    spearman,
)
from footwork.files.faults import shortened
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TASKS

Scores = dict[str, Interval | None]
"""By metric; None where it is undefined."""

_FEW_ROWS = 100
_RANKED_CELLS = 50_000_000
"""Sorted numbers that an interval by re-ranking may touch: about 2 seconds."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class among the others; None where no row or no prediction defines the figure."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    """Rows that carry the label."""
    predicted: int
    """Rows that were given the label."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """What one split says of one classifier."""

    task: str
    labels: tuple[str, ...]
    rows: int
    metrics: dict[str, Interval]
    """Each with its 95 % bootstrap interval; undefined ones are absent, and `notes` says so. All
    are of the raw logits, `log_loss` too: a model and its baselines are compared before any
    temperature."""
    per_class: tuple[ClassScore, ...] = ()
    confusion: IntArray | None = None
    """Shape (C, C), true by predicted; single-label only."""
    calibration: Calibration | None = None
    """None for a regression."""
    noun: str = "rows"
    """What was judged."""
    remarks: tuple[str, ...] = ()
    """What the figures do not tell of themselves, one sentence each."""

    @property
    def primary_metric(self) -> str:
        """The figure that comparisons go by: accuracy, micro-F1 or mean absolute error."""
        return PRIMARY_METRIC[self.task]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know: few rows, classes without one, what is undefined."""
        notes = []
        if self.rows < _FEW_ROWS:
            notes.append(
                f"Only {self.rows} {self.noun}: every figure is rough, and so are the intervals."
            )
        accuracy = self.metrics.get("accuracy")
        if accuracy and accuracy.value in (0.0, 1.0):
            which = "right" if accuracy.value else "wrong"
            notes.append(
                f"All {self.noun} are {which}, so there is nothing to resample: the interval of "
                "the accuracy is Wilson's."
            )
        empty = [score.label for score in self.per_class if not score.support]
        if empty:
            notes.append(
                f"No row of {len(empty)} of {len(self.labels)} classes ({shortened(empty, 5)}): "
                "not judged."
            )
        undefined = [n for n in METRICS[self.task] if n not in self.metrics and n != "loss"]
        if undefined:
            notes.append(
                f"Undefined on this split, and left out: {', '.join(undefined)} (targets or "
                "predictions do not vary, or no label occurs)."
            )
        return (*notes, *self.remarks)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, without NaN."""
        return {
            "task": self.task,
            "labels": list(self.labels),
            "rows": self.rows,
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "per_class": [asdict(score) for score in self.per_class],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Lay it out for a terminal of 100 columns."""
        from footwork.evaluation.text import evaluation_text

        return evaluation_text(self)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a table or a folder says of a classifier that is trained already."""

    evaluation: Evaluation
    """Its calibration is the classifier's own, judged on these rows; nothing is fitted on them."""
    notes: tuple[str, ...]
    skipped: tuple[Any, ...]
    """Rows or images that were left out, with a reason each."""


def evaluate_logits(
    task: str,
    labels: tuple[str, ...],
    targets: NDArray[Any],
    logits: NDArray[Any],
    seed: int = 0,
    given: GivenCalibration | None = None,
) -> Evaluation:
    """Judge predictions on the rows of one split.

    Single label: `accuracy`, `macro_f1`, `balanced_accuracy`, `mcc`, `log_loss` (natural
    logarithm, before any temperature). Multi-label, a label being given at a probability of 0.5
    or more: `micro_f1`, `macro_f1`, `accuracy` (the whole set right) and
    `mean_average_precision` (over the labels that occur). Regression: `mae`, `rmse`, `r2`,
    `pearson`, `spearman`.

    Args:
        task: As transformers' `problem_type`.
        labels: C names; none for a regression.
        targets: Shape (N,) class numbers, (N, C) of 0 and 1, or (N,) numbers.
        logits: Raw, shape (N, C); (N, 1) or (N,) for a regression.
        seed: Decides resamples and folds; nothing else is random.
        given: Temperature and threshold of the model, to be judged; None finds both on these
            rows, which is right only where they are to be used on others.

    Raises:
        DataError: There is no row.
        ModelError: A logit is NaN or infinite.
    """
    logits = _checked(task, len(labels), targets, logits)
    if task == REGRESSION:
        return _regression(np.asarray(targets, dtype=np.float64).ravel(), logits[:, 0], seed)
    single = task == SINGLE_LABEL
    targets = np.asarray(targets, np.int64 if single else np.float64)
    calibration = (
        calibrate(logits, targets, seed)
        if given is None
        else judge_calibration(logits, targets, given)
    )
    if single:
        confusion = confusion_counts(targets, logits.argmax(axis=1), len(labels))
        counts, scores = _single_label(targets, logits, confusion, seed)
    else:
        confusion = None
        counts, scores = _multi_label(targets > 0.5, logits, seed)
    return Evaluation(
        task=task,
        labels=labels,
        rows=len(logits),
        metrics=_defined(scores),
        per_class=_class_scores(labels, counts),
        confusion=confusion,
        calibration=calibration,
    )


def quick_metrics(task: str, targets: NDArray[Any], logits: NDArray[Any]) -> dict[str, float]:
    """Give the values of `evaluate_logits` without intervals, for use while training.

    Args:
        task: As transformers' `problem_type`.
        targets: As for `evaluate_logits`.
        logits: As for `evaluate_logits`.

    Returns:
        By the names of `METRICS`, `loss` being the mean cross-entropy, binary cross-entropy or
        squared error. What is undefined is 0: a checkpoint has to be chosen all the same.

    Raises:
        DataError: There is no row.
        ModelError: A logit is NaN or infinite.
    """
    width = 0 if task == REGRESSION else np.shape(logits)[-1]
    logits = _checked(task, width, targets, logits)
    if task == SINGLE_LABEL:
        confusion = confusion_counts(targets, logits.argmax(axis=1), width)
        scores = single_label_scores(class_counts(confusion))
        scores["log_loss"] = scores["loss"] = _cross_entropies(targets, logits).mean()
    elif task == MULTI_LABEL:
        wanted = np.asarray(targets) > 0.5
        values = _decisions(wanted, logits)
        softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
        scores = {
            **multi_label_scores(_multi_label_counts(values.sum(axis=0), width)),
            "accuracy": values[:, -1].mean(),
            "mean_average_precision": _average_precisions(
                wanted, logits, np.ones((len(logits), 1))
            )[0],
            "loss": (softplus - logits * wanted).mean(),
        }
    else:
        moments = centred_moments(targets, logits[:, 0]).sum(axis=0)
        scores = regression_scores(moments, len(targets))
        ones = np.ones((len(targets), 1))
        scores["spearman"] = spearman(targets, logits[:, 0], ones)[0]
        scores["loss"] = scores["rmse"] ** 2
    return {name: float(np.nan_to_num(scores[name])) for name in METRICS[task]}


def _checked(
    task: str, num_classes: int, targets: NDArray[Any], logits: NDArray[Any]
) -> DoubleArray:
    if task not in TASKS:
        raise ValueError(f"`task` must be one of {', '.join(TASKS)}, got {task!r}.")
    if not len(logits):
        raise DataError("There is no row to evaluate on. Give a split with at least one row.")
    logits = np.asarray(logits, dtype=np.float64).reshape(len(logits), -1)
    width = 1 if task == REGRESSION else num_classes
    if logits.shape != (len(targets), width):
        raise ValueError(
            f"`logits` must have shape ({len(targets)}, {width}) for {len(targets)} targets of "
            f"{task}, got {logits.shape}."
        )
    wrong = np.nonzero(~np.isfinite(logits).all(axis=1))[0]
    if len(wrong):
        raise ModelError(
            f"The model gave NaN or infinite logits for {len(wrong)} of {len(logits)} rows, the "
            f"first being row {wrong[0] + 1} of the split. Its weights are broken: train again "
            "with a lower learning rate, or in float32."
        )
    return logits


def _single_label(
    targets: IntArray, logits: DoubleArray, confusion: IntArray, seed: int
) -> tuple[ClassCounts, Scores]:
    cells, sums = np.random.default_rng(seed).spawn(2)
    counts = class_counts(confusion)
    samples = single_label_scores(bootstrap_class_counts(confusion, cells))
    scores = _intervals(single_label_scores(counts), samples)
    right = int(np.trace(confusion))
    scores["accuracy"] = share_interval(right, len(targets), samples["accuracy"])
    losses = _cross_entropies(targets, logits)
    scores["log_loss"] = percentile_interval(
        float(losses.mean()), bootstrap_sums(losses, sums)[:, 0] / len(losses)
    )
    return counts, scores


def _cross_entropies(targets: IntArray, logits: DoubleArray) -> DoubleArray:
    """Return the loss of each row, shape (N, 1)."""
    return -np.take_along_axis(log_softmax(logits), targets[:, None], axis=1)


def _multi_label(targets: BoolArray, logits: DoubleArray, seed: int) -> tuple[ClassCounts, Scores]:
    values, num_classes = _decisions(targets, logits), logits.shape[1]
    sums, ranks = np.random.default_rng(seed).spawn(2)
    counts = _multi_label_counts(values.sum(axis=0), num_classes)
    drawn = bootstrap_sums(values, sums)
    scores = _intervals(
        multi_label_scores(counts), multi_label_scores(_multi_label_counts(drawn, num_classes))
    )
    right = int(values[:, -1].sum())
    scores["accuracy"] = share_interval(right, len(values), drawn[:, -1] / len(values))
    scores["mean_average_precision"] = _reranked(
        lambda weights: _average_precisions(targets, logits, weights), logits.shape, ranks
    )
    return counts, scores


def _decisions(targets: BoolArray, logits: DoubleArray) -> BoolArray:
    """Return what multi-label counts are sums of, shape (N, 3C + 1), the last being "all right"."""
    given = logits >= 0  # a probability of 0.5 or more
    exact = (given == targets).all(axis=1, keepdims=True)
    return np.concatenate((given & targets, targets, given, exact), axis=1)


def _multi_label_counts(sums: NDArray[Any], num_classes: int) -> ClassCounts:
    hits, targets, given = np.split(sums[..., : 3 * num_classes], 3, axis=-1)
    return ClassCounts(hits, targets, given)


def _average_precisions(
    targets: BoolArray, logits: DoubleArray, weights: NDArray[Any]
) -> DoubleArray:
    columns = zip(targets.T, logits.T, strict=True)
    return mean_defined(np.stack([average_precision(*c, weights) for c in columns], axis=1))


def _regression(targets: DoubleArray, predictions: DoubleArray, seed: int) -> Evaluation:
    rows = len(targets)
    moments = centred_moments(targets, predictions)
    sums, ranks = np.random.default_rng(seed).spawn(2)
    scores = _intervals(
        regression_scores(moments.sum(axis=0), rows),
        regression_scores(bootstrap_sums(moments, sums), rows),
    )
    scores["spearman"] = _reranked(lambda w: spearman(targets, predictions, w), (rows, 1), ranks)
    return Evaluation(task=REGRESSION, labels=(), rows=rows, metrics=_defined(scores))


def _reranked(
    score: Callable[[NDArray[Any]], DoubleArray],
    shape: tuple[int, ...],
    generator: np.random.Generator,
) -> Interval | None:
    """Put an interval around a figure that needs the rows in order, with fewer resamples of many.

    Fewer resamples make the ends rougher, and only where many rows make the interval narrow.
    """
    rows, width = shape
    resamples = int(np.clip(_RANKED_CELLS // (rows * width), 50, RESAMPLES))
    chunks = row_weights(rows, generator, resamples, width=4)
    columns = (np.ascontiguousarray(weights.T, dtype=np.float32) for weights in chunks)
    samples = np.concatenate([score(weights) for weights in columns])
    return percentile_interval(float(score(np.ones((rows, 1)))[0]), samples)


def _intervals(values: Mapping[str, DoubleArray], samples: Mapping[str, DoubleArray]) -> Scores:
    return {name: percentile_interval(float(values[name]), samples[name]) for name in values}


def _defined(scores: Scores) -> dict[str, Interval]:
    return {name: interval for name, interval in scores.items() if interval is not None}


def _class_scores(labels: tuple[str, ...], counts: ClassCounts) -> tuple[ClassScore, ...]:
    columns = (counts.precision, counts.recall, counts.f1)
    figures = [[None if np.isnan(v) else float(v) for v in column] for column in columns]
    rows = zip(labels, *figures, counts.targets.tolist(), counts.predicted.tolist(), strict=True)
    return tuple(ClassScore(*row) for row in rows)
