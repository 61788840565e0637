"""Make an index, bring it up to date with the disk, switch its model, or forget images."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from footwork.errors import ConfigError, DataError, ImageError, StoreError
from footwork.files.faults import counted
from footwork.files.paths import path_line, shell_word, user_path
from footwork.images.finding import is_folder, why_missing
from footwork.options import DEFAULT_IMAGE_MODEL, decoding_of
from footwork.processes import ALONE, ProcessGroup
from search.exclusions import Exclusions
from search.options import ModelOptions
from search.paths import absolute_path, is_at_or_below, is_within, spellings
from search.place import Place
from search.query.relevance import Relevance
from search.query.texts import Texts, embedder_of, is_prepared, load_model, prepare_texts
from search.records import ImageRecord
from search.store.protocol import Changes, Embedded, Embedder, Store, batched
from search.update.differences import (
    Differences,
    absolute_roots,
    find_differences,
    recognise,
    require_roots,
)
from search.update.reading import FileReading
from search.update.summary import Summary

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder

BATCH = 256
"""Images at most that are written at once."""
BATCH_SECONDS = 5.0
"""After which a batch is written, however small."""
_MOVED_AT_ONCE = 4096


@dataclass(slots=True)
class Indexer:
    """Updates an index as often as it is asked to; a model that was loaded stays so."""

    place: Place
    """Of the index, which need not exist."""
    model: ModelOptions = ModelOptions()  # noqa: RUF009 - frozen
    processes: ProcessGroup = ALONE
    on_progress: Callable[[int, int], None] = lambda _done, _total: None
    """Told after every image how many are read, and of how many."""
    _encoder: DualEncoder | None = field(default=None, init=False)

    def index(
        self,
        roots: Sequence[str | Path] = (),
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        *,
        recheck: bool = False,
    ) -> Summary:
        """Bring the index up to date with the disk; make it if there is none.

        Args:
            roots: Folders and files; none takes all that were indexed before. What was removed
                comes back where it is named itself.
            exclude: Patterns of what is left out from now on, as of `Exclusions.patterns`.
            include: Those of them that are taken back, and paths that were removed.
            recheck: As of `update`.

        Raises:
            ConfigError: No roots are named or known, or one of them is left out.
            DataError: A root that is new does not exist, or none does.
            ModelError: The model cannot be loaded, or is no longer what it was.
            StoreError: The index cannot be read or written.
        """
        if not self.processes.is_main:  # it embeds its share, and the main one writes
            from_main, on_progress = self.processes.from_main, self.on_progress
            embedder, todo = from_main(None), from_main(None)
            if todo:
                deque(_embedded(todo, self._load(embedder), Summary(), on_progress), maxlen=0)
            return Summary()
        named = absolute_roots(roots)
        Exclusions().with_patterns(exclude)  # before anything is begun
        if not self.place.exists:  # else what is missing may be known
            require_roots(named)
        with self.place.writing(), ExitStack() as held:
            store, replaced = self._store(held)
            _settle_exclusions([store, *filter(None, [replaced])], named, exclude, include)
            every = store.roots() if exclude or include else []
            notes = list(_pattern_notes(replaced or store, named, exclude))
            summary = self._update(store, replaced, absolute_roots([*named, *every]), recheck)
            summary.notes += notes
            return summary

    def _store(self, held: ExitStack) -> tuple[Store, Store | None]:
        """What is to be updated, and what it is to replace; `held` closes both."""
        if not self.place.exists:
            new = self.place.begin(embedder_of(self._load(None)))
            return held.enter_context(closing(new)), None
        store = held.enter_context(closing(self.place.open()))
        if self._is_meant(store.embedder):
            return store, None
        embedder = embedder_of(self._load(None, store.embedder))
        if embedder.fingerprint == store.embedder.fingerprint:
            return store, None
        return held.enter_context(closing(self.place.begin(embedder))), store

    def _is_meant(self, embedder: Embedder) -> bool:
        """Whether a model need not be loaded to know that it is the index's own."""
        stated = self.model.model_id
        if self.model.decode not in (None, decoding_of(embedder.fingerprint)):
            return False
        if stated is None:
            return True
        changeable = user_path(stated).is_dir()
        return not changeable and stated == embedder.model_id and self.model.revision is None

    def _update(
        self, store: Store, replaced: Store | None, named: Sequence[str], recheck: bool
    ) -> Summary:
        known = [] if replaced is None else replaced.roots()
        roots = absolute_roots([*named, *known] or store.roots())
        if replaced is not None:
            self._require_all(roots, replaced, store.embedder)
            _begin_anew(store, roots)
        self.processes.from_main(store.embedder)
        folder, note = self.place.texts_folder(store.embedder), None
        if self._encoder is not None:  # words find what is there while the index grows
            note = self._prepare(folder, store.embedder)
        summary = update(
            store,
            roots,
            lambda: self._load(store.embedder),
            on_progress=self.on_progress,
            from_main=self.processes.from_main,
            recheck=recheck,
        )
        note = self._prepare(folder, store.embedder) or note
        directions = Relevance(Texts(folder, store.embedder).references).directions
        summary.notes += filter(None, [note, store.finish(directions)])
        if replaced is not None and summary.unlisted:
            summary.notes.append(
                f"{path_line(replaced.embedder.model_id)} goes on answering: make these folders "
                "readable, or leave them out with --exclude, and run the command again."
            )
        elif replaced is not None:
            summary.notes += _label_notes(replaced)
            self.place.publish(store.embedder)
        return summary

    def _require_all(self, roots: Sequence[str], replaced: Store, new: Embedder) -> None:
        """See that all that a store knows of the roots can be embedded anew, or a `DataError`."""
        known = replaced.roots()
        if away := [root for root in roots if root in known and why_missing(Path(root))]:
            raise DataError(
                f"Cannot find {', '.join(map(path_line, away))}. {path_line(new.model_id)} takes "
                "over only where every indexed folder is there, to be embedded anew; "
                f"{path_line(replaced.embedder.model_id)} goes on answering. Mount the drive; if "
                f"it is gone for good: footwork search remove {' '.join(map(shell_word, away))} "
                f"{self.place.option}"
            )

    def _prepare(self, folder: Path, embedder: Embedder) -> str | None:
        is_there = is_prepared(folder, embedder)
        return None if is_there else prepare_texts(self._load(embedder), folder)

    def _load(self, embedder: Embedder | None, former: Embedder | None = None) -> DualEncoder:
        """The model that an index was made with; for None the one that is asked for.

        `former`, of the index that it replaces, settles what is not said.
        """
        if embedder is not None:
            # Another process may have switched the index since one was loaded.
            if self._encoder is None or self._encoder.fingerprint != embedder.fingerprint:
                self._encoder = load_model(embedder, self.model)
        elif self._encoder is None:
            from footwork.encoder.dual import DualEncoder

            model = self.model
            if former is not None:
                model = replace(model, decode=model.decode or decoding_of(former.fingerprint))
            if former is not None and model.model_id is None:
                model = replace(model, model_id=former.model_id, revision=former.revision)
            self._encoder = DualEncoder(
                model.model_id or DEFAULT_IMAGE_MODEL, model.revision, model
            )
        return self._encoder


