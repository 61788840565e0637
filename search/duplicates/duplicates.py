"""Images that an index holds more than once: byte for byte, or as altered versions of one.

Embeddings tell what may be alike, a glance at both images what is worth a closer look (`looks`),
and that what was done to which (`alterations`); `keepers` goes through all images so.
Embeddings alone would not do: with `tiny`, 100 pairs of 250 different photos agree to a cosine of
0.95 or more, and of those turned by 90° only a third agree so well with themselves. So images are
opened from 0.9 on; what is turned, cropped or framed may still be missed, where the model minds.

What an index knows may be out of date. An image that is named to be removed, and the one that is
kept for it, are there, are two files, and are as they were indexed, or they are not named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, ImageError
from footwork.files.faults import why
from footwork.files.plain_files import content_of
from footwork.images.ahead import DISK_READERS, decoded_ahead
from search.duplicates.keepers import Keepers, OnProgress, principal_axes, projected
from search.filters import EVERYTHING, Filter
from search.paths import NO_ANSWER, is_within, missing_files
from search.records import ImageRecord, age
from search.store.protocol import Store

SEEN_COSINE, UNSEEN_COSINE = 0.9, 0.985
"""Least cosines where images are opened, and where they are not."""
_SAMPLE = 4096

State = Literal["as known", "changed", "gone"]
"""Of a file, against what the index knows of it."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image that is there in another one, too."""

    record: ImageRecord
    kind: Literal["exact", "near", "similar"]
    """`exact`: the same bytes as the one that is kept; `near`: it can be made of that; `similar`:
    it looks like that, and no more can be told."""
    cosine: float
    """With the one that is kept."""
    changes: tuple[str, ...] = ()
    """What was done to the one that is kept: "rotated 180°", "cropped"."""
    verified: bool = True
    """Whether both files were seen to be there and to be what is said of them: that this one need
    not be kept."""


@dataclass(frozen=True, slots=True)
class Group:
    """An image and its duplicates."""

    kept: ImageRecord
    why: str
    """Why this one, a clause such as "it is the oldest"."""
    duplicates: tuple[Duplicate, ...]

    @property
    def spare(self) -> tuple[Duplicate, ...]:
        """Those that need not be kept."""
        return tuple(one for one in self.duplicates if one.verified)

    @property
    def bytes(self) -> int:
        """That those take which need not be kept."""
        return sum(one.record.size for one in self.spare)


@dataclass(slots=True)
class Duplicates:
    """All groups, those that take most bytes first."""

    groups: list[Group]
    images: int
    """That were compared."""
    unseen: int = 0
    """Images that may have duplicates, but are not there or cannot be read; they are left out."""
    changed: int = 0
    """Images that may have duplicates, but changed since they were indexed; they are left out."""

    @property
    def bytes(self) -> int:
        """That could be freed."""
        return sum(group.bytes for group in self.groups)


