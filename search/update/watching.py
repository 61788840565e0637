"""Follow the folders of an index, and keep it up to date."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from footwork.errors import ConfigError, DataError, StoreError
from search.paths import absolute_path
from search.place import IndexFolder, Place
from search.update.indexing import Indexer
from search.update.summary import AGAIN, Summary

if TYPE_CHECKING:
    from types import FrameType

QUIET = 2_000
"""Milliseconds without a change before the index is brought up to date: a copy that is under way
is not read half."""
_LONGEST = 60_000
"""Milliseconds after which it is, quiet or not."""


def watched_updates(indexer: Indexer, roots: Sequence[str]) -> Iterator[Summary]:
    """Index what changes below the roots of an index, until the caller is interrupted.

    What changed before it began, while an update was running or while a root was away, is found
    first. Updates that changed nothing are left out, unless one before them was put off. Roots are
    absolute; those that go may come back.
    """
    is_put_off, told = False, ""
    for is_due in _moments(roots, own_files(indexer.place)):
        if not (is_due or is_put_off):
            continue
        was_put_off = is_put_off
        try:
            summary = indexer.index()  # all roots: to name one takes in again what was removed
        # A drive may come back, even that of the index, and another process may end.
        except (ConfigError, DataError, StoreError) as error:
            summary = Summary(notes=[str(error)], is_put_off=True)
        is_put_off = summary.is_put_off
        is_news = bool(summary.notes) and str(summary.notes) != told
        if summary.has_changes or is_news or (was_put_off and not is_put_off):
            yield summary
        told = str(summary.notes)


def _moments(roots: Sequence[str], ignored: Sequence[str | Path]) -> Iterator[bool]:
    """Wait, again and again, until something may have changed; false where a while went by."""
    while True:
        try:
            yield from _moments_of_one_watch(roots, ignored)
        except FileNotFoundError:  # a folder that went just as it was to be watched
            time.sleep(AGAIN / 1000)


def _moments_of_one_watch(roots: Sequence[str], ignored: Sequence[str | Path]) -> Iterator[bool]:
    """The same until a root is another than before: a watch hangs on a folder, not on its name."""
    from watchfiles import Change, DefaultFilter, watch

    before = [_identity(root) for root in roots]
    here = [root for root, identity in zip(roots, before, strict=True) if identity is not None]
    is_first = True  # what changed while nothing was watched
    for changes in watch(
        *map(Path, here),
        watch_filter=DefaultFilter(ignore_paths=ignored),
        step=QUIET,
        debounce=_LONGEST,
        rust_timeout=AGAIN,
        yield_on_timeout=True,
        ignore_permission_denied=True,  # such a folder is noted by the update
    ):
        gone = {path for change, path in changes if change is Change.deleted}
        # The number of a deleted folder may at once be given to the next one.
        if not gone.isdisjoint(roots) or [_identity(root) for root in roots] != before:
            return
        yield is_first or bool(changes)
        is_first = False


def _identity(root: str) -> tuple[int, int] | None:
    """What tells a folder from another of the same name; None where there is none."""
    try:
        found = Path(root).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def own_files(place: Place) -> list[str | Path]:
    """What an update writes itself, maybe below a root; it must not call for the next one."""
    return [f"{absolute_path(place.path)}/"] if isinstance(place, IndexFolder) else []


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM is no failure but its end: what was begun is put in order."""
    usual, told = signal.getsignal(signal.SIGTERM), list[int]()
    if not callable(usual):  # nobody has it raise anything
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        told.append(number)
        usual(number, frame)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:  # which watchfiles makes of any signal
        if not told:
            raise
    finally:
        signal.signal(signal.SIGTERM, usual)
