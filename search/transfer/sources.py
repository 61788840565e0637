"""Where embeddings are copied from: another index, or a file of `search.transfer.file_sources`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Protocol

from search.places import Place
from search.records import ImageRecord
from search.store.protocol import Embedded, Embedder

BATCH = 4096
"""Images at once."""

Batch = tuple[list[Embedded], list[ImageRecord]]
"""Images with their embeddings, and files that are none; with their labels."""


class Source(Protocol):
    """Embeddings with what is known of their images."""

    @property
    def embedder(self) -> Embedder | None:
        """The model that made them; None where that is not told."""

    @property
    def roots(self) -> Sequence[str]:
        """Absolute folders that they come from."""

    def batches(self) -> Generator[Batch, None, None]:
        """Everything, in any order.

        Raises:
            DataError: A row is wrong; the message says which.
        """

    def texts_folder(self) -> Path | None:
        """The text half of the model, where it is at hand."""


class IndexSource:
    """An index, of either engine; it may be searched meanwhile."""

    def __init__(self, place: Place) -> None:
        self.place = place
        with closing(place.open()) as store:
            self.embedder: Embedder | None = store.embedder
            self.roots: Sequence[str] = tuple(store.roots())
            self.exclusions = store.exclusions()

    def batches(self) -> Generator[Batch, None, None]:
        """Images, present or not, and unreadable files."""
        with closing(self.place.open()) as store:
            every = store.files()
            while part := list(islice(every, BATCH)):
                paths = [record.path for record in part]
                vectors, records = store.vectors(paths), store.records(paths)
                known = [records[path] for path in paths if path in records]
                yield (
                    [Embedded(one, vectors[one.path]) for one in known if one.path in vectors],
                    [one for one in known if one.fault is not None],
                )

    def texts_folder(self) -> Path | None:
        """Beside the index."""
        assert self.embedder is not None
        folder = self.place.texts_folder(self.embedder)
        return folder if folder.is_dir() else None
