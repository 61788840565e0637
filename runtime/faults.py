"""Files that stay as they are, and how a user is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.paths import path_line

_LISTED = 10  # files that the text names


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that stays as it is."""

    path: Path
    reason: str
    """A clause such as "permission denied"."""


def why(error: OSError) -> str:
    """The reason of a `Fault`."""
    return (error.strerror or str(error)).lower()


def fault_lines(faults: Iterable[Fault], heading: str) -> Iterator[str]:
    """The number of files under a heading, and of the first ones why; nothing if there is none."""
    listed = list(faults)
    if listed:
        yield f"{heading} ({counted(len(listed), 'file')}):"
    for fault in listed[:_LISTED]:
        yield f"  {path_line(fault.path)}: {fault.reason}"
    if len(listed) > _LISTED:
        yield f"  … and {len(listed) - _LISTED:,} more"


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun, such as `1 image` or `1,000 images`."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"
