"""The images of an index, labelled by their vectors; no file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from runtime.errors import ConfigError, DataError, ImageError, StoreError
from runtime.images.ahead import DISK_READERS, decoded_ahead
from runtime.images.decoding import require_image
from search.filters import EVERYTHING, Filter
from search.paths import absolute_path
from search.places import Place
from zeroshot.classifier import LabelledImage
from zeroshot.indexed_encoder import IndexedEncoder
from zeroshot.labelling import VectorLabeller

_WRITTEN = 20_000  # images and labels of theirs that are written at once


def label_images(
    labeller: VectorLabeller,
    index: IndexedEncoder,
    paths: Sequence[Path],
    where: Filter = EVERYTHING,
) -> Iterator[LabelledImage]:
    """Label files that are named, or what an index holds.

    Args:
        labeller: Of vectors of the index's model.
        index: Its encoder is the labeller's, too.
        paths: Files; none takes the present images of the index.
        where: Which of these.

    Raises:
        ConfigError: Both files are named and conditions given.
    """
    if not paths:
        return label_index(labeller, index, where)
    if not where.is_empty:
        raise ConfigError(
            "Conditions such as --in and --since choose among all images of an index: leave them "
            "out, or name no images."
        )
    return labeller.label_files(paths)


def label_index(
    labeller: VectorLabeller, index: IndexedEncoder, where: Filter = EVERYTHING
) -> Iterator[LabelledImage]:
    """Label what an index holds, in bounded memory.

    Args:
        labeller: Of vectors of the index's model.
        index: Whose present images are labelled, in its order.
        where: Which of them.

    Raises:
        DataError: There is no such image.
        StoreError: The index cannot be read.
    """
    empty = True
    for block in index.store.scan(where):
        empty = empty and not block.records
        paths = [Path(record.path) for record in block.records]
        yield from labeller.label_embeddings(block.vectors, paths)
    if empty:
        asked = "holds no image" if where.is_empty else "holds no image that fulfils all conditions"
        raise DataError(f"The index at {index.place} {asked}. footwork search status tells more.")


def only_images(answers: Iterable[LabelledImage]) -> Iterator[LabelledImage]:
    """Answers whose files decode as images; the others say why theirs does not.

    An index tells what its files were; whoever copies or moves them has to know what they are.
    """
    for answer, found in decoded_ahead(answers, _require_image, DISK_READERS):
        if isinstance(found, ImageError):
            yield LabelledImage(answer.path, None, fault=found.reason)
        else:
            yield answer


def keep_labels(answers: Iterable[LabelledImage], index: IndexedEncoder) -> Iterator[LabelledImage]:
    """Write answers into the index as they pass, in place of the labels that these images had.

    An image that was given no label loses those that it had; one that cannot be read keeps them.
    What has passed is written at the latest when all have.

    Args:
        answers: Of any number; those of files that the index does not know are not kept.
        index: That another process may read meanwhile, but not write.

    Raises:
        StoreError: The index cannot be written.
    """
    with ExitStack() as held:
        _hold(index.place, held)
        waiting: dict[str, dict[str, float]] = {}
        given = 0
        for answer in answers:
            yield answer
            if answer.path is not None and answer.fault is None:
                scored = zip(answer.labels, answer.label_scores, strict=True)
                waiting[absolute_path(answer.path)] = dict(scored)
                given += 1 + len(answer.labels)
            if given >= _WRITTEN:
                index.store.write_labels(waiting.items())
                waiting, given = {}, 0
        index.store.write_labels(waiting.items())


def _require_image(answer: LabelledImage) -> None:
    if answer.path is not None and answer.fault is None:
        require_image(answer.path)


def _hold(place: Place, held: ExitStack) -> None:
    try:
        held.enter_context(place.writing())
    except StoreError as error:
        message = f"{error} To have the labels told and not kept in the index: --no-keep"
        raise StoreError(message) from error
