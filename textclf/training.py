"""`train`: a table in, a classifier with proof out.

Table → audit → split → tokenise → train → evaluate → save → reload proof → publish. The folder that
is named appears only when all of it has succeeded.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from footwork.accelerator import (
    is_main_process,
    number_of_processes,
    settled_precision,
    wait_for_everyone,
)
from footwork.errors import DataError, HubUnreachable
from footwork.evaluation.result import Evaluation, evaluate_logits
from footwork.files.folders import discard_folder, published_folder, read_manifest
from footwork.inference.features import require_features
from footwork.inference.tokens import room_for_texts, tokenize
from footwork.methods.adaptation import require_adaptable
from footwork.methods.table import METHODS
from footwork.models.checkpoints import (
    TEXT_PRESETS,
    load_classifier,
    load_shape,
    load_tokenizer,
    model_commit,
    position_limit,
    resolve_model_id,
    token_table,
)
from footwork.models.uploads import (
    create_repository,
    push_folder,
    require_publishable,
    writable_repository,
)
from footwork.training.run import Existing, RunPlace, begin_run, check_run, held, resumable
from textclf.audit.audit import Audit, CostInput, audit_data
from textclf.baselines import fit_baselines
from textclf.config import DEFAULT_MODEL, TrainConfig
from textclf.data.loading import Examples, LabelledData, load_data
from textclf.fit import Learner, Notify, fit, split_logits
from textclf.publish import Result, write_classifier
from textclf.reload import prove_reload

PROOF_ROWS = 64


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished training."""

    folder: Path
    manifest: dict[str, Any]
    """What `footwork.json` holds."""
    evaluation: Evaluation
    """Of the split that is reported: test where there is one, else validation."""
    baselines: dict[str, Evaluation]
    """`majority` and `linear` on the same rows; empty on all but the main process."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[Any, ...]
    """Rows that were left out, with a reason each."""
    repository: str | None = None
    """On the Hub, where it was pushed."""
    address: str | None = None
    """Of the repository."""


def train(
    data: str | Path,
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    existing: Existing = "refuse",
    notify: Notify = lambda _: None,
) -> TrainedRun:
    """Train a text classifier and publish it as a folder.

    Args:
        data: Table, folder of tables, or Hub data set id.
        out: The folder to publish; `out.training` beside it holds the checkpoints meanwhile.
        config: Every setting.
        existing: What to do where `out` or an unfinished run of it exists.
        notify: Takes progress and warnings, one text each.

    Raises:
        ConfigError: A setting is wrong, or something is in the way.
        DataError: The table cannot be read or cannot be learned from.
        ModelError: The model cannot be loaded, or the saved folder does not answer as the trained
            model did; then nothing is published. Or the upload failed, and the folder stands.
        TrainingError: Training could not go on; its checkpoints stay.
    """
    config, out = config or TrainConfig(), Path(out)
    notify = notify if is_main_process() else _silent
    require_publishable(config, TEXT_PRESETS.get(config.model_id, config.model_id))
    place = check_run(out, existing, (data, config.model_id))
    repository = None
    if config.push_to_hub is not None and is_main_process():
        repository = writable_repository(config.push_to_hub)
    tokenizer = require_trainable(config)
    labelled = load_data(str(data), config)
    learner = plan(labelled, config, tokenizer, notify)
    _require_usable(audit_for(labelled, learner.tokenizer, learner.model, learner.config), notify)
    identity = {"data": labelled.sha256, "base_revision": learner.revision}
    with held(place.run), resumable(place.run):
        resume = begin_run(place, asdict(learner.config) | identity, existing, notify)
        if repository:
            notify(f"to be uploaded when all is done: {create_repository(repository)}")
        model, outcome = fit(learner, place.run, resume, notify)
        splits = {"validation": labelled.validation}
        if labelled.test is not None:
            splits["test"] = labelled.test
        evaluations = _evaluate(model, learner, splits)
        done = _finish(place, Result(learner, str(data), model, outcome, evaluations), notify)
    if repository:
        done = replace(done, repository=repository, address=push_folder(out, repository))
    wait_for_everyone()
    return done


def require_trainable(config: TrainConfig) -> PreTrainedTokenizerBase:
    """Refuse, before the data are read, what the model cannot do whatever they are.

    Returns:
        The model's tokenizer.

    Raises:
        ConfigError: A setting contradicts the tokenizer or the model.
        ModelError: The model cannot be reached, or the method cannot adapt it.
    """
    config.require_divisible(number_of_processes())
    tokenizer = load_tokenizer(config.model_id, config.revision)
    room_for_texts(tokenizer, config.max_length)
    shape = load_shape(config.model_id, config.revision)
    require_adaptable(shape, config.method, checkpointing=config.activation_checkpointing)
    return tokenizer


def plan(
    data: LabelledData, config: TrainConfig, tokenizer: PreTrainedTokenizerBase, notify: Notify
) -> Learner:
    """Load the model for `data` and settle what the configuration leaves open.

    Args:
        data: All splits.
        config: As the user states it.
        tokenizer: Of the model.
        notify: Takes what the user should know, one text each.

    Raises:
        ModelError: The model cannot be loaded, or its head cannot be trained alone.
    """
    torch.manual_seed(config.seed)  # of a new head the weights are the seed's
    model, head = load_classifier(
        config.model_id, labels=data.labels, task=data.task, revision=config.revision
    )
    if METHODS[config.method].features_once:
        require_features(model, tokenize(tokenizer, ["One text."], None, config.max_length))
    resolved, said = settle(data, config, tokenizer, model)
    for sentence in filter(None, (*said, config.merge_note, head.note)):
        notify(sentence)
    return Learner(
        model=model,
        tokenizer=tokenizer,
        data=data,
        config=resolved,
        base_id=stable_id(config.model_id),
        revision=model_commit(config.model_id, config.revision),
        head=head,
    )


def settle(
    data: LabelledData, config: TrainConfig, tokenizer: Any, model: PreTrainedModel
) -> tuple[TrainConfig, tuple[str, ...]]:
    """Fill in what the configuration leaves to the data, to the model and to this machine.

    Args:
        data: All splits.
        config: As the user states it.
        tokenizer: Of the model.
        model: For its shape alone; its weights may be on the meta device.

    Returns:
        The configuration of the run, and what is to be said of it, one sentence each.

    Raises:
        ConfigError: A setting contradicts the task or the tokenizer.
    """
    resolved, said = config.resolved(data.task, encoder_size(model), len(data.train.texts))
    room_for_texts(tokenizer, resolved.max_length)
    # Here, so that a run is not resumed elsewhere with other rounding.
    resolved = replace(resolved, mixed_precision=settled_precision(resolved.mixed_precision, model))
    limit = position_limit(model)
    if limit is None or resolved.max_length <= limit:
        return resolved, (said,)
    cut = f"`max_length` is {limit}, the positions of this model, not {resolved.max_length}."
    return replace(resolved, max_length=limit), (said, cut)


def audit_for(
    data: LabelledData, tokenizer: Any, model: PreTrainedModel, config: TrainConfig
) -> Audit:
    """Look the data over with the model's own tokens, and estimate what training will take.

    Args:
        data: All splits.
        tokenizer: Of the model.
        model: For its shape alone; its weights may be on the meta device.
        config: As `settle` gives it.
    """
    total = sum(p.numel() for p in model.parameters())
    cost = CostInput(
        parameters=total,
        trainable_parameters=int(total * METHODS[config.method].share),
        embedding_parameters=_table_size(model),
        num_epochs=config.epochs_over(len(data.train.texts)),
        batch_size=math.ceil(config.batch_size / config.gradient_accumulation_steps),
        method=config.method,
        hidden_size=getattr(model.config, "hidden_size", None),
        num_layers=getattr(model.config, "num_hidden_layers", None),
        mixed_precision=config.mixed_precision,
    )
    return audit_data(data, tokenizer, config.max_length, cost)


def audit_table(data: str | Path, config: TrainConfig) -> Audit:
    """Look a table over without training, every bad row at once.

    Where the default model cannot be reached, the tokens are those of `tiny`, and a note says so.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The table cannot be read at all.
        ModelError: The model that was named cannot be loaded.
    """
    labelled = load_data(str(data), replace(config, keep_going=True))
    try:
        tokenizer = load_tokenizer(config.model_id, config.revision)
        model = load_shape(config.model_id, config.revision)
    except HubUnreachable as error:
        if config.model_id != DEFAULT_MODEL:
            raise
        note = f"Tokens, time and memory are those of `tiny`. {error}"
        labelled = replace(labelled, notes=(*labelled.notes, note))
        tokenizer, model = load_tokenizer("tiny"), load_shape("tiny")
    require_adaptable(model, config.method, checkpointing=config.activation_checkpointing)
    resolved, said = settle(labelled, config, tokenizer, model)
    labelled = replace(labelled, notes=(*labelled.notes, *said))
    return audit_for(labelled, tokenizer, model, resolved)


def encoder_size(model: Any) -> int:
    """Parameters of the encoder without its embeddings."""
    base = sum(p.numel() for p in model.base_model.parameters())
    return base - _table_size(model)


def _table_size(model: Any) -> int:
    """Parameters of the embedding of tokens."""
    table = token_table(model)
    return 0 if table is None else sum(p.numel() for p in table.parameters())


def stable_id(model_id: str) -> str:
    """What an adapter calls its base: a Hub id, an absolute folder, or `tiny`."""
    return model_id if model_id == "tiny" else resolve_model_id(model_id)


def _evaluate(model: Any, learner: Learner, splits: dict[str, Examples]) -> dict[str, Evaluation]:
    """Judge the model on each split: what was found on the validation rows is judged on test's."""
    data, given = learner.data, None
    found: dict[str, Evaluation] = {}
    for name, split in splits.items():
        logits = split_logits(model, learner, split)
        found[name] = evaluate_logits(data.task, data.labels, split.targets, logits, given=given)
        calibration = found[name].calibration
        given = calibration.given if calibration else None
    return found


