"""How good a classifier is on a split: figures with intervals, a class at a time, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from footwork.arrays import AnyArray, BoolArray, DoubleArray, IntArray
from footwork.errors import DataError, ModelError
from footwork.evaluation import metrics, text
from footwork.evaluation.calibration import (
    Calibration,
    GivenCalibration,
    calibrate,
    cross_fitted_margins,
    judge_calibration,
)
from footwork.evaluation.decision import Predictions
from footwork.evaluation.logits import log_softmax
from footwork.evaluation.metrics import METRICS, ClassCounts, Interval, telling_metric
from footwork.evaluation.text import Shown
from footwork.files.faults import counted, shortened
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TASKS

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
    threshold: float | None = None
    """Probability from which it is given (multi-label)."""


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Evaluation(Shown):
    """What one split says of one classifier."""

    task: str
    labels: tuple[str, ...]
    rows: int
    metrics: dict[str, Interval]
    """Each with its 95 % bootstrap interval; undefined ones are absent, and `notes` says so.
    `log_loss` is of the raw logits: a model and its baselines are compared before any temperature.
    """
    per_class: tuple[ClassScore, ...] = ()
    confusion: IntArray | None = None  # (C, C), true by predicted; single-label only
    calibration: Calibration | None = None
    """None for a regression."""
    summands: DoubleArray = field(default_factory=lambda: np.zeros((0, 2)))
    """Shape (N, 2): what `PRIMARY_METRIC` is a ratio of the sums of, by which it can be compared
    with that of others on the same rows."""
    noun: str = "rows"
    """What was judged."""
    remarks: tuple[str, ...] = ()
    """What the figures do not tell of themselves, one sentence each."""

    @property
    def primary_metric(self) -> str:
        """The figure that the verdict goes by."""
        return telling_metric(self.task, (each.support for each in self.per_class))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know: few rows, classes without one, what is undefined."""
        notes = []
        silent = [each.label for each in self.per_class if each.support and not each.predicted]
        if silent and not any(each.predicted for each in self.per_class):
            notes.append(
                f"NO LABEL IS EVER GIVEN to any of the {self.noun}: as it stands it is of no use. "
                "Train it longer, at a higher rate, on more rows, or from another model."
            )
        elif silent:
            notes.append(
                f"NEVER GIVEN: {len(silent)} of {len(self.labels)} classes, though they have "
                f"{self.noun} ({shortened(silent, 5)})."
            )
        if self.rows < _FEW_ROWS:
            few = counted(self.rows, self.noun.removesuffix("s"))
            notes.append(f"Only {few}: every figure is rough, and so are the intervals.")
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

    @property
    def summary(self) -> str:
        """What was judged, and how good it was found."""
        rows = counted(self.rows, self.noun.removesuffix("s"))
        found = self.metrics.get(self.primary_metric)
        if found is None:
            return rows
        return f"{rows}, {self.primary_metric} {text.number(found.value)} ({text.ends(found)})"

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """The metrics as JSON can hold them."""
        return {name: asdict(interval) for name, interval in self.metrics.items()}

    def to_pandas(self, *, per_class: bool = False) -> Any:
        """A DataFrame of the metrics with their intervals, or of the classes, a row each."""
        import pandas

        if per_class:
            return pandas.DataFrame([asdict(score) for score in self.per_class])
        return pandas.DataFrame({"metric": name, **each} for name, each in self.figures.items())

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, without NaN."""
        return {
            "task": self.task,
            "labels": list(self.labels),
            "rows": self.rows,
            "metrics": self.figures,
            "per_class": [asdict(score) for score in self.per_class],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Figures, classes, confusions and calibration, for a terminal of 100 columns."""
        kind = f", {len(self.labels)} classes" if self.labels else ""
        table = [["metric", "value", "95 % interval"]]
        for name, interval in self.metrics.items():
            table.append([name, text.number(interval.value), text.ends(interval)])
        raw = ["log_loss is of the probabilities before the temperature"]
        blocks = [
            [f"{counted(self.rows, self.noun.removesuffix('s'))}{kind}"],
            text.aligned(table) + (raw if "log_loss" in self.metrics else []),
        ]
        if self.per_class:
            blocks.append(_class_lines(self.per_class, self.noun))
        if self.confusion is not None:
            blocks.append(text.confusion_lines(self.labels, self.confusion, self.noun))
        if self.calibration is not None:
            blocks.append(text.calibration_lines(self.calibration, self.noun))
        if self.notes:
            blocks.append([line for note in self.notes for line in text.wrapped_note(note)])
        return "\n\n".join("\n".join(block) for block in blocks)


