"""The undo file: what is about to be done, one JSON object a line.

    {"step": "folder", "path": "cat"}                               a folder is made
    {"step": "copy", "source": "/photos/a.jpg", "target": "cat/a.jpg"}   or "move"

Paths are relative to the folder of the undo file, which may be moved; sources are absolute. Lines
are on the disk before their steps begin, so a step may be recorded that never was done, but none
is done that is not recorded.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from runtime.errors import ConfigError, DataError
from runtime.faults import why

FILE_NAME = "footwork-undo.jsonl"


@dataclass(frozen=True, slots=True)
class Step:
    """One line."""

    step: Literal["folder", "copy", "move"]
    target: str
    """Of the file or the folder, relative."""
    source: str = ""
    """Absolute; empty for a folder."""

    def to_line(self) -> bytes:
        """As it is written; bytes of a name that are no UTF-8 survive as escapes."""
        paths = {"path": self.target}
        if self.step != "folder":
            paths = {"source": self.source, "target": self.target}
        return json.dumps({"step": self.step, **paths}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Step:
        """What `to_line` wrote.

        Raises:
            ValueError: It did not write this.
        """
        value: Any = json.loads(line)
        match value:
            case {"step": "folder", "path": str(path)}:
                return cls("folder", path)
            case {"step": "copy" | "move" as step, "source": str(source), "target": str(target)}:
                return cls(step, target, source)
        raise ValueError("no step")


class UndoRecord:
    """An undo file that this process alone has open.

    Args:
        path: Where it stands.
        file: Open for reading and appending, unbuffered.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self.lines = _cut_torn(file)
        """Those that stood there when it was opened."""

    def write(self, steps: Iterable[Step]) -> None:
        """Add steps, all or none, and flush them to the disk.

        Raises:
            OSError: They cannot be written.
        """
        rest, before = b"".join(step.to_line() for step in steps), self._size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                self._file.truncate(before)
            raise

    @property
    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size


@contextmanager
def opened_record(path: Path) -> Iterator[UndoRecord]:
    """Open an undo file for one process, and make it if it is not there.

    Raises:
        ConfigError: Another process has it open.
        DataError: It cannot be opened.
    """
    try:
        file = FileIO(path, "a+")
    except OSError as error:
        raise DataError(f"Cannot write {path}: {why(error)}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another command sorts into {path.parent}. Wait until it is done."
            ) from error
        except OSError:  # no locks here, as on some network storages
            pass
        yield UndoRecord(path, file)


def _cut_torn(file: FileIO) -> list[bytes]:
    """The whole lines; the rest of a killed process goes, since its step never began."""
    file.seek(0)
    content = file.readall()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
    return content[:whole].splitlines(keepends=True)
