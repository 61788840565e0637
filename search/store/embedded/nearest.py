"""The nearest vectors: exactly, or among what a FAISS index and a filter leave.

The FAISS index has 8 bits a number and looks into a few lists of many; what it brings is compared
exactly. It is a cache: built where exact search would take long, never needed, always to be made
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from footwork.arrays import BoolArray, FloatArray, IntArray
from footwork.errors import StoreError
from footwork.files.checksums import file_checksums, file_damage
from footwork.files.folders import published_file, write_json
from footwork.files.plain_files import open_plain, read_object, require_no_link
from search.filters import Filter
from search.store.embedded.catalog import Catalog
from search.store.embedded.rows import condition_of

Nearest = tuple[IntArray, FloatArray]
"""Slots (K,) and cosines (K,), best first."""

_BLOCK = 65_536  # rows: their cosines stay in the processor's cache
_DENSE = 4
"""Gathering a row costs about so much more than reading past it."""
_SPARE = 10
"""Candidates for each that is asked for: 8 bits a number mix up what lies close together."""
_NARROW = 10_000
"""Images of a filter that are looked at one by one sooner than all codes are read."""
_FILTERED = 1024
"""Candidates at least from which a broad filter takes what it lets through."""
# By slot: where a filter is broad, its own index would lead through most of the table.
_LISTED = "(SELECT value AS listed FROM json_each(?)) CROSS JOIN files ON slot = listed"
_BY_SLOT = "files INDEXED BY files_by_slot"
_NO_SLOTS: IntArray = np.zeros(0, np.int64)

RECORD = "approximate.json"
FEWEST = 500_000
"""Vectors below which exact search answers soon enough."""
STALE = 0.05
"""Share of vectors that may have come since; they are searched exactly."""
_GROWN = 2  # times as many vectors as the lists were drawn for: they are drawn anew
_RECALL = 0.99
_PROBES = (16, 32, 64, 128, 256)  # of 2,048 lists at a million: more take over 10 ms
_TRIED = 200  # queries of each kind to choose among them
_TOP = 10
_TRAINED = 40  # vectors a list
_ADDED = 65_536  # vectors at once
_FILE = re.compile(r"approximate-[0-9]{1,12}\.faiss")


def nearest_exactly(
    vectors: FloatArray,
    queries: FloatArray,
    top_k: int,
    slots: IntArray | None = None,
    dead: IntArray = _NO_SLOTS,
) -> list[Nearest]:
    """For each query, (Q, D), the best of some vectors, (N, D), or of all; of equal ones the older.

    Slots, ascending, are the rows that count; of all rows the dead, ascending, are passed over.
    """
    if slots is not None and len(slots) * _DENSE > len(vectors):
        others = np.ones(len(vectors), bool)
        others[slots] = False
        slots, dead = None, np.flatnonzero(others)
    best_slots = np.zeros((len(queries), 0), np.int64)
    best_cosines = np.zeros((len(queries), 0), np.float32)
    count = len(vectors) if slots is None else len(slots)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        part = np.arange(start, end) if slots is None else slots[start:end]
        rows = vectors[start:end] if slots is None else vectors[part]
        # A product with a vector reads memory at full speed.
        cosines = (rows @ queries[0])[None] if len(queries) == 1 else queries @ rows.T
        first, last = np.searchsorted(dead, (start, end))
        cosines[:, dead[first:last] - start] = -np.inf
        named = np.broadcast_to(part, cosines.shape)
        if len(part) > top_k:
            kept = np.argpartition(cosines, -top_k, axis=1)[:, -top_k:]
            cosines, named = np.take_along_axis(cosines, kept, 1), part[kept]
        best_slots = np.concatenate([best_slots, named], axis=1)
        best_cosines = np.concatenate([best_cosines, cosines], axis=1)
    if np.isnan(best_cosines).any():  # they take the places of others
        raise StoreError(
            "Vectors of the index are no numbers. footwork search doctor --repair forgets those, "
            "and the next footwork search index embeds their images again."
        )
    answers = []
    for named, cosines in zip(best_slots, best_cosines, strict=True):
        order = np.lexsort((named, -cosines))[:top_k]
        order = order[np.isfinite(cosines[order])]
        answers.append((named[order], cosines[order]))
    return answers


@dataclass(frozen=True, slots=True)
class Build:
    """What is written beside a FAISS file."""

    file: str
    vectors: str
    """Name of the vector file."""
    slots: int
    """Vectors of it that it knows."""
    trained: int
    """Vectors that there were when the lists were drawn."""
    probes: int
    """Lists to look into for a recall of 0.99 among the first ten."""
    recall: float
    """That was measured with them."""
    checksums: dict[str, Any] = field(default_factory=dict)
    """Of the file; older records have none."""

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError for what `refresh` does not write."""
        kinds = [type(getattr(self, one.name)) for one in fields(self)]
        if kinds != [str, str, int, int, int, float, dict] or not _FILE.fullmatch(self.file):
            raise ValueError(self)


