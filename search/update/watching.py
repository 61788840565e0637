"""Keep an index up to date while its folders change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.errors import DataError
from search.update.indexing import Indexer
from search.update.update import Summary

_QUIET = 2_000
"""Milliseconds without a change before the index is brought up to date: a copy that is under way
is not read half."""
_LONGEST = 60_000
"""Milliseconds after which it is, quiet or not."""


def watched_updates(indexer: Indexer, roots: Sequence[str]) -> Iterator[Summary]:
    """Wait for changes below some roots and index them, until the caller is interrupted.

    Args:
        indexer: Of the index.
        roots: Absolute.

    Yields:
        What each update did; those that changed nothing are left out.
    """
    from watchfiles import watch

    watched = [Path(root) for root in roots]
    for _ in watch(*watched, step=_QUIET, debounce=_LONGEST, raise_interrupt=True):
        try:
            summary = indexer.index(roots)
        except DataError as error:  # a drive that was pulled out may come back
            summary = Summary(notes=[str(error)])
        if summary.notes or summary.has_changes:
            yield summary
