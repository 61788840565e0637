"""A small training job on 45 rows, to train, to break, and to train again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from footwork.inference.tokens import tokenize
from footwork.methods.adaptation import FULL, Adaptation, parameter_groups
from footwork.models.deberta import accelerate_attention
from footwork.options import LoopConfig
from footwork.training.job import TrainingJob
from footwork.training.loop import run_training
from footwork.training.run import TrainingOutcome
from tests.models import build_config, build_tokenizer

ROWS = 45  # no multiple of the batch size: the last step of an epoch is a short one
TEXTS = [
    f"{'good' if row % 2 else 'bad'} film " + "x" * (row % 7) + " and the book" * (row % 3)
    for row in range(ROWS)
]
TARGETS = torch.tensor([row % 2 for row in range(ROWS)])
TASK = "single_label_classification"
Hook = Callable[[torch.nn.Module], None]


def build_toy_model(family: str = "deberta-v2") -> Any:
    """A two-layer classifier with dropout, the same at every call."""
    torch.manual_seed(0)
    config = build_config(family, build_tokenizer(family), ["no", "yes"], TASK)
    model = AutoModelForSequenceClassification.from_config(config)
    accelerate_attention(model)
    return model


def toy_job(
    model: Any,
    family: str,
    notes: list[str] | None = None,
    learning_rate: float = 1e-3,
    adaptation: Adaptation = FULL,
) -> TrainingJob:
    """The toy data, with a plain cross-entropy."""
    texts = tokenize(build_tokenizer(family), TEXTS, None, 64)

    def measure(current: Any) -> dict[str, float]:
        with torch.inference_mode():
            logits = current(**texts.batch(range(ROWS))).logits
        loss = torch.nn.functional.cross_entropy(logits, TARGETS)
        return {
            "loss": float(loss),
            "accuracy": float((logits.argmax(-1) == TARGETS).float().mean()),
        }

    return TrainingJob(
        model=model,
        batch=lambda rows, _: texts.batch(rows),
        targets=TARGETS,
        numbers=range(ROWS),
        lengths=texts.lengths,
        loss=lambda logits, targets: torch.nn.functional.cross_entropy(
            logits, targets, reduction="none"
        ),
        parameter_groups=parameter_groups(model, learning_rate, 0.01, 1.0),
        measure=measure,
        pad=texts.widen,
        notify=(notes if notes is not None else []).append,
        penalty=partial(adaptation.penalty, model),
        stepped=partial(adaptation.stepped, model),
    )


def train_toy(
    run: Path,
    family: str = "deberta-v2",
    hook: Hook | None = None,
    resume: Path | None = None,
    notes: list[str] | None = None,
    adaptation: Adaptation = FULL,
    **settings: Any,
) -> tuple[Any, TrainingOutcome]:
    """Train the toy model for three epochs of six steps; `hook` may tamper with it first."""
    model = build_toy_model(family)
    job = toy_job(model, family, notes, settings.get("learning_rate", 1e-3), adaptation)
    if hook:
        hook(model)
    defaults = {
        "num_epochs": 3,
        "learning_rate": 1e-3,
        "batch_size": 8,
        "best_metric": "accuracy",
        "mixed_precision": "float32",
    }
    return model, run_training(job, LoopConfig(**{**defaults, **settings}), run, resume)


def at_forward(number: int, act: Callable[[Any], Any]) -> Hook:
    """A hook that lets `act` see, and change, the output of the model's n-th forward pass."""

    def hook(model: torch.nn.Module) -> None:
        forward, calls = model.forward, [0]

        def tampered(*args: Any, **inputs: Any) -> Any:
            calls[0] += 1
            output = forward(*args, **inputs)
            return act(output) if calls[0] == number else output

        model.forward = tampered  # type: ignore[method-assign]

    return hook


def logged(outcome: TrainingOutcome, name: str) -> list[float]:
    """What the loop logged under `name`, step by step."""
    return [float(entry[name]) for entry in outcome.history if name in entry]
