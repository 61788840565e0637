"""Images that an index holds more than once: byte for byte, or to the eye.

Two images are near duplicates if their embeddings agree, their shapes do (width to height, within
10 %), and a glance at both pictures confirms it (`search.upkeep.looks`). The embedding alone would
not do. With the `tiny` model, copies of photos agree to a cosine of 0.98 at least if they were
compressed or halved (99 of 100), but 250 different photos reach 0.974; with CLIP ViT-B/32, 125
different photos of a few subjects reach 0.947. Opening only what agrees to 0.95 costs little, and
is right for every model. Not found are turned and mirrored copies, those cropped by a tenth or
more, and, as far as the model minds, those of other colours.

A group is one image that is kept and those that are duplicates of it, so that a chain of likenesses
never joins two different photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from runtime.errors import ConfigError
from search.filters import EVERYTHING, Filter
from search.records import ImageRecord
from search.store.protocol import FloatArray, Store
from search.upkeep.looks import ALIKE, looks_of
from search.upkeep.same_files import distinct_files
from search.upkeep.shadows import Shadows, near_rows

SEEN_COSINE, UNSEEN_COSINE = 0.95, 0.985
"""Least cosines where pictures are opened, and where they are not."""
_SHAPES = 1.1
"""Ratio of two ratios of width to height, at most."""
_BLOCK = 1024
_CANDIDATES = 32  # kept images that an image is compared with
_SAMPLE = 4096

Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image that need not be kept."""

    record: ImageRecord
    kind: Literal["exact", "near"]
    """`exact`: the same bytes as the one that is kept."""
    cosine: float
    """With the one that is kept."""


@dataclass(frozen=True, slots=True)
class Group:
    """An image and its duplicates."""

    kept: ImageRecord
    why: str
    """Why this one, a clause such as "it has the most pixels"."""
    duplicates: tuple[Duplicate, ...]

    @property
    def bytes(self) -> int:
        """That its duplicates take."""
        return sum(one.record.size for one in self.duplicates)


@dataclass(slots=True)
class Duplicates:
    """All groups, those that take most bytes first."""

    groups: list[Group]
    images: int
    """That were compared."""
    unseen: int = 0
    """Images that may be near duplicates, but could not be opened; they are in no group."""

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
    on_progress: Progress = lambda _done, _total: None,
) -> Duplicates:
    """Group the present images that are the same; no file is touched.

    Args:
        store: Open.
        near: Least cosine of near duplicates, above 0; 1 finds exact ones only. None is 0.95, or
            0.985 without `look`.
        where: Which images are compared.
        look: Whether to open pictures whose embeddings agree.
        on_progress: Told after each block.

    Raises:
        ConfigError: `near` is out of range.
        StoreError: The index cannot be read.
    """
    cosine = near if near is not None else SEEN_COSINE if look else UNSEEN_COSINE
    if not 0 < cosine <= 1:
        raise ConfigError(f"`near` must be a cosine above 0, at most 1, got {near}.")
    gathered = _gather(store, where)
    search = _Search(store, gathered, cosine, look)
    if cosine < 1:
        search.run(on_progress)
    every = (_group(kept, found) for kept, found in search.groups() if found)
    groups = [group for group in every if group.duplicates]
    groups.sort(key=lambda group: (-group.bytes, group.kept.path))
    return Duplicates(groups, gathered.images, search.unseen)


@dataclass(slots=True)
class _Gathered:
    """Contents, the best to keep first."""

    records: list[ImageRecord]
    """The best image of each content."""
    copies: dict[str, list[ImageRecord]]
    """Images of the same content, the best first, by the path of the best."""
    shadows: FloatArray
    """Shape (N, W), of the contents."""
    images: int


def _gather(store: Store, where: Filter) -> _Gathered:
    caster = Shadows(store.sample(_SAMPLE))
    every: list[ImageRecord] = []
    parts = [np.zeros((0, caster.width), np.float32)]
    for block in store.scan(where):
        every += block.records
        parts.append(caster.of(block.vectors))
    order = sorted(range(len(every)), key=lambda row: _worth(every[row]))
    rows, copies, firsts = [], dict[str, list[ImageRecord]](), dict[str, str]()
    for row in order:
        record = every[row]
        first = firsts.setdefault(record.content or record.path, record.path)
        if first == record.path:
            rows.append(row)
        else:
            copies.setdefault(first, []).append(record)
    return _Gathered([every[row] for row in rows], copies, np.concatenate(parts)[rows], len(every))


def _worth(record: ImageRecord) -> tuple[float, ...] | tuple[object, ...]:
    """What is smaller for the image that is rather kept."""
    date = float("inf") if record.date is None else record.date
    return -_pixels(record), -record.size, date, len(record.path), record.path


