"""Engines to be held to the contract of `search.store.protocol.Store`, and what goes into them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from footwork.arrays import FloatArray
from search.options import NewStoreOptions
from search.place import IndexFolder, Place, ServerPlace
from search.records import ImageRecord
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Changes, Embedded, Embedder, Found, Store
from search.store.server.store import ServerStore

WIDTH = 8
SHA = "0123456789abcdef" * 4


def embedder(width: int = WIDTH) -> Embedder:
    return Embedder(model_id="tiny", revision=None, fingerprint=f"tiny-{width}", width=width)


class Engine(Protocol):
    """Makes stores of one kind."""

    finds_words: bool
    """Whether they keep an index of the words in names; those that do not refuse to look."""

    def make(self, width: int = WIDTH) -> Store:
        """An empty one; with a server, that is the end of the one before of this width."""

    def reopen(self) -> Store:
        """The last one, opened once more."""

    def place(self, name: str) -> Place:
        """Where an index may be made."""


EngineOf = Callable[[str], Engine]
"""Engines of one kind by a name; a store of one is not emptied by another's."""


class EmbeddedEngine:
    """Folders on this machine."""

    finds_words = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def make(self, width: int = WIDTH) -> EmbeddedStore:
        self._made += 1
        return EmbeddedStore.create(self._folder / str(self._made), embedder(width))

    def reopen(self) -> Store:
        return EmbeddedStore(self._folder / str(self._made))

    def place(self, name: str) -> IndexFolder:
        return IndexFolder(self._folder / name)


class ServerEngine:
    """Collections of a Milvus server, one a width; making takes seconds, so they are emptied."""

    finds_words = False

    def __init__(self, url: str, token: str, prefix: str = "each") -> None:
        self._of_server = {"store": url, "token": token}
        self._prefix = prefix
        self._width = WIDTH

    def apart(self, prefix: str) -> ServerEngine:
        """The same server, with collections that no other engine empties."""
        return ServerEngine(self._of_server["store"], self._of_server["token"], prefix)

    def options(self, collection: str, **settings: Any) -> NewStoreOptions:
        return NewStoreOptions(collection=collection, **self._of_server, **settings)

    def make(self, width: int = WIDTH) -> Store:
        self._width = width
        store = ServerStore(self.options(self._collection), embedder(width))
        empty(store)
        return store

    def reopen(self) -> Store:
        return ServerStore(self.options(self._collection))

    def place(self, name: str) -> ServerPlace:
        return ServerPlace(self.options(name))

    @property
    def _collection(self) -> str:
        return f"{self._prefix}_{self._width}"


def empty(store: ServerStore) -> None:
    store._connection.write("delete", store._name, filter='path != ""')
    store._wrote_deletion_last = True


def record(path: str, **facts: Any) -> ImageRecord:
    """Of a file with nothing special about it, but for what is given."""
    plain = ImageRecord(
        path=path,
        size=1000,
        mtime_ns=1_700_000_000_123_456_789,
        ctime_ns=1_700_000_001_987_654_321,
        content=SHA,
        format="jpeg",
        width=640,
        height=480,
        date=1_600_000_000,
        date_from="picture",
        camera="Canon EOS 5D",
    )
    return replace(plain, **facts)


def fault(path: str, **facts: Any) -> ImageRecord:
    """Of a file that is no image."""
    return ImageRecord(path=path, size=7, mtime_ns=8, fault="it is truncated", **facts)


def vector_of(name: str, width: int = WIDTH) -> FloatArray:
    """The same for the same name, of length 1."""
    seed = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8])
    return unit(np.random.default_rng(seed).normal(size=width))


def unit(rows: Any) -> FloatArray:
    array = np.asarray(rows, np.float64)
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def embedded(*records: ImageRecord) -> list[Embedded]:
    """Images whose vector follows from their path."""
    return [Embedded(one, vector_of(one.path)) for one in records]


def write_images(store: Store, *paths: str, **facts: Any) -> None:
    store.write(Changes(embedded=embedded(*(record(path, **facts) for path in paths))))


def paths_of(records: Iterable[ImageRecord]) -> list[str]:
    return sorted(one.path for one in records)


def searched(store: Store, query: FloatArray, top_k: int = 100, **conditions: Any) -> Found:
    from search.filters import Filter

    (found,) = store.search(query[None], top_k, Filter(**conditions))
    return found


def found_paths(store: Store, **conditions: Any) -> list[str]:
    """All that a filter lets through, whichever way it is asked; they have to agree."""
    from search.filters import Filter

    by_search = paths_of(searched(store, vector_of("anything"), **conditions).records)
    blocks = list(store.scan(Filter(**conditions)))
    by_scan = paths_of(one for block in blocks for one in block.records)
    assert by_search == by_scan
    return by_search


def scanned(store: Store) -> tuple[list[str], FloatArray]:
    """Paths and vectors of a scan."""
    blocks = list(store.scan())
    paths = [one.path for block in blocks for one in block.records]
    vectors = [block.vectors for block in blocks]
    return paths, np.concatenate(vectors) if vectors else np.zeros((0, WIDTH), np.float32)


def known(store: Store) -> dict[str, ImageRecord]:
    return {one.path: one for one in store.files()}


def clustered(count: int, width: int, seed: int = 0) -> FloatArray:
    """Unit rows around twenty centres, shape (count, width)."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(20, width))
    chosen = centres[generator.integers(0, len(centres), count)]
    return unit(chosen + 0.5 * generator.normal(size=(count, width)))


def nearest(vectors: FloatArray, query: FloatArray, top_k: int) -> Sequence[int]:
    """Rows of the largest cosines, by comparing every one."""
    order: Sequence[int] = np.argsort(-(vectors @ query), kind="stable")[:top_k].tolist()
    return order