class ApproximateIndex:
    """The FAISS file of the folder of an index, as far as there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: tuple[Build, Any] | None = None
        self._record: tuple[tuple[int, int], Build] | None = None

    def covers(self, catalog: Catalog) -> int:
        """How many of the first vectors of a catalog it knows; 0 for none."""
        build = self._build()
        if build is None or build.vectors != catalog.vectors_name:
            return 0
        if build.slots > catalog.slot_count:
            return 0
        if self._open is None or self._open[0] != build:
            path = self._folder / build.file
            index: Any = None if self._is_damaged(build) else _read(path, mapped=True)
            shape = (build.slots, catalog.embedder.width)
            fits = hasattr(index, "nlist") and (index.ntotal, index.d) == shape
            self._open = (build, index) if fits else None
        return build.slots if self._open else 0

    def candidates(
        self,
        queries: FloatArray,
        count: int,
        *,
        all_lists: bool = False,
        only: BoolArray | None = None,
    ) -> IntArray:
        """The nearest slots of each query by their 8 bits a number; `covers` comes first.

        Shape (Q, count), -1 where there are no more. `all_lists` looks into every list: else the
        nearest are all but surely found. `only`, of shape (N,), tells which slots count.
        """
        assert self._open is not None
        (build, index), faiss = self._open, _faiss()
        options: dict[str, Any] = {"nprobe": index.nlist if all_lists else build.probes}
        if only is not None:
            bits: Any = np.packbits(only[: index.ntotal], bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
        parameters = faiss.SearchParametersIVF(**options)
        _, slots = index.search(np.ascontiguousarray(queries), count, params=parameters)
        nearest: IntArray = np.where(slots < index.ntotal, slots, -1)
        return nearest

    def refresh(
        self, vectors: FloatArray, covered: int, vectors_name: str, typical: FloatArray
    ) -> None:
        """Build or extend it where that is worth while.

        It is tuned by `typical`, (Q, D), vectors of texts as they will be asked for; `covered` of
        the vectors it knows already. `StoreError` where it cannot be written.
        """
        if len(vectors) < FEWEST and not covered:
            self._discard()  # of vectors that a compaction has moved
        if len(vectors) < FEWEST or (covered and len(vectors) - covered <= STALE * covered):
            return
        old, index = self._open, None
        if covered and old and len(vectors) < _GROWN * old[0].trained:
            index, trained = _read(self._folder / old[0].file, mapped=False), old[0].trained
        if index is None:  # or its file was damaged meanwhile
            index, trained, covered = _trained(vectors), len(vectors), 0
        for start in range(covered, len(vectors), _ADDED):
            index.add(np.ascontiguousarray(vectors[start : start + _ADDED]))
        probes, recall = _tuned(index, vectors, typical)
        count, name = len(vectors), f"approximate-{len(vectors)}.faiss"
        self._publish(index, Build(name, vectors_name, count, trained, probes, recall))

    def details(self) -> dict[str, str]:
        """What `status` tells of it."""
        build = self._build()
        if build is None:
            return {}
        told = f"{build.slots:,} vectors, {build.probes} lists, recall {build.recall:.3f}"
        return {"approximate index": told}

    def _build(self) -> Build | None:
        with suppress(OSError, ValueError, TypeError):
            state = (self._folder / RECORD).stat()
            if self._record is None or self._record[0] != (state.st_ino, state.st_mtime_ns):
                build = Build(**read_object(self._folder / RECORD))
                self._record = (state.st_ino, state.st_mtime_ns), build
            return self._record[1]
        return None

    def _is_damaged(self, build: Build) -> bool:
        path = self._folder / build.file
        try:
            late = path.stat().st_mtime_ns > (self._folder / RECORD).stat().st_mtime_ns
            open_plain(path).close()  # FAISS would wait for a FIFO
            return bool(build.checksums and file_damage(path, build.checksums, whole=late))
        except (OSError, KeyError, TypeError):
            return True

    def _publish(self, index: Any, build: Build) -> None:
        path = self._folder / build.file
        try:
            require_no_link(path)
            require_no_link(self._folder / RECORD)
            with published_file(path) as temporary:  # one mapped that ends early kills its reader
                _faiss().write_index(index, str(temporary))
            told = replace(build, checksums=file_checksums(path))
            write_json(self._folder / RECORD, asdict(told))
        except (OSError, RuntimeError) as error:  # FAISS raises the latter for a full disk, too
            raise StoreError(
                f"{path} cannot be written. Make room, then run the command "
                "again; all images are kept, and found more slowly until then."
            ) from error
        self._discard(but=build.file)

    def _discard(self, but: str | None = None) -> None:
        if but is None:
            (self._folder / RECORD).unlink(missing_ok=True)
        for old in self._folder.glob("approximate-*.faiss"):
            if old.name != but:
                old.unlink(missing_ok=True)
        self._open = None


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches one state of an index."""

    catalog: Catalog
    vectors: FloatArray
    """Shape (N, D)."""
    approximate: ApproximateIndex

    def nearest(self, queries: FloatArray, top_k: int, where: Filter) -> list[Nearest]:
        """The nearest present images of each query, as of `nearest_exactly`."""
        known = self.approximate.covers(self.catalog)
        if _SPARE * top_k > known // 10:
            known = 0
        if not where.is_empty:
            return self._filtered(queries, top_k, where, known)
        dead = self.catalog.dead_slots()
        if known:
            found = self.approximate.candidates(queries, _SPARE * top_k)
            near = [np.setdiff1d(slots[slots >= 0], dead) for slots in found]
            if min(map(len, near)) >= top_k:  # else many were deleted
                late = self.vectors[known:]
                after = nearest_exactly(late, queries, top_k, dead=dead[dead >= known] - known)
                return self._rescored(queries, top_k, near, [slots + known for slots, _ in after])
        return nearest_exactly(self.vectors, queries, top_k, dead=dead)

    def _filtered(
        self, queries: FloatArray, top_k: int, where: Filter, known: int
    ) -> list[Nearest]:
        condition, values = condition_of(where)
        passed = self._slots(condition, values, limit=_NARROW + 1 if known else -1)
        if not known or len(passed) <= _NARROW:
            return nearest_exactly(self.vectors, queries, top_k, passed)
        late = _NO_SLOTS
        if known < len(self.vectors):
            late = self._slots(f"slot >= ? AND {condition}", [known, *values], source=_BY_SLOT)
        found = self.approximate.candidates(queries, max(_FILTERED, _SPARE * top_k), all_lists=True)
        listed = (json.dumps(slots[slots >= 0].tolist()) for slots in found)
        near = [self._slots(condition, [one, *values], source=_LISTED) for one in listed]
        if min(map(len, near)) < top_k:  # the filter is broad, but not where the query looks
            only = np.zeros(len(self.vectors), bool)
            only[self._slots(condition, values)] = True
            count = _SPARE * top_k
            found = self.approximate.candidates(queries, count, all_lists=True, only=only)
            near = [slots[slots >= 0] for slots in found]
        return self._rescored(queries, top_k, near, [late] * len(queries))

    def _rescored(
        self,
        queries: FloatArray,
        top_k: int,
        near: Sequence[IntArray],
        late: Sequence[IntArray],
    ) -> list[Nearest]:
        """The best of what FAISS brought for each query, and of what has come since."""
        slots = map(np.union1d, near, late)
        return [
            nearest_exactly(self.vectors, query[None], top_k, some)[0]
            for query, some in zip(queries, slots, strict=True)
        ]

    def _slots(self, condition: str, values: Sequence[object], **how: Any) -> IntArray:
        slots = self.catalog.slots(condition, values, **how)
        if len(slots) and slots[-1] >= len(self.vectors):
            raise self.catalog.spoilt(
                f"a vector is said to lie where none of {len(self.vectors):,} does"
            )
        return slots


