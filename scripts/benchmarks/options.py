"""What the user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of one benchmark run."""

    only: str | None = None
    """Name of the one benchmark to run."""
    data: str | None = None
    """A table to train on, instead of one with SST-2's lengths."""
    tokenizer: Path | None = None
    """Folder of a tokenizer, instead of one entry a word."""
    photos: Path | None = None
    """Folder of photographs, instead of drawn ones."""
