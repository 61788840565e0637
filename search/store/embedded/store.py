"""`EmbeddedStore`: a folder that holds a catalog and a file of vectors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import StoreError
from footwork.files.paths import files_bytes
from search.exclusions import Exclusions
from search.filters import EVERYTHING, Filter
from search.paths import stored_text, words_of
from search.records import ImageRecord
from search.store.embedded import rows
from search.store.embedded.catalog import (
    COPY_NAME,
    FILE_NAME,
    Catalog,
    copy_time,
    create_catalog,
    drop_copy,
    empty_log,
    keep_copy,
    open_catalog,
    writing,
)
from search.store.embedded.nearest import ApproximateIndex, Searcher
from search.store.embedded.vectors import (
    VectorFile,
    checksums_of,
    compact,
    has_many_holes,
    sound_rows,
)
from search.store.protocol import Block, Changes, Counts, Embedder, Found, batched

_SCANNED = 4096  # images of a block
_LABELLED = 10_000  # images at once
_SIZES = 10_000  # asked for at once
_TRIED = 64  # vectors looked at before the first answer: 1.5 ms; all of few images are seen


class EmbeddedStore:
    """An index engine for one machine: any number of readers while one writes.

    Methods are as those of `search.store.protocol.Store`. It opens the folder that `create` made;
    `StoreError` where there is none that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE_NAME
        self._idle: list[Catalog] = []
        self._is_closed = False
        with self._reading() as catalog:
            self._embedder = catalog.embedder
        self._file: VectorFile | None = None
        self._is_tried = False
        self._approximate = ApproximateIndex(folder)

    @classmethod
    def create(cls, folder: Path, embedder: Embedder) -> EmbeddedStore:
        """Make an empty index in a folder, made if need be; raises OSError or StoreError."""
        folder.mkdir(parents=True, exist_ok=True)
        create_catalog(folder / FILE_NAME)
        with writing(folder / FILE_NAME) as catalog:
            catalog.set_fact("embedder", asdict(embedder))
            catalog.set_fact("slots", 0)
            catalog.set_fact("vectors", "vectors.f32")
        return cls(folder)

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    def write(self, changes: Changes) -> None:
        with writing(self._path) as catalog:
            first, checksums = catalog.slot_count, list[int]()
            if changes.embedded:
                vectors = np.stack([image.vector for image in changes.embedded])
                checksums = checksums_of(vectors)
                self._vector_file(catalog).write(first, vectors)
                catalog.set_fact("slots", first + len(vectors))
            for path in changes.forgotten:
                rows.delete_file(catalog, path)
            absent = ([stored_text(path)] for path in changes.absent)
            catalog.run_many("UPDATE files SET present = 0 WHERE path = ?", absent)
            for move in changes.moved:
                rows.move_file(catalog, move.old_path, move.record)
            new = zip(changes.embedded, checksums, strict=True)
            for slot, (image, checksum) in enumerate(new, first):
                rows.insert_file(catalog, image.record, slot, checksum)
            named = ((image.record.path, image.record.labels) for image in changes.embedded)
            rows.replace_labels(catalog, [(path, given) for path, given in named if given])
            for record in changes.unreadable:
                rows.insert_file(catalog, record, None)

    def write_labels(self, labels: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        with writing(self._path) as catalog:
            for batch in batched(labels, _LABELLED):
                rows.replace_labels(catalog, batch)

    def finish(self, typical: FloatArray) -> str | None:
        """Give back what many deleted vectors took; build what makes searches among many fast.

        Then the copy of the catalog is renewed.
        """
        with self._reading() as catalog:
            shrinks = has_many_holes(catalog)
        if shrinks:
            compact(self.folder)
        with self._searching() as (catalog, vectors):
            covered, name = self._approximate.covers(catalog), catalog.vectors_name
        # Of what was there then: the log must not wait for a build of minutes.
        self._approximate.refresh(vectors, covered, name, typical)
        empty_log(self._path)
        return keep_copy(self.folder)

    def counts(self, under: str | None = None) -> Counts:
        below, values = rows.at_or_below(under)
        with self._reading() as catalog:
            images, unreadable, absent = (
                catalog.one(f"SELECT count(*) FROM files WHERE {kind} AND {below}", *values)
                for kind in (rows.PRESENT, "present AND slot IS NULL", "NOT present")
            )
            holes = catalog.one("SELECT count(*) FROM holes")
        details = {"vectors no longer used": f"{holes:,}"} | self._approximate.details()
        aside = files_bytes(self.folder, "catalog-damaged*")
        details |= {"damaged catalogs, kept": f"{aside / 1e6:,.1f} MB"} if aside else {}
        copy = copy_time(self.folder)
        size = files_bytes(self.folder, COPY_NAME) / 1e6
        details |= {"copy of the catalog": f"{size:,.1f} MB, of {copy}"} if copy else {}
        return Counts(
            present=images,
            absent=absent,
            unreadable=unreadable,
            bytes=files_bytes(self.folder),
            details=details,
        )

    def roots(self) -> Sequence[str]:
        with self._reading() as catalog:
            return rows.read_roots(catalog)

    def set_roots(self, roots: Sequence[str]) -> None:
        if sorted(roots) == sorted(self.roots()):
            return
        with writing(self._path) as catalog:
            catalog.run("DELETE FROM roots")
            catalog.run_many("INSERT INTO roots VALUES (?)", ([stored_text(r)] for r in roots))

    def exclusions(self) -> Exclusions:
        with self._reading() as catalog:
            return rows.read_exclusions(catalog)

    def set_exclusions(self, exclusions: Exclusions) -> None:
        drop_copy(self.folder)  # from which what is removed would come back
        with writing(self._path) as catalog:
            catalog.set_fact(rows.EXCLUSIONS, asdict(exclusions))
        keep_copy(self.folder)

    def files(self, under: str | None = None) -> Iterator[ImageRecord]:
        below, values = rows.at_or_below(under)
        with self._reading() as catalog:
            yield from rows.read_files(catalog, below, *values)

    def records(self, paths: Sequence[str]) -> dict[str, ImageRecord]:
        with self._reading() as catalog:
            found = rows.read_files(catalog, f"path IN ({rows.LISTED})", rows.listed(paths))
            return {record.path: record for record in rows.with_labels(catalog, list(found))}

    def same_size(self, sizes: Iterable[int]) -> Iterator[ImageRecord]:
        condition = f"slot IS NOT NULL AND size IN ({rows.LISTED})"
        with self._reading() as catalog:
            for some in batched(dict.fromkeys(sizes), _SIZES):
                yield from rows.read_files(catalog, condition, json.dumps(some))

    def vectors(self, paths: Sequence[str]) -> dict[str, FloatArray]:
        with self._searching() as (catalog, every):
            known, slots, checksums = rows.slots_of(catalog, paths)
            return dict(zip(known, sound_rows(self.folder, every, slots, checksums), strict=True))

    def search(self, queries: FloatArray, top_k: int, where: Filter = EVERYTHING) -> list[Found]:
        if not len(queries):
            return []
        with self._searching() as (catalog, vectors):
            nearest = Searcher(catalog, vectors, self._approximate).nearest(queries, top_k, where)
            every = sorted({int(slot) for slots, _ in nearest for slot in slots})
            records, checksums = rows.read_by_slot(catalog, every)
            sound_rows(self.folder, vectors, every, checksums)
            by_slot = dict(zip(every, rows.with_labels(catalog, records), strict=True))
            return [
                Found([by_slot[int(slot)] for slot in slots], cosines, np.array(vectors[slots]))
                for slots, cosines in nearest
            ]

    def find_words(self, words: str, top_k: int, where: Filter = EVERYTHING) -> Found:
        """Those that hold all of the words come first.

        Source: BM25, as SQLite's FTS5 computes it.
        """
        condition, values = rows.condition_of(where)
        with self._searching() as (catalog, every):
            most = min(top_k, catalog.slot_count)
            # What the paths of all indexed folders hold tells no image from another.
            common = set.intersection(*map(set, map(words_of, rows.read_roots(catalog) or [""])))
            asked = [f'"{word}"' for word in words_of(words) if word not in common] or ['""']
            matches = [
                row
                for expression in dict.fromkeys(joint.join(asked) for joint in (" AND ", " OR "))
                for row in catalog.run(
                    f"SELECT files.slot FROM names JOIN files ON files.id = names.rowid "
                    f"WHERE names MATCH ? AND {condition} ORDER BY bm25(names), files.slot LIMIT ?",
                    *(expression, *values, most),
                )
            ]
            slots = list(dict.fromkeys(slot for (slot,) in matches))[:most]
            records, checksums = rows.read_by_slot(catalog, slots)
            vectors = sound_rows(self.folder, every, slots, checksums)
            records = rows.with_labels(catalog, records)
        return Found(records, np.zeros(len(slots), np.float32), vectors)

    def scan(self, where: Filter = EVERYTHING) -> Iterator[Block]:
        with self._searching() as (catalog, vectors):
            slots = catalog.slots(*rows.condition_of(where))
            for start in range(0, len(slots), _SCANNED):
                part = slots[start : start + _SCANNED]
                records, checksums = rows.read_by_slot(catalog, part.tolist())
                yield Block(records, sound_rows(self.folder, vectors, part, checksums))

    def sample(self, count: int) -> FloatArray:
        with self._searching() as (catalog, vectors):
            dead = catalog.dead_slots()
        generator = np.random.default_rng(0)
        few = len(vectors) - len(dead) <= 4 * count
        drawn = np.arange(len(vectors)) if few else generator.integers(0, len(vectors), 8 * count)
        alive = np.setdiff1d(drawn, dead)
        if len(alive) > count:
            alive = np.sort(generator.choice(alive, count, replace=False))
        return sound_rows(self.folder, vectors, alive, [None] * len(alive))

    def close(self) -> None:
        """Let go of its files, whichever threads opened them; what reads meanwhile may finish."""
        self._is_closed = True
        while True:
            try:
                self._idle.pop().connection.close()
            except IndexError:
                return

    @contextmanager
    def _reading(self) -> Iterator[Catalog]:
        """A snapshot, through a connection that nobody else uses within the block."""
        try:
            catalog = self._idle.pop()
        except IndexError:
            catalog = open_catalog(self._path, "read")
        try:
            with catalog.snapshot():
                yield catalog
        except BaseException:  # the end of a generator that nobody exhausts among them
            catalog.connection.close()
            raise
        self._idle.append(catalog)
        if self._is_closed:
            self.close()

    @contextmanager
    def _searching(self) -> Iterator[tuple[Catalog, FloatArray]]:
        """A snapshot with its vectors, (N, D)."""
        with ExitStack() as held:
            catalog = held.enter_context(self._reading())
            try:
                vectors = self._vector_file(catalog).rows(catalog.slot_count)
            except StoreError:  # has a writer compacted between the two? Then the next one is whole
                held.close()
                catalog = held.enter_context(self._reading())
                vectors = self._vector_file(catalog).rows(catalog.slot_count)
            if not self._is_tried:
                # Some of all, others each time: what is wrong may come into no answer.
                drawn = random.sample(range(len(vectors)), min(_TRIED, len(vectors)))
                slots, checksums = rows.checksums_at(catalog, drawn)
                sound_rows(self.folder, vectors, slots, checksums)
                self._is_tried = True
            yield catalog, vectors

    def _vector_file(self, catalog: Catalog) -> VectorFile:
        path = self.folder / catalog.vectors_name
        file = self._file  # which other threads may replace at any moment
        if file is None or file.path != path:
            file = self._file = VectorFile(path, self._embedder.width)
        return file
