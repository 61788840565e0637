"""Bring an index up to date with the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from footwork.errors import ImageError
from footwork.files.faults import counted
from footwork.files.paths import path_line
from search.records import ImageRecord
from search.store.protocol import Changes, Embedded, Store, batched
from search.update.differences import Differences, absolute_roots, find_differences, recognise
from search.update.reading import FileReading
from search.update.summary import Summary

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder

OpenEncoder: TypeAlias = "Callable[[], DualEncoder]"

BATCH = 256
"""Images at most that are written at once."""
BATCH_SECONDS = 5.0
"""After which a batch is written, however small."""
_MOVED_AT_ONCE = 4096


def update(
    store: Store,
    roots: Sequence[str],
    open_encoder: OpenEncoder,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    from_main: Callable[[Any], Any] = lambda value: value,
    recheck: bool = False,
) -> Summary:
    """Index what is new below some roots, forget what is gone, and keep all that is known.

    Args:
        store: To be written by this process.
        roots: Of `absolute_roots`.
        open_encoder: Called only if there is something to embed.
        on_progress: Told how many images are read, and of how many.
        from_main: Gives every process of several what the main one has.
        recheck: Whether to compare every known file by its content, and to try unreadable ones
            again.

    Raises:
        DataError: A root that is new does not exist, or none does; nothing was changed.
        StoreError: Something cannot be written; what was written before is kept.
    """
    begin = time.monotonic()
    found = find_differences(store, roots, recheck=recheck)
    recognise(store, found, on_progress)
    summary = found.summary
    changed = {record.path for record in found.changed}
    for batch in _known_batches(store, found):
        store.write(batch)
        _count(batch, changed, summary)
    store.set_roots(absolute_roots([*store.roots(), *roots]))
    if todo := from_main(found.unknown):
        embedded = _embedded(todo, open_encoder(), summary, on_progress)
        for batch in _batches(embedded, summary):
            store.write(batch)
            _count(batch, changed, summary)
            summary.embedded += len(batch.embedded)
    if summary.vanished:
        files = counted(summary.vanished, "file")
        summary.notes.append(f"{files} vanished before being read. Index again when they are back.")
    summary.seconds = time.monotonic() - begin
    return summary


def assist(
    open_encoder: OpenEncoder,
    from_main: Callable[[Any], Any],
    on_progress: Callable[[int, int], None],
) -> None:
    """The part of a process that is not the main one of several: it embeds its share."""
    if todo := from_main(None):
        for _ in _embedded(todo, open_encoder(), Summary(), on_progress):
            pass  # the main process writes


def _known_batches(store: Store, found: Differences) -> Iterator[Changes]:
    """What is written without a look into a file, each batch after the one before is written."""
    # Copies come before what they are copies of moves away.
    for copies in batched(found.copied, _MOVED_AT_ONCE):
        originals = [original for _, original in copies]
        contents = {path: one.content for path, one in store.records(originals).items()}
        vectors = store.vectors(originals)
        images = []
        for record, original in copies:
            if contents.get(original) == record.content:
                images.append(Embedded(record, vectors[original]))
            else:  # files that change names in a ring: the one before has just taken its place
                found.unknown.append(record)
        yield Changes(embedded=images)
    sources = {move.old_path for move in found.moves}
    gone = [record.path for record in found.missing if record.path not in sources]
    found.summary.removed = len(gone)
    yield from (Changes(moved=part) for part in batched(found.moves, _MOVED_AT_ONCE))
    yield from (Changes(absent=part) for part in batched(gone, _MOVED_AT_ONCE))
    yield from (Changes(forgotten=part) for part in batched(found.forgotten, _MOVED_AT_ONCE))


def _embedded(
    todo: Sequence[ImageRecord],
    encoder: DualEncoder,
    summary: Summary,
    on_progress: Callable[[int, int], None],
) -> Iterator[Embedded | ImageRecord | None]:
    """Every file as it is to be written; None for one that is gone meanwhile."""
    readings = (FileReading(record) for record in todo)
    for done, (reading, outcome) in enumerate(encoder.encode_sources(readings), 1):
        if reading.note is not None:
            summary.notes.append(f"{path_line(reading.path)}: {reading.note}.")
        record = reading.decoded or reading.found
        if not isinstance(outcome, ImageError):
            yield Embedded(record, outcome)
        elif _is_gone(record.path):
            yield None
        else:
            yield replace(record, fault=outcome.reason)
        on_progress(done, len(todo))


def _is_gone(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError as error:  # else it is there, and cannot be read
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def _batches(
    entries: Iterable[Embedded | ImageRecord | None], summary: Summary
) -> Iterator[Changes]:
    """What is to be written together; files that are gone are only counted."""
    embedded, unreadable, begin = list[Embedded](), list[ImageRecord](), time.monotonic()
    for entry in entries:
        if entry is None:
            summary.vanished += 1
        elif isinstance(entry, Embedded):
            embedded.append(entry)
        else:
            unreadable.append(entry)
        late = time.monotonic() - begin > BATCH_SECONDS
        if len(embedded) + len(unreadable) >= BATCH or (late and (embedded or unreadable)):
            yield Changes(embedded=embedded, unreadable=unreadable)
            embedded, unreadable, begin = [], [], time.monotonic()
    if embedded or unreadable:
        yield Changes(embedded=embedded, unreadable=unreadable)


def _count(batch: Changes, changed: set[str], summary: Summary) -> None:
    known = sum(image.record.path in changed for image in batch.embedded)
    summary.changed += known
    summary.added += len(batch.embedded) - known
    summary.unreadable += batch.unreadable
