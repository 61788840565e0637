"""What an update did, and how it is told to programs and to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from footwork.files.paths import path_line, path_text
from footwork.images.finding import unread_notes
from search.records import ImageRecord

AGAIN = 5_000
"""Milliseconds until an update that could not be made is tried again, where folders are watched."""
_CHANGES = ("added", "changed", "moved", "returned", "removed", "excluded")
_COUNTED = (*_CHANGES, "unchanged", "vanished")


@dataclass(slots=True, kw_only=True)
class Summary:
    """What an update does, in files."""

    added: int = 0
    """New images, copies of known ones among them."""
    changed: int = 0
    """Images whose content is another."""
    moved: int = 0
    """Images of another path, or another time, with the same content."""
    returned: int = 0
    """Images that were away for a while."""
    removed: int = 0
    """Images that are no longer there; their vectors are kept for when they come back."""
    excluded: int = 0
    """Known files that are left out from now on."""
    unchanged: int = 0
    """Those of other rights or links among them."""
    vanished: int = 0
    """Files that were found, and gone before they were read."""
    embedded: int = 0
    """Images that were decoded."""
    unreadable: list[ImageRecord] = field(default_factory=list)
    """Files that are no images, or cannot be read now. Those known from before are among them, and
    are not tried again until they change."""
    missing_roots: list[str] = field(default_factory=list)
    """Folders that are not there; their images stay as they are, and the notes say so."""
    unlisted: list[str] = field(default_factory=list)
    """Folders that cannot be read; their images stay as they are, and the notes say so."""
    unread: Counter[str] = field(default_factory=Counter)
    """Files of kinds that are not read, by their endings."""
    notes: list[str] = field(default_factory=list)
    """Folders that are missing, could not be read or hold no image, and more, a sentence each."""
    is_put_off: bool = False
    """Whether nothing could be done yet, and it is tried again; the notes say why."""
    seconds: float = 0.0

    @property
    def has_changes(self) -> bool:
        """Whether the index is another than before."""
        return any(getattr(self, name) for name in _CHANGES)

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for could be read."""
        return not (self.unreadable or self.vanished or self.missing_roots or self.unlisted)

    def to_text(self, place: str) -> str:
        """Two lines: what was done, and how long it took."""
        where = f"The index is in {path_line(place)}"
        if self.is_put_off:
            return f"Put off; tried again every {AGAIN / 1000:.0f} s\n{where}"
        counts = [f"{getattr(self, name):,} {name}" for name in _COUNTED if getattr(self, name)]
        if self.unreadable:
            counts.append(f"{len(self.unreadable):,} unreadable")
        rate = self.embedded / self.seconds if self.seconds else 0.0
        pace = f" ({self.embedded:,} embedded, {rate:.1f} a second)" if self.embedded else ""
        return f"{', '.join(counts) or 'no images'}, in {self.seconds:.1f} s{pace}\n{where}"

    def to_notes(self) -> Iterator[str]:
        """What is to be known, and every file that could not be read, one line each."""
        yield from self.notes
        yield from unread_notes(self.unread)
        for record in self.unreadable:
            yield f"skipped {path_line(record.path)}: {record.fault}."

    def to_dict(self, place: str) -> dict[str, Any]:
        """For programs."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in (*_COUNTED, "embedded")}
        return counts | {
            "unreadable": [{"path": path_text(r.path), "fault": r.fault} for r in self.unreadable],
            "not_read": dict(self.unread.most_common()),
            "missing_roots": [path_text(root) for root in self.missing_roots],
            "notes": list(self.notes),
            "seconds": self.seconds,
            "index": path_text(place),
        }
