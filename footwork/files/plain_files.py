"""Files of a folder that a stranger or a bad disk may have made: plain ones, or none.

A FIFO or a device in place of a file never ends; a link leads what is written to another's file.
"""

from __future__ import annotations

import errno
import json
import os
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO

LONGEST = 1 << 26  # bytes of a document that anybody may have made


def open_plain(path: Path) -> BufferedReader:
    """Open a file to read; a link may lead to it. What is no regular file is an `OSError`."""
    require_regular(path.stat(), path)  # before it is opened: a device may act on that alone
    return os.fdopen(_descriptor(path, os.O_RDONLY), "rb")


def content_hash(path: Path) -> str:
    """SHA-256 of the bytes of a regular file, in hexadecimal."""
    import hashlib  # 3 ms, which no query spends

    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: Path) -> str | None:
    """SHA-256 of a file, hexadecimal; None where it cannot be read, or is no regular file."""
    try:
        return content_hash(path)
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        from footwork.files.faults import why  # 1 ms, which no query spends

        why(error)
        return None


def open_to_write(path: Path) -> BinaryIO:
    """Open a file, made if need be, to change what is in it; a link is an `OSError`."""
    require_no_link(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    return os.fdopen(_descriptor(path, flags), "r+b", buffering=0)


def require_no_link(path: Path) -> None:
    """Refuse, by an `OSError`, a link in the place of what is to be written or deleted."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, and must be a file or folder itself", str(path))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a regular file holds; a `ValueError` if it holds something else."""
    return _require_object(read_document(path))


def parse_object(content: bytes | str) -> dict[str, Any]:
    """The JSON object that a text is; a `ValueError` if it is something else."""
    return _require_object(_parse(content))


def read_document(path: Path, longest: int | None = LONGEST) -> Any:
    """The JSON of a file of at most `longest` bytes (None for what we wrote ourselves).

    What is no JSON, or longer, is a `ValueError`; no regular file an `OSError`.
    """
    with open_plain(path) as file:
        content = file.read(-1 if longest is None else longest + 1)
    if longest is not None and len(content) > longest:
        raise ValueError(f"it is longer than {longest:,} bytes")
    return _parse(content)


def _parse(content: bytes | str) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _require_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of a text, not of `value`
    return value


def _descriptor(path: Path, flags: int) -> int:
    # What cannot be opened at once is no file; a file pays no heed to O_NONBLOCK.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        require_regular(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def require_regular(state: os.stat_result, path: Path) -> None:
    """Refuse, by an `OSError`, what the system says is a folder, a pipe or a device."""
    if not S_ISREG(state.st_mode):
        kind = "a folder" if S_ISDIR(state.st_mode) else "no regular file"
        raise OSError(errno.EINVAL, f"it is {kind}", str(path))
