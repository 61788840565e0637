"""A FAISS index beside the vector file: 8 bits a number, a few lists of many, rescored by others.

It is a cache: built where exact search would take long, never needed, always to be made again.
"""

from __future__ import annotations

import re
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
_RECORD = "approximate.json"
_FILE = re.compile(r"approximate-[0-9]{1,12}\.faiss")


@dataclass(frozen=True, slots=True)
class Covered:
    """A state of the vector file."""

    vectors: str
    """The file's name."""
    slots: int
    """Vectors in it."""
    width: int
    """Of a vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is written beside a FAISS file."""

    file: str
    vectors: str
    slots: int
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
    """The FAISS file of a folder, as far as there is one.

    Args:
        folder: Of the index.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: tuple[Build, Any] | None = None
        self._record: tuple[tuple[int, int], Build] | None = None

    def covers(self, state: Covered) -> int:
        """How many of the first vectors of a file it knows; 0 for none."""
        build = self._build()
        if build is None or build.vectors != state.vectors or build.slots > state.slots:
            return 0
        return build.slots if self._index(build, state.width) is not None else 0

    def candidates(
        self,
        queries: FloatArray,
        count: int,
        *,
        all_lists: bool = False,
        only: BoolArray | None = None,
    ) -> IntArray:
        """The nearest by their 8 bits a number; `covers` comes first.

        Args:
            queries: Shape (Q, D).
            count: Of each query.
            all_lists: Whether to look into every list; else the nearest are all but surely found.
            only: Shape (N,), which slots count; None takes all.

        Returns:
            Shape (Q, count); -1 where there are no more.
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

    def refresh(self, vectors: FloatArray, typical: FloatArray, state: Covered) -> None:
        """Build or extend it where that is worth while.

        Args:
            vectors: All of the file.
            typical: Shape (Q, D), vectors of texts as they will be asked for.
            state: Of the file.

        Raises:
            StoreError: It cannot be written.
        """
        covered = self.covers(state)
        if len(vectors) < FEWEST and not covered:
            self._discard()  # of vectors that a compaction has moved
            return
        if len(vectors) < FEWEST or (covered and len(vectors) - covered <= STALE * covered):
            return
        old = self._open
        if covered and old and len(vectors) < _GROWN * old[0].trained:
            index, trained = _read(self._folder / old[0].file, mapped=False), old[0].trained
        else:
            index, trained, covered = _trained(vectors), len(vectors), 0
        for start in range(covered, len(vectors), _ADDED):
            index.add(np.ascontiguousarray(vectors[start : start + _ADDED]))
        probes, recall = _tuned(index, vectors, typical)
        build = Build(
            file=f"approximate-{len(vectors)}.faiss",
            vectors=state.vectors,
            slots=len(vectors),
            trained=trained,
            probes=probes,
            recall=recall,
        )
        self._publish(index, build)

    def details(self) -> dict[str, str]:
        """What `status` tells of it."""
        build = self._build()
        if build is None:
            return {}
        told = f"{build.slots:,} vectors, {build.probes} lists, recall {build.recall:.3f}"
        return {"approximate index": told}

    def _build(self) -> Build | None:
        with suppress(OSError, ValueError, TypeError):
            state = (self._folder / _RECORD).stat()
            if self._record is None or self._record[0] != (state.st_ino, state.st_mtime_ns):
                build = Build(**read_object(self._folder / _RECORD))
                self._record = (state.st_ino, state.st_mtime_ns), build
            return self._record[1]
        return None

    def _index(self, build: Build, width: int) -> Any:
        if self._open is None or self._open[0] != build:
            path = self._folder / build.file
            index: Any = None if self._is_damaged(build) else _read(path, mapped=True)
            fits = hasattr(index, "nlist") and (index.ntotal, index.d) == (build.slots, width)
            self._open = (build, index) if fits else None
        return self._open[1] if self._open else None

    def _is_damaged(self, build: Build) -> bool:
        path = self._folder / build.file
        try:
            late = path.stat().st_mtime_ns > (self._folder / _RECORD).stat().st_mtime_ns
            open_plain(path).close()  # FAISS would wait for a FIFO
            return bool(build.checksums and file_damage(path, build.checksums, whole=late))
        except (OSError, KeyError, TypeError):
            return True

    def _publish(self, index: Any, build: Build) -> None:
        path = self._folder / build.file
        try:
            require_no_link(path)
            require_no_link(self._folder / _RECORD)
            with published_file(path) as temporary:  # one mapped that ends early kills its reader
                _faiss().write_index(index, str(temporary))
            told = replace(build, checksums=file_checksums(path))
            write_json(self._folder / _RECORD, asdict(told))
        except (OSError, RuntimeError) as error:  # FAISS raises the latter for a full disk, too
            message = (
                f"{path} cannot be written. Make room, then run the command "
                "again; all images are kept, and found more slowly until then."
            )
            raise StoreError(message) from error
        self._discard(but=build.file)

    def _discard(self, but: str | None = None) -> None:
        """Delete what no search asks any more."""
        if but is None:
            (self._folder / _RECORD).unlink(missing_ok=True)
        for old in self._folder.glob("approximate-*.faiss"):
            if old.name != but:
                old.unlink(missing_ok=True)
        self._open = None


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
