"""What the user may choose."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
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


def read_photo_options(program: str, about: str | None, names: Iterable[str]) -> Options:
    """The options of a suite that is about pictures."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--only", choices=list(names), help="run one of them")
    parser.add_argument("--photos", type=Path, help="folder, instead of drawn ones")
    given = parser.parse_args()
    return Options(only=given.only, photos=given.photos)
