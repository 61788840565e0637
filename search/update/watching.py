"""Keep an index up to date while its folders change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.errors import DataError, StoreError
from search.index_folder import IndexFolder
from search.paths import absolute_path
from search.places import Place
from search.update.indexing import Indexer
from search.update.update import Summary

QUIET = 2_000
"""Milliseconds without a change before the index is brought up to date: a copy that is under way
is not read half."""
_LONGEST = 60_000
"""Milliseconds after which it is, quiet or not."""
AGAIN = 5_000
"""Milliseconds until an update that could not write is tried again."""


def watched_updates(indexer: Indexer, roots: Sequence[str]) -> Iterator[Summary]:
    """Index what changes below some roots, until the caller is interrupted.

    What changed before it began, while an update was running, is found first.

    Args:
        indexer: Of the index.
        roots: Absolute.

    Yields:
        What each update did; those that changed nothing are left out.
    """
    from watchfiles import DefaultFilter, watch

    ours = DefaultFilter(ignore_paths=_own_files(indexer.place))
    is_due, told = True, ""
    for changes in watch(
        *map(Path, roots),
        watch_filter=ours,
        step=QUIET,
        debounce=_LONGEST,
        rust_timeout=AGAIN,
        yield_on_timeout=True,
    ):
        if not (changes or is_due):
            continue
        summary, is_due = _updated(indexer, roots)
        if summary.has_changes or (summary.notes and str(summary.notes) != told):
            yield summary
        told = str(summary.notes)


def _updated(indexer: Indexer, roots: Sequence[str]) -> tuple[Summary, bool]:
    """What an update did, and whether it is to be tried again soon."""
    try:
        return indexer.index(roots), False
    except DataError as error:  # a drive that was pulled out may come back
        return Summary(notes=[str(error)]), False
    except StoreError as error:  # another process may write
        return Summary(notes=[str(error)]), True


def _own_files(place: Place) -> list[str | Path]:
    """What an update writes itself, maybe below a root; it must not call for the next one."""
    return [f"{absolute_path(place.path)}/"] if isinstance(place, IndexFolder) else []
