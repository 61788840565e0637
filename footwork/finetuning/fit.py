"""A planned run: the model is trained by its method, and judged on what it did not learn from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from footwork.accelerator import (
    compute_device,
    free_cached_memory,
    peak_memory,
    resolve_precision,
)
from footwork.arrays import FloatArray
from footwork.errors import ModelError, error_text, first_line
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.result import Evaluation, evaluate_logits, quick_metrics
from footwork.finetuning.domains import with_target_rows
from footwork.finetuning.head import begin_head, loss_of, solve_output
from footwork.finetuning.plan import begin_output, load
from footwork.finetuning.task import EncodedRows, Learner, Notify, logits_of
from footwork.finetuning.validation import is_few, judged_rows
from footwork.methods.adaptation import parameter_groups
from footwork.models.heads import output_layer_name, scale_output
from footwork.models.hub import model_folder, resolve_model_id
from footwork.models.parts import head_names
from footwork.training.domains import adversarial
from footwork.training.job import TrainingJob
from footwork.training.loop import run_training
from footwork.training.memory import frozen_weights_in
from footwork.training.run import TrainingOutcome, newest_checkpoint
from footwork.training.trunk import JudgingRows, frozen_trunk


def fit(
    learner: Learner, rows: EncodedRows, run: Path, resume: Path | None, notify: Notify
) -> tuple[Any, TrainingOutcome]:
    """Train by the configuration's method, from a checkpoint on where there is one.

    Returns:
        The trained model, as the method adapted it, and how training went.
    """
    if (learner.callbacks or learner.config.log_to) and not learner.config.method_row.rates:
        notify(f"{learner.config.method} takes no steps: callbacks and `log_to` hear nothing.")
    model, outcome = _trained(learner, rows, run, resume, notify)
    free_cached_memory()
    give_amounts(learner, model)
    return model, outcome


def _trained(
    learner: Learner, rows: EncodedRows, run: Path, resume: Path | None, notify: Notify
) -> tuple[Any, TrainingOutcome]:
    """As `fit`, but of a regression the model gives amounts by `Learner.scale`."""
    config, data, method = learner.config, rows.data, learner.config.method_row
    if not method.has_model:
        return learner.task.fit(learner), TrainingOutcome(history=[], steps=0, best_step=None)
    device, train_rows, precision = compute_device(), data.splits["train"], config.mixed_precision
    iterations, notes = begin_head(learner, rows, run, resume, notify)
    # Beside adapters a head that was solved keeps to its optimum; images have it learn as they do.
    keeps = bool(notes) and method.adapter is not None and learner.task.chooses_reading
    heads = head_names(learner.model)
    solved = heads if keeps else ()
    model = method.adaptation.adapt(learner.model, config, learner.base_id, learner.revision)
    if config.continue_adapter:
        take_adapter(learner, model, heads)
    if not method.pretrained:  # then it is another model
        begin_output(data, config, model, kept=False)
    if method.features_once:
        return model.to(device), TrainingOutcome([], iterations, None, notes)
    config.require_settled()

    judging = JudgingRows(
        batch=partial(rows.inputs, "validation"),
        lengths=rows.lengths("validation"),
        metrics=partial(judge, learner, data.splits["validation"].targets),
    )
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
                model, config.learning_rate or 0.0, config.weight_decay, config.layer_decay, solved
            ),
            notify=notify,
            callbacks=learner.callbacks,
            judged_rows=judged_rows(data, config.best_metric),
            measure=lambda model: judging.metrics(logits_of(rows, model, "validation", precision)),
            pad=rows.pad,
            resting=partial(method.adaptation.resting, model),
            penalty=partial(method.adaptation.penalty, model),
            stepped=partial(method.adaptation.stepped, model),
        )
        job = method.adaptation.job(job, config, partial(solve_again, learner, rows, model))
        # What a method puts before a text enters all layers.
        moves = rows.varies or config.tokens_before
        with (
            adapting(job) as job,
            nullcontext((job, None)) if moves else frozen_trunk(job, judging, run, precision) as (
                job,
                said,
            ),
        ):
            outcome = run_training(job, config, run, resume)
    method.adaptation.end(model)
    return model.to(device), replace(outcome, notes=(*notes, *filter(None, [said])))


def take_adapter(learner: Learner, model: Any, heads: Sequence[str]) -> None:
    """Copy the weights of the adapter that goes on into the new one of a model, the head apart.

    `heads` are names in the plain model.
    """
    folder = model_folder(
        resolve_model_id(learner.config.model_id, learner.task.presets), learner.config.revision
    )
    trained, _ = learner.task.load_trained(folder)
    marks = [f".{name}." for name in heads]
    state = {
        key: each
        for key, each in trained.state_dict().items()
        if not any(mark in f".{key}" for mark in marks)
    }
    try:
        unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    except RuntimeError as error:
        unexpected = [first_line(error)]
    if unexpected:
        raise ModelError(f"The adapter in {folder} does not fit its base: {unexpected[0]}.")


def solve_again(learner: Learner, rows: EncodedRows, model: Any) -> None:
    """Solve the head on the features that the encoder gives now."""
    found = solve_output(learner, rows, learner.config.method_row.adaptation.solve)
    found.put_into(model.get_submodule(output_layer_name(model)))


def adaptation_to(
    learner: Learner, rows: EncodedRows, model: Any
) -> tuple[EncodedRows, Callable[[TrainingJob], AbstractContextManager[TrainingJob]]]:
    """The rows to train on, and the context in which a job tells domains, if there is a target."""
    config, classifier = learner.config, learner.classifier_in(model)
    if config.target is None:
        return rows, nullcontext
    both = with_target_rows(rows, config.seed)
    place = classifier, output_layer_name(classifier)
    steps = config.steps_over(len(both.lengths("train")))
    return both, partial(adversarial, place=place, steps=steps, seed=config.seed)


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
    if rows.data.paired:  # each model may read them in its own way
        rows = rows.for_learner(other)
    return other, fit(other, rows, place, newest_checkpoint(place), notify)[0]


def judge(learner: Learner, targets: NDArray[Any], logits: FloatArray) -> dict[str, float]:
    """Metrics of a model in training, (N,) or (N, C) targets and (N, C) logits; of its own loss."""
    mean, spread = learner.scale or (0.0, 1.0)
    task, own, logits = learner.data.task, learner.config.metric, logits * spread + mean
    metrics = quick_metrics(task, targets, logits)
    metrics |= {own.name: own.measured(task, targets, logits)} if own else {}
    return metrics | {"loss": metrics["loss"] / spread**2}


def evaluate(
    learner: Learner, rows: EncodedRows, model: Any, notify: Notify
) -> tuple[dict[str, Evaluation], tuple[str, ...]]:
    """Judge the model on each split; the last one is reported.

    Temperature and thresholds are found on the validation rows, and judged on those of the test.

    Returns:
        Evaluations by split, and the sentences of `learn_held_out`.
    """
    data, noun = rows.data, learner.task.noun
    # Of few rows that are all right, any temperature would do, and the sharpest would win.
    given = GivenCalibration() if is_few(data) else None
    evaluations: dict[str, Evaluation] = {}
    learned: tuple[str, ...] = ()
    for split in data.judging:
        # As what is published answers: bf16 turns a row in some hundreds.
        logits = logits_of(rows, model, split, "float32")
        targets = data.splits[split].targets
        judged = evaluate_logits(data.task, data.labels, targets, logits, given=given, noun=noun)
        given = judged.calibration.given if judged.calibration else None
        if own := learner.config.metric:
            try:
                figure = {own.name: own.interval(data.task, targets, logits)}
                judged = replace(judged, metrics=judged.metrics | figure)
            except (ModelError, ValueError, ZeroDivisionError) as error:
                why = f"Undefined on this split, and left out: {own.name} ({error_text(error)})."
                judged = replace(judged, remarks=(*judged.remarks, why))
        evaluations[split] = judged
        if split == "validation":
            learned = learn_held_out(learner, rows, model)
            for sentence in learned:
                notify(sentence)
    return evaluations, learned


def learn_held_out(learner: Learner, rows: EncodedRows, model: Any) -> tuple[str, ...]:
    """Solve a head again on all rows, once those held out have judged it.

    A head that is solved in the end alone. What it reads stays, and so does its penalty, from
    which logits have their size: a temperature that was fitted on theirs would be another one's.

    Returns:
        What is to be said of it, if anything was done.
    """
    config, data = learner.config, rows.data
    if not (config.method_row.solves and data.held_out):
        return ()
    solver = config.method_row.adaptation.solve
    if rows.solution:
        solver = partial(solver, strength=rows.solution.strength)
    found = solve_output(learner, rows, solver, ("train", "validation"))
    found.put_into(learner.model.get_submodule(output_layer_name(learner.model)))
    give_amounts(learner, model)
    count, noun = len(data.splits["validation"]), learner.task.noun
    return (
        f"The {noun} held out ({count}) judged a head that did not know them; it was then solved "
        f"again, on all {found.rows}.",
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
