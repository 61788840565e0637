"""Files that one process holds at a time, and that say which."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from footwork.files.plain_files import open_plain, open_to_write

_TRIES, _PAUSE = 4, 0.05  # seconds


class LockedByOther(Exception):  # noqa: N818 - whoever asks for the lock says what it means
    """Another process holds the lock; the message names it."""


@contextmanager
def exclusive_lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a file, made if need be, within the block; the lock ends with the process at the latest.

    Where another process, or another block of this one, holds it, `LockedByOther` is raised; where
    it cannot be written, or is a link, an `OSError`.
    """
    # Neither emptied nor deleted: it is another's until it is locked, and may be being opened.
    with open_to_write(path) as file:
        for left in range(_TRIES, -1, -1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                break
            except BlockingIOError as error:
                told = file.read()
                if told or not left:
                    raise LockedByOther(_holder(told)) from error
                time.sleep(_PAUSE)  # nobody has it for long who does not say so: `lock_holder`
        if not (wait or os.fstat(file.fileno()).st_nlink):  # whoever had it has deleted it
            raise LockedByOther(_holder(b""))
        file.truncate(0)
        since = datetime.now(UTC).astimezone().isoformat(" ", "seconds")
        holder = {"pid": os.getpid(), "host": platform.node(), "since": since}
        file.write(json.dumps(holder).encode())
        try:
            yield
        finally:
            file.truncate(0)


def lock_holder(path: Path) -> str | None:
    """Who holds a lock; None where nobody does."""
    try:
        with open_plain(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(file.read())
    except OSError:
        pass  # there is none
    return None


def _holder(text: bytes) -> str:
    try:
        found = json.loads(text)
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (ValueError, TypeError, KeyError, RecursionError):  # it has only just been locked
        return "another process"
