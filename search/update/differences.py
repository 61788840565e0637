"""What has changed on the disk since an index last looked."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from footwork.errors import ConfigError, DataError, ImageError
from footwork.files.faults import why
from footwork.files.paths import path_line, shell_word
from footwork.files.plain_files import content_hash
from footwork.images.ahead import DISK_READERS, decoded_ahead
from footwork.images.decoding import is_installed_now
from footwork.images.finding import IsExcluded, find_images, why_missing
from search.paths import NO_ANSWER, absolute_path, is_at_or_below, is_within, missing_files
from search.records import ImageRecord, file_date, file_state
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Move, Store
from search.update.summary import Summary


@dataclass(slots=True, kw_only=True)
class Differences:
    """Files below some roots, compared with what a store knows of them."""

    summary: Summary = field(default_factory=Summary)
    """As far as it is known."""
    moves: list[Move] = field(default_factory=list)
    """Images of another path, time or presence than the store knows, and known content."""
    changed: list[ImageRecord] = field(default_factory=list)
    """Known paths whose file is of another size or of other times, if only since its rights or a
    link to it changed; as it is now."""
    added: list[ImageRecord] = field(default_factory=list)
    missing: list[ImageRecord] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    """Unreadable files that are no longer there, and files that are left out from now on."""
    copied: list[tuple[ImageRecord, str]] = field(default_factory=list)
    """A new path, and that of an image of the same content; once that was looked for."""
    unknown: list[ImageRecord] = field(default_factory=list)
    """Files of unknown content, which are to be embedded; once that was looked for."""


def absolute_roots(roots: Iterable[str | Path]) -> list[str]:
    """Absolute, each once, and none that lies below another."""
    kept: list[str] = []
    for path in sorted(map(absolute_path, roots), key=lambda path: path.split("/")):
        if not kept or not is_at_or_below(path, kept[-1]):
            kept.append(path)
    return kept


def require_roots(roots: Sequence[str]) -> None:
    """See that there is something to index, before anything is loaded or made.

    `ConfigError` where no roots are named, `DataError` where one does not exist.
    """
    if not roots:
        raise ConfigError("No folder is named. Name one: footwork search index FOLDER")
    for root in roots:
        if reason := why_missing(Path(root)):
            raise DataError(f"Cannot find {path_line(root)}: {reason}. Name a folder of images.")


def find_differences(store: Store, roots: Sequence[str], *, recheck: bool = False) -> Differences:
    """Compare the disk with a store, which may hold other roots, too, without reading any file.

    Roots are of `absolute_roots`; `recheck` takes every known file for one that may have changed.
    `DataError` where a root that is new does not exist, or none does.
    """
    found = Differences()
    summary = found.summary
    known, exclusions = store.roots(), store.exclusions()
    for root in roots:
        reason = why_missing(Path(root))
        if reason is not None and root in known:
            summary.missing_roots.append(root)
            summary.notes.append(
                f"Cannot find {path_line(root)}: {reason}. The index keeps its images as they are. "
                "Mount the drive, or name the new place of the folder to this index: footwork "
                "search index NEW --index INDEX; if it is gone for good: footwork search remove "
                f"{shell_word(root)}"
            )
            continue
        # Patterns are relative to the folder that is indexed, even if only a part is looked at.
        indexed = next((one for one in known if is_at_or_below(root, one)), root)
        is_excluded = exclusions.below(indexed)
        here = _files_on_disk(root, summary, is_excluded, is_known=root in known)
        for record in store.files(root):
            if is_excluded(record.path, False):
                summary.excluded += 1
                found.forgotten.append(record.path)
            elif record.path in here or not is_within(record.path, summary.unlisted):
                _compare(record, here.pop(record.path, None), found, recheck)
        found.added += here.values()
    if roots and len(summary.missing_roots) == len(roots):
        raise DataError("\n".join(summary.notes))
    return found


def _files_on_disk(
    root: str, summary: Summary, is_excluded: IsExcluded, *, is_known: bool
) -> dict[str, ImageRecord]:
    require_roots([root])
    images = find_images([root], is_excluded, required=not is_known)
    if not (images.paths or images.unlisted):
        summary.notes.append(
            f"{path_line(root)} holds no image any more, or none that is not left out. Is a drive "
            "missing?"
        )
        return {}
    summary.notes += images.notes
    summary.unread += images.unread
    if images.unlisted:
        summary.unlisted += map(str, images.unlisted)
        summary.notes.append("What the index knows of folders that cannot be read stays as it is.")
    return {record.path: record for record in map(_as_found, images.paths) if record is not None}


def _as_found(path: Path) -> ImageRecord | None:
    try:
        state = path.stat()
    except Exception as error:  # noqa: BLE001 - a file's own fault: decoding will say so
        why(error)
        if not os.path.lexists(path) and isinstance(error, FileNotFoundError):
            return None  # deleted since its folder was listed
        try:
            state = path.lstat()
        except OSError:  # its folder may be listed, but not entered
            return ImageRecord(path=str(path), size=0, mtime_ns=0)
    return ImageRecord(path=str(path), **file_state(state))


def _compare(
    record: ImageRecord, here: ImageRecord | None, found: Differences, recheck: bool
) -> None:
    if here is None:
        if record.fault is not None:
            found.forgotten.append(record.path)
        elif record.present:
            found.missing.append(record)
    elif recheck or record.state != here.state or is_installed_now(record.fault or ""):
        found.changed.append(here)
    elif record.fault is not None:
        found.summary.unreadable.append(record)
    elif record.present:
        found.summary.unchanged += 1
    else:
        found.summary.returned += 1
        found.moves.append(Move(record.path, replace(record, present=True)))


def recognise(
    store: Store, found: Differences, on_progress: Callable[[int, int], None] = lambda _, __: None
) -> None:
    """Complete what `find_differences` gave, by hashing all files of a known size.

    So moved, copied and touched files are told from new ones. What was below a root that is missing
    counts as moved if it turns up elsewhere: the root may have another name now. `on_progress` is
    told after each how many are hashed, and of how many.
    """
    candidates = [*found.added, *found.changed]
    at: dict[tuple[str, int], ImageRecord] = {}
    known: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in store.same_size({record.size for record in candidates}):
        at[record.path, record.size] = record
        known[record.content].append(record)
    sizes = {size for _, size in at}
    doubtful = [record for record in candidates if record.size in sizes]
    found.unknown = [record for record in candidates if record.size not in sizes]
    gone, away = {record.path for record in found.missing}, _missing_roots(store)
    here = {move.record.path for move in found.moves} | {one.path for one in candidates}
    free: dict[str, Iterator[ImageRecord]] = {}
    hashed = decoded_ahead(doubtful, lambda one: content_hash(Path(one.path)), DISK_READERS)
    for count, (record, content) in enumerate(hashed, 1):
        on_progress(count, len(doubtful))
        before = at.get((record.path, record.size))
        if isinstance(content, ImageError):
            if before is not None and before.mtime_ns == record.mtime_ns and before.present:
                # It cannot be read now; the store keeps what it knows of it.
                found.summary.unreadable.append(replace(record, fault=content.reason))
            else:
                found.unknown.append(record)
            continue
        same = known.get(content, [])
        if before is None or before.content != content:
            before = next(free.setdefault(content, _left(same, here, gone, away)), None)
        if before is not None:
            _move(found, before, record)
        elif same:
            found.copied.append((_renewed(same[0], record), same[0].path))
        else:
            found.unknown.append(record)


def _left(
    same: Sequence[ImageRecord], here: Set[str], gone: Set[str], away: Sequence[str]
) -> Iterator[ImageRecord]:
    """Images of one content whose place a file takes that is found elsewhere."""
    only_away = all(is_within(one.path, away) for one in same)  # else it is a copy of another
    for one in same:
        if one.path not in here and (only_away or one.path in gone or not one.present):
            yield one


def _missing_roots(store: Store) -> list[str]:
    """Those that are not there; none of a server's, which may be of other machines."""
    roots = store.roots() if isinstance(store, EmbeddedStore) else ()
    return [root for root, reason in missing_files(roots, roots).items() if reason != NO_ANSWER]


def _move(found: Differences, known: ImageRecord, here: ImageRecord) -> None:
    renewed = _renewed(known, here)
    if renewed != known:
        found.moves.append(Move(known.path, renewed))
    if (known.path, known.mtime_ns) != (here.path, here.mtime_ns):
        found.summary.moved += 1
    elif known.present:
        found.summary.unchanged += 1
    else:
        found.summary.returned += 1


def _renewed(known: ImageRecord, here: ImageRecord) -> ImageRecord:
    """What is known of a content, with the path and time of the file that holds it now."""
    return replace(
        known,
        path=here.path,
        size=here.size,
        mtime_ns=here.mtime_ns,
        ctime_ns=here.ctime_ns,
        date=file_date(here.mtime_ns) if known.date_from == "file" else known.date,
        present=True,
    )
