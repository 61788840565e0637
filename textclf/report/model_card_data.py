"""The front matter of a model card: what the Hub lists a model under."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runtime.model_cards import public_data_name, public_model_id
from textclf.evaluation import Evaluation

if TYPE_CHECKING:
    from textclf.report.report import Report

_HUB_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_f1": ("f1", "Macro F1"),
    "micro_f1": ("f1", "Micro F1"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "log_loss": ("log_loss", "Log loss"),
    "mean_average_precision": ("mean_average_precision", "Mean average precision"),
    "mae": ("mae", "Mean absolute error"),
    "rmse": ("rmse", "Root mean squared error"),
    "r2": ("r_squared", "R squared"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
}
"""Our names to the Hub's metric type and a name to show."""


def front_matter(report: Report) -> str:
    """Write the YAML block that opens the card, the measured figures in its model-index."""
    from huggingface_hub import EvalResult, ModelCardData

    name = public_data_name(report.data)
    types = [_HUB_METRICS[metric][0] for metric in report.evaluation.metrics]
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=re.sub(r"[^\w./-]+", "-", name).strip("-") or "table",
            dataset_name=name,
            dataset_split=split,
            metric_type=_HUB_METRICS[metric][0],
            metric_name=_HUB_METRICS[metric][1],
            metric_value=round(value, 6),
        )
        for split, evaluation in report.evaluations.items()
        for metric, value in _values(evaluation).items()
    ]
    base = public_model_id(report.model_id)
    relation = "adapter" if report.adapter else "finetune"
    based: dict[str, Any] = {"base_model": base, "base_model_relation": relation} if base else {}
    data = ModelCardData(
        library_name="peft" if report.adapter else "transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "footwork", report.method],
        metrics=list(dict.fromkeys(types)),
        model_name=report.title,
        eval_results=results or None,
        **based,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _values(evaluation: Evaluation) -> dict[str, float]:
    return {name: interval.value for name, interval in evaluation.metrics.items()}
