"""The settings of adaptation: which parameters train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runtime.errors import ConfigError

METHODS = ("lora", "full", "head", "gradual")


@dataclass(frozen=True, kw_only=True)
class AdaptationConfig:
    """How a pretrained model is adapted."""

    method: Literal["lora", "full", "head", "gradual"] = "lora"
    """lora: low-rank adapters; full: every weight; head: the head alone, on a frozen encoder;
    gradual: the head, then one more layer from the top in each epoch."""
    lora_rank: int = 8
    """Rank of the adapters."""
    lora_alpha: float | None = None
    """The adapters' output is scaled by alpha / rank; None takes twice the rank."""
    lora_dropout: float = 0.0
    """Dropout before the adapters."""
    lora_variant: Literal["plain", "dora", "rslora", "pissa", "olora"] = "plain"
    """Weight-decomposed, rank-stabilised, or started from the weights' principal directions."""
    layer_decay: float = 1.0
    """Each layer below the top learns at this multiple of the rate of the one above; 1 is off."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        if self.method not in METHODS:
            message = f"`method` must be one of {', '.join(METHODS)}, got {self.method!r}."
            raise ConfigError(message)
        if self.lora_rank < 1:
            raise ConfigError(f"`lora_rank` must be at least 1, got {self.lora_rank}.")
        if self.lora_alpha is not None and not self.lora_alpha > 0:
            raise ConfigError(f"`lora_alpha` must be above 0, got {self.lora_alpha}.")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"`lora_dropout` must be from 0 up to 1, got {self.lora_dropout}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"`layer_decay` must be above 0 and at most 1, got {self.layer_decay}."
            )


@dataclass(frozen=True, kw_only=True)
class PublishConfig(AdaptationConfig):
    """How a pretrained model is adapted, and what is made of the result."""

    merge: bool = False
    """Publish a plain folder instead of a LoRA adapter: as large as the base, and loaded by
    whatever loads that."""
    push_to_hub: str | None = None
    """Hub repository (owner/name) to upload the finished folder to; whether you may write there is
    asked before the training."""

    @property
    def publishes_adapter(self) -> bool:
        """Whether the folder needs its base."""
        return self.method == "lora" and not self.merge

    @property
    def merge_note(self) -> str | None:
        """What to say of `merge` where there is no adapter, one sentence."""
        if not self.merge or self.method == "lora":
            return None
        return f"--merge has no adapter to merge: {self.method} gives a plain folder."
