"""What has changed on the disk since an index last looked."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from footwork.errors import ConfigError, DataError, ImageError
from footwork.files.faults import why
from footwork.files.paths import path_line, shell_word
from footwork.files.plain_files import content_hash
from footwork.images.ahead import DISK_READERS, decoded_ahead
from footwork.images.finding import IsExcluded, find_images, why_missing
from search.paths import absolute_path, is_at_or_below
from search.records import ImageRecord, file_date, file_state
from search.store.protocol import Move, Store


@dataclass(slots=True, kw_only=True)
class Differences:
    """Files below some roots, compared with what a store knows of them."""

    unchanged: int = 0
    still_unreadable: list[ImageRecord] = field(default_factory=list)
    """Known to be no images; not tried again until they change."""
    returned: list[Move] = field(default_factory=list)
    """Images that are there again, as they were."""
    changed: list[ImageRecord] = field(default_factory=list)
    """Known paths whose file is of another size or of other times, if only since its rights or a
    link to it changed; as it is now."""
    added: list[ImageRecord] = field(default_factory=list)
    """Unknown paths."""
    missing: list[ImageRecord] = field(default_factory=list)
    """Images that are no longer there."""
    forgotten: list[str] = field(default_factory=list)
    """Unreadable files that are no longer there."""
    excluded: list[str] = field(default_factory=list)
    """Paths of known files that are left out from now on."""
    missing_roots: list[str] = field(default_factory=list)
    """Folders that are not there; nothing is said of their images."""
    unread: Counter[str] = field(default_factory=Counter)
    """Files of kinds that are not read, by their endings."""
    notes: list[str] = field(default_factory=list)
    """Folders that are missing, could not be read or hold no image, one sentence each."""


@dataclass(slots=True, kw_only=True)
class Recognised:
    """Files that need no decoding, since their content is known."""

    moves: list[Move] = field(default_factory=list)
    """Images of another path, time or presence than the index knows; the next three count them."""
    moved: int = 0
    """Of another path or time."""
    returned: int = 0
    """That were away, and are there again."""
    unchanged: int = 0
    """Of other rights or links at most, those that need no move among them."""
    copied: list[tuple[ImageRecord, str]] = field(default_factory=list)
    """A new path, and that of an image of the same content."""
    rest: list[ImageRecord] = field(default_factory=list)
    """Files that are to be embedded."""
    unread: list[ImageRecord] = field(default_factory=list)
    """Images, in size and time as they were, that cannot be read now, with the fault: the store
    keeps what it knows of them."""


def absolute_roots(roots: Iterable[str | Path]) -> list[str]:
    """Absolute, each once, and none that lies below another."""
    kept: list[str] = []
    for path in sorted(map(absolute_path, roots), key=lambda path: path.split("/")):
        if not kept or not is_at_or_below(path, kept[-1]):
            kept.append(path)
    return kept


def require_roots(roots: Sequence[str]) -> None:
    """See that there is something to index, before anything is loaded or made.

    Raises:
        ConfigError: No roots are named.
        DataError: One does not exist.
    """
    if not roots:
        raise ConfigError("No folder is named. Name one: footwork search index FOLDER")
    for root in roots:
        reason = why_missing(Path(root))
        if reason is not None:
            raise DataError(f"Cannot find {path_line(root)}: {reason}. Name a folder of images.")


def find_differences(store: Store, roots: Sequence[str], *, recheck: bool = False) -> Differences:
    """Compare the disk with a store, without reading a single file.

    Args:
        store: May hold other roots, too; they are left alone.
        roots: Of `absolute_roots`.
        recheck: Take every known file for one that may have changed.

    Raises:
        DataError: A root that is new does not exist, or none does.
    """
    found = Differences()
    known, exclusions = store.roots(), store.exclusions()
    for root in roots:
        reason = why_missing(Path(root))
        if reason is not None and root in known:
            found.missing_roots.append(root)
            found.notes.append(
                f"Cannot find {path_line(root)}: {reason}. The index keeps its images as they are. "
                "Mount the drive, or name the new place of the folder; if it is gone for good: "
                f"footwork search remove {shell_word(root)}"
            )
            continue
        # Patterns are relative to the folder that is indexed, even if only a part is looked at.
        indexed = next((one for one in known if is_at_or_below(root, one)), root)
        is_excluded = exclusions.below(indexed)
        here = _files_on_disk(root, found, is_excluded, is_known=root in known)
        for record in store.files(root):
            if is_excluded(record.path, False):
                found.excluded.append(record.path)
            else:
                _compare(record, here.pop(record.path, None), found, recheck)
        found.added += here.values()
    if roots and len(found.missing_roots) == len(roots):
        raise DataError("\n".join(found.notes))
    return found


def recognise(
    store: Store, found: Differences, on_progress: Callable[[int, int], None] = lambda _, __: None
) -> Recognised:
    """Tell moved, copied and touched files from new ones, by hashing those of a known size.

    Args:
        store: As of `find_differences`.
        found: What that gave.
        on_progress: Told after each file how many are hashed, and of how many.
    """
    done = Recognised()
    candidates = [*found.added, *found.changed]
    known: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in store.same_size({record.size for record in candidates}):
        known[record.size].append(record)
    doubtful = [record for record in candidates if record.size in known]
    done.rest = [record for record in candidates if record.size not in known]
    gone = {record.path for record in found.missing}
    taken: set[str] = set()
    hashed = decoded_ahead(doubtful, lambda one: content_hash(Path(one.path)), DISK_READERS)
    for count, (record, content) in enumerate(hashed, 1):
        on_progress(count, len(doubtful))
        if isinstance(content, ImageError):
            before = next((one for one in known[record.size] if one.path == record.path), None)
            is_kept = before is not None and before.mtime_ns == record.mtime_ns and before.present
            fault = replace(record, fault=content.reason)
            (done.unread if is_kept else done.rest).append(fault if is_kept else record)
            continue
        same = [one for one in known[record.size] if one.content == content]
        _place(done, record, same, gone, taken)
    return done


def _place(
    done: Recognised,
    record: ImageRecord,
    same: Sequence[ImageRecord],
    gone: set[str],
    taken: set[str],
) -> None:
    """Sort a file in by the known images that hold the same."""
    touched = [one for one in same if one.path == record.path]
    absent = [
        one for one in same if one.path not in taken and (one.path in gone or not one.present)
    ]
    for one in (*touched, *absent):
        taken.add(one.path)
        renewed = _renewed(one, record)
        if renewed != one:
            done.moves.append(Move(one.path, renewed))
        if (one.path, one.mtime_ns) != (record.path, record.mtime_ns):
            done.moved += 1
        elif one.present:
            done.unchanged += 1
        else:
            done.returned += 1
        return
    if same:
        done.copied.append((_renewed(same[0], record), same[0].path))
    else:
        done.rest.append(record)


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


def _files_on_disk(
    root: str, found: Differences, is_excluded: IsExcluded, *, is_known: bool
) -> dict[str, ImageRecord]:
    require_roots([root])
    try:
        images = find_images([root], is_excluded)
    except DataError:
        if not is_known:
            raise
        found.notes.append(
            f"{path_line(root)} holds no image any more, or none that is not left out. Is a drive "
            "missing?"
        )
        return {}
    found.notes += images.notes
    found.unread += images.unread
    here = {}
    for path in images.paths:
        record = _as_found(path)
        if record is not None:
            here[record.path] = record
    return here


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
    elif recheck or _state(record) != _state(here):
        found.changed.append(here)
    elif record.fault is not None:
        found.still_unreadable.append(record)
    elif record.present:
        found.unchanged += 1
    else:
        found.returned.append(Move(record.path, replace(record, present=True)))


def _state(record: ImageRecord) -> tuple[int, int, int | None]:
    return record.size, record.mtime_ns, record.ctime_ns
