"""A run, from labelled rows to a published, proven folder; read it from top to bottom.

Plan → audit → checkpoints → train → evaluate, calibrate → weights (merged if asked), manifest,
card, report → reload proof → publish → push. The folder that is named appears only when all of it
has succeeded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from footwork.accelerator import (
    compute_device,
    gather_shares,
    is_main_process,
    number_of_processes,
    process_share,
    resolve_precision,
    settled_precision,
    wait_for_everyone,
)
from footwork.arrays import FloatArray
from footwork.evaluation.decision import rule_of
from footwork.evaluation.result import Evaluation, evaluate_logits, quick_metrics
from footwork.files.folders import (
    MANIFEST,
    discard_folder,
    published_folder,
    read_manifest,
    write_json,
)
from footwork.files.paths import shell_word
from footwork.finetuning.card import PLACE, caveat, verdicts
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.reload import prove_reload
from footwork.finetuning.report import Report, manifest_of, write_report
from footwork.finetuning.task import SPLITS, EncodedRows, LabelledData, Learner, Notify, Task
from footwork.methods.adaptation import parameter_groups
from footwork.methods.table import METHODS
from footwork.models.checkpoints import model_commit, save_model
from footwork.models.hub import resolve_model_id
from footwork.models.uploads import (
    create_repository,
    push_folder,
    require_publishable,
    writable_repository,
)
from footwork.tables.held import data_name
from footwork.training.job import TrainingJob, balanced_weights, row_loss
from footwork.training.loop import run_training
from footwork.training.memory import frozen_weights_in
from footwork.training.run import (
    Existing,
    RunPlace,
    TrainingOutcome,
    begin_run,
    check_run,
    held,
    resumable,
)

PROOF_ROWS = 32  # a CPU that emulates bf16 takes five times as long for them


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A finished fine-tuning."""

    task: Task
    folder: Path
    manifest: dict[str, Any]
    """What `footwork.json` holds."""
    evaluation: Evaluation
    """Of the split that is reported: test where there is one, else validation."""
    baselines: dict[str, Evaluation]
    """On the same rows; empty on all but the main process."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[Any, ...]
    """Rows that were left out, with a reason each."""
    repository: str | None = None
    """On the Hub, where it was pushed."""
    address: str | None = None
    """Of the repository."""

    def to_text(self) -> str:
        """How good it is, what it was to beat, and how it is used, for people."""
        split = self.manifest["evaluated_on"]
        lines = [
            f"On the {split} {self.task.noun}",
            "",
            self.evaluation.to_text(),
            "",
            "next to it",
        ]
        width = 2 + max(map(len, self.baselines), default=0)
        for name, baseline in self.baselines.items():
            metric = baseline.metrics.get(baseline.primary_metric)
            shown = f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]" if metric else "–"
            lines.append(f"  {name:<{width}}{baseline.primary_metric} {shown}")
        said = [*verdicts(self.evaluation, self.baselines, self.task.rivals), caveat(split)]
        lines += [line.replace("**", "").replace("`", "") for line in said if line]
        where = f", and at {self.address}" if self.address else ""
        used = shell_word(self.repository or self.folder)
        command = self.task.words(self.manifest).predict.replace(PLACE, used)
        lines += ["", f"{self.folder} is published{where}. Use it:", f"  {command}"]
        return "\n".join(lines)


def train(
    task: Task,
    source: Any,
    out: Path | str,
    config: FinetuningConfig,
    *,
    existing: Existing = "refuse",
    notify: Notify = lambda _: None,
) -> TrainedRun:
    """Fine-tune a model on labelled rows and publish it as a folder.

    Args:
        task: What the application brings.
        source: The rows, as the task reads them.
        out: The folder to publish; `out.training` beside it holds the checkpoints meanwhile.
        config: Every setting.
        existing: What to do where `out` or an unfinished run of it exists.
        notify: Takes progress and warnings, one text each.

    Raises:
        ConfigError: A setting is wrong, or something is in the way.
        DataError: The rows cannot be read or cannot be learned from.
        ModelError: The model cannot be loaded, or the saved folder does not answer as the trained
            model did; then nothing is published. Or the upload failed, and the folder stands.
        TrainingError: Training could not go on; its checkpoints stay.
    """
    out, main = Path(out), is_main_process()
    notify = notify if main else lambda _: None
    require_publishable(config, task.presets.get(config.model_id, config.model_id))
    place = check_run(out, existing, (data_name(source), config.model_id))
    wanted = config.push_to_hub if main else None
    repository = None if wanted is None else writable_repository(wanted)
    config.require_divisible(number_of_processes())
    learner = plan(task, source, config, notify)
    task.audit(learner, notify)
    identity = {"data": learner.data.sha256, "base_revision": learner.revision}
    with held(place.run), resumable(place.run):
        resume = begin_run(place, asdict(learner.config) | identity, existing, notify)
        if repository:
            notify(f"to be uploaded when all is done: {create_repository(repository)}")
        rows = task.encode(learner, place.run, notify)
        model, outcome = fit(learner, rows, place.run, resume, notify)
        evaluations = evaluate(learner, rows, model)
        split = list(evaluations)[-1]
        baselines = rows.baselines(split, notify) if main else {}
        report = Report(
            task=task,
            manifest=manifest_of(learner, rows.data, outcome, evaluations, baselines),
            evaluations=evaluations,
            baselines=baselines,
            history=outcome.history,
            notes=rows.data.notes,
        )
        notes = publish(place, learner, rows, model, report, notify) if main else ()
        wait_for_everyone()
    address = push_folder(out, repository) if repository else None
    wait_for_everyone()
    return TrainedRun(
        task=task,
        folder=place.out,
        manifest=read_manifest(place.out, verify=False),
        evaluation=report.evaluation,
        baselines=baselines,
        notes=(*rows.data.notes, *notes),
        skipped=rows.data.skipped,
        repository=repository,
        address=address,
    )


def plan(task: Task, source: Any, config: FinetuningConfig, notify: Notify) -> Learner:
    """Read the rows, load the model for them, and settle what the configuration leaves open.

    Raises:
        ConfigError: A setting contradicts the task or the model.
        DataError: The rows cannot be read.
        ModelError: The model cannot be loaded, or its head cannot be trained alone.
    """
    preparation = task.open(config)
    data = task.read(source, config)
    torch.manual_seed(config.seed)  # of a new head the weights are the seed's
    model, head = task.load(config, data, preparation)
    settled, said = settle(task, data, config, preparation, model)
    for sentence in filter(None, (*said, config.merge_note, head.note)):
        notify(sentence)
    base_id = resolve_model_id(config.model_id, task.presets)
    return Learner(
        task=task,
        model=model,
        preparation=preparation,
        source=data_name(source),
        data=data,
        config=settled,
        base_id="tiny" if config.model_id == "tiny" else base_id,
        revision=model_commit(base_id, config.revision),
        head=head,
    )


def settle(
    task: Task, data: LabelledData, config: FinetuningConfig, preparation: Any, model: Any
) -> tuple[Any, tuple[str, ...]]:
    """Fill in what the configuration leaves to the data, to the model and to this machine.

    Of the model the shape is enough: its weights may be on the meta device.

    Returns:
        The configuration of the run, and what is to be said of it, one sentence each.

    Raises:
        ConfigError: A setting contradicts the task or the model.
    """
    rows = len(data.splits["train"])
    recipe = task.recipe(config, model, rows)
    own, more = task.settle(config, preparation, model)
    # Here, so that a run is not resumed elsewhere with other rounding.
    own |= {"mixed_precision": settled_precision(config.mixed_precision, model)}
    settled, said = config.settled(data.task, recipe, f"{rows} {task.noun}", own)
    return settled, (said, *more)


def fit(
    learner: Learner, rows: EncodedRows, run: Path, resume: Path | None, notify: Notify
) -> tuple[Any, TrainingOutcome]:
    """Train by the configuration's method, from a checkpoint on where there is one.

    Returns:
        The trained model, as the method adapted it, and how training went.
    """
    config, data, method = learner.config, rows.data, METHODS[learner.config.method]
    config.require_settled()
    device, train_rows, precision = compute_device(), data.splits["train"], config.mixed_precision
    weights = None
    if config.class_weights == "balanced":
        weights = balanced_weights(data.task, train_rows.targets, len(data.labels))
    job_of = partial(
        TrainingJob,
        targets=torch.from_numpy(train_rows.targets),
        numbers=train_rows.rows,
        loss=row_loss(data.task, config.label_smoothing, weights),
        notify=notify,
    )
    groups = partial(
        parameter_groups,
        learning_rate=config.learning_rate or 0.0,
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay,
    )
    judged = partial(quick_metrics, data.task, data.splits["validation"].targets)
    model = method.adaptation.adapt(learner.model, config, learner.base_id, learner.revision)
    if method.features_once:
        model.to(device)
        notify("computing the encoder's features, once for all epochs")
        features = features_of(rows, model, "train", precision)
        held_out = features_of(rows, model, "validation", precision).to(device)

        @torch.inference_mode()
        def head_logits(head: torch.nn.Module) -> FloatArray:
            logits: FloatArray = head(**rows.head_inputs(held_out)).logits.float().cpu().numpy()
            return logits

        with rows.head_alone(model) as head:
            job = job_of(
                model=head.to(device),
                batch=lambda chosen, _: rows.head_inputs(features[list(chosen)]),
                lengths=[1] * len(features),
                parameter_groups=groups(head),
                measure=lambda head: judged(head_logits(head)),
            )
            # Nothing is left whose activations could be computed twice.
            alone = replace(config, activation_checkpointing=False)
            return model, run_training(job, alone, run, resume)
    with rows.slimmed(model), frozen_weights_in(model, resolve_precision(precision, device)):
        model.to(device)
        job = job_of(
            model=model,
            batch=rows.training_batch,
            lengths=rows.lengths,
            parameter_groups=groups(model),
            measure=lambda model: judged(logits_of(rows, model, "validation", precision)),
            pad=rows.pad,
            resting=partial(method.adaptation.resting, model),
        )
        outcome = run_training(job, config, run, resume)
    return model.to(device), outcome


def logits_of(rows: EncodedRows, model: Any, split: str, precision: str) -> FloatArray:
    """Logits of a split, (N, C), the work divided over the processes; on each all of them."""
    count = len(rows.data.splits[split])
    own = rows.logits(model, split, range(count)[process_share(count)], precision)
    return np.concatenate([share for share in gather_shares(own) if len(share)])


def features_of(rows: EncodedRows, model: Any, split: str, precision: str) -> torch.Tensor:
    """What the head reads of a split, (N, …), divided and gathered as logits are."""
    count = len(rows.data.splits[split])
    share = range(count)[process_share(count)]
    own = [rows.features(model, split, share, precision)] if len(share) else []
    return torch.cat([part for parts in gather_shares(own) for part in parts])


def evaluate(learner: Learner, rows: EncodedRows, model: Any) -> dict[str, Evaluation]:
    """Judge the model on each split; the last one is reported.

    Temperature and threshold are found on the validation rows, and judged on those of the test.
    """
    data, noun, given = rows.data, learner.task.noun, None
    evaluations: dict[str, Evaluation] = {}
    for split in [name for name in SPLITS[1:] if name in data.splits]:
        logits = logits_of(rows, model, split, learner.config.mixed_precision)
        targets = data.splits[split].targets
        judged = evaluate_logits(data.task, data.labels, targets, logits, given=given, noun=noun)
        given = judged.calibration.given if judged.calibration else None
        evaluations[split] = judged
    return evaluations


def publish(
    place: RunPlace, learner: Learner, rows: EncodedRows, model: Any, report: Report, notify: Notify
) -> tuple[str, ...]:
    """Write the folder, prove that it answers as the model does, and put it into its place.

    Returns what could not be written and how to have it, a sentence each.
    """
    sample = range(min(PROOF_ROWS, len(rows.data.splits["validation"])))
    # Before anything is merged.
    expected = rows.logits(model, "validation", sample, "float32")
    with published_folder(place.out, overwrite=place.replaces) as staging:
        save_model(staging, model, merge=learner.config.merge)
        learner.preparation.save_pretrained(staging)
        write_json(staging / MANIFEST, report.manifest)
        notes = write_report(staging, report)
        notify("loading the saved folder in a fresh process")
        question, rule = rows.question("validation", sample), rule_of(report.manifest, model.config)
        prove_reload(learner.task, staging, question, expected, rule)
    discard_folder(place.run, place.out)
    return notes
