"""`ServerStore`: an index in a Milvus collection.

An index searched under a filter that lets little through loses rows without a word: Milvus 2.3 with
HNSW found 71 to 97 % of ten nearest where one row in ten passed. Few rows are therefore fetched and
compared here, one by one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import sqrt
from typing import Any

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, StoreError
from footwork.files.paths import shell_word
from search.exclusions import Exclusions
from search.filters import EVERYTHING, Filter
from search.options import NewStoreOptions, StoreOptions
from search.paths import real_path, stored_text
from search.records import ImageRecord
from search.store.protocol import Block, Changes, Counts, Embedder, Found, batched, told_embedder
from search.store.server import rows
from search.store.server.connection import Connection, no_collection

_INDEXES: Mapping[str, tuple[Mapping[str, int], str | None]] = {
    "HNSW": ({"M": 16, "efConstruction": 200}, "ef"),
    "IVF_SQ8": ({"nlist": 1024}, "nprobe"),
    "IVF_FLAT": ({"nlist": 1024}, "nprobe"),
    "DISKANN": ({}, "search_list"),
    "FLAT": ({}, None),
}
"""Kinds of index: how each is built, and what Milvus calls it how widely it is searched. HNSW holds
all vectors in memory and loses next to nothing; IVF_SQ8 takes a quarter of the memory; DISKANN
needs fast disks beside the query nodes; FLAT compares every vector and loses nothing."""
_BREADTH = 512  # candidates that a search through the index looks at, or lists of an IVF one
_FILTER_FACTOR = 4  # how much wider an index is searched under a filter
_WIDEST = 32_768  # that Milvus allows
_EXACT_ROWS = 4096  # that a filter lets through are compared one by one
_UNCOUNTED = 256  # rows that an index brings without being asked how many there are
_INDEXED = 10_000  # rows that an index is asked for at most
_MOST_ROWS = 16_384  # that Milvus answers at a time
_ANSWER_BYTES = 32_000_000  # half of what it sends at most
_ROW_BYTES = 2_000  # without the vector, generously
_PAGE_NUMBERS = 4_000_000  # 16 MB of float32; an answer may have 64 MB
_REQUEST_NUMBERS = 1_000_000  # of rows to be written; a broker may take messages of 5 MB
_LOADING = 600.0  # seconds
_INDEXING = 60.0  # seconds that are waited for an index; the server goes on by itself
_LABELLED_AT_ONCE = 1000
_EVERY_FIELD = ["*", "vector"]
_WITHOUT_VECTOR = [*rows.RECORD_FIELDS, *rows.LABEL_FIELDS]
_WITH_VECTOR = [*_WITHOUT_VECTOR, "vector"]
_NOBODY = "state == 0"
_READABLE = (rows.State.PRESENT, rows.State.ABSENT)
_AWAY: Mapping[int, int] = {
    rows.State.PRESENT: rows.State.ABSENT,
    rows.State.UNREADABLE: rows.State.UNREADABLE_ABSENT,
}


class ServerStore:
    """An index engine for many machines: any number of readers and writers.

    Methods are as those of `search.store.protocol.Store`.
    A row is read and written whole, so what two writers do to one file at the same moment can end
    as either of them meant it, never as a mixture: a record always stands with its own vector.

    Args:
        options: Which collection.
        embedder: Where there is none yet, one is made for the vectors of this model.

    Raises:
        StoreError: The server cannot be reached, refuses or lets nobody in, there is no such
            collection, or it is not Footwork's or of another format.
    """

    def __init__(self, options: StoreOptions, embedder: Embedder | None = None) -> None:
        self._options = options
        self._connection = Connection.open(options)
        try:
            if embedder is not None:
                self._make(embedder)
            self._load()
        except BaseException:
            self._connection.close()
            raise

    def _make(self, embedder: Embedder) -> None:
        """Make the collection and what belongs to it; of one that exists, what it still lacks.

        Several machines may do so at once.
        """
        ask, name, layout = self._connection, self._options.collection, self._options
        if not isinstance(layout, NewStoreOptions):
            layout = NewStoreOptions()
        if not ask.read("has_collection", name):
            told = {"footwork": rows.FORMAT_VERSION, "embedder": asdict(embedder)}
            schema = rows.schema_of(embedder, json.dumps(told | {"index": layout.index_type}))
            settings = {"num_shards": layout.shards, "consistency_level": "Session"}
            ask.write("create_collection", name, schema=schema, **settings)
        _read_description(ask.read("describe_collection", name)["description"], self._options)
        if not ask.read("list_indexes", name):
            from pymilvus import MilvusClient

            params = MilvusClient.prepare_index_params()
            params.add_index(
                "vector",
                index_type=layout.index_type,
                metric_type="IP",  # of unit rows, the cosine
                params=dict(_INDEXES[layout.index_type][0]),
            )
            ask.write("create_index", name, params, timeout=60.0)

    def _load(self) -> None:
        ask, name = self._connection, self._options.collection
        if not ask.read("has_collection", name):
            raise StoreError(no_collection(self._options))
        told = ask.read("describe_collection", name)
        made = _read_description(told["description"], self._options)
        self._embedder: Embedder = made["embedder"]
        self._index: str = made["index"]
        self._has_words = made["footwork"] == rows.WITH_WORDS
        self._is_divided = "partitions" in made
        self._wrote_deletion_last = False
        # Not the alias: of a reader that is overtaken by another model it would change the vectors.
        self._name: str = told["collection_name"]
        state = ask.read("get_load_state", name)["state"]
        if getattr(state, "name", str(state)) != "Loaded":
            replicas = getattr(self._options, "replicas", 1)
            ask.write("load_collection", name, replica_number=replicas, timeout=_LOADING)

    @property
    def embedder(self) -> Embedder:
        return self._embedder

    def write(self, changes: Changes) -> None:
        """Make a batch durable: once it has returned, the server's log has it.

        A batch that ends midway is written in part; written again, it is whole. Nothing is deleted
        before what takes its place is written.
        """
        absent = self._fetch_paths(changes.absent)
        written = [{**row, "state": int(_AWAY.get(row["state"], row["state"]))} for row in absent]
        known = self._fetch_paths(move.old_path for move in changes.moved)
        by_path = {real_path(row["path"]): row for row in known}
        for move in changes.moved:
            row = by_path.get(move.old_path)
            if row and row["content"] == move.record.content:  # else another was quicker
                labels = {name: row[name] for name in rows.LABEL_FIELDS}
                written.append(rows.row_of(move.record, row["vector"]) | labels)
        new = ((rows.row_of(one.record, one.vector), one.record.labels) for one in changes.embedded)
        written += (rows.labelled(row, labels or {}) for row, labels in new)
        nothing = np.zeros(self.embedder.width, np.float32)
        written += (rows.row_of(record, nothing) for record in changes.unreadable)
        self._put(written)
        left = {*changes.forgotten, *(move.old_path for move in changes.moved)}
        self._delete(sorted(left - {real_path(row["path"]) for row in written}))

    def write_labels(self, labels: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        for given in map(dict, batched(labels, _LABELLED_AT_ONCE)):
            known = self._fetch_paths(given)
            self._put(rows.labelled(row, given[real_path(row["path"])]) for row in known)

    def finish(self, typical: FloatArray) -> None:  # noqa: ARG002 - Milvus builds its index untuned
        """Have segments closed and indexed; returns when all that was written can be found."""
        self._connection.write("flush", self._name, timeout=_INDEXING)
        ends = time.monotonic() + _INDEXING
        while time.monotonic() < ends:
            told = self._connection.read("describe_index", self._name, "vector")
            if not int(told.get("pending_index_rows", 0)):
                break
            time.sleep(0.1)
        self._wrote_deletion_last = True  # so that the next one waits until all is there
        self._fetch(_NOBODY, ["path"])
        self._wrote_deletion_last = False

    def counts(self, under: str | None = None) -> Counts:
        present, absent, unreadable = (
            self._count(f"{rows.known_files(under)} and state == {state:d}")
            for state in (rows.State.PRESENT, rows.State.ABSENT, rows.State.UNREADABLE)
        )
        ask = self._connection.read
        told = ask("describe_collection", self._name)
        index = ask("describe_index", self._name, "vector")
        details = {
            "server": f"Milvus {ask('get_server_version')} at {self._options.store}",
            "collection": self._name,
            "shards": str(told.get("num_shards", "?")),
            "index": f"{index.get('index_type', '?')}, {index.get('indexed_rows', 0):,} rows",
        }
        with suppress(StoreError):  # not everybody may ask, and not every server tells
            details["segments"] = str(len(ask("list_persistent_segments", self._name)))
        return Counts(present=present, absent=absent, unreadable=unreadable, details=details)

    def roots(self) -> Sequence[str]:
        return self._listed(rows.ROOT_PREFIX)

    def set_roots(self, roots: Sequence[str]) -> None:
        self._list(roots, rows.ROOT_PREFIX)

    def exclusions(self) -> Exclusions:
        return Exclusions(self._listed(rows.PATTERN_PREFIX), self._listed(rows.REMOVED_PREFIX))

    def set_exclusions(self, exclusions: Exclusions) -> None:
        self._list(exclusions.patterns, rows.PATTERN_PREFIX)
        self._list(exclusions.removed, rows.REMOVED_PREFIX)

    def _listed(self, prefix: str) -> tuple[str, ...]:
        pages = self._pages(f"state == {rows.State.ROOT:d}", ["path"])
        stored = [row["path"] for page in pages for row in page]
        return tuple(real_path(one[len(prefix) :]) for one in stored if one.startswith(prefix))

    def _list(self, values: Sequence[str], prefix: str) -> None:
        self._put(rows.root_row(value, self.embedder.width, prefix) for value in values)
        self._delete(prefix + old for old in sorted({*self._listed(prefix)} - {*values}))

    def files(self, under: str | None = None) -> Iterator[ImageRecord]:
        for page in self._pages(rows.known_files(under), rows.RECORD_FIELDS):
            yield from map(rows.record_of, page)

    def records(self, paths: Sequence[str]) -> dict[str, ImageRecord]:
        known = self._fetch_paths(paths, _WITHOUT_VECTOR)
        return {record.path: record for record in map(rows.record_of, known)}

    def same_size(self, sizes: Iterable[int]) -> Iterator[ImageRecord]:
        for condition in rows.any_size(sizes):
            for page in self._pages(condition, rows.RECORD_FIELDS):
                yield from map(rows.record_of, page)

    def vectors(self, paths: Sequence[str]) -> dict[str, FloatArray]:
        known = self._fetch_paths(paths, ["path", "state", "vector"])
        return {
            real_path(row["path"]): np.asarray(row["vector"], np.float32)
            for row in known
            if row["state"] in _READABLE
        }

    def search(self, queries: FloatArray, top_k: int, where: Filter = EVERYTHING) -> list[Found]:
        if not len(queries):
            return []
        condition = rows.present_images(where)
        if where.is_empty and top_k <= _UNCOUNTED:
            answers = self._through_index(_BREADTH, queries, top_k, condition)
            if all(len(found.records) == top_k for found in answers):
                return answers
        count = self._count(condition)
        if top_k > _INDEXED or count <= max(_EXACT_ROWS, 4 * top_k):
            return self._one_by_one(queries, top_k, condition, count)
        breadth = _BREADTH * (1 if where.is_empty else _FILTER_FACTOR)
        return self._through_index(breadth, queries, top_k, condition)

    def _through_index(
        self, breadth: int, queries: FloatArray, top_k: int, condition: str
    ) -> list[Found]:
        """More than enough through the index, then ordered by their very vectors."""
        limit = min(_MOST_ROWS, top_k + top_k // 2 + 16)
        params, (_, name) = dict[str, int](), _INDEXES.get(self._index, ({}, None))
        if name is not None:
            # An index of lists has its own breadth; any other has to look at more than it brings.
            wide = breadth if name == "nprobe" else min(_WIDEST, max(breadth, 2 * limit))
            params[name] = wide
        at_once = max(1, _ANSWER_BYTES // (limit * (_ROW_BYTES + 4 * self.embedder.width)))
        answers = []
        for start in range(0, len(queries), at_once):
            some = queries[start : start + at_once]
            brought = self._connection.read(
                "search",
                self._name,
                data=list(some),
                filter=condition,
                limit=limit,
                output_fields=_WITH_VECTOR,
                search_params={"metric_type": "IP", "params": params},
                consistency_level=self._consistency,
            )
            for query, hits in zip(some, brought, strict=True):
                answers.append(_found([dict(hit["entity"]) for hit in hits], query, top_k))
        return answers

    def _one_by_one(
        self, queries: FloatArray, top_k: int, condition: str, count: int
    ) -> list[Found]:
        """Every row is compared with every query; of each, no more than the best are kept."""
        fields = ["path", "vector"]
        if count > self._page_rows:
            pages: Iterable[list[rows.Row]] = self._pages(condition, fields)
        else:  # a little more, for what may be added meanwhile
            pages = [self._fetch(condition, fields, limit=min(_MOST_ROWS, count + 256))]
        width = self.embedder.width
        nothing: FloatArray = np.zeros((0, width), np.float32)
        best = [(list[str](), nothing[:, 0], nothing)] * len(queries)
        for page in pages:
            paths, vectors = [row["path"] for row in page], rows.vectors_of(page, width)
            cosines = queries @ vectors.T
            for place, (kept, values, theirs) in enumerate(best):
                names, values = [*kept, *paths], np.concatenate([values, cosines[place]])
                order = _best_first(values, names)[:top_k]
                theirs = np.concatenate([theirs, vectors])[order]
                best[place] = [names[one] for one in order], values[order], theirs
        wanted = map(real_path, {path for paths, *_ in best for path in paths})
        known = {row["path"]: row for row in self._fetch_paths(wanted, _WITHOUT_VECTOR)}
        answers = []
        for paths, values, vectors in best:
            there = [place for place, path in enumerate(paths) if path in known]  # not deleted
            records = [rows.record_of(known[paths[place]]) for place in there]
            answers.append(Found(records, values[there], vectors[there]))
        return answers

    def find_words(self, words: str, top_k: int, where: Filter = EVERYTHING) -> Found:  # noqa: ARG002
        """Not on a server: always a `ConfigError`."""
        raise ConfigError(
            f"The names of files cannot be searched on a Milvus server, as {self._options.store} "
            "is one. Leave --hybrid out: what images show is found there all the same."
        )

    def scan(self, where: Filter = EVERYTHING) -> Iterator[Block]:
        for page in self._pages(rows.present_images(where), [*rows.RECORD_FIELDS, "vector"]):
            yield Block(
                [rows.record_of(row) for row in page], rows.vectors_of(page, self.embedder.width)
            )

    def sample(self, count: int) -> FloatArray:
        """At most `count` vectors of present images, the same ones while nothing changes.

        Every path draws a lot once and for all; the lowest are taken.
        """
        present = rows.present_images(EVERYTHING)
        total = self._count(present)
        expected = count + 4 * sqrt(count) + 16  # of the lots that are looked at
        while True:
            below = rows.LOTS if expected >= total else int(rows.LOTS * expected / total)
            condition, fields = f"{present} and lot < {below}", ["path", "lot", "vector"]
            drawn = [row for page in self._pages(condition, fields) for row in page]
            if len(drawn) >= count or below == rows.LOTS:
                break
            expected *= 2
        drawn.sort(key=lambda row: row["lot"])
        return rows.vectors_of(drawn[:count], self.embedder.width)

    def close(self) -> None:
        self._connection.close()

    def _count(self, condition: str) -> int:
        return int(self._fetch(condition, ["count(*)"])[0]["count(*)"])

    def _fetch(self, condition: str, fields: Sequence[str], **settings: Any) -> list[rows.Row]:
        """Rows that meet a condition, in one request; with a `limit`, whichever come first."""
        answer = self._connection.read(
            "query",
            self._name,
            filter=condition,
            output_fields=list(fields),
            consistency_level=self._consistency,
            **settings,
        )
        return [dict(row) for row in answer]

    def _fetch_paths(
        self, paths: Iterable[str], fields: Sequence[str] = _EVERY_FIELD
    ) -> list[rows.Row]:
        texts = dict.fromkeys(map(stored_text, paths))
        return [
            row
            for some in batched(texts, self._page_rows)
            for condition in rows.any_path(some)
            for row in self._fetch(condition, fields)
        ]

    @property
    def _page_rows(self) -> int:
        """Rows with their vectors that an answer has room for."""
        return max(1, min(8192, _PAGE_NUMBERS // self.embedder.width))

    def _pages(self, condition: str, fields: Sequence[str]) -> Iterator[list[rows.Row]]:
        """All rows that meet a condition, by path, a page at a time.

        It is what pymilvus' `QueryIterator` does, which breaks at a path with a quote in it.
        """
        self._fetch(_NOBODY, ["path"], limit=1)  # waits as a deletion asks for; a page never does
        settings: dict[str, Any] = {"iterator": "True", "reduce_stop_for_best": "True"}
        last = None
        while True:
            after = "" if last is None else f"path > {rows.literal(last)} and "
            page = self._connection.read(
                "query",
                self._name,
                filter=f"{after}{condition}",
                output_fields=list(fields),
                limit=self._page_rows,
                **settings,
            )
            if not page:  # a page can be short without being the last
                return
            if last is None:  # the others see what the first has seen, where the server can tell
                seen = getattr(page, "extra", {}).get("iterator_session_ts", 0)
                settings["guarantee_timestamp"] = max(1, seen)
            yield [dict(row) for row in page]
            last = page[-1]["path"]

    def _put(self, written: Iterable[rows.Row]) -> None:
        """Write rows, each in place of the one with its path; of two of a path, the last.

        Milvus acknowledges what its log has, from which it recovers whatever happens to its nodes.
        """
        if self._is_divided:  # what is written into another partition would stand there twice
            name, url = self._options.collection, self._options.store or ""
            raise StoreError(
                f"Collection {name} at {url} is divided into partitions by Footwork before this "
                "version, which asks them but does not write them. Copy it, without embedding "
                f"anything: footwork search index --from {shell_word(f'{url}/{name}')} "
                f"--store {shell_word(url)} --collection {name}_2"
            )
        size = max(1, min(1000, _REQUEST_NUMBERS // self.embedder.width))
        last = {row["path"]: row for row in written}  # of two in one request, Milvus keeps either
        for some in batched(last.values(), size):
            if self._has_words:
                some = [{"words": (), **row} for row in some]
            self._connection.write("upsert", self._name, some)
            self._wrote_deletion_last = False

    def _delete(self, paths: Iterable[str]) -> None:
        """Delete rows by path, once `_put` has written what takes their place."""
        for condition in rows.any_path(map(stored_text, paths)):
            self._connection.write("delete", self._name, filter=condition)
            self._wrote_deletion_last = True

    @property
    def _consistency(self) -> str:
        """A query sees all that this process has written; `Strong`, all that anybody has."""
        # Milvus tells no time of a deletion, so that Session would not wait for it.
        return "Strong" if self._wrote_deletion_last else "Session"


def _found(hits: Sequence[rows.Row], query: FloatArray, top_k: int) -> Found:
    """The best of some rows, by their very vectors."""
    vectors = rows.vectors_of(hits, len(query))
    cosines = vectors @ query
    order = _best_first(cosines, [row["path"] for row in hits])[:top_k]
    return Found([rows.record_of(hits[place]) for place in order], cosines[order], vectors[order])


def _best_first(cosines: FloatArray, paths: Sequence[str]) -> list[int]:
    """Places by falling cosine; of equal ones, by path."""
    return sorted(range(len(paths)), key=lambda place: (-cosines[place], paths[place]))


def _read_description(text: str, options: StoreOptions) -> dict[str, Any]:
    where = f"Collection {options.collection} at {options.store}"
    foreign = f"{where} was not made by Footwork. Name another collection for the index."
    try:
        made = dict(json.loads(text))
        version = made["footwork"]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(foreign) from error
    if version not in (read := (rows.WITH_WORDS, rows.FORMAT_VERSION)):
        raise StoreError(
            f"{where} has format {version}; this Footwork reads {read[0]} and {read[1]}. "
            "Use the Footwork that made it, or index into another collection."
        )
    made["embedder"] = told_embedder(made.get("embedder"))
    if made["embedder"] is None or not isinstance(made.get("index"), str):
        raise StoreError(foreign)
    return made
