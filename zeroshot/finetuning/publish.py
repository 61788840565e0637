"""What a fine-tuning leaves behind: weights, image processor, manifest, report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError
from footwork.evaluation.metrics import Interval
from footwork.files.folders import MANIFEST, write_json
from footwork.models.checkpoints import save_model
from footwork.training.job import TrainingOutcome
from zeroshot.finetuning.evaluation import FinetuneEvaluation
from zeroshot.finetuning.kind import APPLICATION, KIND
from zeroshot.finetuning.learner import Learner
from zeroshot.finetuning.model_card import model_card

LIBRARIES = ("footwork", "torch", "transformers", "peft", "accelerate", "scikit-learn", "pillow")


@dataclass(frozen=True, slots=True)
class Result:
    """A trained model with all that is known of it."""

    learner: Learner
    model: Any
    outcome: TrainingOutcome
    evaluations: dict[str, FinetuneEvaluation]
    """Of `validation` and, where there is one, `test`."""
    baselines: dict[str, Interval]
    """Accuracy on the reported split: `majority`, `linear_probe`, and `zero_shot` where the model
    reads texts."""

    @property
    def evaluation(self) -> FinetuneEvaluation:
        """Of the reported split."""
        return self.evaluations[self.learner.images.reported]


def write_finetuned(folder: Path, result: Result) -> tuple[str, ...]:
    """Write everything but the reload proof into `folder`.

    Args:
        folder: Exists and is empty.
        result: The trained model.

    Returns:
        Notes on what could not be written, one sentence each.
    """
    save_model(folder, result.model, merge=result.learner.config.merge)
    result.learner.processor.save_pretrained(folder)
    manifest = _manifest(result)
    write_json(folder / MANIFEST, manifest)
    (folder / "README.md").write_text(
        model_card(manifest, result.learner.images.notes), encoding="utf-8"
    )
    return _write_report(folder / "report", result, manifest)


def _manifest(result: Result) -> dict[str, Any]:
    learner, images = result.learner, result.learner.images
    evaluation = result.evaluation
    return {
        "footwork": version("footwork"),
        "application": APPLICATION,
        "kind": KIND,
        "labels": list(images.labels),
        "task": "single_label_classification",
        "method": learner.config.method,
        "model": {"id": learner.base_id, "revision": learner.revision},
        "head": asdict(learner.head),
        "data": {
            "path": images.source,
            "sha256": images.sha256,
            "rows": {name: len(part) for name, part in images.splits.items()},
            "skipped": len(images.skipped),
            "validation_held_out": images.held_out,
        },
        "evaluated_on": images.reported,
        "metrics": {name: interval.to_dict() for name, interval in evaluation.metrics.items()},
        "baselines": {
            name: {"accuracy": interval.to_dict()} for name, interval in result.baselines.items()
        },
        # Never from the test images: what was chosen on them says nothing about them.
        "calibration": result.evaluations["validation"].calibration.to_dict(),
        "steps": result.outcome.steps,
        "best_step": result.outcome.best_step,
        "reload_difference": None,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        "seed": learner.config.seed,
        "config": learner.config.to_dict(),
    }


def _write_report(folder: Path, result: Result, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    folder.mkdir()
    history = [
        {name: value for name, value in log.items() if value == value}  # JSON has no NaN
        for log in result.outcome.history
    ]
    figures = {name: each.to_dict() for name, each in result.evaluations.items()}
    document = {
        "labels": manifest["labels"],
        "evaluations": figures,
        "baselines": manifest["baselines"],
        "history": history,
    }
    write_json(folder / "metrics.json", document)
    try:
        for name, draw in _drawings(result).items():
            draw(folder / name)
    except ConfigError as error:
        return (f"No pictures in {folder.name}/. {error}",)
    return ()


def _drawings(result: Result) -> dict[str, Callable[[Path], None]]:
    from footwork.evaluation.plots import plot_confusion, plot_curves, plot_reliability

    evaluation, labels = result.evaluation, result.learner.images.labels
    bins = evaluation.calibration.bins_before, evaluation.calibration.bins_after
    return {
        "curves.png": lambda path: plot_curves(
            result.outcome.history, path, ("accuracy", "macro_f1")
        ),
        "confusion.png": lambda path: plot_confusion(evaluation.confusion, labels, path),
        "reliability.png": lambda path: plot_reliability(*bins, path),
    }
