"""Every setting of a training run of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

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
