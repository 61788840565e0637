"""Files that are not there: told without waiting for a drive that does not answer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from footwork.images.finding import why_missing
from search.paths import is_at_or_below

NO_ANSWER = "its drive does not answer"
_PATIENCE = 2.0
"""Seconds without a word from any drive, after which the rest is taken for missing."""
_LONGEST = 10.0
"""Seconds in all: a drive may be slow, and files many."""


def missing_files(paths: Iterable[str], roots: Sequence[str] = ()) -> dict[str, str]:
    """Look for files.

    A question to a dead network drive may never come back, and cannot be called off. So each
    folder that was indexed is asked by a thread of its own, and those that hang are left behind.

    Args:
        paths: Absolute, of any number.
        roots: Indexed folders, which may lie on different drives.

    Returns:
        Those that are not there, in no order, each with the reason: a clause.
    """
    by_root: dict[str | None, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_root[next((one for one in roots if is_at_or_below(path, one)), None)].append(path)
    answers: SimpleQueue[tuple[str, str | None]] = SimpleQueue()
    for some in by_root.values():
        Thread(target=_look, args=(some, answers), daemon=True).start()
    missing = {path: NO_ANSWER for some in by_root.values() for path in some}
    end = time.monotonic() + _LONGEST
    for _ in range(len(missing)):
        try:
            path, reason = answers.get(timeout=max(0.0, min(_PATIENCE, end - time.monotonic())))
        except Empty:
            break
        if reason is None:
            del missing[path]
        else:
            missing[path] = reason
    return missing


def _look(paths: Sequence[str], answers: SimpleQueue[tuple[str, str | None]]) -> None:
    for path in paths:
        answers.put((path, why_missing(Path(path))))
