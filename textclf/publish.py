"""What a training leaves behind: weights, tokenizer, manifest, report."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from footwork.evaluation.result import Evaluation
from footwork.files.folders import MANIFEST, write_json
from footwork.models.checkpoints import save_model
from footwork.training.job import TrainingOutcome
from textclf.fit import Learner
from textclf.report.report import Report, write_report

LIBRARIES = ("footwork", "torch", "transformers", "peft", "accelerate", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Result:
    """A trained model with all that is known of it."""

    learner: Learner
    source: str
    """The data set as the user named it."""
    model: Any
    outcome: TrainingOutcome
    evaluations: dict[str, Evaluation]
    """By split; what is reported is the last one."""

    @property
    def split(self) -> str:
        """The split that is reported."""
        return list(self.evaluations)[-1]


def write_classifier(
    folder: Path, result: Result, baselines: dict[str, Evaluation]
) -> tuple[str, ...]:
    """Write everything but the reload proof into `folder`.

    Args:
        folder: Exists and is empty.
        result: The trained model.
        baselines: On the reported split.

    Returns:
        Notes on what could not be written, one sentence each.
    """
    save_model(folder, result.model, merge=result.learner.config.merge)
    result.learner.tokenizer.save_pretrained(folder)
    manifest = _manifest(result, baselines)
    write_json(folder / MANIFEST, manifest)
    return write_report(folder, _report(result, manifest, baselines))


def _manifest(result: Result, baselines: dict[str, Evaluation]) -> dict[str, Any]:
    learner, data = result.learner, result.learner.data
    evaluation = result.evaluations[result.split]
    # Never from the test rows: what was chosen on them says nothing about them.
    calibration = result.evaluations["validation"].calibration
    sizes = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "footwork": version("footwork"),
        "application": "textclf",
        "labels": list(data.labels),
        "task": data.task,
        "method": learner.config.method,
        "model": {"id": learner.base_id, "revision": learner.revision},
        "head": asdict(learner.head),
        "data": {
            "path": result.source,
            "sha256": data.sha256,
            "rows": {name: len(part.texts) if part else 0 for name, part in sizes.items()},
            "text_columns": list(data.text_columns),
            "label_column": data.label_column,
            "validation_held_out": data.held_out,
        },
        "evaluated_on": result.split,
        "metrics": {name: interval.to_dict() for name, interval in evaluation.metrics.items()},
        "baselines": {
            name: {metric: value.to_dict() for metric, value in baseline.metrics.items()}
            for name, baseline in baselines.items()
        },
        "calibration": calibration.to_dict() if calibration else None,
        "max_length": learner.config.max_length,
        "steps": result.outcome.steps,
        "best_step": result.outcome.best_step,
        "reload_difference": None,
        "versions": _versions(),
        "seed": learner.config.seed,
        "config": learner.config.to_dict(),
    }


def _report(result: Result, manifest: dict[str, Any], baselines: dict[str, Evaluation]) -> Report:
    learner = result.learner
    return Report(
        title=Path(str(result.source)).stem,
        model_id=learner.base_id,
        revision=learner.revision,
        method=learner.config.method,
        task=learner.data.task,
        labels=learner.data.labels,
        data=manifest["data"],
        config=manifest["config"],
        history=result.outcome.history,
        evaluations=result.evaluations,
        baselines=baselines,
        versions=manifest["versions"],
        notes=learner.data.notes,
        adapter=learner.config.publishes_adapter,
        head=learner.head.note,
    )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
