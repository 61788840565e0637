"""What the training loop takes, in Trainer's words too, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from footwork.accelerator import number_of_processes, uses_cpu
from footwork.options import LOWER_IS_BETTER, LoopConfig
from footwork.training.order import FILLER

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (B, C) and targets (B, …) to one loss a row, (B,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What is trained, on what, and how it is judged."""

    model: nn.Module
    batch: Callable[[Sequence[int], int], dict[str, torch.Tensor]]
    """Rows, and an epoch counted from 0, to what the model takes."""
    targets: torch.Tensor
    """Of all rows, (N, …)."""
    numbers: Sequence[int]
    """What each row is called where one is named: its place in a file, say."""
    lengths: Sequence[int]
    """Tokens of each row; all alike where rows have no length."""
    loss: LossFunction
    parameter_groups: list[dict[str, Any]]
    measure: Callable[[nn.Module], dict[str, float]]
    """Metrics of the model as it stands, on every process alike."""
    pad: Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]] | None = None
    """Pads a batch to so many tokens; None where rows have no length."""
    notify: Callable[[str], None]
    """Takes progress and warnings, one line each."""
    resting: Callable[[int], Sequence[nn.Parameter]] = lambda _: ()
    """Parameters that an epoch, counted from 0, leaves as they are: no gradient, no decay."""


class JobRows(torch.utils.data.Dataset[int]):
    """The rows of a job for a loader: items are their own numbers, batches belong to an epoch."""

    def __init__(self, job: TrainingJob) -> None:
        self._job, self._numbers, self._epoch = job, torch.tensor(job.numbers), 0

    def __len__(self) -> int:
        return len(self._job.lengths)

    def __getitem__(self, index: int) -> int:
        return index

    def begin_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches are made."""
        self._epoch = epoch

    def collate(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch with `labels`, `row_weight` (1, or 0 for a filler) and `row` (its number)."""
        rows = [max(index, 0) for index in indices]
        real = torch.tensor([index != FILLER for index in indices])
        return {
            **self._job.batch(rows, self._epoch),
            "labels": self._job.targets[rows],
            "row_weight": real.float(),
            "row": self._numbers[rows].masked_fill(~real, FILLER),
        }


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a training ended."""

    history: list[dict[str, float]]
    """What the loop logged: loss and rates by step, metrics by evaluation."""
    steps: int
    best_step: int | None


LOG_SHARE = 0.01  # of all steps between two log entries


def training_arguments(config: LoopConfig, run: Path, rows: int) -> TrainingArguments:
    """Translate a configuration whose rates and lengths are resolved.

    Args:
        config: Of the loop.
        run: Folder of the checkpoints.
        rows: To train on.

    Raises:
        ConfigError: The processes cannot share the batch.
    """
    world = number_of_processes()
    config.require_divisible(world)
    return TrainingArguments(
        output_dir=str(run),
        per_device_train_batch_size=config.batch_size // world,
        num_train_epochs=config.num_epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,
        max_grad_norm=config.max_grad_norm,
        activation_checkpointing=config.activation_checkpointing,
        seed=config.seed,
        eval_strategy="epoch",
        save_strategy="no",  # Keeper decides when
        metric_for_best_model=config.best_metric,
        greater_is_better=config.best_metric not in LOWER_IS_BETTER,
        logging_steps=_steps_between_entries(config, rows),
        logging_nan_inf_filter=False,  # it would log 0.0 where the loss is not a number
        use_cpu=uses_cpu(),
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _steps_between_entries(config: LoopConfig, rows: int) -> int:
    """A number: given the share, Trainer warns on every resume that its checkpoint differs."""
    batches = math.ceil(rows / config.batch_size)
    steps = config.max_steps or math.ceil((config.num_epochs or 0) * batches)
    return max(1, math.ceil(steps * LOG_SHARE))
