"""`finetune`: images in folders in, a tower that was trained on them out, with proof.

Folders → split → decode once → baselines → train → evaluate → save → reload proof → publish. The
folder that is named appears only when all of it has succeeded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from footwork.accelerator import (
    compute_device,
    gather_shares,
    is_main_process,
    number_of_processes,
    settled_precision,
    wait_for_everyone,
)
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.metrics import Interval
from footwork.files.folders import discard_folder, published_folder, read_manifest
from footwork.files.paths import shell_word
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import METHODS
from footwork.models.checkpoints import IMAGE_PRESETS, model_commit, resolve_model_id
from footwork.models.image_classifiers import (
    load_image_classifier,
    load_image_processor,
    load_image_shape,
)
from footwork.models.uploads import (
    create_repository,
    push_folder,
    require_publishable,
    writable_repository,
)
from footwork.training.run import Existing, RunPlace, begin_run, check_run, held, resumable
from zeroshot.finetuning.baselines import (
    fit_probe,
    majority_baseline,
    probe_baseline,
    zero_shot_baseline,
)
from zeroshot.finetuning.config import FinetuneConfig
from zeroshot.finetuning.evaluation import FEW_IMAGES, FinetuneEvaluation, evaluate_logits
from zeroshot.finetuning.examples import FinetuneImages, read_finetune_images
from zeroshot.finetuning.fit import fit
from zeroshot.finetuning.learner import (
    Learner,
    Notify,
    Pictures,
    encoder_size,
    features_of,
    has_one_head,
    head_of,
    logits_of,
    start_head,
)
from zeroshot.finetuning.pixels import decode_once
from zeroshot.finetuning.publish import Result, write_finetuned
from zeroshot.finetuning.reload import prove_reload
from zeroshot.labelled_images import SkippedImage

PROOF_ROWS = 32
PICTURES = "pictures.bin"


@dataclass(frozen=True, slots=True)
class FinetunedRun:
    """A finished fine-tuning."""

    folder: Path
    manifest: dict[str, Any]
    """What `footwork.json` holds."""
    evaluation: FinetuneEvaluation
    """Of the split that is reported: test where there is one, else validation."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[SkippedImage, ...]
    repository: str | None = None
    """On the Hub, where it was pushed."""
    address: str | None = None
    """Of the repository."""

    def to_text(self) -> str:
        """How good it is, and what it was to beat, for people."""
        split, rows = self.manifest["evaluated_on"], self.manifest["data"]["rows"]
        lines = [f"{self.folder}: {len(self.manifest['labels'])} classes, judged on"]
        lines[0] += f" {rows[split]} {split} images."
        for name, each in self.manifest["metrics"].items():
            lines.append(_line(name, each))
        for name, each in self.manifest["baselines"].items():
            lines.append(_line(f"{name}, accuracy", each["accuracy"]))
        where = f", and at {self.address}" if self.address else ""
        lines += ["", f"{self.folder} is published{where}. Use it:"]
        used = shell_word(self.repository or self.folder)
        lines.append(f"  footwork zeroshot label photos/ --taught {used} -o labels.csv")
        return "\n".join(lines)


def finetune(
    examples: Path | str,
    out: Path | str,
    config: FinetuneConfig | None = None,
    *,
    existing: Existing = "refuse",
    notify: Notify = lambda _: None,
) -> FinetunedRun:
    """Fine-tune an image tower and publish it as a folder.

    Args:
        examples: A folder with one sub-folder a class, or with such folders named `train`,
            `validation` and `test`; or a table of paths and labels.
        out: The folder to publish; `out.training` beside it holds the checkpoints meanwhile.
        config: Every setting.
        existing: What to do where `out` or an unfinished run of it exists.
        notify: Takes progress and warnings, one text each.

    Raises:
        ConfigError: A setting is wrong, or something is in the way.
        DataError: There is nothing to learn from.
        ModelError: The model cannot be loaded, or the saved folder does not answer as the trained
            model did; then nothing is published. Or the upload failed, and the folder stands.
        TrainingError: Training could not go on; its checkpoints stay.
    """
    config, out = config or FinetuneConfig(), Path(out)
    notify = notify if is_main_process() else _silent
    require_publishable(config, IMAGE_PRESETS.get(config.model_id, config.model_id))
    place = check_run(out, existing, (examples, config.model_id))
    repository = None
    if config.push_to_hub is not None and is_main_process():
        repository = writable_repository(config.push_to_hub)
    processor = require_trainable(config)
    images = read_finetune_images(Path(examples), config.validation_share, config.seed)
    learner = plan(images, config, processor, notify)
    identity = {"data": images.sha256, "base_revision": learner.revision}
    with held(place.run), resumable(place.run):
        resume = begin_run(place, asdict(learner.config) | identity, existing, notify)
        if repository:
            notify(f"to be uploaded when all is done: {create_repository(repository)}")
        learner, pictures = _with_pictures(learner, place.run, notify)
        baselines = _baselines(learner, pictures, notify)
        model, outcome = fit(learner, pictures, place.run, resume, notify)
        evaluations = _evaluate(model, learner, pictures)
        result = Result(learner, model, outcome, evaluations, baselines)
        notes = _finish(place, result, pictures, notify)
    address = push_folder(out, repository) if repository else None
    wait_for_everyone()
    images = learner.images
    notes = (*images.notes, *_figure_notes(result), *notes)
    manifest = read_manifest(out, verify=False)
    return FinetunedRun(
        out, manifest, result.evaluation, notes, images.skipped, repository, address
    )


