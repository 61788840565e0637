"""Training runs of one model on one table: transformers' Trainer in two ways, and Footwork's loop.

Speed is read off the model itself: the time from one forward pass in training mode to the next is
one optimizer step, whoever runs the loop. The first step is left out as warm-up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.trainer_callback import PrinterCallback

from footwork.models.checkpoints import load_classifier, load_tokenizer
from textclf.config import TrainConfig
from textclf.data.loading import LabelledData
from textclf.fit import Learner, fit

BATCH_SIZE = 32
FIXED_LENGTH = 128  # run_classification.py's default, with --pad_to_max_length
WARMUP, WEIGHT_DECAY, MAX_GRAD_NORM = 0.1, 0.01, 1.0


@dataclass(slots=True)
class StepClock:
    """When each training step began, and how many rows it had."""

    starts: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Without padding."""

    def watch(self, model: torch.nn.Module) -> None:
        """Note every forward pass of `model` in training mode from now on."""
        model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: torch.nn.Module, _: Any, inputs: dict[str, Any]) -> None:
        if module.training:
            self.starts.append(time.perf_counter())
            self.rows.append(len(inputs["input_ids"]))
            self.tokens.append(int(inputs["attention_mask"].sum()))

    @property
    def rows_per_second(self) -> float:
        """Over all steps but the first and the last."""
        return sum(self.rows[1:-1]) / (self.starts[-1] - self.starts[1])

    @property
    def tokens_a_row(self) -> float:
        """Of the same steps; batches of like length make it vary from run to run."""
        return sum(self.tokens[1:-1]) / sum(self.rows[1:-1])


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run showed."""

    clock: StepClock
    losses: list[float]
    """Mean loss of each step."""
    began: float = 0.0
    """When the model began to be prepared, on the clock's scale."""

    @property
    def late_loss(self) -> float:
        """Mean over the last third of the steps."""
        return float(np.mean(self.losses[-(len(self.losses) // 3) :]))

    @property
    def early_loss(self) -> float:
        """Mean over the first tenth of the steps."""
        return float(np.mean(self.losses[: max(len(self.losses) // 10, 1)]))


@dataclass(frozen=True, slots=True)
class Course:
    """The same training for every loop."""

    model: Path
    data: LabelledData
    learning_rate: float
    steps: int | None = None
    epochs: int = 1
    """Counts where `steps` is None."""


def train_with_trainer(course: Course, padding: Literal["fixed", "dynamic"]) -> Run:
    """float32, eager attention, random order; padded as `padding` says."""
    model = AutoModelForSequenceClassification.from_pretrained(course.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(course.model)
    fixed = {"padding": "max_length", "max_length": FIXED_LENGTH} if padding == "fixed" else {}
    encoded = tokenizer(course.data.train.texts, truncation=True, **{"max_length": 256, **fixed})
    targets = course.data.train.targets.tolist()
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(
            encoded["input_ids"], encoded["attention_mask"], targets, strict=True
        )
    ]
    clock = StepClock()
    clock.watch(model)
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=_trainer_arguments(course, folder),
            train_dataset=rows,
            data_collator=default_data_collator
            if padding == "fixed"
            else DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)  # stdout is for figures
        trainer.train()
    return Run(clock, _losses(trainer.state.log_history))


def train_with_footwork(course: Course, method: str = "full") -> Run:
    """Footwork's loop with its defaults."""
    config = TrainConfig(
        model_id=str(course.model),
        method=method,
        max_steps=course.steps,
        num_epochs=course.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=course.learning_rate,
        warmup=WARMUP,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        best_metric="accuracy",
        save_minutes=1e6,
    )
    labels, task = course.data.labels, course.data.task
    model, head = load_classifier(str(course.model), labels=labels, task=task)
    tokenizer = load_tokenizer(str(course.model))
    clock = StepClock()
    clock.watch(model)
    learner = Learner(model, tokenizer, course.data, config, str(course.model), None, head)
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        _, outcome = fit(learner, Path(folder), None, lambda _: None)
    return Run(clock, _losses(outcome.history), began)


def _trainer_arguments(course: Course, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH_SIZE,
        max_steps=course.steps or -1,
        num_train_epochs=course.epochs,
        learning_rate=course.learning_rate,
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _losses(history: list[dict[str, float]]) -> list[float]:
    return [entry["loss"] for entry in history if "loss" in entry]
