"""What an index knows of a file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from footwork.files.paths import path_text

DateSource = Literal["picture", "file"]
DATE_SOURCES: tuple[DateSource, ...] = get_args(DateSource)
_BEGINNING = datetime(1970, 1, 1)
_EARLIEST, _LATEST = -(2**63), 2**63 - 1  # nanoseconds: what every store can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A file, as it was when it was read."""

    path: str
    """Absolute, as `str(Path)` gives it: bytes that are no UTF-8 stand as surrogates."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Of the last modification, nanoseconds since 1970."""
    ctime_ns: int | None = None
    """Of the last change of content, rights, name or times, which no program can set, nanoseconds
    since 1970; None where the file was not looked at."""
    content: str = ""
    """SHA-256 of the whole file, hexadecimal; empty where it could not be read."""
    format: str | None = None
    """Lower case, as Pillow names it: `jpeg`, `png`."""
    width: int | None = None
    height: int | None = None
    """Pixels, upright."""
    date: int | None = None
    """When it was taken, or else last modified: seconds since 1970 of the clock on the wall there,
    whatever its time zone."""
    date_from: DateSource | None = None
    """Where `date` comes from, or would; None of a file that was not decoded."""
    camera: str | None = None
    fault: str | None = None
    """Why it is no image, a clause such as "it is truncated"; such a file has no embedding."""
    present: bool = True
    """Whether it was there when its folder was last looked at. One that was not is no longer found,
    but keeps its embedding."""
    labels: Mapping[str, float] | None = None
    """What `zeroshot label --index` gave it, with scores; None where this was not asked for."""

    def is_state_of(self, found: os.stat_result) -> bool:
        """Whether a file is as it was, as far as this can be told without reading it.

        Inodes are not compared: what takes the place of a file brings a change time of its own,
        while FAT, SMB and FUSE number their files anew at each mount.
        """
        return self.state == tuple(file_state(found).values())

    @property
    def state(self) -> tuple[int, int, int | None]:
        """What tells whether the file is as it was: the fields of `file_state`."""
        return self.size, self.mtime_ns, self.ctime_ns


def file_state(found: os.stat_result) -> dict[str, Any]:
    """The fields of a record that tell the state of a file, times within 64 bits."""
    times = {"mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns}
    within = {name: min(max(time, _EARLIEST), _LATEST) for name, time in times.items()}
    return {"size": found.st_size, **within}


def file_date(mtime_ns: int) -> int | None:
    """The time of a file, of `file_state`, by this machine's clock, as `ImageRecord.date`.

    None beyond the years 1678 to 2261, as spoilt times are.
    """
    if not _EARLIEST < mtime_ns < _LATEST:
        return None
    seconds = mtime_ns // 10**9
    return seconds + time.localtime(seconds).tm_gmtoff


def age(record: ImageRecord) -> tuple[float, int, str]:
    """What is smaller for the file that is rather the first."""
    date = float("inf") if record.date is None else record.date
    return date, len(record.path), record.path


def date_text(date: int | None) -> str | None:
    """A date of an image in ISO 8601, without a time zone; None beyond the years 1 to 9999."""
    try:
        return None if date is None else (_BEGINNING + timedelta(seconds=date)).isoformat()
    except OverflowError:
        return None


def pixels_text(record: ImageRecord) -> str:
    """Width and height for people; empty where they are not known."""
    return f"{record.width:,} × {record.height:,}" if record.width and record.height else ""


def record_row(record: ImageRecord) -> dict[str, Any]:
    """What is known of an image, for programs."""
    return {
        "path": path_text(record.path),
        "format": record.format,
        "width": record.width,
        "height": record.height,
        "bytes": record.size,
        "date": date_text(record.date),
    }


def best_labels(labels: Mapping[str, float] | None) -> list[str]:
    """The labels of an image, the best first."""
    scores = labels or {}
    return sorted(scores, key=lambda name: -scores[name])