def require_trainable(config: FinetuneConfig) -> Any:
    """Refuse, before the images are read, what the model cannot do whatever they are.

    Returns:
        The model's image processor.

    Raises:
        ConfigError: A setting contradicts the model.
        ModelError: The model cannot be reached, or the method cannot adapt it.
    """
    config.require_divisible(number_of_processes())
    processor = load_image_processor(config.model_id, config.revision)
    shape = load_image_shape(config.model_id, config.revision, config.features_from)
    require_adaptable(shape, config.method, checkpointing=config.activation_checkpointing)
    if METHODS[config.method].features_once:
        head_of(shape)
    return processor


def plan(images: FinetuneImages, config: FinetuneConfig, processor: Any, notify: Notify) -> Learner:
    """Load the model for `images` and settle what the configuration leaves open.

    Args:
        images: All splits.
        config: As the user states it.
        processor: The model's image processor.
        notify: Takes what the user should know, one text each.

    Raises:
        ModelError: The model cannot be loaded.
    """
    torch.manual_seed(config.seed)  # of a new head the weights are the seed's
    resolved_id = resolve_model_id(config.model_id, IMAGE_PRESETS)
    model, head = load_image_classifier(
        config.model_id,
        labels=images.labels,
        revision=config.revision,
        features_from=config.features_from,
    )
    resolved, said = config.resolved(encoder_size(model), len(images.splits["train"]))
    # Here, so that a run is not resumed elsewhere with other rounding.
    resolved = replace(resolved, mixed_precision=settled_precision(resolved.mixed_precision, model))
    for sentence in filter(None, (said, config.merge_note, head.note)):
        notify(sentence)
    return Learner(
        model=model,
        processor=processor,
        images=images,
        config=resolved,
        base_id="tiny" if config.model_id == "tiny" else resolved_id,
        revision=model_commit(resolved_id, config.revision),
        head=head,
    )


def _with_pictures(learner: Learner, run: Path, notify: Notify) -> tuple[Learner, Pictures]:
    """Decode all files once; those that end as no image are left out of the splits."""
    parts = learner.images.splits
    paths = [path for part in parts.values() for path in part.paths]
    notify(f"decoding {len(paths)} images, once for all epochs")
    file, faults = decode_once(paths, learner.processor, run / PICTURES)
    images = learner.images.readable(faults)
    sizes = [len(part) for part in images.splits.values()]
    firsts = np.cumsum([0, *sizes[:-1]]).tolist()
    first = dict(zip(images.splits, firsts, strict=True))
    learner.model.to(compute_device())
    return replace(learner, images=images), Pictures(file, first)


def _baselines(learner: Learner, pictures: Pictures, notify: Notify) -> dict[str, Interval]:
    """Judged before training, which changes the model; a new head starts as the linear probe."""
    images, config = learner.images, learner.config
    notify("judging the pretrained model: by class names, and by a linear probe of its features")
    found = {"majority": majority_baseline(images)}
    if is_main_process():
        words = zero_shot_baseline(images, config.model_id, config.revision)
        if words is not None:
            found["zero_shot"] = words
    if has_one_head(learner.model):
        train, judged = (
            features_of(
                learner.model,
                pictures.file,
                pictures.rows(name, images.splits[name]),
                config.mixed_precision,
            )
            for name in ("train", images.reported)
        )
        probe = gather_shares(fit_probe(images, train) if is_main_process() else None)[0]
        if not learner.head.kept:
            start_head(learner.model, probe)
        if is_main_process():
            found["linear_probe"] = probe_baseline(images, probe, judged)
    wait_for_everyone()
    return found


def _evaluate(model: Any, learner: Learner, pictures: Pictures) -> dict[str, FinetuneEvaluation]:
    """Judge the model on each split, the test images with what the validation images taught."""
    given: GivenCalibration | None = None
    found: dict[str, FinetuneEvaluation] = {}
    for name in [name for name in ("validation", "test") if name in learner.images.splits]:
        split = learner.images.splits[name]
        rows = pictures.rows(name, split)
        logits = logits_of(model, pictures.file, rows, learner.config.mixed_precision)
        found[name] = evaluate_logits(split.targets, logits, given)
        given = found[name].calibration.given
    return found


def _finish(place: RunPlace, result: Result, pictures: Pictures, notify: Notify) -> tuple[str, ...]:
    """Publish on the main process."""
    split = result.learner.images.splits["validation"]
    rows = pictures.rows("validation", split)[:PROOF_ROWS]
    expected = logits_of(result.model, pictures.file, rows, "float32")
    notes: tuple[str, ...] = ()
    if is_main_process():
        with published_folder(place.out, overwrite=place.replaces) as staging:
            notes = write_finetuned(staging, result)
            notify("loading the saved folder in a fresh process")
            prove_reload(staging, split.paths[:PROOF_ROWS], expected)
        discard_folder(place.run, place.out)
    wait_for_everyone()
    return notes


def _figure_notes(result: Result) -> tuple[str, ...]:
    images, notes = result.learner.images, []
    judged = len(images.splits[images.reported])
    if judged < FEW_IMAGES:
        notes.append(f"Only {judged} images are judged on: every figure is rough.")
    own = result.evaluation.metrics["accuracy"].value
    for name, interval in result.baselines.items():
        if name != "majority" and interval.value >= own:
            notes.append(
                f"It is no better than {name} ({interval.value:.1%} right, {own:.1%} of its own): "
                "prefer that, or add images."
            )
    return tuple(notes)


def _line(name: str, interval: dict[str, float]) -> str:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    return f"  {name.replace('_', ' '):<24} {value:6.3f}  ({low:.3f} to {high:.3f})"


def _silent(_: str) -> None:
    """Every process but the main one."""
