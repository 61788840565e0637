"""`ServerStore`: an index in a Milvus collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ConfigError
from search.exclusions import Exclusions
from search.filters import EVERYTHING, Filter
from search.paths import real_path
from search.records import ImageRecord
from search.store.protocol import Block, Changes, Counts, Embedder, Found
from search.store.server.collection import Collection
from search.store.server.connection import Connection, ServerOptions
from search.store.server.nearest import find_nearest
from search.store.server.rows import (
    LABEL_FIELDS,
    LOTS,
    PATTERN_PREFIX,
    RECORD_FIELDS,
    REMOVED_PREFIX,
    ROOT_PREFIX,
    Row,
    State,
    any_size,
    known_files,
    labelled,
    present_images,
    record_of,
    root_row,
    row_of,
    vectors_of,
)

_LABELLED_AT_ONCE = 1000
_READABLE = (State.PRESENT, State.ABSENT)


class ServerStore:
    """An index engine for many machines: any number of readers and writers.

    A row is read and written whole, so what two writers do to one file at the same moment can end
    as either of them meant it, never as a mixture: a record always stands with its own vector.
    """

    def __init__(self, collection: Collection, options: ServerOptions) -> None:
        self._collection = collection
        self._options = options

    @classmethod
    def create(cls, options: ServerOptions, embedder: Embedder) -> ServerStore:
        """Make an empty index, or open the one that is there: several machines may start at once.

        Raises:
            StoreError: As `open`, or the server refuses.
        """
        connection = Connection.open(options)
        try:
            Collection.create(connection, options, embedder)
        except BaseException:
            connection.close()
            raise
        return cls._opened(connection, options)

    @classmethod
    def open(cls, options: ServerOptions) -> ServerStore:
        """Open an index that exists.

        Raises:
            StoreError: The server cannot be reached or lets nobody in, there is no such collection,
                or it is of another format.
        """
        return cls._opened(Connection.open(options), options)

    @classmethod
    def _opened(cls, connection: Connection, options: ServerOptions) -> ServerStore:
        try:
            collection = Collection.open(connection, options)
        except BaseException:
            connection.close()
            raise
        return cls(collection, options)

    @property
    def embedder(self) -> Embedder:
        """The model whose vectors it holds."""
        return self._collection.embedder

    def write(self, changes: Changes) -> None:
        """Make a batch durable: once it has returned, the server's log has it.

        A batch that ends midway is written in part; written again, it is whole. Nothing is deleted
        before what takes its place is written.
        """
        written: dict[str, Row] = {}

        def put(row: Row) -> None:
            written[row["path"]] = row

        for row in self._collection.fetch_paths(changes.absent):
            put({**row, "state": int(_absent(State(row["state"])))})
        for row in self._moved(changes):
            put(row)
        for image in changes.embedded:
            put(row_of(image.record, image.vector))
        for record in changes.unreadable:
            put(row_of(record, np.zeros(self.embedder.width, np.float32)))
        self._collection.put(written.values())
        left = {*changes.forgotten, *(move.old_path for move in changes.moved)}
        self._collection.delete(sorted(left - {real_path(path) for path in written}))

    def _moved(self, changes: Changes) -> Iterator[Row]:
        known = self._collection.fetch_paths(move.old_path for move in changes.moved)
        by_path = {real_path(row["path"]): row for row in known}
        for move in changes.moved:
            row = by_path.get(move.old_path)
            if row and row["content"] == move.record.content:  # else another was quicker
                labels = {name: row[name] for name in LABEL_FIELDS}
                yield row_of(move.record, row["vector"]) | labels

    def write_labels(self, labels: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Replace the labels of images."""
        batch: dict[str, Mapping[str, float]] = {}
        for path, given in labels:
            batch[path] = given
            if len(batch) == _LABELLED_AT_ONCE:
                self._write_labels(batch)
                batch = {}
        self._write_labels(batch)

    def _write_labels(self, given: Mapping[str, Mapping[str, float]]) -> None:
        rows = self._collection.fetch_paths(given)
        self._collection.put([labelled(row, given[real_path(row["path"])]) for row in rows])

    def finish(self, typical: FloatArray) -> None:  # noqa: ARG002 - Milvus builds its index untuned
        """Have segments closed and indexed; returns when all that was written can be found."""
        self._collection.settle()

    def counts(self, under: str | None = None) -> Counts:
        """How many files of each kind."""
        present, absent, unreadable = (
            self._collection.count(f"{known_files(under)} and state == {state:d}")
            for state in (State.PRESENT, State.ABSENT, State.UNREADABLE)
        )
        details = self._collection.details()
        return Counts(present=present, absent=absent, unreadable=unreadable, details=details)

    def roots(self) -> Sequence[str]:
        """Absolute folders and files that were indexed."""
        return self._listed(ROOT_PREFIX)

    def set_roots(self, roots: Sequence[str]) -> None:
        """Replace them."""
        self._list(roots, ROOT_PREFIX)

    def exclusions(self) -> Exclusions:
        """What is left out of it."""
        return Exclusions(self._listed(PATTERN_PREFIX), self._listed(REMOVED_PREFIX))

    def set_exclusions(self, exclusions: Exclusions) -> None:
        """Replace them; what is known of files stays as it is."""
        self._list(exclusions.patterns, PATTERN_PREFIX)
        self._list(exclusions.removed, REMOVED_PREFIX)

    def _listed(self, prefix: str) -> tuple[str, ...]:
        pages = self._collection.pages(f"state == {State.ROOT:d}", ["path"])
        stored = [row["path"] for page in pages for row in page]
        return tuple(real_path(one[len(prefix) :]) for one in stored if one.startswith(prefix))

    def _list(self, values: Sequence[str], prefix: str) -> None:
        self._collection.put(root_row(value, self.embedder.width, prefix) for value in values)
        self._collection.delete(prefix + old for old in sorted({*self._listed(prefix)} - {*values}))

    def files(self, under: str | None = None) -> Iterator[ImageRecord]:
        """Everything known, images and faults, present or not, without labels, by path."""
        for page in self._collection.pages(known_files(under), RECORD_FIELDS):
            yield from map(record_of, page)

    def records(self, paths: Sequence[str]) -> dict[str, ImageRecord]:
        """What is known of some paths, with labels; unknown ones are left out."""
        rows = self._collection.fetch_paths(paths, [*RECORD_FIELDS, *LABEL_FIELDS])
        return {record.path: record for record in map(record_of, rows)}

    def same_size(self, sizes: Iterable[int]) -> Iterator[ImageRecord]:
        """Images, present or not, of any of these sizes in bytes, without labels."""
        for condition in any_size(sizes):
            for page in self._collection.pages(condition, RECORD_FIELDS):
                yield from map(record_of, page)

    def vectors(self, paths: Sequence[str]) -> dict[str, FloatArray]:
        """Vectors of some images by path, present or not; unknown ones are left out."""
        rows = self._collection.fetch_paths(paths, ["path", "state", "vector"])
        return {
            real_path(row["path"]): np.asarray(row["vector"], np.float32)
            for row in rows
            if row["state"] in _READABLE
        }

    def search(self, queries: FloatArray, top_k: int, where: Filter = EVERYTHING) -> list[Found]:
        """The present images nearest to each query, by cosine."""
        if not len(queries):
            return []
        return find_nearest(self._collection, self._options, queries, top_k, where)

    def find_words(self, words: str, top_k: int, where: Filter = EVERYTHING) -> Found:  # noqa: ARG002
        """Not on a server.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"The names of files cannot be searched on a Milvus server, as {self._options.url} is "
            "one. Leave --hybrid out: what images show is found there all the same."
        )

    def scan(self, where: Filter = EVERYTHING) -> Iterator[Block]:
        """All present images, in blocks, each once, by path."""
        for page in self._collection.pages(present_images(where), [*RECORD_FIELDS, "vector"]):
            yield Block([record_of(row) for row in page], vectors_of(page, self.embedder.width))

    def sample(self, count: int) -> FloatArray:
        """At most `count` vectors of present images, the same ones while nothing changes.

        Every path draws a lot once and for all; the lowest are taken.
        """
        present = present_images(EVERYTHING)
        total = self._collection.count(present)
        expected = count + 4 * sqrt(count) + 16  # of the lots that are looked at
        while True:
            below = LOTS if expected >= total else int(LOTS * expected / total)
            condition, fields = f"{present} and lot < {below}", ["path", "lot", "vector"]
            rows = [row for page in self._collection.pages(condition, fields) for row in page]
            if len(rows) >= count or below == LOTS:
                break
            expected *= 2
        rows.sort(key=lambda row: row["lot"])
        return vectors_of(rows[:count], self.embedder.width)

    def close(self) -> None:
        """Let go of the connection."""
        self._collection.close()


def _absent(state: State) -> State:
    if state is State.UNREADABLE:
        return State.UNREADABLE_ABSENT
    return State.ABSENT if state is State.PRESENT else state
