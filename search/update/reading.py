"""A file read once: what it shows, and what is to be known of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ImageError
from runtime.images.decoding import DecodedImage, read_image, reason_of
from runtime.images.opening import RefusedImage, read_source
from search.records import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

_ATTEMPTS = 3
"""At a file that changes while it is read."""
HELD_BYTES = 2**28
"""Of a file that is read whole into memory, where several are at once; a larger one is read twice,
by parts."""


@dataclass(slots=True)
class FileReading:
    """A file to be embedded; `record` tells what it was like when its bytes were read."""

    record: ImageRecord
    """As it was found, and once it is decoded all that is known."""
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        """Take the path from the record."""
        self.path = Path(self.record.path)

    def decode(self, side: int) -> Image:
        """Decode the very bytes that the record is about.

        Args:
            side: Pixels that the shorter side is needed for.

        Raises:
            ImageError: The file is no picture, or does not hold still.
        """
        picture, content, found = _read(self.path, side)
        facts = picture.facts
        self.record = ImageRecord(
            path=self.record.path,
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            content=content,
            format=facts.format,
            width=facts.width,
            height=facts.height,
            date=wall_clock(found.st_mtime_ns / 1e9) if facts.date is None else facts.date,
            camera=facts.camera,
        )
        return picture.image


def _read(path: Path, side: int) -> tuple[DecodedImage, str, os.stat_result]:
    """A picture, the SHA-256 of its file, and the state of that."""
    if _size_of(path) > HELD_BYTES:
        return _read_twice(path, side)
    data, found = read_whole(path)
    try:
        return read_image(data, side), hashlib.sha256(data).hexdigest(), found
    except ImageError as error:
        raise ImageError(str(path), error.reason) from error


def _read_twice(path: Path, side: int) -> tuple[DecodedImage, str, os.stat_result]:
    """The same of a file that may not fit into memory."""
    try:
        before = path.stat()
        picture, content = read_image(path, side), content_of(path)
        after = path.stat()
    except OSError as error:
        raise ImageError(str(path), reason_of(error)) from error
    if content is None or _state(before) != _state(after):
        raise ImageError(str(path), "it changes while it is read")
    return picture, content, after


def read_whole(path: Path) -> tuple[bytes, os.stat_result]:
    """What a file holds, and its state at that moment.

    Raises:
        ImageError: It cannot be read, or changes all the while.
    """
    try:
        for _ in range(_ATTEMPTS):
            with read_source(path) as stream:
                before = os.fstat(stream.fileno())
                data = stream.read()
                after = os.fstat(stream.fileno())
            if _state(before) == _state(after) and len(data) == after.st_size:
                return data, after
    except (OSError, ValueError, RefusedImage) as error:
        raise ImageError(str(path), reason_of(error)) from error
    raise ImageError(str(path), "it changes while it is read")


def content_of(path: Path) -> str | None:
    """SHA-256 of a file, hexadecimal; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def wall_clock(seconds: float) -> int:
    """A moment by the clock on this machine's wall, in seconds since 1970 of that clock."""
    moment = datetime.fromtimestamp(seconds).astimezone()
    offset = moment.utcoffset()
    return int(seconds + (offset.total_seconds() if offset else 0))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0  # whoever opens it says why


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
