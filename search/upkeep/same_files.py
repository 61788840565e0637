"""Files as they are now: still those that the index knows, and not two names of one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from footwork.errors import ImageError
from footwork.files.faults import why
from footwork.files.plain_files import content_of
from footwork.images.ahead import DISK_READERS, decoded_ahead
from search.records import ImageRecord

State = Literal["as known", "changed", "gone"]


def state_of(record: ImageRecord) -> State:
    """Whether a file is there, and of the size and times that the index knows."""
    try:
        found = os.stat(record.path)  # noqa: PTH116 - of many
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        why(error)
        return "gone"
    known = record.is_state_of(found) and stat.S_ISREG(found.st_mode)
    return "as known" if known else "changed"


def holds_as_known(records: Iterable[ImageRecord]) -> dict[str, bool]:
    """Whether files hold the bytes that the index knows, by path; each is read whole."""
    every = {record.path: record.content for record in records}
    found = decoded_ahead(every, lambda path: content_of(Path(path)), DISK_READERS)
    return {
        path: not isinstance(content, ImageError) and content == every[path]
        for path, content in found
    }


def distinct_files(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Each file once, in order: by its own name rather than by that of a link to it.

    Who deletes the other name of a file that is kept deletes the file, or nothing but a link.

    Args:
        records: Of any number; those that are not on this machine are all taken for files of
            their own.
    """
    files: dict[object, ImageRecord] = {}
    for record in records:
        key = _file_of(record.path)
        known = files.setdefault(key, record)
        if known is not record and _is_link(known.path) and not _is_link(record.path):
            files[key] = record
    return list(files.values())


def _file_of(path: str) -> object:
    try:
        state = os.stat(path)  # noqa: PTH116 - of many
    except Exception as error:  # noqa: BLE001 - the same
        why(error)
        return path
    return state.st_dev, state.st_ino


def _is_link(path: str) -> bool:
    return os.path.realpath(path) != path
