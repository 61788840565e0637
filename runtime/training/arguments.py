"""The loop's settings in Trainer's words."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from runtime.accelerator import number_of_processes, uses_cpu
from runtime.training.config import LOWER_IS_BETTER, LoopConfig

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