@dataclass(slots=True)
class _Search:
    """Near duplicates among contents: each becomes a kept one, or joins the best that is."""

    store: Store
    gathered: _Gathered
    cosine: float
    look: bool
    joined: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    """Row of a kept content → rows of its duplicates, with cosines."""
    kept: list[int] = field(default_factory=list)
    looks: dict[int, FloatArray | None] = field(default_factory=dict)
    doubtful: set[int] = field(default_factory=set)

    @property
    def unseen(self) -> int:
        """How many contents may have joined others, if they could have been opened."""
        return len(self.doubtful)

    def run(self, on_progress: Progress) -> None:
        """Go through all contents, the best first."""
        total = len(self.gathered.records)
        for start in range(0, total, _BLOCK):
            rows = range(start, min(start + _BLOCK, total))
            pairs = self._pairs(rows)
            if self.look:
                self._open({row for mine, others in pairs.items() for row in (mine, *others)})
            is_kept = set(self.kept)
            for row in rows:
                others = {o: c for o, c in pairs.get(row, {}).items() if o in is_kept}
                best = self._best(row, others)
                if best is None:
                    self.kept.append(row)
                    is_kept.add(row)
                else:
                    self.joined.setdefault(best, []).append((row, others[best]))
                    self.looks.pop(row, None)
            on_progress(rows.stop, total)

    def groups(self) -> Iterator[tuple[ImageRecord, list[Duplicate]]]:
        """Every content that stands for itself, with its copies and near duplicates."""
        records, copies = self.gathered.records, self.gathered.copies
        away = {row for members in self.joined.values() for row, _ in members}
        for row, kept in enumerate(records):
            if row in away:
                continue
            found = [Duplicate(one, "exact", 1.0) for one in copies.get(kept.path, ())]
            for member, cosine in self.joined.get(row, ()):
                same = [records[member], *copies.get(records[member].path, ())]
                found += [Duplicate(one, "near", cosine) for one in same]
            yield kept, found

    def _pairs(self, rows: range) -> dict[int, dict[int, float]]:
        """Contents of a block, with the better ones that their embeddings and shapes agree with."""
        shadows = self.gathered.shadows
        block, kept = shadows[rows.start : rows.stop], np.array(self.kept, np.int64)
        likely: dict[int, list[tuple[float, int]]] = {}
        for row, found, bounds in near_rows(block, shadows[kept], self.cosine, _CANDIDATES):
            pairs = zip(bounds.tolist(), kept[found].tolist(), strict=True)
            likely.setdefault(rows.start + row, []).extend(pairs)
        chosen = {
            row: [other for _, other in sorted(found, reverse=True)[:_CANDIDATES]]
            for row, found in likely.items()
        }
        for row, found, _ in near_rows(block, block, self.cosine, _BLOCK):
            better = [rows.start + other for other in found.tolist() if other < row]
            if better:
                chosen.setdefault(rows.start + row, []).extend(better)
        return self._compared(chosen)

    def _compared(self, chosen: dict[int, list[int]]) -> dict[int, dict[int, float]]:
        records = self.gathered.records
        rows = sorted({row for mine, others in chosen.items() for row in (mine, *others)})
        vectors = self.store.vectors([records[row].path for row in rows])
        compared = {}
        for row, others in chosen.items():
            here = [o for o in others if _same_shape(records[row], records[o])]
            here = [o for o in here if records[o].path in vectors]  # else forgotten meanwhile
            if here and records[row].path in vectors:
                table = np.stack([vectors[records[o].path] for o in here])
                cosines = (table @ vectors[records[row].path]).tolist()
                near = {o: c for o, c in zip(here, cosines, strict=True) if c >= self.cosine}
                if near:
                    compared[row] = near
        return compared

    def _open(self, rows: set[int]) -> None:
        paths = {self.gathered.records[row].path: row for row in rows if row not in self.looks}
        self.looks |= {paths[path]: look for path, look in looks_of(sorted(paths)).items()}

    def _best(self, row: int, others: dict[int, float]) -> int | None:
        """The nearest that a content is a duplicate of."""
        for other in sorted(others, key=lambda one: (-others[one], one)):
            if not self.look:
                return other
            one, two = self.looks[row], self.looks[other]
            if one is None or two is None:
                self.doubtful.add(row)
            elif float(one @ two) >= ALIKE:
                self.doubtful.discard(row)
                return other
        return None


def _group(kept: ImageRecord, found: Sequence[Duplicate]) -> Group:
    by_path = {one.record.path: one for one in found}
    best = sorted((one.record for one in found), key=_worth)
    kept, *others = distinct_files([kept, *best])
    # The file that a kept link points to stands for it, and is as like the others as it was.
    spare = tuple(by_path[one.path] for one in others)
    return Group(kept, _why(kept, spare[0].record) if spare else "", spare)


def _why(kept: ImageRecord, next_best: ImageRecord) -> str:
    if _pixels(kept) > _pixels(next_best):
        return "it has the most pixels"
    if kept.size > next_best.size:
        return "its file is the largest"
    if kept.date is not None and (next_best.date is None or kept.date < next_best.date):
        return "it is the oldest"
    if len(kept.path) < len(next_best.path):
        return "its path is the shortest"
    return "its path comes first"


def _pixels(record: ImageRecord) -> int:
    return (record.width or 0) * (record.height or 0)


def _same_shape(one: ImageRecord, other: ImageRecord) -> bool:
    if not (_pixels(one) and _pixels(other)):
        return True
    ratio = one.width * other.height / (one.height * other.width)  # type: ignore[operator]
    return 1 / _SHAPES <= ratio <= _SHAPES
