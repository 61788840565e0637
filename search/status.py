"""What an index holds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from footwork.files.faults import counted, shortened
from footwork.files.paths import path_line, path_text
from footwork.options import decoding_of
from search.exclusions import Exclusions
from search.paths import missing_files
from search.place import Place
from search.store.protocol import Counts, Embedder

_LISTED = 5  # removed paths that the text names


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was indexed, as it is now."""

    path: str
    images: int
    """That are there, as far as the index knows."""
    absent: int
    missing: str | None
    """Why the folder itself is not there, a clause; None if it is."""

    def to_text(self) -> str:
        """A line."""
        if self.missing:
            kept = f"its {counted(self.absent, 'image stays as it is', 'images stay as they are')}"
            return f"{path_line(self.path)}: not there ({self.missing}); {kept}"
        away = f", {self.absent:,} not there" if self.absent else ""
        return f"{path_line(self.path)}: {counted(self.images, 'image')}{away}"


@dataclass(frozen=True, slots=True)
class Status:
    """An index at a moment."""

    place: str
    embedder: Embedder
    folders: tuple[Folder, ...]
    counts: Counts
    """Images of missing folders are among those that are absent."""
    exclusions: Exclusions

    def to_text(self) -> str:
        """For people."""
        counts, model, left_out = self.counts, self.embedder, self.exclusions
        revision = f", revision {model.revision}" if model.revision else ""
        exact = ", every pixel decoded" if decoding_of(model.fingerprint) == "exact" else ""
        lines = [
            f"index        {path_line(self.place)}",
            *(f"folder       {folder.to_text()}" for folder in self.folders),
            f"model        {model.model_id}{revision}, {model.width} wide{exact}",
            f"images       {counts.present:,}",
            f"not there    {counts.absent:,}",
            f"unreadable   {counts.unreadable:,}",
        ]
        if left_out.patterns:
            lines.append(f"left out     {', '.join(map(path_line, left_out.patterns))}")
        if left_out.removed:
            lines.append(f"removed      {shortened(map(path_line, left_out.removed), _LISTED)}")
        if counts.bytes:
            lines.append(f"on disk      {counts.bytes / 1e6:,.1f} MB")
        lines += [f"{name}: {value}" for name, value in counts.details.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        folders = [asdict(one) | {"path": path_text(one.path)} for one in self.folders]
        return {
            "index": path_text(self.place),
            "roots": [one["path"] for one in folders],
            "folders": folders,
            "model": self.embedder.model_id,
            "revision": self.embedder.revision,
            "fingerprint": self.embedder.fingerprint,
            "width": self.embedder.width,
            "images": self.counts.present,
            "absent": self.counts.absent,
            "unreadable": self.counts.unreadable,
            "excluded": [path_text(pattern) for pattern in self.exclusions.patterns],
            "removed": [path_text(path) for path in self.exclusions.removed],
            "bytes": self.counts.bytes,
            "details": dict(self.counts.details),
        }


def read_status(place: Place) -> Status:
    """What an index holds, and which of its folders are there; `StoreError` if there is none."""
    with closing(place.open()) as store:
        roots = tuple(store.roots())
        missing = missing_files(roots, roots)
        folders, counts = [], store.counts()
        for root in roots:
            below, reason = store.counts(root), missing.get(root)
            gone = below.present if reason else 0
            folders.append(Folder(root, below.present - gone, below.absent + gone, reason))
            counts = replace(counts, present=counts.present - gone, absent=counts.absent + gone)
        return Status(str(place), store.embedder, tuple(folders), counts, store.exclusions())
