"""An index on a Milvus server: a collection a generation, and an alias for the one searched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from footwork.errors import StoreError
from footwork.home import cache_folder
from search.options import NewStoreOptions, StoreOptions
from search.store.protocol import Embedder
from search.store.server import ServerStore
from search.store.server.connection import Connection, ServerOptions

_DIGITS = 12


class ServerPlace:
    """An index of the server engine.

    Args:
        options: Of the command; `store` is given.
    """

    def __init__(self, options: StoreOptions) -> None:
        self._options = ServerOptions(
            url=options.store or "",
            collection=options.collection,
            user=options.user,
            password=options.password,
            token=options.token,
        )
        if isinstance(options, NewStoreOptions):
            self._options = replace(
                self._options,
                shards=options.shards,
                replicas=options.replicas,
                index=options.index_type,
            )

    def __str__(self) -> str:
        return f"{self._options.url}, collection {self._options.collection}"

    @property
    def exists(self) -> bool:
        """Whether there is an index."""
        with closing(Connection.open(self._options)) as connection:
            return bool(connection.read("has_collection", self._options.collection))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nothing to hold: writers do not harm each other."""
        yield

    def open(self) -> ServerStore:
        """The generation that is searched."""
        return ServerStore.open(self._options)

    def begin(self, embedder: Embedder) -> ServerStore:
        """The generation of a model, made or taken up again; the first one is searched at once."""
        with ExitStack() as held:
            store = held.enter_context(closing(ServerStore.create(self._of(embedder), embedder)))
            if not self.exists:
                self._name_current(store)
            held.pop_all()
        return store

    def publish(self, embedder: Embedder) -> None:
        """Have the generation of a model searched, and delete the one before."""
        complete = self._of(embedder).collection
        with closing(Connection.open(self._options)) as connection:
            before = connection.read("describe_collection", self._alias)["collection_name"]
            if before != complete:
                connection.write("alter_alias", complete, self._alias)
                connection.write("drop_collection", before)

    def texts_folder(self, embedder: Embedder) -> Path:
        """Where the text half of a model lies on this machine, or is to lie."""
        digest = sha256(embedder.fingerprint.encode()).hexdigest()[:_DIGITS]
        return cache_folder() / "texts" / digest

    def _name_current(self, store: ServerStore) -> None:
        try:
            with closing(Connection.open(self._options)) as connection:
                connection.write("create_alias", self._of(store.embedder).collection, self._alias)
        except StoreError:
            if not self.exists:  # else another machine was quicker
                raise

    @property
    def _alias(self) -> str:
        return self._options.collection

    def _of(self, embedder: Embedder) -> ServerOptions:
        digest = sha256(embedder.fingerprint.encode()).hexdigest()[:_DIGITS]
        return replace(self._options, collection=f"{self._alias}_{digest}")
