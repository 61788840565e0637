"""What an update did, told to people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from footwork.files.paths import path_line, path_text
from footwork.images.finding import unread_notes
from search.update.update import Summary
from search.update.watching import AGAIN

_COUNTED = ("added", "changed", "moved", "returned", "removed", "excluded", "unchanged", "vanished")


def summary_text(summary: Summary, place: str) -> str:
    """Two lines: what was done, and how long it took."""
    where = f"The index is in {path_line(place)}"
    if summary.is_put_off:
        return f"Put off; tried again every {AGAIN / 1000:.0f} s\n{where}"
    counts = [f"{getattr(summary, name):,} {name}" for name in _COUNTED if getattr(summary, name)]
    if summary.unreadable:
        counts.append(f"{len(summary.unreadable):,} unreadable")
    rate = summary.embedded / summary.seconds if summary.seconds else 0.0
    pace = f" ({summary.embedded:,} embedded, {rate:.1f} a second)" if summary.embedded else ""
    return f"{', '.join(counts) or 'no images'}, in {summary.seconds:.1f} s{pace}\n{where}"


def summary_notes(summary: Summary) -> Iterator[str]:
    """What is to be known, and every file that could not be read, one line each."""
    yield from summary.notes
    yield from unread_notes(summary.unread)
    for record in summary.unreadable:
        yield f"skipped {path_line(record.path)}: {record.fault}."


def summary_document(summary: Summary, place: str) -> dict[str, Any]:
    """The same for programs."""
    counts: dict[str, Any] = {name: getattr(summary, name) for name in _COUNTED}
    unreadable = [
        {"path": path_text(record.path), "fault": record.fault} for record in summary.unreadable
    ]
    return counts | {
        "embedded": summary.embedded,
        "unreadable": unreadable,
        "not_read": dict(summary.unread.most_common()),
        "missing_roots": [path_text(root) for root in summary.missing_roots],
        "notes": list(summary.notes),
        "seconds": summary.seconds,
        "index": path_text(place),
    }
