"""Losses a row, before they are averaged over a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from footwork.accelerator import compute_device, gather_shares, process_share, resolve_precision
from footwork.evaluation.result import quick_metrics
from footwork.inference.features import compute_features, head_logits, head_only
from footwork.inference.sequences import InferenceConfig, SequenceModel
from footwork.inference.tokens import TokenizedTexts, tokenize
from footwork.methods.adaptation import adapt, parameter_groups
from footwork.methods.table import METHODS
from footwork.models.heads import HeadOrigin
from footwork.options import Precision
from footwork.training.job import LossFunction, TrainingJob, TrainingOutcome
from footwork.training.loop import run_training
from footwork.training.memory import frozen_weights_in, pruned_vocabulary
from footwork.training.order import FILLER
from textclf.config import TrainConfig
from textclf.data.loading import Examples, LabelledData


def row_loss(
    task: str, label_smoothing: float = 0.0, weights: torch.Tensor | None = None
) -> LossFunction:
    """The loss of a task, one value a row.

    Args:
        task: A `problem_type` of transformers.
        label_smoothing: Probability spread evenly over all classes, 0 to 1.
        weights: Factor for each of C classes, averaging 1 over the training rows.

    Returns:
        A function of logits (B, C) and targets ((B,) or (B, C)) to losses (B,).
    """

    def single(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=label_smoothing
        )
        return loss if weights is None else loss * weights.to(loss.device)[targets]

    def several(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        soft = targets * (1 - label_smoothing) + label_smoothing / 2
        factor = None if weights is None else weights.to(logits.device)
        return functional.binary_cross_entropy_with_logits(
            logits, soft, pos_weight=factor, reduction="none"
        ).mean(-1)

    def value(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(logits.squeeze(-1), targets, reduction="none")

    return {
        "single_label_classification": single,
        "multi_label_classification": several,
        "regression": value,
    }[task]


def balanced_weights(task: str, targets: NDArray[np.generic], classes: int) -> torch.Tensor | None:
    """Weights that let every class count the same.

    Single label: rows / (classes x rows of the class), as scikit-learn's "balanced". Multi-label:
    the rows without a label for each row with it. Regression has none.

    Args:
        task: A `problem_type` of transformers.
        targets: (N,) class indices or (N, C) of 0 and 1.
        classes: C.
    """
    if task == "regression":
        return None
    if task == "single_label_classification":
        counts = np.bincount(targets.astype(np.int64), minlength=classes)
        return torch.tensor(len(targets) / (classes * np.maximum(counts, 1)), dtype=torch.float32)
    positives = targets.astype(np.float64).sum(0)
    ratio = (len(targets) - positives) / np.maximum(positives, 1)
    return torch.tensor(np.clip(ratio, 1, 100), dtype=torch.float32)


Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Learner:
    """What is to be trained: a model, its words, its data and its settings."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: LabelledData
    config: TrainConfig
    base_id: str
    """What an adapter names as its base."""
    revision: str | None
    """Commit of the base on the Hub."""
    head: HeadOrigin


def fit(
    learner: Learner, run: Path, resume: Path | None, notify: Notify
) -> tuple[Any, TrainingOutcome]:
    """Train by the configuration's method.

    Args:
        learner: Model, data and settings.
        run: Folder of the checkpoints.
        resume: Checkpoint to go on from.
        notify: Takes progress, one line each.

    Returns:
        The trained model, as the method adapted it, and how training went.
    """
    config = learner.config
    model = adapt(learner.model, config, learner.base_id, learner.revision)
    train = encode(learner, learner.data.train)
    validation = encode(learner, learner.data.validation)
    method = METHODS[config.method]
    if method.features_once:
        model = model.to(compute_device())
        return model, _fit_head(model, learner, (train, validation), run, resume, notify)
    job = TrainingJob(
        model=model,
        dataset=RowNumbers(len(train)),
        lengths=train.lengths,
        collate=_collator(train.batch, learner.data.train),
        loss=_loss(learner),
        parameter_groups=[],
        measure=lambda current: _metrics(learner, logits_of(current, validation, config)),
        pad=train.widen,
        notify=notify,
        resting=partial(method.adaptation.resting, model),
    )
    dtype = resolve_precision(config.mixed_precision, compute_device())
    with pruned_vocabulary(model, _ids_in(train, validation)), frozen_weights_in(model, dtype):
        model.to(compute_device())
        job = replace(job, parameter_groups=_groups(model, config))
        outcome = run_training(job, config, run, resume)
    return model.to(compute_device()), outcome


