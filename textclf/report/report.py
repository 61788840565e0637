"""What is written about a finished training: figures for programs, pictures, a model card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footwork.errors import ConfigError
from footwork.evaluation.plots import plot_confusion, plot_curves, plot_reliability
from footwork.evaluation.result import Evaluation
from footwork.files.folders import write_json
from footwork.methods.table import METHODS, Adapter
from textclf.report.model_card import model_card


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is told about a trained classifier."""

    title: str
    """Of the model card."""
    model_id: str
    """The base: a Hub id, a local folder or `tiny`."""
    method: str
    task: str
    labels: tuple[str, ...]
    data: Mapping[str, Any]
    """`path`, `sha256`, `rows` a split, `text_columns`, `label_column`, as in `footwork.json`."""
    config: Mapping[str, Any]
    """Every setting of the run, resolved."""
    history: Sequence[Mapping[str, Any]]
    """Trainer's `state.log_history`."""
    evaluations: Mapping[str, Evaluation]
    """By split; the last one is reported."""
    baselines: Mapping[str, Evaluation]
    """`majority` and `linear`, judged on the reported split."""
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()
    """What a reader of the card should know, a sentence each."""
    adapter: bool = False
    """The folder holds an adapter, not a whole model."""
    revision: str | None = None
    """Commit of the base on the Hub."""
    head: str | None = None
    """Where the output layer began, for a base that had one."""

    @property
    def adapter_kind(self) -> Adapter | None:
        """What adapter the folder holds, None for a whole model."""
        return METHODS[self.method].adapter if self.adapter else None

    @property
    def split(self) -> str:
        """The split whose figures are reported."""
        return list(self.evaluations)[-1]

    @property
    def evaluation(self) -> Evaluation:
        """The reported figures."""
        return self.evaluations[self.split]


def write_report(folder: Path, report: Report) -> tuple[str, ...]:
    """Write `README.md` and, below `report/`, `metrics.json` and what pictures there are.

    Args:
        folder: Of the trained model; not yet published, so that half a report is never seen.
        report: What to tell.

    Returns:
        What could not be written and how to have it, a sentence each.
    """
    target = folder / "report"
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "metrics.json", _json_value(_figures(report)))
    pictures, notes = [], []
    try:
        for name, draw in _drawings(report).items():
            draw(target / name)
            pictures.append(f"report/{name}")
    except ConfigError as error:
        notes.append(f"No pictures in {target.name}/. {error}")
    card = folder / "README.md"
    card.write_text(model_card(report, pictures), encoding="utf-8")
    return tuple(notes)


def _figures(report: Report) -> dict[str, Any]:
    return {
        "title": report.title,
        "task": report.task,
        "method": report.method,
        "model": {"id": report.model_id, "revision": report.revision},
        "reported_split": report.split,
        "evaluations": {name: each.to_dict() for name, each in report.evaluations.items()},
        "baselines": {name: each.to_dict() for name, each in report.baselines.items()},
        "data": report.data,
        "config": report.config,
        "versions": report.versions,
        "notes": report.notes,
        "history": report.history,
    }


def _drawings(report: Report) -> dict[str, Callable[[Path], None]]:
    """Return what there is to draw, by file name."""
    evaluation = report.evaluation
    drawings: dict[str, Callable[[Path], None]] = {}
    if any("step" in log for log in report.history):
        wanted = (evaluation.primary_metric, "macro_f1")
        logged = [name for name in wanted if any(f"eval_{name}" in log for log in report.history)]
        drawings["curves.png"] = lambda path: plot_curves(report.history, path, logged)
    confusion, calibration = evaluation.confusion, evaluation.calibration
    if confusion is not None:
        drawings["confusion.png"] = lambda path: plot_confusion(confusion, report.labels, path)
    if calibration is not None:
        drawings["reliability.png"] = lambda path: plot_reliability(
            calibration.bins_before, calibration.bins_after, path
        )
    return drawings


def _json_value(value: Any) -> Any:
    """Turn what a configuration or a log may hold into what JSON can: no NaN, no path, no array."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _json_value(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_value(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
