"""Examine an index, and mend it without losing an embedding that can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from runtime.errors import DataError, FootworkError, ModelError, StoreError
from search.findings import Finding, Report
from search.index_folder import IndexFolder
from search.places import Place
from search.query.texts import Texts, load_model, prepare_texts
from search.records import ImageRecord
from search.store.protocol import Embedder, Store
from search.update.differences import Differences, find_differences
from search.upkeep.index_health import folder_findings, mend_index

_LENGTH_ERROR = 1e-3
_UPDATE = "footwork search index brings them up to date"
_PREPARE = "footwork search doctor --repair prepares them anew; no image is embedded again"


def examine(place: Place, *, with_model: bool) -> Report:
    """Look for everything that can be wrong with an index.

    Args:
        place: Of the index.
        with_model: Whether to load its model, if that is on this machine, and compare.

    Raises:
        StoreError: The index cannot be read at all.
    """
    if not isinstance(place, IndexFolder):
        return Report(str(place), tuple(_contents(place, with_model)))
    broken = tuple(folder_findings(place))
    if any(finding.kind in _BLOCKING for finding in broken):
        return Report(str(place), broken)
    return Report(str(place), (*broken, *_contents(place, with_model)))


def repair(place: Place, *, with_model: bool) -> Report:
    """Look for everything that can be wrong, and mend what can be mended; a server mends itself.

    Args:
        place: Of the index.
        with_model: As of `examine`.

    Raises:
        StoreError: The index cannot be read at all, or is being written.
    """
    if not isinstance(place, IndexFolder):
        return examine(place, with_model=with_model)
    with place.writing():
        broken = list(folder_findings(place))
        done = mend_index(place, broken)
        contents = list(_contents(place, with_model))
        left = [one for one in contents if one.kind != "texts" or not _mend_texts(place, done)]
        left = [*folder_findings(place), *left]
    return Report(str(place), (*broken, *contents), tuple(done), tuple(left))


_BLOCKING = ("manifest", "catalog")
"""Kinds of findings with which nothing else can be told."""


def _contents(place: Place, with_model: bool) -> Iterator[Finding]:
    with closing(place.open()) as store:
        yield from _files(store)
        if not isinstance(place, IndexFolder):  # else its vectors were looked at, one and all
            yield from _vectors(store)
        yield from _texts(place, store.embedder)
        if with_model:
            yield from _model(store.embedder)


def _files(store: Store) -> Iterator[Finding]:
    """What has happened on the disk since an update last looked."""
    roots = store.roots()
    if not roots:
        yield Finding("folders", 1, "none is known; name one: footwork search index FOLDER")
    every = []
    for root in roots:
        try:
            every.append(find_differences(store, [root]))
        except DataError as error:
            yield Finding("folder", 1, str(error).rstrip("."), (root,))
    for kind, (what, records_of) in _KINDS.items():
        paths = tuple(record.path for found in every for record in records_of(found))
        if paths:
            yield Finding(kind, len(paths), what, paths, is_fault=kind != _UNREADABLE)


_UNREADABLE = "unreadable files"
_KINDS: dict[str, tuple[str, Callable[[Differences], list[ImageRecord]]]] = {
    "changed files": (f"changed since they were indexed; {_UPDATE}", lambda one: one.changed),
    "new files": (f"not indexed yet; {_UPDATE}", lambda one: one.added),
    "missing files": (f"moved or deleted since; {_UPDATE}", lambda one: one.missing),
    "returned files": (
        f"there again; {_UPDATE}",
        lambda one: [move.record for move in one.returned],
    ),
    _UNREADABLE: (
        "no images, or damaged; footwork search index lists why",
        lambda one: one.still_unreadable,
    ),
}


def _vectors(store: Store) -> Iterator[Finding]:
    spoilt = []
    for block in store.scan():
        lengths = np.linalg.norm(block.vectors, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH_ERROR))
        spoilt += [block.records[row].path for row in wrong.tolist()]
    if spoilt:
        what = "not of length 1; footwork search remove forgets them, then index them again"
        yield Finding("spoilt embeddings", len(spoilt), what, tuple(spoilt))


def _texts(place: Place, embedder: Embedder) -> Iterator[Finding]:
    try:
        texts = Texts(place.texts_folder(embedder), embedder)
        if texts.references.ndim != 2 or texts.references.shape[1] != embedder.width:
            yield Finding("texts", 1, f"of another model; {_PREPARE}")
        elif texts.has_tower:
            _check_tower(texts, embedder)
    except (FootworkError, ValueError):
        yield Finding("texts", 1, f"missing or damaged; {_PREPARE}")


def _mend_texts(place: Place, done: list[str]) -> bool:
    """Prepare the text half anew, where the model is on this machine."""
    with closing(place.open()) as store:
        embedder = store.embedder
    if not is_on_this_machine(embedder.model_id, embedder.revision):
        return False
    try:
        note = prepare_texts(load_model(embedder), place.texts_folder(embedder))
    except ModelError:
        return False  # the finding stays
    done += ["the text half of the model was prepared anew.", *([note] if note else [])]
    return True


def _check_tower(texts: Texts, embedder: Embedder) -> None:
    (vector,) = texts.encoder.encode_texts(["a photo"])
    if vector.shape != (embedder.width,) or not abs(np.linalg.norm(vector) - 1) < _LENGTH_ERROR:
        raise StoreError("The text half of the model gives no unit vectors of the index's width")


def _model(embedder: Embedder) -> Iterator[Finding]:
    if not is_on_this_machine(embedder.model_id, embedder.revision):
        what = f"{embedder.model_id} is not on this machine, so that it was not compared"
        yield Finding("model", 1, what, is_fault=False)
        return
    try:
        load_model(embedder)
    except ModelError as error:
        yield Finding("model", 1, str(error).rstrip("."))


def is_on_this_machine(model_id: str, revision: str | None) -> bool:
    """Whether a model can be loaded without the Hub."""
    if model_id == "tiny" or Path(model_id).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache

    cached: Callable[..., object] = try_to_load_from_cache
    return isinstance(cached(model_id, "config.json", revision=revision), str)
