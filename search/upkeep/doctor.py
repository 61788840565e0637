"""Examine an index, and mend it without losing an embedding that can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from footwork.errors import DataError, FootworkError, ModelError, StoreError
from footwork.files.checksums import has_checksums, write_checksums
from search.findings import Finding, Report
from search.index_folder import IndexFolder
from search.places import Place
from search.query.texts import KIND, Texts, load_model, prepare_texts
from search.records import ImageRecord
from search.store.protocol import Embedder, Store, wrong_lengths
from search.update.differences import Differences, find_differences
from search.upkeep.index_health import as_seen_beside, folder_findings, mend_index

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
    before = place.writer()  # or one that begins meanwhile
    found = tuple(folder_findings(place))
    broken = tuple(as_seen_beside(before or place.writer(), found))
    if any(finding.kind in _BLOCKING for finding in broken):
        return Report(str(place), broken)
    contents = tuple(_contents(place, with_model))
    seen = as_seen_beside(before or place.writer(), contents)
    return Report(str(place), (*broken, *seen))


def repair(place: Place, *, with_model: bool) -> Report:
    """Look for everything that can be wrong, and mend what can be mended.

    A server mends its own files; of its index the text half lies on this machine.

    Args:
        place: Of the index.
        with_model: As of `examine`.

    Raises:
        StoreError: The index cannot be read at all, or is being written.
    """
    broken, done = list[Finding](), list[str]()
    with place.writing():
        if isinstance(place, IndexFolder):
            broken += folder_findings(place)
            try:
                done += mend_index(place, broken)
            except OSError as error:
                message = (
                    f"{error.filename or place} stands in the way: {error.strerror}. Move it away."
                )
                raise StoreError(message) from error
        contents = list(_contents(place, with_model))
        left = [one for one in contents if not _mended(one, place, done)]
        left += folder_findings(place) if isinstance(place, IndexFolder) else ()
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
    "changed files": (
        f"changed or touched since they were indexed; {_UPDATE}",
        lambda one: one.changed,
    ),
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
        spoilt += [block.records[row].path for row in wrong_lengths(block.vectors).tolist()]
    if spoilt:
        what = "not of length 1; footwork search remove forgets them, then index them again"
        yield Finding("spoilt embeddings", len(spoilt), what, tuple(spoilt))


def _texts(place: Place, embedder: Embedder) -> Iterator[Finding]:
    folder = place.texts_folder(embedder)
    try:
        fault = Texts(folder, embedder).damage()
    except FootworkError as error:
        fault = f"missing or damaged ({str(error).partition('. ')[0]})"
    if fault is not None:
        yield Finding("texts", 1, f"{fault}; {_PREPARE}")
    elif not has_checksums(folder):
        what = "of an older version, whose damage could not be seen; --repair adds checksums"
        yield Finding("unchecked texts", 1, what, is_fault=False)


def _mended(finding: Finding, place: Place, done: list[str]) -> bool:
    """Give the text half checksums, or prepare it anew where the model is on this machine."""
    if finding.kind not in ("texts", "unchecked texts"):
        return False
    with closing(place.open()) as store:
        embedder = store.embedder
    folder = place.texts_folder(embedder)
    try:
        if finding.kind == "unchecked texts":
            write_checksums(folder, KIND)
            done.append("the text half of the model was given checksums.")
            return True
        if not is_on_this_machine(embedder.model_id, embedder.revision):
            return False
        note = prepare_texts(load_model(embedder), folder)
    except (ModelError, OSError):
        return False  # the finding stays
    done += ["the text half of the model was prepared anew.", *([note] if note else [])]
    return True


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
    from footwork.models.hub import cached_model

    with suppress(ValueError):  # no id of the Hub
        return cached_model(model_id, revision, "weights") is not None
    return False
