"""Trainings of one model on one table: transformers' Trainer in its ways, and Footwork.

Speed is read off the model itself: the time from one forward pass in training mode to the next is
one step, whoever runs the loop. The first step is left out as warm-up, and the last, which has no
next one. Memory is read at the same moments.
"""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.models.deberta_v2.modeling_deberta_v2 import ContextPooler, DebertaV2Model
from transformers.trainer_callback import PrinterCallback

from footwork.accelerator import compute_device, has_bf16
from textclf import TrainConfig, train

BATCH_SIZE = 32
FIXED_LENGTH = 128  # run_classification.py's default, with --pad_to_max_length
WARMUP, WEIGHT_DECAY, MAX_GRAD_NORM = 0.1, 0.01, 1.0
MEBI = 2**20
INTERVAL = 0.002  # seconds between two looks at the memory

_BF16 = has_bf16(compute_device())
_RANDOM = {"train_sampling_strategy": "random"}
PADDED = "Trainer, padded to 128, float32, random order"
DYNAMIC = "Trainer, dynamic padding, float32, random order"
BEST = f"Trainer, dynamic padding, {'bf16' if _BF16 else 'float32'}, group_by_length"
TRAINERS: Mapping[str, Mapping[str, Any]] = {
    PADDED: _RANDOM,
    DYNAMIC: _RANDOM,
    BEST: {"train_sampling_strategy": "group_by_length", "bf16": _BF16},
}
"""The peers: as run_classification.py has it, as most have it, and at its best on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The same training for every loop."""

    model: Path
    table: Path
    """Folder of `train.csv` and `validation.csv`."""
    learning_rate: float
    steps: int | None = None
    epochs: int = 1
    """Counts where `steps` is None."""
    seed: int = 0


@dataclass(slots=True)
class Run:
    """What was seen of a training."""

    starts: list[float] = field(default_factory=list)
    """When each training step began, in seconds of the clock."""
    rows: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Without padding."""
    mebibytes: float = 0.0
    """The most memory that was held until the last step began, beyond what was held before."""
    highest: float = 0.0
    """The same until all was done."""
    accuracy: float = 0.0
    """On the validation rows."""

    @property
    def tokens_per_second(self) -> float:
        """Over all steps but the first and the last."""
        return sum(self.tokens[1:-1]) / (self.starts[-1] - self.starts[1])

    @property
    def tokens_a_row(self) -> float:
        """Of the same steps."""
        return sum(self.tokens[1:-1]) / sum(self.rows[1:-1])


def watched(training: Callable[[], float]) -> Run:
    """Run a training, which returns its accuracy, and note its steps and its memory."""
    run, before, done = Run(), _held(), threading.Event()
    highest = [before]

    def look() -> None:
        while not done.wait(INTERVAL):
            highest[0] = max(highest[0], _held())

    def note(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, DebertaV2Model) and module.training:
            run.tokens.append(int((inputs[0] != module.config.pad_token_id).sum()))
        elif isinstance(module, ContextPooler) and module.training:
            run.starts.append(time.perf_counter())
            run.rows.append(len(inputs[0]))
            run.mebibytes = (max(highest[0], _held()) - before) / MEBI

    hook = register_module_forward_pre_hook(note)
    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        run.accuracy = training()
    finally:
        done.set()
        watch.join()
        hook.remove()
    run.highest = (max(highest[0], _held()) - before) / MEBI
    return run


def train_with_footwork(course: Course, method: str = "full") -> Run:
    """`footwork textclf train` with its defaults."""
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
        save_minutes=1e6,
        seed=course.seed,
    )

    def training() -> float:
        with TemporaryDirectory() as folder:
            done = train(str(course.table), Path(folder, "out"), config)
            return float(done.manifest["metrics"]["accuracy"]["value"])

    return watched(training)


def train_with_trainer(course: Course, name: str) -> Run:
    """One of `TRAINERS`, with eager attention: DeBERTa has no other."""

    def training() -> float:
        load = AutoModelForSequenceClassification.from_pretrained
        model, tokenizer = (
            load(course.model, dtype=torch.float32),
            AutoTokenizer.from_pretrained(course.model),
        )
        splits = {
            split: _rows(course.table / f"{split}.csv", model.config.label2id, tokenizer, name)
            for split in ("train", "validation")
        }
        padded = name == PADDED
        with TemporaryDirectory() as folder:
            trainer = Trainer(
                model=model,
                args=_arguments(course, folder, TRAINERS[name]),
                train_dataset=splits["train"],
                data_collator=default_data_collator
                if padded
                else DataCollatorWithPadding(tokenizer),
            )
            trainer.remove_callback(PrinterCallback)  # stdout is for figures
            trainer.train()
            answers = trainer.predict(splits["validation"])
            return float((answers.predictions.argmax(-1) == answers.label_ids).mean())

    return watched(training)


def _rows(
    table: Path, numbers: Mapping[str, int], tokenizer: Any, name: str
) -> list[dict[str, Any]]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fixed = {"padding": "max_length", "max_length": FIXED_LENGTH} if name == PADDED else {}
    texts = [row["text"] for row in rows]
    encoded = tokenizer(texts, truncation=True, **{"max_length": 256, **fixed})
    columns = (encoded["input_ids"], encoded["attention_mask"], rows)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": numbers[row["label"]]}
        for ids, mask, row in zip(*columns, strict=True)
    ]


def _arguments(course: Course, folder: str, own: Mapping[str, Any]) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE,
        max_steps=course.steps or -1,
        num_train_epochs=course.epochs,
        learning_rate=course.learning_rate,
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),  # or bf16 is refused where the CPU has it
        seed=course.seed,
        **own,
    )


def _held() -> int:
    """Bytes: allocated on the GPU, else anonymous in this process.

    Pages of the checkpoint's file that are merely mapped are not counted: the system takes them
    back at will.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return int(psutil.Process().memory_info().rss)
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