def find_duplicates(
    store: Store,
    near: float | None = None,
    where: Filter = EVERYTHING,
    *,
    look: bool = True,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Duplicates:
    """Group the present images that are the same; no file is touched.

    Args:
        store: Of the images.
        near: Least cosine of near duplicates, above 0; 1 finds exact ones only. None is 0.9, or
            0.985 without `look`.
        where: Which images are compared.
        look: Whether to open images whose embeddings agree; else they are similar at most.
        on_progress: Told after each block.

    Raises:
        ConfigError: `near` is out of range.
        StoreError: The index cannot be read.
    """
    cosine = near if near is not None else SEEN_COSINE if look else UNSEEN_COSINE
    if not 0 < cosine <= 1:
        raise ConfigError(f"`near` must be a cosine above 0, at most 1, got {near}.")
    contents, changed = _gather(store, where), set[str]()
    records = contents.records

    def is_known(row: int) -> bool:
        """Whether an image may be opened: what changed meanwhile is not judged."""
        state = state_of(records[row])
        if state == "changed":
            changed.add(records[row].path)
        return state == "as known"

    keepers = Keepers(store, records, contents.projected, cosine, is_known if look else None)
    if cosine < 1:
        keepers.run(on_progress)
    drafts = list(_drafts(contents, keepers))
    states = _states(drafts, contents.copies)
    changed |= {path for path, state in states.items() if state == "changed"}
    unseen = {records[row].path for row in keepers.unread}
    left_out = {"changed"}
    if look:
        unseen |= {path for path, state in states.items() if state == "gone"}
        left_out.add("gone")
    groups = []
    for kept, duplicates in drafts:
        there = [one for one in duplicates if states[one.record.path] not in left_out]
        if states[kept.path] not in left_out and (group := _group(kept, there, states)):
            groups.append(group)
    groups.sort(key=lambda group: (-group.bytes, group.kept.path))
    unseen_count = len(unseen - changed) + contents.unasked
    return Duplicates(groups, contents.images, unseen_count, len(changed))


@dataclass(frozen=True, slots=True)
class _Contents:
    """What is compared, the best to keep first."""

    records: list[ImageRecord]
    """The best image of each content."""
    copies: dict[str, list[ImageRecord]]
    """Images of the same content, the best first, by the path of the best."""
    projected: FloatArray
    """Vectors of the contents, of `keepers.projected`."""
    images: int
    unasked: int
    """Images on drives that do not answer."""


def _gather(store: Store, where: Filter) -> _Contents:
    sample = store.sample(_SAMPLE)
    axes = principal_axes(sample)
    every, parts = list[ImageRecord](), [projected(sample[:0], axes)]
    roots, unasked = store.roots(), 0
    # A question to a drive that does not answer may never come back.
    silent = [root for root, why in missing_files(roots, roots).items() if why == NO_ANSWER]
    for block in store.scan(where):
        rows = [
            row for row, record in enumerate(block.records) if not is_within(record.path, silent)
        ]
        every += [block.records[row] for row in rows]
        parts.append(projected(block.vectors[rows], axes))
        unasked += len(block.records) - len(rows)
    contents: dict[str, list[int]] = {}
    for row in sorted(range(len(every)), key=lambda row: _worth(every[row])):
        contents.setdefault(every[row].content or every[row].path, []).append(row)
    firsts, copies = [], dict[str, list[ImageRecord]]()
    for same in contents.values():
        if len(same) > 1:  # one that is still there stands for them, and never goes for a newer one
            same.sort(key=lambda row: (state_of(every[row]) != "as known", every[row].mtime_ns))
            copies[every[same[0]].path] = [every[row] for row in same[1:]]
        firsts.append(same[0])
    vectors = np.concatenate(parts)[firsts]
    return _Contents([every[row] for row in firsts], copies, vectors, len(every), unasked)


def _drafts(contents: _Contents, keepers: Keepers) -> Iterator[tuple[ImageRecord, list[Duplicate]]]:
    """Every content that is kept, with its copies and all that joined it or is similar."""
    records, copies = contents.records, contents.copies
    joined = {one.row for members in keepers.members.values() for one in members}
    similar: dict[int, list[tuple[int, float]]] = {}
    listed: set[int] = set()
    for row, (kept, cosine) in sorted(keepers.similar.items()):
        has_own = row in similar or keepers.members.get(row) or records[row].path in copies
        if not has_own and not {row, kept} & joined and kept not in listed:
            similar.setdefault(kept, []).append((row, cosine))
            listed.add(row)
    for row, first in enumerate(records):
        if row in joined or row in listed:
            continue
        duplicates = [Duplicate(copy, "exact", 1.0) for copy in copies.get(first.path, ())]
        for one in keepers.members.get(row, ()):
            same = [records[one.row], *copies.get(records[one.row].path, ())]
            duplicates += [Duplicate(record, "near", one.cosine, one.changes) for record in same]
        for other, cosine in similar.get(row, ()):
            duplicates.append(Duplicate(records[other], "similar", cosine, verified=False))
        if duplicates:
            yield first, duplicates


def _states(
    drafts: Iterable[tuple[ImageRecord, Sequence[Duplicate]]],
    copies: Mapping[str, Sequence[ImageRecord]],
) -> dict[str, State]:
    """Look at all files once more, last of all, by path; of exact copies every byte is read."""
    every = [record for kept, some in drafts for record in (kept, *(one.record for one in some))]
    twins = {path for first, same in copies.items() for path in (first, *(r.path for r in same))}
    read = {r.path: r.content for r in every if r.path in twins and state_of(r) == "as known"}
    spoilt = {
        path
        for path, content in decoded_ahead(read, lambda path: content_of(Path(path)), DISK_READERS)
        if isinstance(content, ImageError) or content != read[path]
    }
    states = {record.path: state_of(record) for record in every}
    return states | {path: "changed" for path in spoilt if states[path] == "as known"}


def _group(
    kept: ImageRecord, there: Iterable[Duplicate], states: Mapping[str, State]
) -> Group | None:
    by_path = {one.record.path: one for one in there}
    best = sorted((one.record for one in by_path.values()), key=_worth)
    first, *others = distinct_files([kept, *best])
    # The file that a kept link points to stands for it, and is as like the others as it was.
    seen = states[first.path] == "as known"
    duplicates = tuple(
        one if seen and states[other.path] == "as known" else replace(one, verified=False)
        for other in others
        if not os.path.islink(other.path)  # noqa: PTH114 - of many
        for one in (by_path[other.path],)
    )
    return Group(first, _why(first, duplicates), duplicates) if duplicates else None


def _why(kept: ImageRecord, duplicates: Sequence[Duplicate]) -> str:
    if any(one.kind == "near" for one in duplicates):
        return "it shows all that the others show"
    next_best = duplicates[0].record
    if _pixels(kept) > _pixels(next_best):
        return "it has the most pixels"
    if kept.size > next_best.size:
        return "its file is the largest"
    if kept.mtime_ns < next_best.mtime_ns or age(kept)[0] < age(next_best)[0]:
        return "it is the oldest"
    if len(kept.path) < len(next_best.path):
        return "its path is the shortest"
    return "its path comes first"


def _worth(record: ImageRecord) -> tuple[object, ...]:
    """What is smaller for the image that is rather kept."""
    return -_pixels(record), -record.size, *age(record)


def _pixels(record: ImageRecord) -> int:
    return (record.width or 0) * (record.height or 0)


def state_of(record: ImageRecord) -> State:
    """Whether a file is there, and of the size and times that the index knows."""
    try:
        found = os.stat(record.path)  # noqa: PTH116 - of many
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        why(error)
        return "gone"
    known = record.is_state_of(found) and stat.S_ISREG(found.st_mode)
    return "as known" if known else "changed"


def distinct_files(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Each file once, in order: by its own name rather than by that of a link to it.

    Who deletes the other name of a file that is kept deletes the file, or nothing but a link. Those
    that are not on this machine are all taken for files of their own.
    """
    files: dict[object, ImageRecord] = {}
    for record in records:
        key: object = record.path
        try:
            state = os.stat(record.path)  # noqa: PTH116 - of many
            key = state.st_dev, state.st_ino
        except Exception as error:  # noqa: BLE001 - the same
            why(error)
        known = files.setdefault(key, record)
        if known is not record and os.path.realpath(known.path) != known.path:
            files[key] = record if os.path.realpath(record.path) == record.path else known
    return list(files.values())
