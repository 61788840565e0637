"""What stands beside embeddings, a row for each: the path of its image, or all that is known."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search.paths import absolute_path, real_path
from search.records import DATE_SOURCES, ImageRecord

_LEAST = {"bytes": 0, "width": 1, "height": 1} | dict.fromkeys(
    ("mtime_ns", "ctime_ns", "date"), -(2**63)
)
"""Column of whole numbers → the least that it can hold."""
_NOT_TOLD = ("ctime_ns", "width", "height", "date")
NOT_EXPORTED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What `exported_record` raises at a row of others."""


def json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of a file of JSON lines, one by one.

    Raises:
        OSError: It cannot be read.
        ValueError: A line is no JSON object, or not UTF-8.
        RecursionError: A line nests too deep.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number:,} is no JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number:,} is no JSON object")  # noqa: TRY004 - of the file
            yield row


def has_path(row: Mapping[str, Any]) -> bool:
    """Whether a row names a file as a file system can, and so an index."""
    try:
        path = _path_of(row)
        return bool(path) and b"\0" not in os.fsencode(path)
    except (KeyError, TypeError, ValueError):
        return False


def exported_record(row: Mapping[str, Any]) -> ImageRecord:
    """A row of an export.

    Raises:
        NOT_EXPORTED: Whichever of them; it is none.
    """
    path, labels, camera = _path_of(row), row["labels"], row["camera"]
    labels = json.loads(labels) if isinstance(labels, str) else labels or {}
    if path != absolute_path(path):
        raise ValueError("a path is not absolute")
    for name, least in _LEAST.items():
        value = row[name]
        proper = type(value) is int and least <= value < 2**63
        if not proper and (value is not None or name not in _NOT_TOLD):
            raise ValueError(f"{name} cannot be {str(value)[:40]!r}")
    if not re.fullmatch("[0-9a-f]*", row["content"]) or not (row["format"] or "a").isprintable():
        raise ValueError("content or format is no such text")
    if row["date_from"] not in (None, *DATE_SOURCES):
        raise ValueError("date_from is none of a date's")
    if not all(math.isfinite(score) for score in labels.values()):
        raise ValueError("a score is no number")
    "".join((*labels, camera or "")).encode("utf-8", "surrogateescape")
    return ImageRecord(
        path=path,
        size=row["bytes"],
        mtime_ns=row["mtime_ns"],
        ctime_ns=row["ctime_ns"],
        content=row["content"],
        format=row["format"],
        width=row["width"],
        height=row["height"],
        date=row["date"],
        date_from=row["date_from"],
        camera=None if camera is None else real_path(camera),
        labels=labels,
    )


def foreign_record(row: Mapping[str, Any]) -> ImageRecord:
    """A file of which only the path is known; it counts as absent until it is looked at."""
    path = absolute_path(_path_of(row))
    return ImageRecord(path=path, size=0, mtime_ns=0, present=False, labels={})


def _path_of(row: Mapping[str, Any]) -> str:
    raw, path = row.get("path_bytes"), row["path"]
    if raw:
        return os.fsdecode(raw if isinstance(raw, bytes) else bytes.fromhex(raw))
    if not isinstance(path, str):
        raise TypeError(path)
    return path
