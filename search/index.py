"""`ImageIndex`: an index, to be asked and kept up to date."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, DataError, ImageError, StoreError
from footwork.files.faults import counted, shortened
from footwork.files.paths import path_line, user_path
from footwork.inference.tokens import require_several
from footwork.options import EncoderConfig
from footwork.settings import require_kind
from search.answers.answer import Answer, Answers
from search.filters import EVERYTHING, Filter
from search.options import ModelOptions, QueryOptions, StoreOptions
from search.paths import absolute_path, missing_files, spellings
from search.place import IndexFolder, Place, find_index, find_place
from search.query.asking import Asker
from search.query.terms import Query, Term, parse_query
from search.query.texts import load_model, open_texts
from search.store.protocol import Counts, Store, unit_vectors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from footwork.encoder.dual import DualEncoder
    from footwork.images.held import ImagesLike
    from search.transfer.transfer import Transfer
    from search.update.summary import Summary

Paths = str | Path | Iterable[str | Path]
"""One file, or several."""
_OF_PARENTS: list[Any] = []
"""Sessions that a fork has of its parent, never freed: that would wait for threads it lacks."""


class ImageIndex:
    """An index of images that exists: `open` one, or `build` it.

    It is let go of by `close` or the end of a `with` block; a closed one is refused by every method
    with a `StoreError`. Threads may share it. In another process, to which it is pickled or which
    was forked, it is opened anew where it lies; to a server its user and password go along.

        with ImageIndex.build("photos/", "photos.index") as index:
            answer = index.query("a dog - people", where=Filter(since="2024"))
            index.query(like="holiday.jpg").to_pandas()

    Args:
        place: Where it is.
        store: What holds it, open; None opens it.
        config: How images that are asked by are encoded.
    """

    def __init__(
        self, place: Place, store: Store | None = None, config: EncoderConfig | None = None
    ) -> None:
        self.place, self._config = place, config
        self._store: Store | None = store or place.open()
        self._process = os.getpid()
        self.summary: Summary | None = None
        """What `build` did, as `update` returns it; None of an index that was opened."""

    @classmethod
    def open(
        cls, index: str | Path | None = None, config: EncoderConfig | None = None
    ) -> ImageIndex:
        """Open an index of this machine; `StoreError` if there is none, or it cannot be read.

        `index` is its folder, or a folder of photos that was indexed; None takes that of
        the current folder, or the only one. `config` says how images that it is asked by are
        encoded.
        """
        return cls.connect(StoreOptions(index=_folder(index)), config)

    @classmethod
    def connect(cls, options: StoreOptions, config: EncoderConfig | None = None) -> ImageIndex:
        """Open an index of this machine or of a server; errors are as of `open`."""
        config = EncoderConfig.given("config", config)
        return cls(find_place(options), config=config)

    @classmethod
    def build(
        cls,
        roots: Paths,
        index: str | Path | None = None,
        model_id: str | None = None,
        config: EncoderConfig | None = None,
    ) -> ImageIndex:
        """Make an index of folders of images, or bring it up to date, and open it.

        Args:
            roots: Folders and files; of folders all below them. None at all brings the named index
                up to date.
            index: Folder of the index, which need not exist; None takes that of the first root,
                among the user's data, which `open` finds by the root.
            model_id: Hub id, local folder, preset or `tiny`; None takes the index's, or the
                default one.
            config: How images are encoded.

        Raises:
            FootworkError: Something cannot be read, written or loaded.
        """
        from search.update.indexing import Indexer

        named = _listed(roots)
        if not named and index is None:
            raise ConfigError("`roots` must name a folder, or several, got none.")
        place = find_index(_folder(index), tuple(map(absolute_path, named)))
        summary = Indexer(place, _model(config, model_id)).index(named)
        built = cls(place, config=config)
        built.summary = summary
        return built

    @property
    def store(self) -> Store:
        """What holds it; `StoreError` once it is closed."""
        if self._store is None:
            raise StoreError(f"The index in {self.place} is closed. Open it anew: ImageIndex.open")
        if self._process != os.getpid():  # connections and threads do not survive a fork
            self._settle(self.place.open())
        return self._store

    def update(self, roots: Paths = (), *, wait: bool = False) -> Summary:
        """Bring it up to date with folders, or all that were indexed; errors are as of `build`.

        `wait` is for the end of another process that writes it, which is a `StoreError` else.
        Returned is what was done: numbers of files `added`, `changed`, `removed`, …, and those that
        are `unreadable`.
        """
        from search.update.indexing import Indexer  # reads images: a query in words does not

        done = Indexer(self._place_to_write(wait), _model(self._config)).index(_listed(roots))
        self._follow(self.store)  # another process may have switched the model
        return done

    def query(
        self,
        words: str = "",
        like: ImagesLike | None = None,
        options: QueryOptions = QueryOptions(),  # noqa: B008 - frozen
        where: Filter = EVERYTHING,
        *,
        vector: ArrayLike | None = None,
    ) -> Answer:
        """The images that show something; what is asked for in several ways is to show all of it.

            index.query("a dog + grass - people")
            index.query("at night", like=[Image.open("street.png"), "0.5:sea.jpg"])
            index.query(vector=index.vectors(liked).mean(axis=0))

        Args:
            words: What they show; ` + ` adds a term, ` - ` takes one away, `0.5:` before one is its
                weight.
            like: Images that they are like, one or many: paths, bytes, files, images of PIL, arrays
                of uint8 (H, W, 3). A path may have its weight before it.
            options: How many, and which.
            where: Which images are asked for.
            vector: Shape (D,), or (N, D) of several, of the index's model and any length. Each
                counts as an image if it is nearer to one of the index than to everyday words, and
                else as a text.

        Raises:
            FootworkError: The query is empty, an image cannot be read, or the index cannot.
            TypeError: `like` is no image.
            ValueError: `vector` has another shape, or is zero or no number.
        """
        if not isinstance(words, str):
            raise ConfigError(
                f"`words` must be a text, got {words!r}. Images are given as `like`, and `answer` "
                "takes several queries."
            )
        paths, given = [], []
        if like is not None:
            from footwork.images.held import held_images  # which few queries need

            images = held_images(like)
            paths = [str(image) for image in images if isinstance(image, Path)]
            others = [image for image in images if not isinstance(image, Path)]
            rows = self.encode_images(others) if others else ()
            given = [Term("an image", is_image=True, vector=tuple(row.tolist())) for row in rows]
        if vector is not None:
            units = _unit_rows(vector, self.store.embedder.width)
            given += [
                Term("a vector", self._asker.is_image(row), vector=tuple(row.tolist()))
                for row in units
            ]
        return self.answer([parse_query(words.split(), paths, given)], options, where)[0]

    def answer(
        self,
        queries: Sequence[Query | str],
        options: QueryOptions = QueryOptions(),  # noqa: B008 - frozen
        where: Filter = EVERYTHING,
    ) -> Answers:
        """Answer several queries, of `parse_query` or in words, in one pass.

        Errors are as of `query`; of several, one that asks by an image that cannot be read is
        answered with its `fault`.
        """
        options, where = QueryOptions.given("options", options), Filter.given("where", where)
        require_several(queries, "queries")
        asked = [parse_query(one.split()) if isinstance(one, str) else one for one in queries]
        for place, one in enumerate(asked):
            require_kind(f"queries[{place}]", one, Query | str)
        store = self.store
        try:
            return Answers(self._asker.answer(asked, options, where))
        except StoreError:
            if not self._follow(store):
                raise
            return Answers(self._asker.answer(asked, options, where))

    def encode(self, texts: str | Sequence[str]) -> FloatArray:
        """Texts as vectors of the index's model: unit rows, (N, D); one alone is N = 1.

        Their cosines with `vectors` are `index.encode(texts) @ index.vectors(paths).T`.
        `ModelError` where the model is needed, and cannot be loaded.
        """
        several = [texts] if isinstance(texts, str) else texts
        return self._asker.texts.encoder.encode_texts(several)

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Images as vectors of the index's model: unit rows, (N, D); one alone is N = 1.

        They are given as to `query`, and decoded as those of the index were; of files that it knows
        `vectors` need not be computed again. `ImageError` where one cannot be read, `ModelError`
        where the model cannot be loaded.
        """
        _ = self.store
        return self._model.encode_images(images)

    def vectors(self, paths: Paths) -> FloatArray:
        """The vectors of images of the index, in the order of the paths: unit rows, (N, D).

        `StoreError` names the paths that it does not know, or that are no images.
        """
        named = [[*spellings(absolute_path(path))] for path in _listed(paths)]
        known = self.store.vectors([text for texts in named for text in texts])
        found = [next(filter(known.__contains__, texts), None) for texts in named]
        lost = [texts[0] for texts, path in zip(named, found, strict=True) if path is None]
        if lost:
            raise StoreError(
                f"{counted(len(lost), 'file')} of {len(named):,} are no images of the index in "
                f"{self.place}: {shortened(map(path_line, lost))}. Index them first, or `add` them."
            )
        width = self.store.embedder.width
        return np.array([known[path] for path in found if path], np.float32).reshape(-1, width)

    def add(self, paths: Paths, vectors: ArrayLike, *, wait: bool = False) -> Transfer:
        """Take in images by vectors that the same model gave elsewhere: none is embedded.

        They replace what the index has of these files, and an update finds them unchanged.

        Args:
            paths: N files, which are there.
            vectors: Shape (N, D), of any length; a row each.
            wait: As of `update`.

        Returns:
            What was done, in files: `copied`, `unchanged`, and those `skipped` that are no images.

        Raises:
            DataError: Files are not there, or a vector is zero or no number; nothing was written.
            StoreError: The index cannot be written, or is of another model by now.
            ValueError: The vectors have another shape.
        """
        from search.transfer.sources import ArraySource
        from search.transfer.transfer import copy_index

        named, store = [absolute_path(path) for path in _listed(paths)], self.store
        source = ArraySource(named, vectors, store.embedder.width)
        if missing := missing_files(named, longest=math.inf):
            raise DataError(
                f"{counted(len(missing), 'file')} of {len(named):,} are not there: "
                f"{shortened(map(path_line, sorted(missing)))}. Leave them out, with their rows."
            )
        try:
            return copy_index(source, self._place_to_write(wait), store.embedder)
        except StoreError:
            self._follow(store)  # what is embedded from now on is of the model that is added to
            raise

    def counts(self) -> Counts:
        """How many files it knows: `present`, `absent`, `unreadable`."""
        return self.store.counts()

    def __len__(self) -> int:
        """How many images it finds."""
        return self.counts().present

    def close(self) -> None:
        """Let go of its files or its connection; it may be closed twice."""
        if self._store is not None and self._process == os.getpid():
            self._store.close()
        self._settle(None)

    def __enter__(self) -> Self:
        _ = self.store
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        told = "closed" if self._store is None else f"made with {self._store.embedder.model_id}"
        return f"ImageIndex({str(self.place)!r}, {told})"

    def __reduce__(self) -> tuple[Any, ...]:
        _ = self.store
        return type(self), (self.place, None, self._config)

    def _place_to_write(self, wait: bool) -> Place:
        _ = self.store
        if not (wait and isinstance(self.place, IndexFolder)):
            return self.place
        return IndexFolder(self.place.path, on_wait=lambda _: None)

    def _follow(self, asked: Store) -> bool:
        """Go on with the model that has taken over from that of a store; whether there is one."""
        if self.store is not asked:  # another thread did
            return True
        store = self.place.open()
        if store.embedder == asked.embedder:
            store.close()
            return False
        self._settle(store)  # before the other is closed: meanwhile it would be closed to threads
        asked.close()
        return True

    def _settle(self, store: Store | None) -> None:
        """Go on with another store, and with nothing that the one before has led to."""
        former = (self._store, *(self.__dict__.pop(name, None) for name in ("_asker", "_model")))
        if self._process != os.getpid():
            _OF_PARENTS.append(former)
        self._store, self._process = store, os.getpid()

    @cached_property
    def _asker(self) -> Asker:
        embedder = self.store.embedder
        texts = open_texts(self.place.texts_folder(embedder), embedder)
        return Asker(self.store, texts, self._encode_files)

    @cached_property
    def _model(self) -> DualEncoder:
        return load_model(self.store.embedder, self._config)

    def _encode_files(self, paths: Sequence[Path]) -> FloatArray:
        try:
            return self.encode_images(paths)
        except ImageError as error:
            reason = f"{error.reason}. Ask by a picture that can be read"
            raise ImageError(path_line(error.name), reason) from error


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _folder(index: str | Path | None) -> Path | None:
    require_kind("index", index, str | Path | None)
    return None if index is None else user_path(index).absolute()


def _unit_rows(vector: ArrayLike, width: int) -> FloatArray:
    rows = np.atleast_2d(np.asarray(vector))
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind not in "fiu":
        raise ValueError(
            f"`vector` must be numbers of shape ({width},) or (N, {width}), as the index's model "
            f"gives them; got {rows.dtype} of shape {np.shape(vector)}."
        )
    units, bad, _ = unit_vectors(rows)
    if len(bad):
        raise ValueError("`vector` is zero or no number: it points nowhere.")
    return units


def _model(config: EncoderConfig | None, model_id: str | None = None) -> ModelOptions:
    how = EncoderConfig.given("config", config)
    run = {field.name: getattr(how, field.name) for field in fields(EncoderConfig)}
    return ModelOptions(model_id=model_id, **run)
