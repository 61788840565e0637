"""A model and labelled pictures in, a trained model out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from footwork.accelerator import compute_device, resolve_precision
from footwork.methods.adaptation import adapt, parameter_groups
from footwork.methods.table import METHODS
from footwork.training.job import TrainingJob, TrainingOutcome
from footwork.training.loop import run_training
from footwork.training.memory import frozen_weights_in
from footwork.training.order import FILLER
from zeroshot.finetuning.evaluation import quick_metrics
from zeroshot.finetuning.learner import (
    HeadAlone,
    Learner,
    Notify,
    Pictures,
    features_of,
    head_of,
    logits_of,
)
from zeroshot.finetuning.pixels import augmented


class TrainingRows(torch.utils.data.Dataset[int]):
    """The training images: items are row numbers, batches are pictures of one epoch.

    Args:
        read: Rows to pictures (B, …).
        targets: Class numbers, (N,).
        seed: Of the changes made to pictures; None makes none.
    """

    def __init__(
        self,
        read: Callable[[list[int]], torch.Tensor],
        targets: NDArray[np.int64],
        seed: int | None,
    ) -> None:
        self._read, self._targets, self._seed = read, torch.from_numpy(targets), seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> int:
        return index

    def begin_epoch(self, epoch: int) -> None:
        """Choose the epoch whose changes are made."""
        self._epoch = epoch

    def collate(self, indices: list[int]) -> dict[str, torch.Tensor]:
        """A batch for the training loop; what it holds depends on the epoch and its rows alone."""
        rows = [max(index, 0) for index in indices]
        real = torch.tensor([index != FILLER for index in indices])
        pictures = self._read(rows)
        if self._seed is not None:
            seed, epoch = self._seed, self._epoch
            pictures = augmented(pictures, [(seed, epoch, row) for row in rows])
        return {
            "pixel_values": pictures,
            "labels": self._targets[rows],
            "row_weight": real.float(),
            "row": torch.tensor(rows).masked_fill(~real, FILLER),
        }


def fit(
    learner: Learner, pictures: Pictures, run: Path, resume: Path | None, notify: Notify
) -> tuple[Any, TrainingOutcome]:
    """Train by the configuration's method.

    Args:
        learner: Model, images and settings.
        pictures: The images, decoded.
        run: Folder of the checkpoints.
        resume: Checkpoint to go on from.
        notify: Takes progress, one line each.

    Returns:
        The trained model, as the method adapted it, and how training went.
    """
    config = learner.config
    model = adapt(learner.model, config, learner.base_id, learner.revision)
    method = METHODS[config.method]
    if method.features_once:
        return model, _fit_head(model, learner, pictures, run, resume, notify)
    first = pictures.first["train"]
    rows = TrainingRows(
        lambda numbers: pictures.file.batch([first + number for number in numbers]),
        learner.images.splits["train"].targets,
        config.seed if config.augments else None,
    )
    validation = pictures.rows("validation", learner.images.splits["validation"])
    precision = config.mixed_precision
    job = _job(
        learner, model, rows, lambda now: logits_of(now, pictures.file, validation, precision)
    )
    job = replace(job, notify=notify, resting=partial(method.adaptation.resting, model))
    dtype = resolve_precision(config.mixed_precision, compute_device())
    with frozen_weights_in(model, dtype):
        model.to(compute_device())
        outcome = run_training(
            replace(job, parameter_groups=_groups(model, learner)), config, run, resume
        )
    return model.to(compute_device()), outcome


def _fit_head(
    model: Any,
    learner: Learner,
    pictures: Pictures,
    run: Path,
    resume: Path | None,
    notify: Notify,
) -> TrainingOutcome:
    """Train the head alone on what the frozen encoder says, computed once."""
    notify("computing the encoder's features, once for all epochs")
    splits, precision = learner.images.splits, learner.config.mixed_precision
    train, validation = (
        torch.from_numpy(
            features_of(model, pictures.file, pictures.rows(name, splits[name]), precision)
        )
        for name in ("train", "validation")
    )
    head = HeadAlone(head_of(model)).to(compute_device())
    rows = TrainingRows(lambda numbers: train[numbers], splits["train"].targets, None)

    def answer(now: nn.Module) -> NDArray[np.float32]:
        with torch.inference_mode():
            return now(validation.to(compute_device())).logits.float().cpu().numpy()

    job = _job(learner, head, rows, answer)
    job = replace(job, notify=notify, parameter_groups=_groups(head, learner))
    # Nothing is left whose activations could be computed twice.
    config = replace(learner.config, activation_checkpointing=False)
    return run_training(job, config, run, resume)


def _job(
    learner: Learner,
    model: Any,
    rows: TrainingRows,
    answer: Callable[[nn.Module], NDArray[np.float32]],
) -> TrainingJob:
    smoothing = learner.config.label_smoothing
    targets = learner.images.splits["validation"].targets
    return TrainingJob(
        model=model,
        dataset=rows,
        lengths=[1] * len(rows),
        collate=rows.collate,
        loss=lambda logits, wanted: functional.cross_entropy(
            logits, wanted, reduction="none", label_smoothing=smoothing
        ),
        parameter_groups=[],
        measure=lambda now: quick_metrics(targets, answer(now)),
        notify=lambda _: None,
        begin_epoch=rows.begin_epoch,
    )


def _groups(model: nn.Module, learner: Learner) -> list[dict[str, Any]]:
    config = learner.config
    if config.learning_rate is None:
        raise ValueError("`learning_rate` must be resolved before training.")
    return parameter_groups(model, config.learning_rate, config.weight_decay, config.layer_decay)
