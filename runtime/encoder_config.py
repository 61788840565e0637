"""The settings of embedding pictures, each with its type, default, help and check."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import ConfigError
from runtime.precision import PRECISIONS, Precision


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How an image model is run; nothing here changes an answer beyond rounding."""

    precision: Precision = "auto"
    """Of the image tower; auto takes bf16 or float16 where the hardware multiplies it. The text
    tower always computes in float32."""
    batch_size: int | None = None
    """Images at once; None takes 16 a thread on a processor, 64 on an accelerator."""
    workers: int | None = None
    """Threads that decode, and on a processor compute; None takes one a core."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        if self.precision not in PRECISIONS:
            message = f"`precision` must be one of {', '.join(PRECISIONS)}, got {self.precision!r}."
            raise ConfigError(message)
        for name in ("batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` must be at least 1, got {value}.")
