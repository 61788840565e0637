"""The undo file: what is about to be done, one JSON object a line.

    {"step": "folder", "path": "cat", "signature": …}       a folder is made
    {"step": "copy", "files": [{"source": "/photos/a.jpg", "target": "cat/a.jpg", "sha256": …,
     "part": …, "mount": "/photos"}, …], "signature": …}    or "move": an image and its sidecars

Paths are relative to the folder of the undo file, which may be moved; sources are absolute. Lines
are on the disk before their steps begin, so a step may be recorded that never was done, but none
is done that is not recorded.

Whoever can write into the folder can write lines. So each is signed (HMAC-SHA256) with a key that
is drawn at the first sorting and lies with the user's data: a line without the user's signature
moves nothing.
"""

from __future__ import annotations

import errno
import fcntl
import hmac
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from footwork.errors import ConfigError, DataError
from footwork.files.faults import why
from footwork.files.paths import path_line
from footwork.files.placing import is_part_name
from footwork.files.plain_files import open_plain, parse_object, require_regular
from footwork.home import data_folder

FILE_NAME = "footwork-undo.jsonl"
_KEY_BYTES = 32
_BEGINNING = b'{"step": "'


@dataclass(frozen=True, slots=True)
class SortedFile:
    """One file of a step."""

    source: str
    """Absolute."""
    target: str
    """Below the folder of the undo file."""
    sha256: str
    """Of its bytes, in hexadecimal."""
    part: str
    """Name of the sibling in which a copy of it grows."""
    mount: str = ""
    """Where the drive of the source was mounted; empty for that of `/`, and from earlier versions,
    whose lines lack it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line."""

    step: Literal["folder", "copy", "move"]
    folder: str = ""
    """To be made; relative."""
    files: tuple[SortedFile, ...] = ()
    """An image and its sidecars, which go together or not at all."""

    def to_line(self, key: bytes) -> bytes:
        """As it is written; bytes of a name that are no UTF-8 survive as escapes."""
        value = {"step": self.step, **self._content()}
        return json.dumps(value | {"signature": _signature(value, key)}).encode() + b"\n"

    def _content(self) -> dict[str, Any]:
        if self.step == "folder":
            return {"path": self.folder}
        files = [asdict(file) for file in self.files]
        return {"files": [{name: file[name] for name in file if file[name]} for file in files]}

    @classmethod
    def from_line(cls, line: bytes, key: bytes) -> tuple[Step, bool]:
        """What `to_line` wrote, else a `ValueError`, and whether it was signed with the key."""
        match parse_object(line):
            case {
                "step": "folder",
                "path": str(path),
                "signature": str(signature),
            } if _is_path(path):
                step = cls("folder", path)
            case {
                "step": "copy" | "move" as what,
                "files": [_, *_] as files,
                "signature": str(signature),
            }:
                step = cls(what, files=tuple(map(_file_of, files)))
            case _:
                raise ValueError("no step")
        expected = _signature({"step": step.step, **step._content()}, key)
        return step, hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def own_key() -> bytes:
    """The key of this user, drawn where there is none; a `DataError` where it cannot be kept."""
    path = data_folder() / "undo.key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            drawn = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(drawn, "wb") as file:
                file.write(os.urandom(_KEY_BYTES))
        for pause in (0.0, 0.2):  # another process may be about to write it
            time.sleep(pause)
            with open_plain(path) as kept:
                if key := kept.read():
                    break
    except OSError as error:
        raise DataError(
            f"Cannot keep the key of undo files, {path_line(path)}: {why(error)}. Set "
            "FOOTWORK_HOME to a folder that you may write."
        ) from error
    if len(key) != _KEY_BYTES:
        raise DataError(
            f"{path_line(path)} is no key of undo files. Remove it: a new one is drawn, and what "
            "was sorted before is then undone with --trust."
        )
    return key


