"""Files that one process holds at a time, and that say which."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path


class LockedByOther(Exception):  # noqa: N818 - whoever asks for the lock says what it means
    """Another process holds the lock; the message names it."""


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold `path` within the block; the lock ends with the process at the latest.

    Raises:
        LockedByOther: Another process, or another block of this one, holds it.
        OSError: The file cannot be written.
    """
    # Neither emptied nor deleted: it is another's until it is locked, and may be being opened.
    with open(path, "a+", encoding="utf-8", opener=_opened) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise LockedByOther(_holder(file.read())) from error
        file.truncate(0)
        since = datetime.now(UTC).astimezone().isoformat(" ", "seconds")
        json.dump({"pid": os.getpid(), "host": platform.node(), "since": since}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _opened(path: str, flags: int) -> int:
    """Open a file that is no link: where one leads, another file would be emptied."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _holder(text: str) -> str:
    try:
        found = json.loads(text)
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (ValueError, TypeError, KeyError):  # it has only just been locked
        return "another process"