def worst_classes(scores: Sequence[ClassScore], most: int) -> list[ClassScore]:
    """The classes of lowest F1 among those that have rows, larger ones first on a tie."""
    judged = [score for score in scores if score.support]
    return sorted(judged, key=lambda score: (score.f1 or 0.0, -score.support))[:most]


def _class_lines(scores: Sequence[ClassScore], noun: str) -> list[str]:
    few = len(scores) <= text.ALL_CLASSES
    shown = scores if few else worst_classes(scores, text.WORST)
    rows = [["class", "precision", "recall", "F1", noun, "predicted"]]
    for score in shown:
        figures = [text.number(value) for value in (score.precision, score.recall, score.f1)]
        counts = [f"{score.support:,}", f"{score.predicted:,}"]
        rows.append([text.shorten(score.label, text.LABEL_WIDTH), *figures, *counts])
    if any(score.threshold is not None for score in shown):
        column = ["threshold", *(text.number(score.threshold) for score in shown)]
        rows = [[*row, cell] for row, cell in zip(rows, column, strict=True)]
    title = [] if few else [f"the {len(shown)} classes of lowest F1, of {len(scores)}"]
    return title + text.aligned(rows)


def evaluate_logits(
    task: str,
    labels: tuple[str, ...],
    targets: AnyArray,
    logits: AnyArray,
    given: GivenCalibration | None = None,
    noun: str = "rows",
) -> Evaluation:
    """Judge predictions on the rows of one split.

    Single label: `accuracy`, `macro_f1`, `balanced_accuracy`, `mcc`, `log_loss` (natural
    logarithm, before any temperature). Multi-label, a label being given from its threshold on:
    `micro_f1`, `macro_f1`, `accuracy` (the whole set right) and `mean_average_precision` (over the
    labels that occur). Regression: `mae`, `rmse`, `r2`, `pearson`, `spearman`.

    Args:
        task: As transformers' `problem_type`.
        labels: C names; none for a regression.
        targets: Shape (N,) class numbers, (N, C) of 0 and 1, or (N,) numbers.
        logits: Raw, shape (N, C); (N, 1) or (N,) for a regression.
        given: Temperature and thresholds of the model, to be judged; None finds them on these
            rows, which is right only where they are to be used on others. Each row is then judged
            by thresholds of the labels that were found without it.
        noun: What is judged.

    Raises:
        DataError: There is no row.
        ModelError: A logit is NaN or infinite.
    """
    logits = _checked(task, len(labels), targets, logits)
    if task == REGRESSION:
        amounts = np.asarray(targets, dtype=np.float64).ravel()
        scores = _regression_intervals(amounts, logits[:, 0])
        return Evaluation(
            task=task,
            labels=(),
            rows=len(logits),
            metrics=scores,
            summands=_summands(np.abs(logits[:, 0] - amounts)),
            noun=noun,
        )
    single = task == SINGLE_LABEL
    targets = np.asarray(targets, np.int64 if single else np.float64)
    if given is None:
        calibration = calibrate(logits, targets)
    else:
        calibration = judge_calibration(logits, targets, given)
    if single:
        confusion = metrics.confusion_counts(targets, logits.argmax(axis=1), len(labels))
        counts = metrics.class_counts(confusion)
        scores = _single_label_intervals(targets, logits, confusion)
        summands = _summands(logits.argmax(axis=1) == targets)
    else:
        confusion = None
        if given is None:
            margins = cross_fitted_margins(logits, targets, calibration.temperature)
        else:
            margins = given.margins(logits)
        decisions = _decisions(targets > 0.5, margins)
        counts = _multi_label_counts(decisions.sum(axis=0))
        scores = _multi_label_intervals(targets > 0.5, logits, decisions)
        hits, wanted, told = (part.sum(axis=1) for part in np.split(decisions[:, :-1], 3, axis=1))
        summands = _summands(2 * hits, wanted + told)
    return Evaluation(
        task=task,
        labels=labels,
        rows=len(logits),
        metrics=scores,
        per_class=_class_scores(labels, counts, calibration.thresholds),
        confusion=confusion,
        calibration=calibration,
        summands=summands,
        noun=noun,
    )


