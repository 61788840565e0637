"""Copy embeddings into an index: from another index, of either engine, or from a file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from footwork.errors import ConfigError, DataError, ModelError, StoreError
from footwork.files.faults import Fault, counted, shortened
from footwork.files.paths import path_line, path_text, user_path
from footwork.images.finding import has_image_ending, is_visible
from search.exclusions import Exclusions
from search.options import ModelOptions, StoreOptions
from search.paths import is_at_or_below
from search.place import Place, find_index, find_place
from search.query.relevance import Relevance
from search.query.texts import Texts, embedder_of, is_prepared, load_model, new_texts, prepare_texts
from search.records import ImageRecord
from search.store.protocol import Changes, Embedded, Embedder, Store
from search.transfer.sources import (
    ArraySource,
    IndexSource,
    NumpySource,
    ParquetSource,
    PartsSource,
    Source,
    find_parts,
)
from search.update.differences import absolute_roots

_KINDS: dict[str, Callable[[Path], Source]] = {".parquet": ParquetSource, ".npy": NumpySource}


@dataclass(slots=True, kw_only=True)
class Transfer:
    """What was copied, in files."""

    copied: int = 0
    unreadable: int = 0
    skipped: list[Fault] = field(default_factory=list)
    """Those of them that the source took for images."""
    unchanged: int = 0
    """That were there already."""
    absent: int = 0
    """Those copied that no query finds, as their files are not there."""
    left_out: int = 0
    """That were passed over, as the index leaves them out."""
    notes: list[str] = field(default_factory=list)

    def to_text(self, place: str) -> str:
        """For people."""
        return (
            f"{self.copied:,} copied, {self.unchanged:,} there already, {self.unreadable:,} "
            f"unreadable; nothing was embedded\nThe index is in {path_line(place)}"
        )

    def to_dict(self, place: str) -> dict[str, Any]:
        """For programs."""
        return {
            "copied": self.copied,
            "unchanged": self.unchanged,
            "skipped": [
                {"path": path_text(one.path), "reason": one.reason} for one in self.skipped
            ],
            "unreadable": self.unreadable,
            "notes": list(self.notes),
            "index": path_text(place),
        }


def find_source(named: str, where: StoreOptions) -> Source:
    """What `--from` names: the folder of an index or of photos, a .parquet or .npy file, a server.

    A folder may also be one that clip-retrieval wrote.

    A server is http://HOST:19530, with /COLLECTION behind it if it is another than the target's;
    user and password are those of the target, `where`.

    Raises:
        ConfigError: It is a file of text, which holds no embeddings.
        StoreError: There is no index, or it cannot be read.
        DataError: The file cannot be read.
    """
    if "://" in named:
        parts = urlsplit(named)
        collection = parts.path.strip("/") or where.collection
        address = f"{parts.scheme}://{parts.netloc}"
        server = replace(where, index=None, store=address, collection=collection)
        return IndexSource(find_place(server))
    path = user_path(named)
    if path.suffix.lower() in (".csv", ".tsv", ".txt") and path.is_file():
        raise ConfigError(
            f"Embeddings are copied from an index, a .parquet or a .npy file, not from "
            f"{path_line(path)}. Save them as Parquet, with the columns `path` (text) and "
            "`embedding` (a list of floats)."
        )
    if path.suffix.lower() in _KINDS and not path.is_dir():
        return _KINDS[path.suffix.lower()](path)
    of_others = find_parts(path)
    return PartsSource(of_others) if of_others else IndexSource(find_index(path))


def copy_index(
    source: Source,
    place: Place,
    model: ModelOptions | Embedder = ModelOptions(),  # noqa: B008 - frozen
    on_progress: Callable[[int], None] = lambda _: None,
) -> Transfer:
    """Copy images, embeddings, labels and roots into an index, which need not exist.

    It may be stopped at any moment; the next run skips what is there and equal. What the index
    knows beside it stays.

    Args:
        source: Of `find_source`.
        place: Of the index.
        model: For sources that do not tell what made their embeddings.
        on_progress: Told after each batch how many files are done.

    Raises:
        ConfigError: The source is the index itself, or does not tell its model.
        DataError: The source cannot be read.
        StoreError: The index is of another model, or cannot be written.
    """
    if isinstance(source, IndexSource) and _is_same(source.place, place):
        raise ConfigError(f"{place} cannot be copied from itself. Name another with --index.")
    embedder, transfer = source.embedder or _stated_embedder(model), Transfer()
    with ExitStack() as held:
        batches = held.enter_context(closing(source.batches()))
        first = next(batches, Changes())
        _require_width(embedder, first.embedded)  # else an index would be begun in vain
        held.enter_context(place.writing())
        is_new = not place.exists
        store = held.enter_context(closing(_opened(place, embedder)))
        roots = absolute_roots([*store.roots(), *source.roots])
        is_left_out = _left_out(store, source, roots, transfer)
        for batch in chain([first], batches):
            taken = _taken_in(batch, is_left_out, transfer)
            _write(store, taken, transfer)
            if not isinstance(source, IndexSource):
                faults = taken.unreadable
                transfer.skipped += [Fault(Path(one.path), one.fault or "") for one in faults]
            on_progress(transfer.copied + transfer.unchanged + transfer.unreadable)
        store.set_roots(roots)
        notes = _join_exclusions(store, source.exclusions)
        transfer.notes += [] if is_new else notes
        typical = np.zeros((0, embedder.width), np.float32)
        folder = place.texts_folder(embedder)
        _copy_texts(source, folder, embedder, transfer)
        if is_prepared(folder, embedder):
            typical = Relevance(Texts(folder, embedder).references).directions
        transfer.notes += filter(None, [store.finish(typical)])
        transfer.notes += _passed_over(transfer, is_told=source.embedder is not None)
    return transfer


def _passed_over(transfer: Transfer, *, is_told: bool) -> Iterator[str]:
    """What no query finds of what came; `is_told` where the source knows more than paths."""
    if transfer.absent and not is_told:
        yield (
            f"{counted(transfer.absent, 'file')} of them cannot be found on this machine, and "
            "by no query: copy them once more when they are there, under these paths."
        )
    if transfer.left_out:
        yield (
            f"{counted(transfer.left_out, 'file')} stayed away, as this index leaves them out. "
            "footwork search status lists what; take it back with --include, and copy once more."
        )


def _left_out(
    store: Store, source: Source, roots: Sequence[str], transfer: Transfer
) -> Callable[[str], bool]:
    """Tells of paths whether the store leaves them out; what a caller names is taken in again."""
    exclusions = store.exclusions()
    if isinstance(source, ArraySource):
        named = set(source.paths)
        removed = tuple(path for path in exclusions.removed if path not in named)
        if removed != exclusions.removed:
            exclusions = replace(exclusions, removed=removed)
            store.set_exclusions(exclusions)
        hidden = [
            path
            for path in source.paths
            for root in roots
            if path != root and is_at_or_below(path, root)
            if not (has_image_ending(path) and all(map(is_visible, path[len(root) :].split("/"))))
        ]
        if hidden:
            transfer.notes.append(
                f"The next update takes for missing what is hidden or has no image's ending: "
                f"{shortened(map(path_line, hidden))}."
            )
    below = [(root, exclusions.below(root)) for root in roots]
    return lambda path: any(is_at_or_below(path, root) and it(path, False) for root, it in below)


def _taken_in(batch: Changes, is_left_out: Callable[[str], bool], transfer: Transfer) -> Changes:
    images = [one for one in batch.embedded if not is_left_out(one.record.path)]
    faults = [one for one in batch.unreadable if not is_left_out(one.path)]
    every = len(batch.embedded) + len(batch.unreadable)
    transfer.left_out += every - len(images) - len(faults)
    return Changes(embedded=images, unreadable=faults)


def _is_same(one: Place, other: Place) -> bool:
    paths = [getattr(place, "path", None) for place in (one, other)]
    if all(isinstance(path, Path) and path.exists() for path in paths):
        return paths[0].samefile(paths[1])  # type: ignore[union-attr]
    return str(one) == str(other)


def _stated_embedder(model: ModelOptions | Embedder) -> Embedder:
    if isinstance(model, Embedder):
        return model
    if model.model_id is None:
        raise ConfigError("What made these embeddings? Name the model with --model.")
    from footwork.encoder.dual import DualEncoder

    return embedder_of(DualEncoder(model.model_id, model.revision, model))


def _opened(place: Place, embedder: Embedder) -> Store:
    if not place.exists:
        return place.begin(embedder)
    store = place.open()
    if store.embedder.fingerprint != embedder.fingerprint:
        store.close()
        raise StoreError(
            f"The index in {place} is of {store.embedder.model_id} ({store.embedder.width} wide); "
            f"these embeddings are of {embedder.model_id} ({embedder.width} wide). Embed the "
            "images by the first, or take an index of the other."
        )
    return store


def _join_exclusions(store: Store, others: Exclusions) -> list[str]:
    """Leave out what is left out of the source; what is to be said of it."""
    before = store.exclusions()
    joined = before.joined(others)
    if joined != before:
        store.set_exclusions(joined)
    came = sorted({*joined.patterns, *joined.removed} - {*before.patterns, *before.removed})
    listed = shortened(map(path_line, came))
    note = (
        f"Left out from now on, as it is of the source: {listed}. The next update forgets all that "
        "this covers, unless --include takes it back."
    )
    return [note] if came else []


def _write(store: Store, batch: Changes, transfer: Transfer) -> None:
    unreadable = batch.unreadable
    paths = [one.record.path for one in batch.embedded] + [one.path for one in unreadable]
    known = store.records(paths)
    images = [replace(one, record=_labelled(one.record, known)) for one in batch.embedded]
    there = store.vectors([one.record.path for one in images if _is_known(one.record, known)])
    nothing = np.zeros(0, np.float32)
    new = [
        one
        for one in images
        if not np.array_equal(there.get(one.record.path, nothing), one.vector)
        and not _is_known_better(one.record, known)
    ]
    faults = [one for one in unreadable if not _is_known(one, known)]
    _require_width(store.embedder, new)
    if new or faults:
        store.write(Changes(embedded=new, unreadable=faults))
    transfer.copied += len(new)
    transfer.absent += sum(not one.record.present for one in new)
    transfer.unreadable += len(faults)
    transfer.unchanged += len(paths) - len(new) - len(faults)


def _labelled(record: ImageRecord, known: dict[str, ImageRecord]) -> ImageRecord:
    """One that comes without labels keeps those that its content was given here."""
    there = known.get(record.path)
    if record.labels or there is None or there.content != record.content:
        return record
    return replace(record, labels=there.labels)


def _is_known(record: ImageRecord, known: dict[str, ImageRecord]) -> bool:
    there = known.get(record.path)
    if there is None or (record.fault is None and not record.content):
        return False
    return replace(there, labels=there.labels or {}) == replace(record, labels=record.labels or {})


def _is_known_better(record: ImageRecord, known: dict[str, ImageRecord]) -> bool:
    """Whether of a file that is not there nothing but its path is told, and more is known."""
    there = known.get(record.path)
    return not record.content and there is not None and bool(there.content)


def _require_width(embedder: Embedder, images: Sequence[Embedded]) -> None:
    wrong = [one for one in images if one.vector.shape != (embedder.width,)]
    if wrong:
        raise DataError(
            f"{embedder.model_id} gives embeddings {embedder.width} wide, but that of "
            f"{path_line(wrong[0].record.path)} is {wrong[0].vector.shape[-1]} wide. Name the "
            "model that made them with --model."
        )


def _copy_texts(source: Source, folder: Path, embedder: Embedder, transfer: Transfer) -> None:
    if is_prepared(folder, embedder):
        return
    old = source.place.texts_folder(embedder) if isinstance(source, IndexSource) else None
    if old is not None and is_prepared(old, embedder):
        with new_texts(folder) as staging:
            shutil.copytree(old, staging, dirs_exist_ok=True)
        return
    try:
        note = prepare_texts(load_model(embedder), folder)
        transfer.notes += [note] if note else []
    except ModelError as error:
        transfer.notes.append(
            f"Queries in words need the model: {error} Once it is there, run footwork search index."
        )
