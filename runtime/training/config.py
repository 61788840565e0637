"""The settings of the training loop, each with its type, default, help and check."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from runtime.errors import ConfigError

SCHEDULES = ("linear", "cosine", "constant_with_warmup")
_SEEDS = 2**32  # of numpy
LOWER_IS_BETTER = frozenset({"loss", "log_loss", "mae", "rmse"})


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How the training loop runs; `None` takes the recipe's value."""

    num_epochs: float | None = None
    """Passes over the training rows; None takes the recipe's."""
    max_steps: int | None = None
    """Optimizer steps, instead of epochs."""
    batch_size: int = 32
    """Rows per optimizer step, over all processes and micro-batches."""
    gradient_accumulation_steps: int = 1
    """Micro-batches a step is computed in: less memory, the same result."""
    learning_rate: float | None = None
    """Peak rate; None takes the recipe's for the method and the model's size."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """How the rate falls after warm-up."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises from 0 to its peak."""
    weight_decay: float = 0.01
    """Decoupled weight decay, without biases and norms."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are scaled down to it."""
    early_stopping: int | None = None
    """Evaluations without improvement after which training stops; None never stops early."""
    best_metric: str | None = None
    """Validation metric that chooses the checkpoint; None takes the task's own."""
    mixed_precision: Literal["auto", "bf16", "float32"] = "auto"
    """Dtype of matrix products; auto takes bf16 where the hardware has it."""
    activation_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    save_minutes: float = 10.0
    """Minutes between checkpoints within an epoch; one is written at every evaluation anyway."""
    seed: int = 0
    """Of the head, the order, the dropout masks and the split."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        for name in ("batch_size", "gradient_accumulation_steps", "max_steps", "early_stopping"):
            self._require(name, at_least=1)
        for name in ("num_epochs", "learning_rate", "max_grad_norm", "save_minutes"):
            self._require(name, above=0)
        for name in ("weight_decay", "seed"):
            self._require(name, at_least=0)
        if self.seed >= _SEEDS:
            raise ConfigError(f"`seed` must be below {_SEEDS:,}, got {self.seed}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(
                f"`warmup` is a share of the steps, from 0 up to 1, got {self.warmup}."
            )
        if self.schedule not in SCHEDULES:
            message = f"`schedule` must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}."
            raise ConfigError(message)

    def _require(
        self, name: str, *, at_least: float | None = None, above: float | None = None
    ) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if at_least is not None and not value >= at_least:
            raise ConfigError(f"`{name}` must be at least {at_least}, got {value}.")
        if above is not None and not value > above:
            raise ConfigError(f"`{name}` must be above {above}, got {value}.")

    def epochs_over(self, rows: int) -> float:
        """Passes over so many rows, once the recipe's are filled in."""
        if self.max_steps is not None:
            return self.max_steps / math.ceil(rows / self.batch_size)
        if self.num_epochs is None:
            raise ValueError("`num_epochs` must be resolved.")
        return self.num_epochs

    def require_divisible(self, processes: int) -> None:
        """Check that every process gets the same number of rows of a step.

        Raises:
            ConfigError: It does not.
        """
        if self.batch_size % processes:
            message = (
                f"`batch_size` must be a multiple of the {processes} processes, "
                f"got {self.batch_size}."
            )
            raise ConfigError(message)
