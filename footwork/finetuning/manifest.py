"""What a fine-tuning leaves behind: weights, what makes inputs, manifest, card, report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from footwork.evaluation.result import Evaluation
from footwork.files.folders import MANIFEST, write_json
from footwork.finetuning.report import Report, write_report
from footwork.finetuning.task import SPLITS, LabelledData, Learner
from footwork.models.checkpoints import save_model
from footwork.training.run import TrainingOutcome

LIBRARIES = ("footwork", "torch", "transformers", "peft", "accelerate", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Result:
    """A trained model with all that is known of it."""

    learner: Learner
    source: str
    """The rows as the user named them."""
    data: LabelledData
    """What could be read of them."""
    model: Any
    outcome: TrainingOutcome
    evaluations: Mapping[str, Evaluation]
    """By split; what is reported is the last one."""
    baselines: dict[str, Evaluation] = field(default_factory=dict)
    """On the reported split."""

    @property
    def split(self) -> str:
        """The split that is reported."""
        return list(self.evaluations)[-1]

    @property
    def evaluation(self) -> Evaluation:
        """Of the reported split."""
        return self.evaluations[self.split]


def write_folder(folder: Path, result: Result) -> tuple[str, ...]:
    """Write everything but the reload proof into `folder`.

    Args:
        folder: Exists and is empty.
        result: The trained model.

    Returns:
        Notes on what could not be written, one sentence each.
    """
    learner = result.learner
    save_model(folder, result.model, merge=learner.config.merge)
    learner.preparation.save_pretrained(folder)
    manifest = manifest_of(result)
    write_json(folder / MANIFEST, manifest)
    report = Report(
        task=learner.task,
        manifest=manifest,
        evaluations=result.evaluations,
        baselines=result.baselines,
        history=result.outcome.history,
        notes=result.data.notes,
    )
    return write_report(folder, report)


def manifest_of(result: Result) -> dict[str, Any]:
    """What `footwork.json` holds; the difference after a reload is filled in once it is known."""
    learner, data = result.learner, result.data
    # Never from the test rows: what was chosen on them says nothing about them.
    calibration = result.evaluations["validation"].calibration
    rows = {split: len(data.splits[split]) if split in data.splits else 0 for split in SPLITS}
    names = (*LIBRARIES, *learner.task.libraries)
    more = learner.task.manifest(data, learner.config)
    facts = {
        "path": result.source,
        "sha256": data.sha256,
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
        "model": {"id": learner.base_id, "revision": learner.revision},
        "head": asdict(learner.head),
        "data": facts,
        "evaluated_on": result.split,
        "metrics": {name: each.to_dict() for name, each in result.evaluation.metrics.items()},
        "baselines": {
            name: {metric: each.to_dict() for metric, each in baseline.metrics.items()}
            for name, baseline in result.baselines.items()
        },
        "calibration": calibration.to_dict() if calibration else None,
        "steps": result.outcome.steps,
        "best_step": result.outcome.best_step,
        "reload_difference": None,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
        "seed": learner.config.seed,
        "config": learner.config.to_dict(),
        **more,
    }
