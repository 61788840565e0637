"""Where an index is: a folder on this machine, or a server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from search.options import StoreOptions
from search.place.folder import find_index
from search.store.protocol import Embedder, Store


class Place(Protocol):
    """An index that is there or may be made there; of its generations one is searched."""

    def __str__(self) -> str:
        """As its user knows it."""

    @property
    def exists(self) -> bool:
        """Whether there is an index."""

    def writing(self) -> AbstractContextManager[None]:
        """Hold the right to write.

        Raises:
            StoreError: Another process holds it (named in the message), or it cannot be written.
        """

    def open(self) -> Store:
        """The generation that is searched.

        Raises:
            StoreError: There is none, or it cannot be read.
        """

    def begin(self, embedder: Embedder) -> Store:
        """The generation of a model, made or taken up again; the first one is searched at once.

        Raises:
            StoreError: The place holds something else, or cannot be written.
        """

    def publish(self, embedder: Embedder) -> None:
        """Have the generation of a model searched, and delete the others."""

    def texts_folder(self, embedder: Embedder) -> Path:
        """Where the text half of a generation's model lies, or is to lie, on this machine."""


def find_place(options: StoreOptions, roots: tuple[str, ...] = ()) -> Place:
    """The index that a command means.

    Args:
        options: What the command says of it.
        roots: Absolute, to be indexed.

    Raises:
        StoreError: Which one is meant cannot be told, or there is none.
    """
    if options.store is None:
        return find_index(options.index, roots)
    from search.place.server import ServerPlace

    return ServerPlace(options)
