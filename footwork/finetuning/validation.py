"""What the validation rows of a run may decide, as far as there are enough of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.evaluation.calibration import GivenCalibration, calibrate
from footwork.evaluation.metrics import telling_metric
from footwork.evaluation.result import Evaluation, evaluate_logits
from footwork.evaluation.splits import FEW_ROWS
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import LabelledData
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def choosing_metric(data: LabelledData) -> str:
    """The metric of the validation rows by which a checkpoint is chosen.

    Of several labels the thresholds are found afterwards, so what counts is how they rank.
    """
    if data.task == MULTI_LABEL:
        return "mean_average_precision"
    return telling_metric(data.task, data.counts() if data.task == SINGLE_LABEL else ())


def settled_by_validation(data: LabelledData, config: FinetuningConfig) -> dict[str, Any]:
    """Settings of a training in steps that hang on the validation rows."""
    found: dict[str, Any] = {"best_metric": config.best_metric or choosing_metric(data)}
    if config.method_row.rates and is_few(data):
        found["early_stopping"] = 0  # nothing is chosen by them
    return found


def is_few(data: LabelledData) -> bool:
    """Whether the validation rows are too few to choose anything by."""
    return len(data.splits["validation"]) < FEW_ROWS


def judge_baseline(
    data: LabelledData, split: str, logits: Callable[[str], NDArray[Any]], noun: str = "rows"
) -> Evaluation:
    """Judge on a split what must be beaten, by the rule that the model is judged by.

    From which probability a label is given, the validation rows say, if there are enough of them;
    nothing else is fitted.
    """
    given: GivenCalibration | None = GivenCalibration()
    if data.task == MULTI_LABEL and not is_few(data):
        targets = data.splits["validation"].targets
        apart = split != "validation"
        given = calibrate(logits("validation"), targets).given if apart else None
    targets = data.splits[split].targets
    return evaluate_logits(data.task, data.labels, targets, logits(split), given, noun)


def few_rows_note(data: LabelledData, config: FinetuningConfig, noun: str) -> tuple[str, ...]:
    """What to say where they are, if they are."""
    count = len(data.splits["validation"])
    if not is_few(data):
        return ()
    kept = "the last step of the training is taken" if config.method_row.rates else ""
    bare = "" if data.task == REGRESSION else "no temperature is fitted"
    left = " and ".join(filter(None, (kept, bare)))
    said = f"Only {count} of the {noun} {'is' if count == 1 else 'are'} there to validate"
    return (f"{said}, too few to choose by: {left}.",) if left else ()


def judged_rows(data: LabelledData, metric: str | None) -> float:
    """Rows that a validation metric rests on; 0 where they are too few to choose by."""
    targets = data.splits["validation"].targets
    if is_few(data):
        return 0
    if metric in ("macro_f1", "balanced_accuracy") and data.task == SINGLE_LABEL:
        # The mean of C classes errs as so many rows would: the rare ones make it rough.
        counts = np.bincount(targets)
        counts = counts[counts > 0]
        return float(len(counts) ** 2 / (1 / counts).sum())
    return len(targets)
