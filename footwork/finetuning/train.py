"""A run, from labelled rows to a published, proven folder; read it from top to bottom.

Plan → audit → checkpoints → train → evaluate, calibrate → weights (merged if asked), manifest,
card, report → reload proof → publish → push. The folder that is named appears only when all of it
has succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from footwork.accelerator import (
    compute_device,
    is_main_process,
    number_of_processes,
    peak_memory,
    resolve_precision,
    settled_precision,
    wait_for_everyone,
)
from footwork.arrays import FloatArray
from footwork.evaluation.baselines import frequency_logits
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.decision import rule_of
from footwork.evaluation.result import Evaluation, evaluate_logits, quick_metrics
from footwork.evaluation.text import aligned
from footwork.files.folders import (
    MANIFEST,
    discard_folder,
    published_folder,
    read_manifest,
    write_json,
)
from footwork.files.paths import shell_word
from footwork.finetuning.card import PLACE, caveat, cost_line, verdicts
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.domains import (
    Domains,
    judge_domains,
    require_domains,
    with_target,
)
from footwork.finetuning.head import begin_head, loss_of, solve_output
from footwork.finetuning.reload import prove_reload
from footwork.finetuning.report import Report, manifest_of, write_report
from footwork.finetuning.task import (
    SPLITS,
    EncodedRows,
    LabelledData,
    Learner,
    Notify,
    Task,
    logits_of,
)
from footwork.finetuning.validation import few_rows_note, is_few, judged_rows, settled_by_validation
from footwork.methods.adaptation import parameter_groups
from footwork.models.checkpoints import model_commit, save_model
from footwork.models.heads import (
    HeadOrigin,
    output_layer_name,
    scale_output,
    start_output,
    target_scale,
)
from footwork.models.hub import resolve_model_id
from footwork.models.uploads import (
    create_repository,
    push_folder,
    require_publishable,
    writable_repository,
)
from footwork.tables.held import data_name
from footwork.tables.labels import MULTI_LABEL, REGRESSION
from footwork.training.domains import adversarial
from footwork.training.job import TrainingJob
from footwork.training.loop import run_training
from footwork.training.memory import frozen_weights_in
from footwork.training.run import (
    Existing,
    RunPlace,
    TrainingOutcome,
    begin_run,
    check_run,
    held,
    newest_checkpoint,
    resumable,
)
from footwork.training.trunk import frozen_trunk

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
    domains: Domains | None = None
    """What an adaptation to a target was worth."""
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
        method = self.manifest["method"]
        said = [*verdicts(self.task, method, self.evaluation, self.baselines)]
        weak = caveat(split, self.manifest, self.evaluation)
        said += [*filter(None, [weak]), cost_line(self.manifest["cost"])]
        lines += [line.replace("**", "").replace("`", "") for line in said if line]
        if self.domains:
            said = [*self.domains.sentences()]
            lines += ["", "to the target", *aligned(self.domains.table()), ""]
            lines += [line.replace("**", "").replace("`", "") for line in said]
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
    began = time.monotonic()
    out, main = Path(out), is_main_process()
    notify = notify if main else lambda _: None
    base = task.presets.get(config.model_id, config.model_id)
    require_publishable(config, base)
    place = check_run(out, existing, (data_name(source), config.model_id, config.target))
    wanted = config.push_to_hub if main else None
    repository = None if wanted is None else writable_repository(wanted)
    config.require_divisible(number_of_processes())
    learner = plan(task, source, config, notify)
    require_publishable(learner.config, base)
    task.audit(learner, notify)
    identity: dict[str, Any] = {
        "kind": "training",
        "data": learner.data.sha256,
        "target_data": learner.data.target_sha256,
        "base_revision": learner.revision,
        "scale": learner.scale,  # checkpoints of older versions are in the user's unit
    }
    with held(place.run), resumable(place.run):
        resume = begin_run(place, learner.config.told() | identity, existing, notify)
        if repository:
            notify(f"to be uploaded when all is done: {create_repository(repository)}")
        rows = task.encode(learner, place.run, notify)
        model, outcome = fit(learner, rows, place.run, resume, notify)
        give_amounts(learner, model)
        evaluations, learned = evaluate(learner, rows, model, notify)
        split = list(evaluations)[-1]
        baselines = rows.baselines(split, notify) if main else {}
        cost, domains = (
            cost_of(model, outcome, began, resume),
            compare_domains(learner, rows, model, place.run, notify),
        )
        report = Report(
            task=task,
            manifest=manifest_of(learner, rows.data, outcome, evaluations, baselines, cost)
            | ({"domains": domains.to_dict()} if domains else {}),
            domains=domains,
            evaluations=evaluations,
            baselines=baselines,
            history=outcome.history,
            notes=(
                *rows.data.notes,
                *outcome.notes,
                *few_rows_note(rows.data, learner.config, task.noun),
                *learned,
            ),
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
        notes=(*report.notes, *notes),
        skipped=rows.data.skipped,
        domains=domains,
        repository=repository,
        address=address,
    )


def give_amounts(learner: Learner, model: Any) -> None:
    """Let the trained model of a regression answer in the unit of its rows, once and for all.

    Its checkpoints never do, so that any of them can be gone on from.
    """
    if learner.scale:
        mean, spread = learner.scale
        scale_output(learner.classifier_in(model), spread, mean)


def cost_of(
    model: Any, outcome: TrainingOutcome, began: float, resume: Path | None
) -> dict[str, Any]:
    """What a run has taken so far, begun at a time of the monotonic clock."""
    if isinstance(model, torch.nn.Module):
        sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    else:
        sizes = [(model.size, True)]
    return {
        "seconds": time.monotonic() - began,
        "resumed": resume is not None,
        "device": str(compute_device().type),
        "threads": outcome.threads,
        "peak_memory_bytes": peak_memory(),
        "parameters": sum(size for size, _ in sizes),
        "trainable_parameters": sum(size for size, trains in sizes if trains),
    }


def plan(
    task: Task,
    source: Any,
    config: FinetuningConfig,
    notify: Notify,
    data: LabelledData | None = None,
) -> Learner:
    """Read the rows, load the model for them, and settle what the configuration leaves open.

    Args:
        task: What the application brings.
        source: The rows, as the task reads them.
        config: Every setting.
        notify: Takes what was settled, one sentence each.
        data: The rows, where they have been read before.

    Raises:
        ConfigError: A setting contradicts the task or the model.
        DataError: The rows cannot be read.
        ModelError: The model cannot be loaded, or its head cannot be trained alone.
    """
    preparation = task.open(config)
    data = task.read(source, config) if data is None else data
    config, why = config.chosen(len(data.splits["train"]), data.task)
    model, head, scale = load(task, data, config, preparation)
    if why:  # `Task.open` has asked only a method that was named
        config.way.adaptation.require(model, config)
    if config.target is not None:
        require_domains(task, data, model)
    settled, sources, said = settle(task, data, config, preparation, model)
    if why:
        sources["method"] = "the number of rows"
    for sentence in filter(None, (*why, *said, config.merge_note, head.note)):
        notify(sentence)
    base_id, revision = "", None
    if config.way.has_model:
        base_id = resolve_model_id(config.model_id, task.presets)
        revision = model_commit(base_id, config.revision)
    return Learner(
        task=task,
        model=model,
        preparation=preparation,
        source=data_name(source),
        data=data,
        config=settled,
        config_sources=sources,
        base_id="tiny" if config.model_id == "tiny" else base_id,
        revision=revision,
        head=head,
        scale=scale,
    )


def load(
    task: Task, data: LabelledData, config: FinetuningConfig, preparation: Any
) -> tuple[Any, HeadOrigin, tuple[float, float] | None]:
    """The model as its training begins, where its head comes from, and `Learner.scale`."""
    torch.manual_seed(config.seed)  # of a new head the weights are the seed's
    model, head = task.load(config, data, preparation)
    if config.way.solves or not config.way.pretrained:
        head = HeadOrigin(kept=False)  # whatever it was, it is not begun with
    return model, head, begin_output(data, config, model, kept=head.kept)


def begin_output(
    data: LabelledData, config: FinetuningConfig, model: Any, *, kept: bool
) -> tuple[float, float] | None:
    """Put an output layer where its training begins; `Learner.scale` of a regression."""
    targets = data.splits["train"].targets
    if not config.way.has_model:
        return None
    if data.task == MULTI_LABEL and not kept and config.class_weights == "none":
        start_output(model, frequency_logits(data.task, len(data.labels), targets))
    if data.task != REGRESSION:
        return None
    mean, spread = target_scale(model, targets)
    if kept:
        scale_output(model, 1 / spread, -mean / spread)
    return mean, spread


def settle(
    task: Task, data: LabelledData, config: FinetuningConfig, preparation: Any, model: Any
) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """Fill in what the configuration leaves to the data, to the model and to this machine.

    Of the model the shape is enough: its weights may be on the meta device.

    Returns:
        The configuration of the run; where its values come from, as `FinetuningConfig.settled`
        tells; and what is to be said of it, one sentence each.

    Raises:
        ConfigError: A setting contradicts the task or the model.
    """
    rows, length = config.way.epoch(len(data.splits["train"]), task.noun.removesuffix("s"))
    recipe = None
    own, more = task.settle(config, preparation, model)
    if config.way.has_model:
        recipe = task.recipe(config, model, rows)
        # Here, so that a run is not resumed elsewhere with other rounding.
        own |= {"mixed_precision": settled_precision(config.mixed_precision, model)}
        own |= settled_by_validation(data, config)
    settled, sources, said = config.settled(data.task, recipe, length, own)
    return settled, sources, (said, *more) if said else more


def fit(
    learner: Learner, rows: EncodedRows, run: Path, resume: Path | None, notify: Notify
) -> tuple[Any, TrainingOutcome]:
    """Train by the configuration's method, from a checkpoint on where there is one.

    Returns:
        The trained model, as the method adapted it, and how training went. Of a regression it
        gives amounts by `Learner.scale` still, as its checkpoints do.
    """
    config, data, method = learner.config, rows.data, learner.config.way
    if not method.has_model:
        return learner.task.fit(learner), TrainingOutcome(history=[], steps=0, best_step=None)
    device, train_rows, precision = compute_device(), data.splits["train"], config.mixed_precision
    iterations, notes = begin_head(learner, rows, run, resume, notify)
    model = method.adaptation.adapt(learner.model, config, learner.base_id, learner.revision)
    if not method.pretrained:  # then it is another model
        begin_output(data, config, model, kept=False)
    if method.features_once:
        return model.to(device), TrainingOutcome([], iterations, None, notes)
    config.require_settled()

    judged = partial(judge, learner, data.splits["validation"].targets)
    trained, adapting = adaptation_to(learner, rows, model)
    method.adaptation.begin(model, config.steps_over(len(trained.lengths("train"))))
    with (
        trained.slimmed(model, ("train", "validation")),
        frozen_weights_in(model, resolve_precision(precision, device)),
    ):
        model.to(device)
        job = TrainingJob(
            model=model,
            batch=partial(trained.training_batch, "train"),
            targets=torch.from_numpy(learner.learned(train_rows.targets)),
            numbers=train_rows.rows,
            lengths=trained.lengths("train"),
            loss=loss_of(config, data),
            parameter_groups=parameter_groups(
                model, config.learning_rate or 0.0, config.weight_decay, config.layer_decay
            ),
            notify=notify,
            judged_rows=judged_rows(data, config.best_metric),
            measure=lambda model: judged(logits_of(rows, model, "validation", precision)),
            pad=rows.pad,
            resting=partial(method.adaptation.resting, model),
            penalty=partial(method.adaptation.penalty, model),
            stepped=partial(method.adaptation.stepped, model),
        )
        job = method.adaptation.job(job, config, partial(solve_again, learner, rows, model))
        moves = rows.varies or config.activation_checkpointing
        with (
            adapting(job) as job,
            nullcontext((job, None)) if moves else frozen_trunk(job, run, precision) as (job, said),
        ):
            outcome = run_training(job, config, run, resume)
    method.adaptation.end(model)
    return model.to(device), replace(outcome, notes=(*notes, *filter(None, [said])))


def solve_again(learner: Learner, rows: EncodedRows, model: Any) -> None:
    """Solve the head on the features that the encoder gives now."""
    found = solve_output(learner, rows, learner.config.way.adaptation.solve)
    found.put_into(model.get_submodule(output_layer_name(model)))


def adaptation_to(
    learner: Learner, rows: EncodedRows, model: Any
) -> tuple[EncodedRows, Callable[[TrainingJob], AbstractContextManager[TrainingJob]]]:
    """The rows to train on, and the context in which a job tells domains, if there is a target."""
    config, classifier = learner.config, learner.classifier_in(model)
    if config.target is None:
        return rows, nullcontext
    both = with_target(rows, config.seed)
    place = classifier, output_layer_name(classifier)
    steps = config.steps_over(len(both.lengths("train")))
    return both, partial(adversarial, place=place, steps=steps, seed=config.seed)


def compare_domains(
    learner: Learner, rows: EncodedRows, model: Any, run: Path, notify: Notify
) -> Domains | None:
    """What an adaptation to a target was worth; None without one."""
    if learner.config.target is None:
        return None
    again = partial(train_again, learner, run, notify)
    return judge_domains(learner, rows, model, again, notify)


def train_again(
    learner: Learner, run: Path, notify: Notify, rows: EncodedRows, name: str
) -> tuple[Learner, Any]:
    """Train by the same settings on other rows, and without a target, to compare with.

    Its checkpoints stand in a folder of that name within the run's, from which it goes on.
    """
    config, place = replace(learner.config, target=None), run / f"again-{name}"
    model, head, scale = load(learner.task, rows.data, config, learner.preparation)
    other = replace(learner, model=model, data=rows.data, config=config, head=head, scale=scale)
    place.mkdir(exist_ok=True)
    model, _ = fit(other, rows, place, newest_checkpoint(place), notify)
    give_amounts(other, model)
    return other, model


def judge(learner: Learner, targets: NDArray[Any], logits: FloatArray) -> dict[str, float]:
    """Metrics of a model in training, (N,) or (N, C) targets and (N, C) logits; of its own loss."""
    mean, spread = learner.scale or (0.0, 1.0)
    metrics = quick_metrics(learner.data.task, targets, logits * spread + mean)
    return metrics | {"loss": metrics["loss"] / spread**2}


def evaluate(
    learner: Learner, rows: EncodedRows, model: Any, notify: Notify
) -> tuple[dict[str, Evaluation], tuple[str, ...]]:
    """Judge the model on each split; the last one is reported.

    Temperature and thresholds are found on the validation rows, and judged on those of the test.

    Returns:
        And what a head has learned since the validation rows judged it: `learn_held_out`.
    """
    data, noun = rows.data, learner.task.noun
    # Of few rows that are all right, any temperature would do, and the sharpest would win.
    given = GivenCalibration() if is_few(data) else None
    # Amounts far from 0 lose their digits in bf16.
    precision = "float32" if learner.scale else learner.config.mixed_precision
    evaluations: dict[str, Evaluation] = {}
    learned: tuple[str, ...] = ()
    for split in [name for name in SPLITS[1:] if name in data.splits]:
        logits = logits_of(rows, model, split, precision)
        targets = data.splits[split].targets
        judged = evaluate_logits(data.task, data.labels, targets, logits, given=given, noun=noun)
        given = judged.calibration.given if judged.calibration else None
        evaluations[split] = judged
        if split == "validation":
            learned = learn_held_out(learner, rows, model)
            for sentence in learned:
                notify(sentence)
    return evaluations, learned


def learn_held_out(learner: Learner, rows: EncodedRows, model: Any) -> tuple[str, ...]:
    """Solve a head again on all rows, once those held out have judged it.

    A head that is solved in the end alone, and where they were too few to decide anything. Its
    penalty is found anew; what it reads stays.

    Returns:
        What is to be said of it, if anything was done.
    """
    config, data = learner.config, rows.data
    if not (config.way.solves and data.held_out and is_few(data)):
        return ()
    layer = learner.model.get_submodule(output_layer_name(learner.model))
    found = solve_output(learner, rows, config.way.adaptation.solve, ("train", "validation"))
    found.put_into(layer)
    give_amounts(learner, model)
    count, noun = len(data.splits["validation"]), learner.task.noun
    return (
        f"The {noun} held out ({count}) judged a head that did not know them; the one that is "
        f"published was then solved on all {found.rows}.",
    )


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
        if learner.preparation is not None:
            learner.preparation.save_pretrained(staging)
        write_json(staging / MANIFEST, report.manifest)
        notes = write_report(staging, report)
        notify("loading the saved folder in a fresh process")
        unit = learner.scale[1] if learner.scale else 1.0
        rule = rule_of(report.manifest, getattr(model, "config", model))
        question = rows.question("validation", sample)
        prove_reload(learner.task, staging, question, expected, rule, unit)
    discard_folder(place.run, place.out)
    return notes
