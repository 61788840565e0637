"""Names of one file, which must not be taken for copies: who deletes the copy, deletes the file."""

from __future__ import annotations

import os
from collections.abc import Iterable

from search.records import ImageRecord


def distinct_files(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Each file once, in order: by its own name rather than by that of a link to it.

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
    except OSError:
        return path
    return state.st_dev, state.st_ino


def _is_link(path: str) -> bool:
    return os.path.realpath(path) != path
