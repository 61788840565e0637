"""Copy or move a file to a name that is free: wholly or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Literal

from footwork.errors import ConfigError
from footwork.files.faults import why
from footwork.files.folders import flush
from footwork.files.plain_files import open_plain, require_regular

How = Literal["copy", "move"]

_CHUNK = 1 << 20  # bytes
_PART = re.compile(r"\.footwork-[0-9a-f]{16}\.part")


def place_file(source: Path, target: Path, how: How, part: str | None = None) -> None:
    """Copy or move a file to a free name; nothing is ever overwritten.

    A copy is written to a hidden sibling, flushed, then renamed; times and permissions come along
    as far as the file system has them. A move to another file system is a copy that is compared
    with its source before that is deleted. After an `OSError`, such as FileExistsError where
    something stands at `target`, all is as it was.

    `part`, of `part_name`, is the name of the hidden sibling, for whoever tidies up after a kill;
    None draws one. What is to be copied may be a link to a file.
    """
    part = part or part_name()
    if how == "copy":
        _copy(source, target, part)
        return
    require_regular(source.lstat(), source)
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, part)
        try:
            _require_identical(source, target)
            flush(target.parent)  # a power cut may keep the deletion, and not yet the name
            source.unlink()
        except OSError:
            target.unlink()
            raise


def take_back(placed: Path, source: Path, how: How) -> None:
    """Undo a `place_file` just done; after an `OSError` the file is in one of the two places."""
    if how == "move":
        place_file(placed, source, "move")
    elif not placed.samefile(source):
        placed.unlink()


def part_name() -> str:
    """A name for the sibling in which a copy grows, which nobody can foresee."""
    return f".footwork-{os.urandom(8).hex()}.part"


def is_part_name(name: str) -> bool:
    """Whether a name is one that `part_name` gives."""
    return _PART.fullmatch(name) is not None


def are_identical(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    with open_plain(one) as left, open_plain(other) as right:
        if os.fstat(left.fileno()).st_size != os.fstat(right.fileno()).st_size:
            return False
        while chunk := left.read(_CHUNK):
            if chunk != right.read(_CHUNK):
                return False
        return not right.read(1)


def _copy(source: Path, target: Path, part: str) -> None:
    growing = target.with_name(part)
    with open_plain(source) as original:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(growing, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(original, copy, _CHUNK)
                copy.flush()
                _copy_facts(original.fileno(), copy.fileno())
                os.fsync(copy.fileno())
            _rename(growing, target)
        finally:
            with suppress(OSError):
                growing.unlink(missing_ok=True)


def _copy_facts(source: int, copy: int) -> None:
    """Permissions, times and extended attributes, from descriptor to descriptor."""
    facts = os.fstat(source)
    with suppress(OSError):  # FAT has no permissions
        os.fchmod(copy, facts.st_mode & 0o777)
    if sys.platform == "linux":
        names: list[str] = []
        with suppress(OSError):
            names = os.listxattr(source)
        for name in names:
            with suppress(OSError):  # of a security module, or of another file system
                os.setxattr(copy, name, os.getxattr(source, name))
    with suppress(OSError):
        os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))


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


_NUMBERED = re.compile(r"(.+)-[0-9]+(\.[^.]*)?", re.DOTALL)


class TargetFolder:
    """What stands in a folder, and what is to come; it need not exist.

    Names that differ only in case, or in how accents are composed, count as one, since they are one
    on some file systems. What is no folder, or cannot be listed, is a `ConfigError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken: set[str] = set()
        self._there: dict[str, dict[int, list[str]]] = {}
        self._numbers: defaultdict[str, int] = defaultdict(lambda: 1)
        for standing, size in _standing(path):
            self._taken.add(name_key(standing))
            numbered = _NUMBERED.fullmatch(standing)
            # What a source may have been called that stands here under this name.
            for name in (standing, numbered[1] + (numbered[2] or "")) if numbered else (standing,):
                sizes = self._there.setdefault(name_key(name), {})
                sizes.setdefault(size, []).append(standing)

    def place(
        self, source: Path, companions: Callable[[Path], Iterable[Path]] = lambda _: ()
    ) -> Path:
        """Claim a name for a file: its own, or one with a number.

        `companions` are what else has to be free for a target, and is claimed with it.
        """
        key = name_key(source.name)
        for number in count(self._numbers[key]):
            name = source.stem + (f"-{number}" if number > 1 else "") + source.suffix
            target = self.path / name
            keys = {name_key(path.name) for path in (target, *companions(target))}
            if not keys & self._taken:
                break
        self._numbers[key] = number + 1
        self._taken |= keys
        return target

    def copy_of(self, source: Path) -> Path | None:
        """What stands here of these names with the same content; it stands for one source only."""
        sizes = self._there.get(name_key(source.name), {})
        with suppress(OSError):  # what cannot be read fails when it is placed
            names = sizes.get(source.stat().st_size, [])
            for name in names:
                with suppress(OSError):
                    if are_identical(source, self.path / name):
                        names.remove(name)
                        return self.path / name
        return None


def name_key(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _standing(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes in bytes, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(
            f"Cannot put files into {folder}: {why(error)}. Name another folder, or mend this one."
        ) from error
