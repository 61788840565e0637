"""What is written about a finished training: manifest, figures for programs, pictures, a card."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from footwork.errors import ConfigError
from footwork.evaluation.plots import plot_confusion, plot_curves, plot_reliability
from footwork.evaluation.result import Evaluation
from footwork.files.folders import seal_of, write_json
from footwork.finetuning.card import model_card
from footwork.finetuning.data import LabelledData
from footwork.finetuning.task import Learner, Task
from footwork.tables.held import data_name, input_names
from footwork.tables.splits import SPLITS

if TYPE_CHECKING:
    from footwork.finetuning.domains import Domains
    from footwork.training.run import TrainingOutcome

LIBRARIES = ("footwork", "torch", "transformers", "peft", "accelerate", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is told about a trained classifier."""

    task: Task
    manifest: Mapping[str, Any]
    """What `footwork.json` holds."""
    evaluations: Mapping[str, Evaluation]
    """By split; the last one is reported."""
    baselines: Mapping[str, Evaluation]
    """Judged on the reported split."""
    domains: Domains | None = None
    """What an adaptation to a target was worth."""
    history: Sequence[Mapping[str, Any]]
    """Trainer's `state.log_history`."""
    notes: tuple[str, ...] = ()
    """What a reader of the card should know, a sentence each."""

    @property
    def title(self) -> str:
        """Of the model card: the name of the data, without its folder and ending."""
        return Path(str(self.manifest["data"].get("path") or "table")).stem

    @property
    def split(self) -> str:
        """The split whose figures are reported."""
        return list(self.evaluations)[-1]

    @property
    def evaluation(self) -> Evaluation:
        """The reported figures."""
        return self.evaluations[self.split]


def manifest_of(
    learner: Learner,
    data: LabelledData,
    outcome: TrainingOutcome,
    evaluations: Mapping[str, Evaluation],
    baselines: Mapping[str, Evaluation],
    cost: Mapping[str, Any],
) -> dict[str, Any]:
    """What `footwork.json` holds; what a reload tells is filled in once it is known.

    Args:
        learner: What was trained.
        data: What could be read of its rows.
        outcome: How the training went.
        evaluations: By split; the last one is reported.
        baselines: Judged on the reported split.
        cost: What the training took.
    """
    # Never from the test rows: what was chosen on them says nothing about them.
    calibration = evaluations["validation"].calibration
    reported, named = list(evaluations)[-1], input_names(learner.source)
    # An adapter answers with that very base alone.
    seal = seal_of(Path(learner.base_id)) if learner.config.publishes_adapter else None
    sealed_base = {"sha256": seal} if seal else {}
    rows = {split: len(data.splits[split]) if split in data.splits else 0 for split in SPLITS}
    names = (*LIBRARIES, *learner.task.libraries)
    more = learner.task.manifest(learner, data)
    facts = {
        "path": data_name(learner.source),
        **({"files": named} if len(named) > 1 else {}),
        "sha256": data.sha256,
        "train_sha256": data.train_sha256,
        "rows": rows,
        "validation_held_out": data.held_out,
        **more.pop("data", {}),
    }
    return {
        "footwork": version("footwork"),
        "application": learner.task.application,
        "labels": list(data.labels),
        "task": data.task,
        "method": learner.config.method,
        "model": {"id": learner.base_id or None, "revision": learner.revision, **sealed_base},
        "head": asdict(learner.head),
        "data": facts,
        "evaluated_on": reported,
        "metrics": evaluations[reported].figures,
        "baselines": {name: baseline.figures for name, baseline in baselines.items()},
        "calibration": {"measured_on": "validation", **calibration.to_dict()}
        if calibration
        else None,
        "cost": dict(cost),
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "reload_difference": None,
        "rounding": None,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
        "seed": learner.config.seed,
        "config": learner.config.told(),
        "config_sources": dict(learner.config_sources),
        **more,
    }


def write_report(folder: Path, report: Report) -> tuple[str, ...]:
    """Write `README.md` and, below `report/`, `metrics.json` and what pictures there are.

    Into the folder of a trained model that is not yet published, so that half a report is never
    seen. Returns what could not be written and how to have it, a sentence each.
    """
    target = folder / "report"
    target.mkdir(parents=True, exist_ok=True)
    kept = ("task", "method", "model", "data", "config", "versions")
    figures = {name: report.manifest[name] for name in kept} | {
        "title": report.title,
        "reported_split": report.split,
        "evaluations": {name: each.to_dict() for name, each in report.evaluations.items()},
        "baselines": {name: each.to_dict() for name, each in report.baselines.items()},
        "domains": report.domains.to_dict() if report.domains else None,
        "notes": report.notes,
        "history": report.history,
    }
    write_json(target / "metrics.json", json_value(figures))
    pictures: list[str] = []
    notes: tuple[str, ...] = ()
    drawn = {} if "report" in (report.manifest["config"].get("skip") or ()) else _drawings(report)
    try:
        for name, draw in drawn.items():
            draw(target / name)
            pictures.append(f"report/{name}")
    except ConfigError as error:
        notes = (f"No pictures in {target.name}/. {error}",)
    card = model_card(report, pictures)  # may name a path whose bytes are no UTF-8
    (folder / "README.md").write_text(card, "utf-8", "backslashreplace")
    return notes


def _drawings(report: Report) -> dict[str, Callable[[Path], None]]:
    """What there is to draw, by file name."""
    evaluation, history = report.evaluation, report.history
    drawings: dict[str, Callable[[Path], None]] = {}
    if any("step" in log for log in history):
        wanted = (evaluation.primary_metric, "macro_f1")
        logged = [name for name in wanted if any(f"eval_{name}" in log for log in history)]
        drawings["curves.png"] = lambda path: plot_curves(history, path, logged)
    confusion, calibration = evaluation.confusion, evaluation.calibration
    if confusion is not None:
        drawings["confusion.png"] = lambda path: plot_confusion(confusion, evaluation.labels, path)
    if calibration is not None:
        drawings["reliability.png"] = lambda path: plot_reliability(
            calibration.bins_before, calibration.bins_after, path
        )
    return drawings


def json_value(value: Any) -> Any:
    """Turn what a configuration or a log may hold into what JSON can: no NaN, no path, no array."""
    if isinstance(value, Mapping):
        return {str(key): json_value(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_value(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
