"""The front matter of a model card: what the Hub lists a model under."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def public_model_id(model_id: str) -> str | None:
    """Return a Hub id, or None for what only this machine has: a folder, a preset, `tiny`."""
    # Old ids have no owner: bert-base-uncased; presets are single words.
    hub_like = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*|\w+-[\w.-]+", model_id)
    return model_id if hub_like and not is_local(model_id) else None


def is_local(model_id: str) -> bool:
    """Whether a base, presets apart, is a folder of this machine or `tiny`."""
    folder = Path(model_id).exists() or model_id.startswith((".", "/", "~"))
    return folder or model_id == "tiny"


def public_data_name(facts: Mapping[str, Any]) -> str:
    """Return a Hub data set's id, or the bare name of a local file or folder: a card is public."""
    path = str(facts.get("path", "")) or "table"
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) and not Path(path).exists():
        return path if not Path(path).suffix else Path(path).name
    return Path(path).name or "table"


def public_text(text: str, facts: Mapping[str, Any]) -> str:
    """Take the folders of the local data out of a text, leaving its name.

    Args:
        text: A note, say, that names a file.
        facts: `path`, the data as the user named it.
    """
    path = Path(str(facts.get("path", "")))
    if not path.name:
        return text
    # Longest first: a short form may be a part of the long one.
    forms = {str(form) for form in (path, path.expanduser(), path.expanduser().resolve())}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, public_data_name(facts))
    return text


def public_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of `footwork.json` or `report/metrics.json` may be published: no path of this machine.

    Args:
        document: With `model`, `data`, `config` and maybe `notes`, as Footwork wrote it.
    """
    public = dict(document)
    facts = document.get("data") or {}
    if facts:
        public["data"] = {**facts, "path": public_data_name(facts)}
    if model := document.get("model"):
        public["model"] = {**model, "id": _name_of(model["id"])}
    public["config"] = _without_folders(document.get("config") or {})
    if "notes" in document:
        public["notes"] = [public_text(note, facts) for note in document["notes"]]
    return public


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_folders(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    return _name_of(value) if isinstance(value, str) else value


def _name_of(text: str) -> str:
    """Of a path from the root or the home its last part, any other text as it is."""
    rooted = text.startswith("~") or Path(text).is_absolute()
    return Path(text).name or text if rooted else text


def _values(evaluation: Evaluation) -> dict[str, float]:
    return {name: interval.value for name, interval in evaluation.metrics.items()}
