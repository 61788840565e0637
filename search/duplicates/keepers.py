"""Which image of each group of duplicates to keep.

Each image is compared with kept ones alone, and joins one of which it can be made itself: a chain
of likenesses never joins two different photos. One of which a kept image can be made takes its
place; what had joined that is compared anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ImageError
from footwork.files.faults import why
from footwork.files.plain_files import content_of
from footwork.images.ahead import DISK_READERS, decoded_ahead
from search.duplicates.alterations import OpenedImage, Verdict, verdict
from search.duplicates.looks import Look, looks_of
from search.duplicates.pca_bound import near_rows
from search.records import ImageRecord
from search.store.protocol import Store

_BLOCK = 1024
_CANDIDATES = 32  # images whose embeddings an image's is compared with
_OPENED = 256  # images that are kept open
_COMPARED = 8  # kept images that an image itself is compared with

State = Literal["as known", "changed", "gone"]
Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


def state_of(record: ImageRecord) -> State:
    """Whether a file is there, and of the size and times that the index knows."""
    try:
        found = os.stat(record.path)  # noqa: PTH116 - of many
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        why(error)
        return "gone"
    known = record.is_state_of(found) and stat.S_ISREG(found.st_mode)
    return "as known" if known else "changed"


def holds_as_known(records: Iterable[ImageRecord]) -> dict[str, bool]:
    """Whether files hold the bytes that the index knows, by path; each is read whole."""
    every = {record.path: record.content for record in records}
    found = decoded_ahead(every, lambda path: content_of(Path(path)), DISK_READERS)
    return {
        path: not isinstance(content, ImageError) and content == every[path]
        for path, content in found
    }


def distinct_files(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Each file once, in order: by its own name rather than by that of a link to it.

    Who deletes the other name of a file that is kept deletes the file, or nothing but a link.

    Args:
        records: Of any number; those that are not on this machine are all taken for files of
            their own.
    """
    files: dict[object, ImageRecord] = {}
    for record in records:
        key = _file_of(record.path)
        known = files.setdefault(key, record)
        if known is not record and os.path.realpath(known.path) != known.path:
            files[key] = record if os.path.realpath(record.path) == record.path else known
    return list(files.values())


def _file_of(path: str) -> object:
    try:
        state = os.stat(path)  # noqa: PTH116 - of many
    except Exception as error:  # noqa: BLE001 - the same
        why(error)
        return path
    return state.st_dev, state.st_ino


@dataclass(frozen=True, slots=True)
class Joined:
    """What an image has to do with the one that is kept."""

    row: int
    cosine: float
    changes: tuple[str, ...] = ()
    """What was done to the one that is kept; none if they are only similar."""