def quick_metrics(task: str, targets: AnyArray, logits: AnyArray) -> dict[str, float]:
    """The values of `evaluate_logits` without intervals, for use while training.

    By the names of `METRICS`, `loss` being the mean cross-entropy, binary cross-entropy or squared
    error. What is undefined is 0: a checkpoint has to be chosen all the same.
    """
    width = 0 if task == REGRESSION else np.shape(logits)[-1]
    logits = _checked(task, width, targets, logits)
    once = np.ones((len(logits), 1))
    if task == SINGLE_LABEL:
        confusion = metrics.confusion_counts(targets, logits.argmax(axis=1), width)
        scores = metrics.single_label_scores(metrics.class_counts(confusion))
        scores["log_loss"] = scores["loss"] = _cross_entropies(targets, logits).mean()
    elif task == MULTI_LABEL:
        wanted = np.asarray(targets) > 0.5
        decisions = _decisions(wanted, logits)
        softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))
        scores = {
            **metrics.multi_label_scores(_multi_label_counts(decisions.sum(axis=0))),
            "accuracy": decisions[:, -1].mean(),
            "mean_average_precision": _average_precisions(wanted, logits)(once)[0],
            "loss": (softplus - logits * wanted).mean(),
        }
    else:
        moments = metrics.centred_moments(targets, logits[:, 0]).sum(axis=0)
        scores = metrics.regression_scores(moments, len(targets))
        scores["spearman"] = metrics.spearman(targets, logits[:, 0], once)[0]
        scores["loss"] = scores["rmse"] ** 2
    return {name: float(np.nan_to_num(scores[name])) for name in METRICS[task]}


def _class_scores(
    labels: tuple[str, ...], counts: ClassCounts, thresholds: Sequence[float] | None
) -> tuple[ClassScore, ...]:
    columns = (counts.precision, counts.recall, counts.f1)
    figures = [[None if np.isnan(v) else float(v) for v in column] for column in columns]
    sizes = (counts.targets.tolist(), counts.predicted.tolist())
    bars: Sequence[float | None] = thresholds or [None] * len(labels)
    return tuple(map(ClassScore, labels, *figures, *sizes, bars))


def _checked(task: str, num_classes: int, targets: AnyArray, logits: AnyArray) -> DoubleArray:
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


def _single_label_intervals(
    targets: IntArray, logits: DoubleArray, confusion: IntArray
) -> dict[str, Interval]:
    cells, sums = np.random.default_rng(0).spawn(2)
    samples = metrics.single_label_scores(metrics.bootstrap_class_counts(confusion, cells))
    scores = _intervals(metrics.single_label_scores(metrics.class_counts(confusion)), samples)
    right = int(np.trace(confusion))
    scores["accuracy"] = metrics.share_interval(right, len(targets), samples["accuracy"])
    losses = _cross_entropies(targets, logits)
    drawn = metrics.bootstrap_sums(losses, sums)[:, 0] / len(losses)
    return scores | _intervals({"log_loss": losses.mean()}, {"log_loss": drawn})


def _multi_label_intervals(
    targets: BoolArray, logits: DoubleArray, decisions: BoolArray
) -> dict[str, Interval]:
    sums, ranks = np.random.default_rng(0).spawn(2)
    drawn = metrics.bootstrap_sums(decisions, sums)
    scores = _intervals(
        metrics.multi_label_scores(_multi_label_counts(decisions.sum(axis=0))),
        metrics.multi_label_scores(_multi_label_counts(drawn)),
    )
    right = int(decisions[:, -1].sum())
    scores["accuracy"] = metrics.share_interval(right, len(targets), drawn[:, -1] / len(targets))
    return scores | _reranked_interval(
        "mean_average_precision",
        _average_precisions(targets, logits),
        logits.shape,
        ranks,
    )