def _finish(place: RunPlace, result: Result, notify: Notify) -> TrainedRun:
    """Publish on the main process; the others are told the same, without the baselines."""
    data = result.learner.data
    baselines: dict[str, Evaluation] = {}
    notes: tuple[str, ...] = ()
    if is_main_process():
        notify("fitting the baselines; training is done and kept, --resume would go on from here")
        split = data.test if result.split == "test" else data.validation
        baselines = fit_baselines(data, split or data.validation)
        notes = _publish(place, result, baselines, notify)
        discard_folder(place.run, place.out)
    wait_for_everyone()
    return TrainedRun(
        folder=place.out,
        manifest=read_manifest(place.out, verify=False),
        evaluation=result.evaluations[result.split],
        baselines=baselines,
        notes=(*data.notes, *notes),
        skipped=data.skipped,
    )


def _publish(
    place: RunPlace, result: Result, baselines: dict[str, Evaluation], notify: Notify
) -> tuple[str, ...]:
    learner = result.learner
    sample = _first_rows(learner.data.validation)
    expected = split_logits(result.model, learner, sample, exact=True)  # before anything is merged
    with published_folder(place.out, overwrite=place.replaces) as staging:
        notes = write_classifier(staging, result, baselines)
        notify("loading the saved folder in a fresh process")
        prove_reload(staging, sample, expected)
    return notes


def _require_usable(found: Audit, notify: Notify) -> None:
    notify(found.to_text())
    if not found.usable:
        message = "The audit found what makes training impossible; see its errors above."
        raise DataError(message)


def _first_rows(split: Examples) -> Examples:
    rows = slice(PROOF_ROWS)
    pairs = split.pairs[rows] if split.pairs is not None else None
    return replace(split, texts=split.texts[rows], pairs=pairs)


def _silent(_: str) -> None:
    """Every process but the main one."""