def _signature(value: dict[str, Any], key: bytes) -> str:
    return hmac.digest(key, json.dumps(value, sort_keys=True).encode(), "sha256").hex()


def _is_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _file_of(value: Any) -> SortedFile:
    match value:
        case {"source": str(source), "target": str(target), "sha256": str(sha), "part": str(part)}:
            places = PurePosixPath(target).parts
            below = places and not PurePosixPath(target).is_absolute() and ".." not in places
            whole = _is_path(source) and _is_path(target) and Path(source).is_absolute()
            mount = value.get("mount", "")
            if below and whole and is_part_name(part) and isinstance(mount, str):
                return SortedFile(source, target, sha, part, mount)
    raise ValueError("no file")


def mount_of(folder: str) -> str:
    """Where the drive of a folder, a real path, is mounted; empty for that of `/`."""
    while not os.path.ismount(folder):
        folder = os.path.dirname(folder)  # noqa: PTH120 - of many
    return folder.rstrip("/")


class UndoRecord:
    """An undo file that this process alone has open, for reading and appending, unbuffered."""

    def __init__(self, path: Path, file: FileIO, key: bytes) -> None:
        self.path = path
        self.key = key
        self._file = file
        self.lines = _cut_torn(file)
        """Those that stood there when it was opened."""

    def write(self, steps: Iterable[Step]) -> None:
        """Add steps, all or, with an `OSError`, none, and flush them to the disk."""
        rest = b"".join(step.to_line(self.key) for step in steps)
        before = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                self._file.truncate(before)
            raise


@contextmanager
def opened_record(path: Path) -> Iterator[UndoRecord]:
    """Open an undo file for one process, and make it if it is not there.

    Raises:
        ConfigError: Another process has it open.
        DataError: It cannot be opened.
    """
    key = own_key()
    try:
        file = FileIO(path, "a+", opener=_opened)
    except OSError as error:
        raise DataError(f"Cannot write {path_line(path)}: {why(error)}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another command sorts into {path_line(path.parent)}. Wait until it is done."
            ) from error
        except OSError:  # no locks here, as on some network storages
            pass
        is_there = False
        with suppress(OSError):
            is_there = os.path.samestat(os.stat(path), os.fstat(file.fileno()))  # noqa: PTH116
        if not is_there:  # whoever had the lock has put another in its place
            raise ConfigError(
                f"Another command has just changed {path_line(path)}. Run this one again."
            )
        try:
            record = UndoRecord(path, file, key)
        except OSError as error:
            raise DataError(f"Cannot write {path_line(path)}: {why(error)}.") from error
        yield record


def recorded_copies(folder: Path) -> frozenset[Path]:
    """The copies that the undo file of a folder, if it has one, says were made there.

    Whoever signed it: they are only left alone.
    """
    copies: set[Path] = set()
    with suppress(OSError), open_plain(folder / FILE_NAME) as file:
        for line in file:
            with suppress(ValueError):
                step, _ = Step.from_line(line, b"")
                copies.update(folder / copy.target for copy in step.files if step.step == "copy")
    return frozenset(copies)


def _opened(path: str, flags: int) -> int:
    """Open a file that is no link: where one leads, another file would be cut and written."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        require_regular(os.fstat(descriptor), Path(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _cut_torn(file: FileIO) -> list[bytes]:
    """The whole lines; what a killed process has begun of another goes: its step never began.

    An `OSError` where what stands there is no undo file.
    """
    file.seek(0)
    content = file.readall()
    whole = content.rfind(b"\n") + 1
    rest = content[whole:]
    if rest.endswith(b"}"):  # of an editor that ends no last line
        file.write(b"\n")
        return (content + b"\n").splitlines(keepends=True)
    if not _BEGINNING.startswith(rest[: len(_BEGINNING)]):
        raise OSError(errno.EINVAL, "it is no undo file")
    if rest:
        file.truncate(whole)
    return content[:whole].splitlines(keepends=True)
