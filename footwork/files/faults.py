"""Files that stay as they are, and how a user is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from footwork.errors import DataError, FootworkError, ImageError, error_text
from footwork.files.paths import path_line

_LISTED = 10  # files that the text names
_LONGEST = 200  # characters of a reason


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that stays as it is."""

    path: Path
    reason: str
    """A clause such as "permission denied"."""


def why(error: Exception) -> str:
    """The reason of a `Fault`: what is wrong with one file is that file's fault, whatever it is.

    What is no file's, but the fault of the machine, the command, a model or an index (MemoryError,
    most of `FootworkError`), is raised.
    """
    at_large = isinstance(error, FootworkError) and not isinstance(error, DataError)
    if at_large or isinstance(error, MemoryError):
        raise error
    if isinstance(error, ImageError):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = error_text(error)[:_LONGEST]
    # What is said of a wrong value, as of a NUL in a name, is said by itself.
    said = isinstance(error, FootworkError | ValueError)
    return text if said else f"{type(error).__name__}: {text}"


def fault_lines(faults: Iterable[Fault], heading: str) -> Iterator[str]:
    """The number of files under a heading, and of the first ones why; nothing if there is none."""
    listed = list(faults)
    if listed:
        yield f"{heading} ({counted(len(listed), 'file')}):"
    yield from first_lines([f"{path_line(fault.path)}: {fault.reason}" for fault in listed])


def first_lines(lines: Sequence[str], most: int = _LISTED) -> Iterator[str]:
    """The first of some lines, indented, and how many more there are."""
    yield from (f"  {line}" for line in lines[:most])
    if len(lines) > most:
        yield f"  … and {len(lines) - most:,} more"


def shortened(names: Iterable[str], most: int = _LISTED) -> str:
    """The first of some names, and how many more there are, such as `a, b and 1,000 more`."""
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun, such as `1 image` or `1,000 images`."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"