@dataclass(slots=True)
class Keepers:
    """Goes through contents, those that are rather kept first.

    Args:
        store: Has their vectors.
        records: Of the contents.
        projected: Shape (N, W), of the contents.
        cosine: Least one of those that are compared.
        look: Whether images are opened; else all that agree are similar.
    """

    store: Store
    records: Sequence[ImageRecord]
    projected: FloatArray
    cosine: float
    look: bool
    members: dict[int, dict[int, Joined]] = field(default_factory=dict)
    """Row of a kept content → those that can be made of it, by row."""
    similar: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Row of a kept content → that of one that it is similar to."""
    states: dict[int, State] = field(default_factory=dict)
    """Of the files that were to be opened."""
    unread: set[int] = field(default_factory=set)
    """Contents that may have joined others, if they could have been read."""
    _kept_by: dict[int, int] = field(default_factory=dict)
    _ousted: set[int] = field(default_factory=set)
    _looks: dict[int, Look] = field(default_factory=dict)
    _opened: dict[int, OpenedImage] = field(default_factory=dict)

    def run(self, on_progress: Progress) -> None:
        """Go through them all."""
        total = len(self.records)
        for start in range(0, total, _BLOCK):
            rows = range(start, min(start + _BLOCK, total))
            pairs = self._pairs(rows)
            if self.look:
                self._open({row for mine, others in pairs.items() for row in (mine, *others)})
            for row in rows:
                self._place(row, pairs.get(row, {}))
            on_progress(rows.stop, total)

    def _pairs(self, rows: range) -> dict[int, dict[int, float]]:
        """Contents of a block, with those before them that their embeddings agree with."""
        block, before = self.projected[rows.start : rows.stop], self.projected[: rows.start]
        likely: dict[int, list[tuple[float, int]]] = {}
        for row, found, bounds in near_rows(block, before, self.cosine, _CANDIDATES):
            pairs = zip(bounds.tolist(), found.tolist(), strict=True)
            likely.setdefault(rows.start + row, []).extend(pairs)
        for row, found, bounds in near_rows(block, block, self.cosine, _BLOCK):
            pairs = zip(bounds.tolist(), (found + rows.start).tolist(), strict=True)
            earlier = [pair for pair in pairs if pair[1] < rows.start + row]
            likely.setdefault(rows.start + row, []).extend(earlier)
        chosen = {
            row: [other for _, other in sorted(found, reverse=True)[:_CANDIDATES]]
            for row, found in likely.items()
            if found
        }
        return self._compared(chosen)

    def _compared(self, chosen: Mapping[int, Sequence[int]]) -> dict[int, dict[int, float]]:
        rows = sorted({row for mine, others in chosen.items() for row in (mine, *others)})
        vectors = self.store.vectors([self.records[row].path for row in rows])
        known = {row: vectors[path] for row in rows if (path := self.records[row].path) in vectors}
        compared = {}
        for row, others in chosen.items():
            here = [other for other in others if other in known]  # else forgotten meanwhile
            if here and row in known:
                cosines = (np.stack([known[other] for other in here]) @ known[row]).tolist()
                near = {o: c for o, c in zip(here, cosines, strict=True) if c >= self.cosine}
                if near:
                    compared[row] = near
        return compared

    def _open(self, rows: set[int]) -> None:
        fresh = {row for row in rows if row not in self.states}
        self.states |= {row: state_of(self.records[row]) for row in fresh}
        paths = {self.records[row].path: row for row in fresh if self.states[row] == "as known"}
        for path, look in looks_of(sorted(paths)).items():
            if look is not None:
                self._looks[paths[path]] = look

    def _place(self, row: int, others: Mapping[int, float]) -> None:
        """Have a content join a kept one, or take the places of some, or stand for itself."""
        self._kept_by[row] = row
        if self.look and others and row not in self._looks:
            self.unread.add(row)
            return
        cosines: dict[int, float] = {}
        for other in sorted(others, key=lambda one: (-others[one], one)):
            cosines.setdefault(self._kept_by[other], others[other])
        taken = []
        for kept, cosine in list(cosines.items())[:_COMPARED]:
            said = self._verdict(row, kept)
            if said is None:
                continue
            if said.kept == "second":
                self.similar.pop(row, None)
                self._kept_by[row] = kept
                self.members.setdefault(kept, {})[row] = Joined(row, cosine, said.changes)
                return
            if said.kept == "first" and row not in self._ousted:
                taken.append(kept)
            else:
                self.similar.setdefault(row, (kept, cosine))
        for kept in taken:
            self._oust(kept, row, cosines[kept])

    def _verdict(self, row: int, kept: int) -> Verdict | None:
        if not self.look:
            return Verdict(None)
        if kept not in self._looks:
            self.unread.add(kept)
            return None
        try:
            return verdict(self._image(row), self._image(kept))
        except Exception as error:  # noqa: BLE001 - gone or spoilt since it was looked at
            why(error)
            self.unread.add(row)
            return None

    def _image(self, row: int) -> OpenedImage:
        if row not in self._opened:
            if len(self._opened) >= _OPENED:
                self._opened.clear()
            self._opened[row] = OpenedImage(self.records[row], self._looks[row])
        return self._opened[row]

    def _oust(self, kept: int, better: int, cosine: float) -> None:
        """Give the place of a kept content to another, of which it can be made."""
        joined = self.members.pop(kept, {}).values()
        freed = {kept: cosine, **{one.row: one.cosine for one in joined}}
        self._ousted |= freed.keys()
        self.similar.pop(kept, None)
        before: dict[int, float] = {better: 1.0}
        for row, near in freed.items():
            self._place(row, dict.fromkeys(before, near))
            before[row] = near