def _faiss() -> Any:
    """The library, whose hints name only some of the arguments of its constructors."""
    import faiss

    return faiss


def _read(path: Path, *, mapped: bool) -> Any:
    faiss = _faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError:  # damaged, or of another version: it will be made again
        return None


def _trained(vectors: FloatArray) -> Any:
    faiss = _faiss()
    width = vectors.shape[1]
    lists = 2 ** round(np.log2(2 * np.sqrt(len(vectors))))
    quantizer = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = 10
    drawn = np.random.default_rng(0).choice(len(vectors), lists * _TRAINED, replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(drawn)]))
    return index


def _tuned(index: Any, vectors: FloatArray, typical: FloatArray) -> tuple[int, float]:
    """The fewest lists that find 99 % of the first ten, for texts and for images; and how many.

    The truth is what all lists together bring; it differs from the exact answer in few ranks.
    """
    faiss = _faiss()
    drawn = np.random.default_rng(1).integers(0, len(vectors), _TRIED)
    kinds = [np.ascontiguousarray(vectors[np.sort(drawn)])]
    if len(typical):
        kinds.append(np.ascontiguousarray(typical[:_TRIED]))

    def nearest(queries: FloatArray, probes: int) -> list[set[int]]:
        parameters = faiss.SearchParametersIVF(nprobe=probes)
        return [set(row) for row in index.search(queries, _TOP, params=parameters)[1].tolist()]

    truth = [nearest(queries, index.nlist) for queries in kinds]
    recall = 0.0
    for probes in _PROBES:
        recall = min(
            sum(map(len, map(set.intersection, nearest(queries, probes), best))) / _TOP / len(best)
            for queries, best in zip(kinds, truth, strict=True)
        )
        if recall >= _RECALL:
            return probes, recall
    return _PROBES[-1], recall
