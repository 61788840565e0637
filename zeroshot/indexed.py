"""An index as a source of images: known files are labelled by their vectors, others are encoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footwork.arrays import FloatArray
from footwork.encoder.protocol import EncodedImage
from footwork.errors import ConfigError, DataError, ImageError, StoreError
from footwork.files.faults import why
from footwork.files.paths import shell_word
from footwork.files.plain_files import content_hash, content_of
from footwork.images.ahead import DISK_READERS, decoded_ahead
from footwork.images.decoding import require_image
from footwork.images.held import ImagesLike
from footwork.options import EncoderConfig, decoding_of
from search.filters import EVERYTHING, Filter
from search.paths import absolute_path
from search.place import Place, find_place
from search.query.texts import TextEncoder, load_model, open_texts
from search.records import ImageRecord
from search.store.embedded.catalog import keep_copy
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Embedder, Store, batched
from zeroshot.options import IndexOptions, ModelOptions
from zeroshot.rows import LabelledImage

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder
    from zeroshot.classifier import VectorLabeller

DEFAULTS = EncoderConfig()
_TOGETHER = 1024  # files that are looked up at once
_CHANGED = "it was changed since it was indexed; footwork search index looks at it again"
_WRITTEN = 20_000  # images and labels of theirs that are written at once


class IndexedEncoder:
    """A two-tower model that encodes no image whose vector an index, which is open, has.

    Its text half is loaded when a text is to be encoded, the whole model when an image is, which
    `config` is about.
    """

    def __init__(self, place: Place, store: Store, config: EncoderConfig = DEFAULTS) -> None:
        self.place, self.store = place, store
        self.model_id = store.embedder.model_id
        self.revision = store.embedder.revision
        self.fingerprint = store.embedder.fingerprint
        self.width = store.embedder.width
        """Of an embedding."""
        self._config = config

    @property
    def logit_scale(self) -> float:
        """Multiplies the cosine."""
        return self._text_half.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """Added to it; None for a model with a softmax."""
        return self._text_half.logit_bias

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, (N, D)."""
        return self._text_half.encode_texts(texts)

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which texts are longer than the model reads."""
        return self._text_half.cut_texts(texts)

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Unit rows, (N, D), by the model, whatever the index knows."""
        return self._model.encode_images(images)

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EncodedImage]:
        """Each file's row or fault, in order.

        What the index knows, of a file of this name, size and times, or of one of the same content,
        is taken from it.

        Raises:
            ModelError: The model is needed, and cannot be loaded, or is no longer what it was.
        """
        for part in batched(paths, _TOGETHER):
            known = self._known(part)
            unknown = [path for path in part if path not in known]
            encoded = self._model.encode_files(unknown) if unknown else iter(())
            for path in part:
                yield known[path] if path in known else next(encoded)

    @cached_property
    def _text_half(self) -> TextEncoder:
        embedder = self.store.embedder
        return open_texts(self.place.texts_folder(embedder), embedder).encoder

    @cached_property
    def _model(self) -> DualEncoder:
        return load_model(self.store.embedder, self._config)

    def _known(self, paths: Sequence[Path]) -> dict[Path, EncodedImage]:
        """What the index has for files: of this name, size and times, or of the same content."""
        here: dict[Path, os.stat_result] = {}
        for path in paths:
            try:
                here[path] = path.stat()
            except Exception as error:  # noqa: BLE001 - a file's own fault: decoding says what it is
                why(error)
        records = self.store.records([absolute_path(path) for path in here])
        same: dict[Path, ImageRecord] = {}
        for path, state in here.items():
            record = records.get(absolute_path(path))
            if record is not None and record.is_state_of(state):
                same[path] = record
        sizes = {path: state.st_size for path, state in here.items() if path not in same}
        alike: dict[int, dict[str, ImageRecord]] = {}
        for record in self.store.same_size(set(sizes.values())):
            alike.setdefault(record.size, {})[record.content] = record
        for path, size in sizes.items():
            content = content_of(path) if size in alike else None
            if content is not None and content in alike[size]:
                same[path] = alike[size][content]
        vectors = self.store.vectors([record.path for record in same.values()])
        return {
            path: EncodedImage(path, vectors.get(record.path), record.fault)
            for path, record in same.items()
            if record.fault is not None or record.path in vectors
        }


@contextmanager
def opened_index(where: IndexOptions, model: ModelOptions) -> Iterator[IndexedEncoder | None]:
    """The index that a command names, if it names one, closed when the block ends.

    A `ConfigError` where `model` names another model than the index's, or another decoding.
    """
    if not where.is_named:
        yield None
        return
    place = find_place(where)
    with closing(place.open()) as store:
        _require_same_model(place, store.embedder, model)
        yield IndexedEncoder(place, store, model)


