"""One honest sentence: was the fine-tuning worth it."""

from __future__ import annotations

from runtime.terminal_text import number
from runtime.training.config import LOWER_IS_BETTER
from textclf.evaluation import Evaluation


def caveat(split: str) -> str | None:
    """Say what weakens the figures of a split: without a test split they flatter.

    Args:
        split: That is reported, `test` or `validation`.
    """
    if split == "test":
        return None
    return (
        "**These figures are optimistic**: there was no test split, and the same validation "
        "rows chose the checkpoint and the temperature."
    )


def verdict(evaluation: Evaluation, linear: Evaluation | None) -> str:
    """Compare a model with the linear baseline on the same rows.

    Two intervals that overlap do not prove a difference; that they were resampled apart makes
    this the careful side, because the rows are the same.

    Args:
        evaluation: Of the model.
        linear: Of the baseline; None where there is none.
    """
    name = evaluation.primary_metric
    model = evaluation.metrics.get(name)
    baseline = linear.metrics.get(name) if linear else None
    if model is None or baseline is None:
        return f"It cannot be compared with the linear baseline: {name} is not defined for both."
    figures = f"`{name}` {number(model.value)} against {number(baseline.value)}"
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    gain = sign * (model.value - baseline.value)
    if gain > 0 and not model.overlaps(baseline):
        return f"It beats the linear baseline: {figures}, and the intervals do not overlap."
    if gain > 0:
        return (
            f"**It does not clearly beat the linear baseline**: {figures}, and the intervals "
            "overlap. On rows like these the linear model may do as well at a small part of the "
            "cost."
        )
    return (
        f"**It does not beat the linear baseline**: {figures}. As it stands the linear model is "
        "the better choice; more rows, another method or another base model may change that."
    )
