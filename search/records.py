"""What an index knows of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A file, as it was when it was read."""

    path: str
    """Absolute, as `str(Path)` gives it: bytes that are no UTF-8 stand as surrogates."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Of the last modification, nanoseconds since 1970."""
    content: str = ""
    """SHA-256 of the whole file, hexadecimal; empty where it could not be read."""
    format: str | None = None
    """Lower case, as Pillow names it: `jpeg`, `png`."""
    width: int | None = None
    """Pixels, upright."""
    height: int | None = None
    """Pixels, upright."""
    date: int | None = None
    """When it was taken, or else last modified: seconds since 1970 of the clock on the wall there,
    whatever its time zone."""
    camera: str | None = None
    """Make and model."""
    fault: str | None = None
    """Why it is no image, a clause such as "it is truncated"; such a file has no embedding."""
    present: bool = True
    """Whether it was there when its folder was last looked at. One that was not is no longer found,
    but keeps its embedding."""
    labels: Mapping[str, float] | None = None
    """What `zeroshot label --index` gave it, with scores; None where this was not asked for."""
