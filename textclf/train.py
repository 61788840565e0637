"""`train`: a table in, a classifier with proof out.

Table → audit → split → tokenise → train → evaluate → save → reload proof → publish. The folder that
is named appears only when all of it has succeeded.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from runtime.accelerator import is_main_process, wait_for_everyone
from runtime.checkpoints import load_classifier, load_tokenizer, model_commit, resolve_model_id
from runtime.errors import DataError
from runtime.folders import published_folder, read_manifest
from textclf.audit import Audit, CostInput, audit_data
from textclf.config import TrainConfig
from textclf.data import Examples, LabelledData, load_data
from textclf.evaluate import evaluate_logits
from textclf.fit import Learner, Notify, fit, split_logits
from textclf.publish import Result, push_folder, write_classifier
from textclf.reload import prove_reload
from textclf.run import Existing, begin_run, check_run

PROOF_ROWS = 64


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished training."""

    folder: Path
    manifest: dict[str, Any]
    """What `footwork.json` holds."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""
    skipped: tuple[Any, ...]
    """Rows that were left out, with a reason each."""


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
            model did; then nothing is published.
        TrainingError: Training could not go on; its checkpoints stay.
    """
    config, out = config or TrainConfig(), Path(out)
    notify = notify if is_main_process() else _silent
    run = check_run(out, existing)
    labelled = load_data(str(data), config)
    learner = plan(labelled, config, notify)
    _require_usable(audit(learner), notify)
    resume = begin_run(run, asdict(learner.config) | {"data": labelled.sha256}, existing)
    model, outcome = fit(learner, run, resume, notify)
    splits = {"validation": labelled.validation, "test": labelled.test}
    evaluations = {
        name: evaluate_logits(
            labelled.task, labelled.labels, split.targets, split_logits(model, learner, split)
        )
        for name, split in splits.items()
        if split is not None
    }
    result = Result(learner, str(data), model, outcome, evaluations)
    notes = _publish(out, result, existing, notify) if is_main_process() else ()
    wait_for_everyone()
    if is_main_process():
        shutil.rmtree(run, ignore_errors=True)
        if config.push_to_hub:
            push_folder(out, config.push_to_hub)
    return TrainedRun(out, read_manifest(out), (*labelled.notes, *notes), labelled.skipped)


def plan(data: LabelledData, config: TrainConfig, notify: Notify) -> Learner:
    """Load the model for `data` and settle what the configuration leaves open.

    Raises:
        ModelError: The model cannot be loaded.
    """
    torch.manual_seed(config.seed)  # the head is new: its weights are the seed's
    tokenizer = load_tokenizer(config.model_id, config.revision)
    model = load_classifier(
        config.model_id, labels=data.labels, task=data.task, revision=config.revision
    )
    resolved, said = config.resolved(data.task, encoder_size(model), len(data.train.texts))
    notify(said)
    return Learner(
        model, tokenizer, data, resolved, stable_id(config.model_id), model_commit(model)
    )


def audit(learner: Learner) -> Audit:
    """Look the data over with the model's own tokens, and estimate what training will take."""
    model, config = learner.model, learner.config
    total = sum(p.numel() for p in model.parameters())
    shape = model.config
    cost = CostInput(
        parameters=total,
        trainable_parameters=total if config.method == "full" else total // 50,
        embedding_parameters=total - encoder_size(model),
        num_epochs=config.num_epochs or 1,
        batch_size=config.batch_size,
        method=config.method,
        hidden_size=getattr(shape, "hidden_size", None),
        num_layers=getattr(shape, "num_hidden_layers", None),
        mixed_precision=config.mixed_precision,
    )
    return audit_data(learner.data, learner.tokenizer, config.max_length, cost)


def encoder_size(model: Any) -> int:
    """Parameters of the encoder without its embeddings."""
    base = sum(p.numel() for p in model.base_model.parameters())
    return int(base - model.get_input_embeddings().weight.numel())


def stable_id(model_id: str) -> str:
    """What an adapter calls its base: a Hub id, an absolute folder, or `tiny`."""
    return model_id if model_id == "tiny" else resolve_model_id(model_id)


def _publish(
    out: Path, result: Result, existing: Existing, notify: Notify
) -> tuple[str, ...]:
    learner = result.learner
    with published_folder(out, overwrite=existing == "overwrite") as staging:
        notify("fitting the baselines and writing the report")
        notes = write_classifier(staging, result)
        notify("loading the saved folder in a fresh process")
        sample = _first_rows(learner.data.validation)
        prove_reload(staging, sample, split_logits(result.model, learner, sample, exact=True))
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
