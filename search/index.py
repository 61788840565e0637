"""`ImageIndex`: an index, to be asked and kept up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from footwork.arrays import FloatArray
from footwork.errors import ImageError, StoreError
from footwork.files.paths import path_line
from footwork.options import EncoderConfig
from search.answers.answer import Answer
from search.filters import EVERYTHING, Filter
from search.options import ModelOptions, QueryOptions, StoreOptions
from search.place import Place, find_index, find_place
from search.query.asking import Asker
from search.query.terms import Query, parse_query
from search.query.texts import load_model, open_texts
from search.store.protocol import Counts, Store

if TYPE_CHECKING:
    from search.update.differences import Summary


class ImageIndex:
    """An index that exists; to be closed, by `close` or the end of a `with` block.

    `config` says how images that are asked by are encoded.
    """

    def __init__(self, place: Place, store: Store, config: EncoderConfig | None = None) -> None:
        self.place, self.store, self._config = place, store, config

    @classmethod
    def open(cls, index: str | Path | None = None) -> ImageIndex:
        """Open an index of this machine; `StoreError` if there is none, or it cannot be read.

        `index` is its folder, or a folder of photos that was indexed; None takes the only one.
        """
        return cls.connect(StoreOptions(index=None if index is None else Path(index)))

    @classmethod
    def connect(cls, options: StoreOptions) -> ImageIndex:
        """Open an index of this machine or of a server; errors are as of `open`."""
        place = find_place(options)
        return cls(place, place.open())

    @classmethod
    def build(
        cls, roots: Sequence[str | Path], index: str | Path, model_id: str | None = None
    ) -> ImageIndex:
        """Make an index of folders of images, or bring it up to date, and open it.

        `model_id` is a Hub id, local folder, preset or `tiny`; None takes the index's, or the
        default one. `FootworkError` where something cannot be read, written or loaded.
        """
        from search.update.indexing import Indexer

        place = find_index(Path(index))
        Indexer(place, ModelOptions(model_id=model_id)).index(roots)
        return cls(place, place.open())

    def update(self, roots: Sequence[str | Path] = ()) -> Summary:
        """Bring it up to date with folders, or all that were indexed; errors are as of `build`."""
        from search.update.indexing import Indexer  # reads images: a query in words does not

        return Indexer(self.place).index(roots)

    def query(
        self,
        words: str = "",
        like: Iterable[str | Path] = (),
        options: QueryOptions = QueryOptions(),  # noqa: B008 - frozen
        where: Filter = EVERYTHING,
    ) -> Answer:
        """The images that show something.

        Args:
            words: What they show; `+`, `-` and weights as on the command line.
            like: Images that they are like.
            options: How many, and which.
            where: Which images are asked for.

        Raises:
            FootworkError: The query is empty, an image cannot be read, or the index cannot.
        """
        query = parse_query(words.split(), [str(path) for path in like])
        return self.answer([query], options, where)[0]

    def answer(
        self,
        queries: Sequence[Query],
        options: QueryOptions = QueryOptions(),  # noqa: B008 - frozen
        where: Filter = EVERYTHING,
    ) -> list[Answer]:
        """Answer several queries in one pass; errors are as of `query`."""
        try:
            return self._asker.answer(queries, options, where)
        except StoreError:
            if not self._follow():
                raise
            return self._asker.answer(queries, options, where)

    def cut_queries(self, queries: Sequence[Query]) -> list[str]:
        """Words that are longer than the model reads, so that their end counts for nothing."""
        texts = [term.text for query in queries for term in query.terms if not term.is_image]
        return [texts[i] for i in self._asker.texts.encoder.cut_texts(texts)] if texts else []

    def counts(self) -> Counts:
        """How many files it knows."""
        return self.store.counts()

    def close(self) -> None:
        """Let go of its files or its connection."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self) -> bool:
        """Ask the model that has taken over since it was opened; whether there was one."""
        store = self.place.open()
        if store.embedder == self.store.embedder:
            store.close()
            return False
        self.close()
        self.store = store
        self.__dict__.pop("_asker", None)
        return True

    @cached_property
    def _asker(self) -> Asker:
        embedder = self.store.embedder
        texts = open_texts(self.place.texts_folder(embedder), embedder)
        return Asker(self.store, texts, self._encode_images)

    def _encode_images(self, paths: Sequence[Path]) -> FloatArray:
        try:
            return load_model(self.store.embedder, self._config).encode_images(paths)
        except ImageError as error:
            reason = f"{error.reason}. Ask by a picture that can be read"
            raise ImageError(path_line(error.name), reason) from error
