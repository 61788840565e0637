"""What the training loop takes, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (B, C) and targets (B, …) to one loss a row, (B,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What is trained, on what, and how it is judged."""

    model: nn.Module
    dataset: torch.utils.data.Dataset[Any]
    """Rows as the collator takes them; index -1 is a filler of weight 0."""
    lengths: list[int]
    """Tokens of each row, in the order of the dataset."""
    collate: Callable[[list[Any]], dict[str, torch.Tensor]]
    """Rows to a batch with `labels`, `row_weight` (1, or 0 for a filler) and `row` (its number)."""
    loss: LossFunction
    parameter_groups: list[dict[str, Any]]
    measure: Callable[[nn.Module], dict[str, float]]
    """Metrics of the model as it stands, on every process alike."""
    pad: Callable[[dict[str, torch.Tensor], int], dict[str, torch.Tensor]] | None = None
    """Pads a batch to so many tokens; None where rows have no length."""
    notify: Callable[[str], None]
    """Takes progress and warnings, one line each."""
    begin_epoch: Callable[[int], None] = lambda _: None
    """Told the number of each epoch, from 0, before its rows are collated."""
    resting: Callable[[int], Sequence[nn.Parameter]] = lambda _: ()
    """Parameters that an epoch, counted from 0, leaves as they are: no gradient, no decay."""


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a training ended."""

    history: list[dict[str, float]]
    """What the loop logged: loss and rates by step, metrics by evaluation."""
    steps: int
    best_step: int | None
