"""A collection on the server: made, opened, read and written by whole rows."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from footwork.errors import StoreError
from footwork.files.paths import shell_word
from search.paths import stored_text
from search.store.protocol import Embedder
from search.store.server.connection import INDEXES, Connection, ServerOptions, no_collection
from search.store.server.rows import (
    FORMAT_VERSION,
    WITH_WORDS,
    Row,
    any_path,
    description_of,
    last_of_each,
    literal,
    schema_of,
)

MOST_ROWS = 16_384
"""That Milvus answers at a time."""
_PAGE_NUMBERS = 4_000_000  # 16 MB of float32; an answer may have 64 MB
_REQUEST_NUMBERS = 1_000_000  # of rows to be written; a broker may take messages of 5 MB
_LOADING = 600.0  # seconds
_INDEXING = 60.0  # seconds that are waited for an index; the server goes on by itself
_EVERY_FIELD = ["*", "vector"]
_NOBODY = "state == 0"


class Collection:
    """Rows on the server, and what is written on the collection itself."""

    def __init__(
        self, connection: Connection, options: ServerOptions, made: Mapping[str, Any]
    ) -> None:
        self._connection = connection
        self._options = options
        self._name = options.collection
        self.embedder = Embedder(**made["embedder"])
        self.index: str = made["index"]
        self._has_words = made["footwork"] == WITH_WORDS
        self._is_divided = "partitions" in made
        self._wrote_deletion_last = False

    @classmethod
    def create(cls, connection: Connection, options: ServerOptions, embedder: Embedder) -> None:
        """Make the collection and what belongs to it; of one that exists, what it still lacks.

        Raises:
            StoreError: The server refuses, or the collection is another program's.
        """
        name = options.collection
        if not connection.read("has_collection", name):
            connection.write(
                "create_collection",
                name,
                schema=schema_of(embedder, description_of(embedder, options.index)),
                num_shards=options.shards,
                consistency_level=options.consistency,
            )
        told = connection.read("describe_collection", name)
        _read_description(told["description"], options)
        if not connection.read("list_indexes", name):
            from pymilvus import MilvusClient

            params = MilvusClient.prepare_index_params()
            params.add_index(
                "vector",
                index_type=options.index,
                metric_type="IP",  # of unit rows, the cosine
                params={**INDEXES[options.index], **options.index_params},
            )
            connection.write("create_index", name, params, timeout=60.0)

    @classmethod
    def open(cls, connection: Connection, options: ServerOptions) -> Collection:
        """Load the collection into the query nodes, unless it is.

        Raises:
            StoreError: There is none, it is not Footwork's, or it cannot be loaded.
        """
        if not connection.read("has_collection", options.collection):
            raise StoreError(no_collection(options))
        told = connection.read("describe_collection", options.collection)
        opened = cls(connection, options, _read_description(told["description"], options))
        # Not the alias: of a reader that is overtaken by another model it would change the vectors.
        opened._name = told["collection_name"]
        state = connection.read("get_load_state", options.collection)
        if getattr(state["state"], "name", str(state["state"])) != "Loaded":
            connection.write(
                "load_collection",
                options.collection,
                replica_number=options.replicas,
                timeout=_LOADING,
            )
        return opened

    def count(self, condition: str) -> int:
        """How many rows meet a condition."""
        return int(self.fetch(condition, ["count(*)"])[0]["count(*)"])

    def fetch(self, condition: str, fields: Sequence[str], limit: int | None = None) -> list[Row]:
        """At most `limit` rows that meet a condition, whichever come first; in one request."""
        settings = {} if limit is None else {"limit": limit}
        rows = self._connection.read(
            "query",
            self._name,
            filter=condition,
            output_fields=list(fields),
            consistency_level=self._consistency,
            **settings,
        )
        return [dict(row) for row in rows]

    def fetch_paths(self, paths: Iterable[str], fields: Sequence[str] = _EVERY_FIELD) -> list[Row]:
        """The rows of some paths; of those that are known."""
        return self.fetch_stored(map(stored_text, paths), fields)

    def fetch_stored(self, texts: Iterable[str], fields: Sequence[str]) -> list[Row]:
        """The rows of some paths as they are stored."""
        return [
            row
            for some in _chunks(list(dict.fromkeys(texts)), self.page_rows)
            for condition in any_path(some)
            for row in self.fetch(condition, fields)
        ]

    @property
    def page_rows(self) -> int:
        """Rows with their vectors that an answer has room for."""
        return max(1, min(8192, _PAGE_NUMBERS // self.embedder.width))

    def pages(self, condition: str, fields: Sequence[str]) -> Iterator[list[Row]]:
        """All rows that meet a condition, by path, a page at a time.

        It is what pymilvus' `QueryIterator` does, which breaks at a path with a quote in it.
        """
        self.fetch(_NOBODY, ["path"], limit=1)  # waits as `consistency` says; a page never does
        settings: dict[str, Any] = {"iterator": "True", "reduce_stop_for_best": "True"}
        last = None
        while True:
            after = "" if last is None else f"path > {literal(last)} and "
            rows = self._connection.read(
                "query",
                self._name,
                filter=f"{after}{condition}",
                output_fields=list(fields),
                limit=self.page_rows,
                **settings,
            )
            if not rows:  # a page can be short without being the last
                return
            if last is None:  # the others see what the first has seen, where the server can tell
                seen = getattr(rows, "extra", {}).get("iterator_session_ts", 0)
                settings["guarantee_timestamp"] = max(1, seen)
            yield [dict(row) for row in rows]
            last = rows[-1]["path"]

    def search(self, **settings: Any) -> Any:
        """Search through the index."""
        settings["consistency_level"] = self._consistency
        return self._connection.read("search", self._name, **settings)

    def put(self, rows: Iterable[Row]) -> None:
        """Write rows, each in place of the one with its path.

        Milvus acknowledges what its log has, from which it recovers whatever happens to its nodes.

        Raises:
            StoreError: It fails, or the collection is divided into partitions.
        """
        self._require_undivided()
        size = max(1, min(1000, _REQUEST_NUMBERS // self.embedder.width))
        for some in _chunks(last_of_each(rows), size):
            if self._has_words:
                some = [{"words": (), **row} for row in some]
            self._connection.write("upsert", self._name, some)
            self._wrote_deletion_last = False

    def delete(self, paths: Iterable[str]) -> None:
        """Delete rows by path; errors are those of `put`."""
        for condition in any_path(map(stored_text, paths)):
            self.delete_where(condition)

    def delete_where(self, condition: str) -> None:
        """Delete the rows that meet a condition; errors are those of `put`."""
        self._require_undivided()
        self._connection.write("delete", self._name, filter=condition)
        self._wrote_deletion_last = True

    def _require_undivided(self) -> None:
        # What is written elsewhere than in its own partition stands there twice.
        if self._is_divided:
            name, url = self._options.collection, self._options.url
            raise StoreError(
                f"Collection {name} at {url} is divided into partitions by Footwork before this "
                "version, which asks them but does not write them. Copy it, without embedding "
                f"anything: footwork search index --from {shell_word(f'{url}/{name}')} "
                f"--store {shell_word(url)} --collection {name}_2"
            )

    @property
    def _consistency(self) -> str:
        # Milvus tells no time of a deletion, so that Session would not wait for it.
        return "Strong" if self._wrote_deletion_last else self._options.consistency

    def settle(self) -> None:
        """Close growing segments, wait a while for their index, and until all can be found."""
        self._connection.write("flush", self._name, timeout=_INDEXING)
        ends = time.monotonic() + _INDEXING
        while time.monotonic() < ends:
            told = self._connection.read("describe_index", self._name, "vector")
            if not int(told.get("pending_index_rows", 0)):
                break
            time.sleep(0.1)
        self._wrote_deletion_last = True  # so that the next one waits until all is there
        self.fetch(_NOBODY, ["path"])
        self._wrote_deletion_last = False

    def details(self) -> dict[str, str]:
        """What `status` tells of the server's side."""
        ask = self._connection.read
        told = ask("describe_collection", self._name)
        index = ask("describe_index", self._name, "vector")
        details = {
            "server": f"Milvus {ask('get_server_version')} at {self._options.url}",
            "collection": self._name,
            "shards": str(told.get("num_shards", "?")),
            "index": f"{index.get('index_type', '?')}, {index.get('indexed_rows', 0):,} rows",
        }
        with contextlib.suppress(StoreError):  # not everybody may ask, and not every server tells
            details["segments"] = str(len(ask("list_persistent_segments", self._name)))
        return details

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def _chunks(rows: list[Any], size: int) -> Iterator[list[Any]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _read_description(text: str, options: ServerOptions) -> dict[str, Any]:
    where = f"Collection {options.collection} at {options.url}"
    try:
        made = json.loads(text)
        version = made["footwork"]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{where} was not made by Footwork. Name another collection for the index."
        ) from error
    if version not in (WITH_WORDS, FORMAT_VERSION):
        raise StoreError(
            f"{where} has format {version}; this Footwork reads {WITH_WORDS} and {FORMAT_VERSION}. "
            "Use the Footwork that made it, or index into another collection."
        )
    return dict(made)
