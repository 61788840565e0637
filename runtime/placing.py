"""Copy or move one file to a name that is free: wholly or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal

How = Literal["copy", "move"]

_CHUNK = 1 << 20  # bytes


def place_file(source: Path, target: Path, how: How) -> None:
    """Copy or move a file; nothing is ever overwritten.

    A copy is written to a hidden sibling, flushed, then renamed; times and permissions come along
    as far as the file system has them. A move to another file system is a copy that is compared
    with its source before that is deleted.

    Raises:
        FileExistsError: Something stands at `target`.
        OSError: It cannot be done; all is as it was.
    """
    if how == "copy":
        _copy(source, target)
        return
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_far(source, target)


def part_of(target: Path) -> Path:
    """The sibling in which a copy grows, known by its target to whoever tidies up."""
    code = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".footwork-{code}.part")


def are_identical(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes.

    Raises:
        OSError: One cannot be read.
    """
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(_CHUNK):
            if chunk != right.read(_CHUNK):
                return False
        return not right.read(1)


def _copy(source: Path, target: Path) -> None:
    part = part_of(target)
    try:
        shutil.copyfile(source, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # FAT has no permissions
            shutil.copystat(source, part)
        _rename(part, target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _move_far(source: Path, target: Path) -> None:
    _copy(source, target)
    try:
        _require_identical(source, target)
        source.unlink()
    except OSError:
        target.unlink()
        raise


def _require_identical(source: Path, target: Path) -> None:
    if not are_identical(source, target):
        raise OSError(errno.EIO, "the copy differs from its source")


def _rename(source: Path, target: Path) -> None:
    """Rename, never onto another file as `os.rename` would."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here, or it cannot be done at all: renaming tells
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        source.rename(target)
        return
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise
