"""The output layer of a classifier, solved on what its encoder says of the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from footwork.accelerator import compute_device, is_main_process, share_from_main
from footwork.files.folders import read_json, write_json
from footwork.finetuning.config import FinetuningConfig
from footwork.finetuning.data import LabelledData
from footwork.finetuning.task import EncodedRows, Learner, Notify, logits_of
from footwork.methods.head import LinearSolution, Solver, held_out_loss, solve
from footwork.methods.rates import ADAPTERS_GENTLE, GENTLE
from footwork.models.heads import can_solve_output, output_layer_name
from footwork.models.pairs import (
    SentenceReader,
    can_read_apart,
    compared,
    is_of_sentences,
    reads_apart,
)
from footwork.models.pooling import READINGS, FeatureReader, let_head_read
from footwork.training.job import LossFunction, balanced_weights, row_loss

_SAMPLE, _BEGIN, _PAIRS = 2000, 10_000, 3000
"""Training rows by which the reading is chosen, and by which a head begins; and from which on an
encoder that trains reads both texts of a pair together (docs/methods.md)."""
_HEAD = "head.json"
_WORDS = {
    "own": "what the model's own head reads",
    "first": "the state of the first token",
    "mean": "the mean over the tokens",
    "apart": "how the two texts differ, each read by itself",
}


def begin_head(
    learner: Learner, rows: EncodedRows, run: Path, resume: Path | None, notify: Notify
) -> tuple[int, tuple[str, ...]]:
    """Solve the head of `learner.model` where it is to begin so; a resumed run has solved it.

    Returns:
        Iterations, and what is to be said of it, if anything.
    """
    rows.features, rows.solution = {}, None
    rows.begin(learner, notify)
    if resume:  # by the rate that it began with; another one may be asked for since
        return 0, tuple(filter(None, [resume_head(learner, run)]))
    if not can_be_solved(learner):
        return 0, ()
    notify("computing the features of the frozen encoder, for the head")
    iterations, note = solve_head(learner, rows, run)
    notify(note)
    return iterations, (note,)


def solve_head(learner: Learner, rows: EncodedRows, run: Path) -> tuple[int, str]:
    """Choose what the output layer of `learner.model` reads, and solve it, in place.

    Where the encoder is trained from there on, a random head would spoil it first. What was chosen
    is kept in `run` for `resume_head`.

    Source: LP-FT, Kumar et al. 2022, section 3 (arXiv:2202.10054).

    Returns:
        Iterations, and what to say of it, one sentence.
    """
    learner.model.to(compute_device())
    reading, method = choose_reading(learner, rows), learner.config.method_row
    solver = method.adaptation.solve
    known = rows.solution if reading == "own" and solver is solve else None
    solution = known or solve_output(learner, rows, solver)
    solution.put_into(learner.model.get_submodule(output_layer_name(learner.model)))
    begins = "" if method.features_once else "begins solved on the frozen encoder: it "
    note = f"The head {begins}reads {_WORDS[reading]}; {solution.how}."
    if is_main_process():
        write_json(run / _HEAD, {"reading": reading, "note": note})
    return solution.iterations, note


def resume_head(learner: Learner, run: Path) -> str | None:
    """Let the output layer read what it did when a run began; its weights are the checkpoint's.

    Returns the note of then, or None where there is no record, as in runs of older versions.
    """
    if not (run / _HEAD).exists():
        return None
    found = read_json(run / _HEAD)
    if found.get("reading") not in READINGS or not let_head_read(learner.model, found["reading"]):
        return None
    return str(found["note"])


def can_be_solved(learner: Learner) -> bool:
    """Whether a head is to begin solved: it is new, on a pretrained encoder, and linear.

    Where it may read something else than its own (texts), it must stay near its optimum after
    that, if it is not solved again: at the rates of very small encoders it would not.
    """
    method = learner.config.method_row
    if not can_solve_output(learner.model):
        return False
    rate = learner.config.learning_rate or 0.0  # of a head alone there is none
    gentle = rate <= (GENTLE if method.adapter is None else ADAPTERS_GENTLE) or method.solves
    gentle |= not learner.task.chooses_reading
    return method.pretrained and gentle and not learner.head.kept


def solve_output(
    learner: Learner, rows: EncodedRows, solver: Solver, splits: Sequence[str] = ("train",)
) -> LinearSolution:
    """The best output layer on what that of `learner.model` reads now, of the rows of some splits.

    Of many rows a part tells where a head begins; one that is not trained from there is told by
    all.
    """
    config, data = learner.config, rows.data
    reader, known_features = FeatureReader(learner.model), {}
    if config.method_row.features_once:
        known_features = rows.features
    features, targets, numbers = [], [], list[int]()
    for split in splits:
        count = len(data.splits[split])
        chosen = drawn(count, count if config.method_row.solves else _BEGIN)
        if split not in known_features:
            said = logits_of(rows, reader, split, config.mixed_precision, chosen)
            known_features[split] = said
        features.append(known_features[split])
        targets.append(data.splits[split].targets[chosen])
        numbers += rows.numbers(split, chosen)
    found = None
    if is_main_process():
        known = np.concatenate(targets)
        found = solver(
            torch.from_numpy(np.concatenate(features)),
            torch.from_numpy(learner.learned(known)),
            max(len(data.labels), 1),
            loss_of(config, data),
            rows.alike(known, numbers),
        )
    solution: LinearSolution = share_from_main(found)
    rows.solution = solution
    return solution


def choose_reading(learner: Learner, rows: EncodedRows) -> str:
    """Let the head read what serves it best on rows that are left out, and say what that is.

    Its own reading stays unless another one is better by more than a standard error. Where the head
    is all that the labels train in the end, it is the mean that stays.
    """
    model, config, data = learner.model, learner.config, rows.data
    if reads_apart(model):
        return "apart"
    if not learner.task.chooses_reading:
        return learner.task.readings[0]
    count, precision = len(data.splits["train"]), config.mixed_precision
    chosen = drawn(count, _SAMPLE)
    states = logits_of(rows, FeatureReader(model, states=True), "train", precision, chosen)
    both: tuple[torch.Tensor, ...] = ()
    few = config.method_row.solves or count < _PAIRS
    if data.paired and few and not config.tokens_before and can_read_apart(model.config):
        said = logits_of(rows, SentenceReader(model), "train", precision, chosen)
        both = torch.from_numpy(said).chunk(2, dim=1)
    order: list[str] = []
    if is_main_process():
        targets = data.splits["train"].targets[chosen]
        loss_on = partial(
            held_out_loss,
            targets=torch.from_numpy(learner.learned(targets)),
            classes=max(len(data.labels), 1),
            loss=loss_of(config, data),
            alike=rows.alike(targets, rows.numbers("train", chosen)),
        )
        own = states.shape[1] - 2 * model.config.hidden_size
        parts = np.split(states, [own, own + model.config.hidden_size], axis=1)
        found = {
            reading: loss_on(torch.from_numpy(part))
            for reading, part in zip(READINGS, parts, strict=False)
        }
        # A plain language model that trains learns to compare, and does so better in one sequence.
        if both and (config.method_row.solves or is_of_sentences(*both)):
            found["apart"] = loss_on(compared(*both))
        usual = "mean" if config.method_row.solves else "own"
        margin = found[usual].error
        order = sorted(
            found, key=lambda each: found[each].loss + (margin if each != usual else 0.0)
        )
    order = share_from_main(order)
    return next(reading for reading in order if let_head_read(model, reading))


def drawn(count: int, most: int) -> list[int]:
    """Rows, the same on every process: by chance, because labels may stand in a pattern."""
    rows = np.random.default_rng(0).choice(count, min(count, most), replace=False)
    return sorted(rows.tolist())


def loss_of(config: FinetuningConfig, data: LabelledData) -> LossFunction:
    """The loss of a row that a run asks for."""
    if config.loss is not None:
        return config.loss
    weights = None
    if config.class_weights == "balanced":
        weights = balanced_weights(data.task, data.splits["train"].targets, len(data.labels))
    return row_loss(data.task, config.label_smoothing, weights)