def _regression_intervals(targets: DoubleArray, predictions: DoubleArray) -> dict[str, Interval]:
    rows, moments = len(targets), metrics.centred_moments(targets, predictions)
    sums, ranks = np.random.default_rng(0).spawn(2)
    scores = _intervals(
        metrics.regression_scores(moments.sum(axis=0), rows),
        metrics.regression_scores(metrics.bootstrap_sums(moments, sums), rows),
    )

    def score(weights: AnyArray) -> DoubleArray:
        return metrics.spearman(targets, predictions, weights)

    return scores | _reranked_interval("spearman", score, (rows, 1), ranks)


def _cross_entropies(targets: IntArray, logits: DoubleArray) -> DoubleArray:
    """The loss of each row, shape (N, 1)."""
    return -np.take_along_axis(log_softmax(logits), targets[:, None], axis=1)


def _decisions(targets: BoolArray, margins: DoubleArray) -> BoolArray:
    """What multi-label counts are sums of, shape (N, 3C + 1), the last being "all right"."""
    given = margins >= 0
    exact = (given == targets).all(axis=1, keepdims=True)
    return np.concatenate((given & targets, targets, given, exact), axis=1)


def _summands(tops: AnyArray, bottoms: AnyArray | float = 1.0) -> DoubleArray:
    return np.stack(np.broadcast_arrays(tops, bottoms), axis=1).astype(np.float64)


def _multi_label_counts(sums: AnyArray) -> ClassCounts:
    return ClassCounts(*np.split(sums[..., :-1], 3, axis=-1))


def _average_precisions(targets: BoolArray, logits: AnyArray) -> Callable[[AnyArray], DoubleArray]:
    """Their mean over the labels, of weights (N, R); the rows are ranked once for all resamples."""
    columns = zip(targets.T, logits.T, strict=True)
    ranked = [(wanted, metrics.places_among(wanted, scores)) for wanted, scores in columns]
    return lambda weights: metrics.mean_defined(
        np.stack([metrics.average_precision(*one, weights) for one in ranked], axis=1)
    )


def _intervals(
    values: Mapping[str, Any], samples: Mapping[str, DoubleArray]
) -> dict[str, Interval]:
    """Of the metrics that are defined."""
    around = metrics.percentile_interval
    drawn = {name: around(float(values[name]), samples[name]) for name in values}
    return {name: interval for name, interval in drawn.items() if interval is not None}


def _reranked_interval(
    name: str,
    score: Callable[[AnyArray], DoubleArray],
    shape: tuple[int, ...],
    generator: np.random.Generator,
) -> dict[str, Interval]:
    """Of a figure that needs the rows in order.

    Fewer resamples of many rows make the ends rougher, and only where the interval is narrow.
    """
    rows, width = shape
    resamples = int(np.clip(_RANKED_CELLS // (rows * width), 50, metrics.RESAMPLES))
    chunks = metrics.row_weights(rows, generator, resamples, width=4)
    columns = (np.ascontiguousarray(weights.T, dtype=np.float32) for weights in chunks)
    samples = np.concatenate([score(weights) for weights in columns])
    return _intervals({name: score(np.ones((rows, 1)))[0]}, {name: samples})


@dataclass(frozen=True, slots=True, repr=False)
class Assessment(Shown):
    """What a table or a folder says of a classifier that is trained already."""

    evaluation: Evaluation
    """Its calibration is the classifier's own, judged on these rows; nothing is fitted on them."""
    notes: tuple[str, ...]
    skipped: tuple[Any, ...]
    """Rows or images that were left out, with a reason each."""
    answers: Callable[[], Predictions] = Predictions
    """Gives `predictions`; it can be pickled, as all of this can."""

    @property
    def predictions(self) -> Predictions:
        """The answer to each text, with its `true_label`; of images there are none here."""
        return self.answers()

    @property
    def summary(self) -> str:
        """Of its evaluation."""
        return self.evaluation.summary

    def to_text(self) -> str:
        """The evaluation, and notes."""
        return "\n".join([self.evaluation.to_text(), "", *self.notes])
