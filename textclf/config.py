"""Every setting of a training run of texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Self

from cyclopts import Parameter

from footwork.errors import ConfigError
from footwork.finetuning.config import FinetuningConfig
from footwork.help_page import MODEL
from textclf.data.options import DataOptions

DEFAULT_MODEL = "microsoft/deberta-v3-base"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataOptions, FinetuningConfig):
    """Everything that determines a training run."""

    model_id: Annotated[str, Parameter(name=["--model", "--model-id"]), MODEL] = DEFAULT_MODEL
    """Hub id, local folder, preset (fast, accurate, multilingual) or `tiny`."""
    max_length: Annotated[int, MODEL] = 256
    """Longest input, in tokens; what is longer is cut, and the audit says how much."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        DataOptions.__post_init__(self)
        FinetuningConfig.__post_init__(self)
        if self.max_length < 4:
            raise ConfigError(f"`max_length` must be at least 4 tokens, got {self.max_length}.")

    def within(self, positions: int | None) -> tuple[Self, tuple[str, ...]]:
        """No longer than the positions that a model has, and what is to be said of that."""
        if positions is None or self.max_length <= positions:
            return self, ()
        cut = f"`max_length` is {positions}, the positions of this model, not {self.max_length}."
        return replace(self, max_length=positions), (cut,)
