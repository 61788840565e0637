"""What a training leaves behind: weights, tokenizer, manifest, report."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runtime.checkpoints import ADAPTER_CONFIG, TEXT_PRESETS, save_model
from runtime.errors import ConfigError, ModelError
from runtime.folders import MANIFEST, read_json, sealed, write_json
from runtime.paths import shell_word
from runtime.training.job import TrainingOutcome
from textclf.config import TrainConfig
from textclf.evaluation import Evaluation
from textclf.fit import Learner
from textclf.report.model_card_data import is_local, public_document
from textclf.report.report import Report, write_report

_WITH_PATHS = (MANIFEST, "report/metrics.json")
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


def require_publishable(config: TrainConfig) -> None:
    """Refuse, before the training, what could not be pushed after it.

    Args:
        config: Says whether, where and what to push; nothing is checked without `push_to_hub`.

    Raises:
        ConfigError: The name is no Hub repository, or an adapter's base is only on this machine.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if config.push_to_hub is None:
        return
    try:
        validate_repo_id(config.push_to_hub)
    except HFValidationError as error:
        raise ConfigError(
            f"`push_to_hub` must be a Hub repository (owner/name), got {config.push_to_hub!r}."
        ) from error
    if config.method == "lora" and not config.merge:
        _require_public_base(config.model_id)


def push_folder(folder: Path, repository: str) -> None:
    """Upload a published folder to the Hub, without the paths of this machine.

    Raises:
        ConfigError: It is an adapter whose base is only on this machine.
        ModelError: The Hub cannot be reached or refuses; the folder stays as it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if (folder / ADAPTER_CONFIG).exists():
        _require_public_base(read_json(folder / ADAPTER_CONFIG)["base_model_name_or_path"])
    try:
        api = HfApi()
        with tempfile.TemporaryDirectory() as name:
            copy_for_upload(folder, Path(name))
            api.create_repo(repository, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=name)
    except (OSError, HfHubHTTPError, RuntimeError, ValueError) as error:
        message = (
            f"{folder} is finished, but could not be uploaded to {repository}: {error}. "
            f"Log in (hf auth login), then: hf upload {repository} {shell_word(folder)}. That "
            f"uploads {' and '.join(_WITH_PATHS)} as they are, local paths included."
        )
        raise ModelError(message) from error


def copy_for_upload(folder: Path, target: Path) -> None:
    """Fill `target` with links to the files of `folder`, and with public copies of two of them."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir():
            (target / name).mkdir(parents=True, exist_ok=True)
        elif name.as_posix() in _WITH_PATHS:
            document = public_document(read_json(path))
            write_json(target / name, sealed(document) if path.name == MANIFEST else document)
        else:
            (target / name).symlink_to(path.resolve())


def _require_public_base(model_id: str) -> None:
    if is_local(TEXT_PRESETS.get(model_id, model_id)):
        raise ConfigError(
            f"The base of this adapter, {model_id}, is only on this machine, so nobody could load "
            "the adapter from the Hub. Publish a plain folder instead: add --merge."
        )


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
        adapter=learner.config.method == "lora" and not learner.config.merge,
        head=learner.head.note,
    )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