def _begin_anew(store: Store, roots: Sequence[str]) -> None:
    """Keep of a switch that was cut short what is still wanted; every root is to be there."""
    require_roots(roots)
    store.set_roots(())
    others = (one.path for one in store.files() if not is_within(one.path, roots))
    store.write(Changes(forgotten=list(others)))


def _pattern_notes(store: Store, named: Sequence[str], exclude: Sequence[str]) -> Iterator[str]:
    """What is to be said of patterns that are relative to another folder from now on."""
    patterns = [one for one in store.exclusions().patterns if "/" in one.rstrip("/")]
    kept = ", ".join(path_line(one) for one in patterns if one not in exclude)
    for root in store.roots():
        around = [one for one in named if one != root and is_at_or_below(root, one)]
        if kept and around:
            yield (
                f"What is left out is relative to {path_line(around[0])} from now on, no longer to "
                f"{path_line(root)}: {kept}. Where that means another path now, write it anew with "
                "--include and --exclude."
            )


def _label_notes(replaced: Store) -> Iterator[str]:
    """What is lost of labels where another model takes over."""
    paths = (record.path for record in replaced.files())
    known = (replaced.records(part).values() for part in batched(paths, _MOVED_AT_ONCE))
    count = sum(bool(record.labels) for part in known for record in part)
    if count:
        images, model = counted(count, "image"), path_line(replaced.embedder.model_id)
        yield (
            f"The labels of {images} went with {model}, which gave them. Have them given again: "
            "footwork zeroshot label --index …"
        )


