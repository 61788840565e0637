"""What an index holds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from runtime.paths import path_line, path_text
from search.places import Place
from search.store.protocol import Counts, Embedder


@dataclass(frozen=True, slots=True)
class Status:
    """An index at a moment."""

    place: str
    embedder: Embedder
    roots: tuple[str, ...]
    counts: Counts

    def to_text(self) -> str:
        """For people."""
        counts, model = self.counts, self.embedder
        revision = f", revision {model.revision}" if model.revision else ""
        lines = [
            f"index        {path_line(self.place)}",
            *(f"folder       {path_line(root)}" for root in self.roots),
            f"model        {model.model_id}{revision}, {model.width} wide",
            f"images       {counts.present:,}",
            f"not there    {counts.absent:,}",
            f"unreadable   {counts.unreadable:,}",
        ]
        if counts.bytes:
            lines.append(f"on disk      {counts.bytes / 1e6:,.1f} MB")
        lines += [f"{name}: {value}" for name, value in counts.details.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "index": path_text(self.place),
            "roots": [path_text(root) for root in self.roots],
            "model": self.embedder.model_id,
            "revision": self.embedder.revision,
            "fingerprint": self.embedder.fingerprint,
            "width": self.embedder.width,
            "images": self.counts.present,
            "absent": self.counts.absent,
            "unreadable": self.counts.unreadable,
            "bytes": self.counts.bytes,
            "details": dict(self.counts.details),
        }


def read_status(place: Place) -> Status:
    """What an index holds.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    with closing(place.open()) as store:
        return Status(str(place), store.embedder, tuple(store.roots()), store.counts())