def _require_same_model(place: Place, embedder: Embedder, model: ModelOptions) -> None:
    model.decoding_as(decoding_of(embedder.fingerprint), f"The index at {place}")
    stated = resolved = model.model_id or embedder.model_id
    if stated != embedder.model_id:
        from footwork.models.hub import IMAGE_PRESETS, resolve_model_id

        resolved = resolve_model_id(stated, IMAGE_PRESETS)
    if resolved == embedder.model_id and model.revision in (None, embedder.revision):
        return
    asked = f"{stated} at {model.revision}" if model.revision else stated
    raise ConfigError(
        f"The index at {place} was made with {embedder.model_id} ({embedder.width} wide), but "
        f"--model asks for {asked}. Leave it out, or switch the index: footwork search index "
        f"{place.option} --model {shell_word(stated)}"
    )


def label_images(
    labeller: VectorLabeller[Any],
    index: IndexedEncoder,
    paths: Sequence[Path],
    where: Filter = EVERYTHING,
    *,
    to_sort: bool = False,
) -> Iterator[LabelledImage]:
    """Label files that are named, or what an index holds, in its order; in bounded memory.

    Args:
        labeller: Of vectors of the index's model.
        index: Its encoder is the labeller's, too.
        paths: Files; none takes the present images of the index.
        where: Which of these.
        to_sort: Whether the files are to be sorted by it: those of the index are then opened, and
            one that is not there, no image, or not what it was, is answered with its fault.

    Raises:
        ConfigError: Both files are named and conditions given.
        DataError: The index holds no such image.
        StoreError: The index cannot be read.
    """
    if paths and not where.is_empty:
        raise ConfigError(
            "Conditions such as --in and --since choose among all images of an index: leave them "
            "out, or name no images."
        )
    if paths:
        yield from labeller.label_files(paths)
        return
    empty = True
    for block in index.store.scan(where):
        empty = empty and not block.records
        files = [Path(record.path) for record in block.records]
        answers = labeller.label_embeddings(block.vectors, files)
        yield from _only_as_known(block.records, answers) if to_sort else answers
    if empty:
        asked = "holds no image" if where.is_empty else "holds no image that fulfils all conditions"
        raise DataError(f"The index at {index.place} {asked}. footwork search status tells more.")


def _only_as_known(
    records: Sequence[ImageRecord], answers: Iterable[LabelledImage]
) -> Iterator[LabelledImage]:
    """Answers whose files decode, and hold what was embedded; the others say what is wrong.

    An index tells what its files were; whoever copies or moves them has to know what they are.
    """

    def require(known: tuple[ImageRecord, LabelledImage]) -> None:
        record, path = known[0], Path(known[0].path)
        require_image(path)
        if not record.is_state_of(path.stat()) and content_hash(path) != record.content:
            raise ImageError(record.path, _CHANGED)

    pairs = zip(records, answers, strict=True)
    for (_, answer), outcome in decoded_ahead(pairs, require, DISK_READERS):
        if isinstance(outcome, ImageError):
            yield LabelledImage(answer.path, None, fault=outcome.reason)
        else:
            yield answer


def keep_labels(
    answers: Iterable[LabelledImage], index: IndexedEncoder, notify: Callable[[str], None]
) -> Iterator[LabelledImage]:
    """Write answers into the index as they pass, in place of the labels that these images had.

    An image that was given no label loses those that it had; one that cannot be read keeps them.
    What has passed is written at the latest when all have.

    Answers of files that the index does not know are not kept. Another process may read the index
    meanwhile, but not write.

    Raises:
        StoreError: The index cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(index.place.writing())
        except StoreError as error:
            message = f"{error} To have the labels told and not kept in the index: --no-keep"
            raise StoreError(message) from error
        store = index.store
        if isinstance(store, EmbeddedStore) and not store.folder.exists():
            raise StoreError(f"The index at {index.place} now has another model. Run it again.")
        waiting: dict[str, dict[str, float]] = {}
        given = 0
        for answer in answers:
            yield answer
            if answer.path is not None and answer.fault is None:
                scored = zip(answer.labels, answer.label_scores, strict=True)
                waiting[absolute_path(answer.path)] = dict(scored)
                given += 1 + len(answer.labels)
            if given >= _WRITTEN:
                store.write_labels(waiting.items())
                waiting, given = {}, 0
        store.write_labels(waiting.items())
        # A repair goes back to the copy.
        if isinstance(store, EmbeddedStore) and (fault := keep_copy(store.folder, at_once=True)):
            notify(fault)