def update(
    store: Store,
    roots: Sequence[str],
    open_encoder: Callable[[], DualEncoder],
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


def _known_batches(store: Store, found: Differences) -> Iterator[Changes]:
    """What is written without a look into a file, each batch after the one before is written."""
    # Copies come before what they are copies of moves away.
    for copies in batched(found.copied, _MOVED_AT_ONCE):
        originals = [original for _, original in copies]
        known = store.records(originals)
        vectors = store.vectors(originals)
        images = []
        for record, original in copies:
            if original in known and known[original].content == record.content:
                labelled = replace(record, labels=known[original].labels)
                images.append(Embedded(labelled, vectors[original]))
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


def _settle_exclusions(
    stores: Sequence[Store], named: Sequence[str], exclude: Sequence[str], include: Sequence[str]
) -> None:
    """Keep what is left out from now on; `named`, absolute, is taken in again.

    Where a store is to replace another, the word of that, the last, counts.
    """
    exclusions = stores[-1].exclusions().without(include).with_patterns(exclude)
    removed = tuple(path for path in exclusions.removed if path not in named)
    exclusions = replace(exclusions, removed=removed)
    roots = absolute_roots([*stores[-1].roots(), *named])
    for path in named:
        [indexed] = [root for root in roots if is_at_or_below(path, root)]
        if exclusions.below(indexed)(path, is_folder(Path(path))):
            raise ConfigError(
                f"{path_line(path)} is left out of the index. footwork search status lists what "
                "is; take it back with --include, then name this."
            )
    for store in stores:
        if store.exclusions() != exclusions:
            store.set_exclusions(exclusions)


def remove_images(place: Place, paths: Sequence[str | Path], *, gone: bool) -> int:
    """Forget images and unreadable files, their vectors and labels; no file is touched.

    What is named below an indexed folder stays away until it is named again to be indexed. Folders
    stand for all below them; `gone` forgets every image that was not there when last looked for.
    Returned is how many were forgotten.

    Raises:
        ConfigError: Nothing is named.
        StoreError: A path is not in the index, or that cannot be written.
    """
    if not paths and not gone:
        raise ConfigError("Nothing is named. Name files or folders, or --gone.")
    with place.writing(), closing(place.open()) as store:
        named = [_known_spelling(store, absolute_path(path)) for path in paths]
        forgotten = {record.path for root in named for record in store.files(root)}
        if gone:
            forgotten |= {record.path for record in store.files() if not record.present}
        roots, exclusions = store.roots(), store.exclusions()
        kept = [root for root in roots if not is_within(root, named)]
        removed = [
            path for path in absolute_roots([*exclusions.removed, *named]) if is_within(path, kept)
        ]
        settled = replace(exclusions, removed=tuple(removed))
        if settled != exclusions:  # first: what a kill leaves is forgotten by the next update
            store.set_exclusions(settled)
        store.write(Changes(forgotten=sorted(forgotten)))
        if kept != list(roots):
            store.set_roots(kept)
        # Last, too: it renews the copy of the catalog, from which all of it would come back.
        store.set_exclusions(settled)
    return len(forgotten)


def _known_spelling(store: Store, named: str) -> str:
    roots, removed = store.roots(), store.exclusions().removed
    for root in spellings(named):
        away = is_within(root, removed)
        if away or root in roots or next(iter(store.files(root)), None) is not None:
            return root
    raise StoreError(
        f"The index knows nothing of {path_line(named)}. footwork search status lists its folders."
    )