def split_logits(
    model: Any, learner: Learner, split: Examples, *, exact: bool = False
) -> NDArray[np.float32]:
    """Logits of a trained model for a split.

    Args:
        model: Trained.
        learner: What it was trained as.
        split: N texts.
        exact: In float32 and on this process alone, to compare with another process.

    Returns:
        Shape (N, C).
    """
    texts = encode(learner, split)
    if exact:
        unpacked = InferenceConfig(precision="float32", packed=False)
        return SequenceModel(model, unpacked).logits(texts)
    return logits_of(model, texts, learner.config)


def logits_of(model: Any, texts: TokenizedTexts, config: TrainConfig) -> NDArray[np.float32]:
    """Logits of a model in training, the work divided over the processes; on each all of them."""
    # One batch at a time, no packed copy: beside a model in training memory is what is scarce.
    frugal = InferenceConfig(precision=config.mixed_precision, workers=1, packed=False)
    sequences = SequenceModel(model, frugal)
    own = sequences.logits(texts.take(process_share(len(texts))))
    return np.concatenate([share for share in gather_shares(own) if len(share)])


def encode(learner: Learner, examples: Examples) -> TokenizedTexts:
    """The texts of a split as the learner's model takes them."""
    return tokenize(learner.tokenizer, examples.texts, examples.pairs, learner.config.max_length)


class RowNumbers(torch.utils.data.Dataset[int]):
    """A dataset whose items are their own indices: the collator knows the rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> int:
        return index


def _fit_head(
    model: PreTrainedModel,
    learner: Learner,
    splits: tuple[TokenizedTexts, TokenizedTexts],
    run: Path,
    resume: Path | None,
    notify: Notify,
) -> TrainingOutcome:
    """Train the head alone on what the frozen encoder says, computed once."""
    precision = learner.config.mixed_precision
    notify("computing the encoder's features, once for all epochs")
    train, validation = (_features(model, texts, precision) for texts in splits)

    def batch(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        mask = torch.ones((len(rows), 1), dtype=torch.long)
        return {"input_ids": train[list(rows)], "attention_mask": mask}

    def measure(current: PreTrainedModel) -> dict[str, float]:
        with torch.inference_mode():
            logits = head_logits(current, validation.to(current.device)).float().cpu().numpy()
        return _metrics(learner, logits)

    with head_only(model):
        job = TrainingJob(
            model=model,
            dataset=RowNumbers(len(train)),
            lengths=[1] * len(train),
            collate=_collator(batch, learner.data.train),
            loss=_loss(learner),
            parameter_groups=_groups(model, learner.config),
            measure=measure,
            notify=notify,
        )
        # Nothing is left whose activations could be computed twice.
        config = replace(learner.config, activation_checkpointing=False)
        return run_training(job, config, run, resume)


def _features(model: PreTrainedModel, texts: TokenizedTexts, precision: Precision) -> torch.Tensor:
    """Features of all texts, each process computing its share."""
    share = texts.take(process_share(len(texts)))
    own = [compute_features(model, share, precision)] if len(share) else []
    return torch.cat([part for parts in gather_shares(own) for part in parts])


def _collator(
    batch: Callable[[Sequence[int]], dict[str, torch.Tensor]], examples: Examples
) -> Callable[[list[int]], dict[str, torch.Tensor]]:
    targets, numbers = torch.from_numpy(examples.targets), torch.tensor(examples.rows)

    def collate(indices: list[int]) -> dict[str, torch.Tensor]:
        rows = [max(index, 0) for index in indices]
        real = torch.tensor([index != FILLER for index in indices])
        inputs = batch(rows)
        inputs["labels"] = targets[rows]
        inputs["row_weight"] = real.float()
        inputs["row"] = numbers[rows].masked_fill(~real, FILLER)
        return inputs

    return collate


def _loss(learner: Learner) -> LossFunction:
    config, data = learner.config, learner.data
    balanced = config.class_weights == "balanced"
    weights = (
        balanced_weights(data.task, data.train.targets, len(data.labels)) if balanced else None
    )
    return row_loss(data.task, config.label_smoothing, weights)


def _groups(model: torch.nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    if config.learning_rate is None:
        raise ValueError("`learning_rate` must be resolved before training.")
    return parameter_groups(model, config.learning_rate, config.weight_decay, config.layer_decay)


def _metrics(learner: Learner, logits: NDArray[np.float32]) -> dict[str, float]:
    return quick_metrics(learner.data.task, learner.data.validation.targets, logits)


def _ids_in(*splits: TokenizedTexts) -> torch.Tensor:
    """Every token id that occurs, ascending."""
    flat = [np.unique(np.concatenate(texts.inputs["input_ids"])) for texts in splits]
    flat.append(np.array([texts.pad["input_ids"] for texts in splits]))
    return torch.from_numpy(np.unique(np.concatenate(flat)).astype(np.int64))
