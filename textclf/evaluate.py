"""How good a classifier is on a split: figures with intervals, a class at a time, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
)
from footwork.evaluation.logits import FloatArray, log_softmax
from footwork.evaluation.metrics import (
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
from textclf.evaluation import (
    METRICS,
    MULTI_LABEL,
    PRIMARY_METRIC,
    REGRESSION,
    SINGLE_LABEL,
    Evaluation,
    Scores,
    class_scores,
    evaluation_notes,
)

_RANKED_CELLS = 50_000_000
"""Sorted numbers that an interval by re-ranking may touch: about 2 seconds."""


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
    if task == SINGLE_LABEL:
        targets = targets.astype(np.int64)
        calibration = _calibration(targets, logits, seed, given)
        return replace(_single_label(labels, targets, logits, seed), calibration=calibration)
    if task == MULTI_LABEL:
        calibration = _calibration(np.asarray(targets, np.float64), logits, seed, given)
        judged = _multi_label(labels, np.asarray(targets) > 0.5, logits, seed)
        return replace(judged, calibration=calibration)
    return _regression(np.asarray(targets, dtype=np.float64).ravel(), logits[:, 0], seed)


def _calibration(
    targets: NDArray[Any], logits: FloatArray, seed: int, given: GivenCalibration | None
) -> Calibration:
    if given is not None:
        return judge_calibration(logits, targets, given)
    return calibrate(logits, targets, seed)


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
        scores = _quick_multi_label(np.asarray(targets) > 0.5, logits)
    else:
        moments = centred_moments(targets, logits[:, 0]).sum(axis=0)
        scores = regression_scores(moments, len(targets))
        ones = np.ones((len(targets), 1))
        scores["spearman"] = spearman(targets, logits[:, 0], ones)[0]
        scores["loss"] = scores["rmse"] ** 2
    return {name: float(np.nan_to_num(scores[name])) for name in METRICS[task]}


def _quick_multi_label(targets: NDArray[np.bool_], logits: FloatArray) -> dict[str, Any]:
    values = _decisions(targets, logits)
    precisions = _average_precisions(targets, logits, np.ones((len(logits), 1)))
    softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
    return {
        **multi_label_scores(_multi_label_counts(values.sum(axis=0), logits.shape[1])),
        "accuracy": values[:, -1].mean(),
        "mean_average_precision": precisions[0],
        "loss": (softplus - logits * targets).mean(),
    }


def _checked(
    task: str, num_classes: int, targets: NDArray[Any], logits: NDArray[Any]
) -> FloatArray:
    if task not in PRIMARY_METRIC:
        raise ValueError(f"`task` must be one of {', '.join(PRIMARY_METRIC)}, got {task!r}.")
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
    labels: tuple[str, ...], targets: NDArray[np.int64], logits: FloatArray, seed: int
) -> Evaluation:
    confusion = confusion_counts(targets, logits.argmax(axis=1), len(labels))
    cells, sums = np.random.default_rng(seed).spawn(2)
    counts = class_counts(confusion)
    scores = _intervals(
        single_label_scores(counts), single_label_scores(bootstrap_class_counts(confusion, cells))
    )
    losses = _cross_entropies(targets, logits)
    scores["log_loss"] = percentile_interval(
        float(losses.mean()), bootstrap_sums(losses, sums)[:, 0] / len(losses)
    )
    return replace(
        _evaluation(SINGLE_LABEL, len(targets), scores, labels, counts), confusion=confusion
    )


def _cross_entropies(targets: NDArray[np.int64], logits: FloatArray) -> FloatArray:
    """Return the loss of each row, shape (N, 1)."""
    return -np.take_along_axis(log_softmax(logits), targets[:, None], axis=1)


def _multi_label(
    labels: tuple[str, ...], targets: NDArray[np.bool_], logits: FloatArray, seed: int
) -> Evaluation:
    values = _decisions(targets, logits)
    sums, ranks = np.random.default_rng(seed).spawn(2)
    counts = _multi_label_counts(values.sum(axis=0), len(labels))
    drawn = bootstrap_sums(values, sums)
    scores = _intervals(
        multi_label_scores(counts), multi_label_scores(_multi_label_counts(drawn, len(labels)))
    )
    scores["accuracy"] = percentile_interval(
        float(values[:, -1].mean()), drawn[:, -1] / len(values)
    )
    scores["mean_average_precision"] = _reranked(
        lambda weights: _average_precisions(targets, logits, weights), logits.shape, ranks
    )
    return _evaluation(MULTI_LABEL, len(targets), scores, labels, counts)


def _decisions(targets: NDArray[np.bool_], logits: FloatArray) -> NDArray[np.bool_]:
    """Return what multi-label counts are sums of, shape (N, 3C + 1), the last being "all right"."""
    given = logits >= 0  # a probability of 0.5 or more
    exact = (given == targets).all(axis=1, keepdims=True)
    return np.concatenate((given & targets, targets, given, exact), axis=1)


def _multi_label_counts(sums: NDArray[Any], num_classes: int) -> ClassCounts:
    hits, targets, given = np.split(sums[..., : 3 * num_classes], 3, axis=-1)
    return ClassCounts(hits, targets, given)


def _average_precisions(
    targets: NDArray[np.bool_], logits: FloatArray, weights: NDArray[Any]
) -> FloatArray:
    columns = zip(targets.T, logits.T, strict=True)
    return mean_defined(np.stack([average_precision(*c, weights) for c in columns], axis=1))


def _regression(targets: FloatArray, predictions: FloatArray, seed: int) -> Evaluation:
    rows = len(targets)
    moments = centred_moments(targets, predictions)
    sums, ranks = np.random.default_rng(seed).spawn(2)
    scores = _intervals(
        regression_scores(moments.sum(axis=0), rows),
        regression_scores(bootstrap_sums(moments, sums), rows),
    )
    scores["spearman"] = _reranked(lambda w: spearman(targets, predictions, w), (rows, 1), ranks)
    return _evaluation(REGRESSION, rows, scores)


def _reranked(
    score: Callable[[NDArray[Any]], FloatArray],
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


def _intervals(values: Mapping[str, FloatArray], samples: Mapping[str, FloatArray]) -> Scores:
    return {name: percentile_interval(float(values[name]), samples[name]) for name in values}


def _evaluation(
    task: str,
    rows: int,
    scores: Scores,
    labels: tuple[str, ...] = (),
    counts: ClassCounts | None = None,
) -> Evaluation:
    return Evaluation(
        task=task,
        labels=labels,
        rows=rows,
        metrics={name: interval for name, interval in scores.items() if interval is not None},
        per_class=() if counts is None else class_scores(labels, counts),
        confusion=None,
        calibration=None,
        notes=evaluation_notes(labels, counts, scores, rows),
    )
