"""A file read once: what it shows, and what is to be known of it."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from footwork.errors import ImageError
from footwork.files.plain_files import content_of
from footwork.images.decoding import (
    DecodedImage,
    RefusedImage,
    open_picture,
    read_image,
    read_source,
    reason_of,
)
from footwork.images.facts import ImageFacts, read_facts
from search.records import ImageRecord, file_date, file_state

if TYPE_CHECKING:
    from PIL.Image import Image

_ATTEMPTS = 3
"""At a file that changes while it is read."""
HELD_BYTES = 2**28
"""Of a file that is read whole into memory, where several are at once; a larger one is read twice,
by parts."""


@dataclass(slots=True)
class FileReading:
    """A file to be embedded.

    One thread decodes it, others may read `found` meanwhile: that never changes. `decoded` and
    `note` are for who waited until it was decoded.
    """

    found: ImageRecord
    """As its folder tells of it."""
    decoded: ImageRecord | None = None
    """All that is known, of the very bytes that were read."""
    note: str | None = None
    """What to know of the image, though it could be decoded; a clause."""

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(self.found.path)

    def decode(self, side: int | None) -> Image:
        """Decode the bytes that `decoded` tells of, the shorter side to at least so many pixels.

        None decodes all. `ImageError` where the file is no image, or does not hold still.
        """
        is_held = True
        with suppress(OSError, ValueError):  # whoever opens it says why
            is_held = self.path.stat().st_size <= HELD_BYTES
        image, content, as_read = (_read_once if is_held else _read_twice)(self.path, side)
        self.note = image.note
        self.decoded = _record(self.found.path, as_read, content, image.facts)
        return image.image


def _record(path: str, found: os.stat_result, content: str, facts: ImageFacts) -> ImageRecord:
    state = file_state(found)
    return ImageRecord(
        path=path,
        **state,
        content=content,
        format=facts.format,
        width=facts.width,
        height=facts.height,
        date=file_date(state["mtime_ns"]) if facts.date is None else facts.date,
        date_from="file" if facts.date is None else "picture",
        camera=facts.camera,
    )


def _read_once(path: Path, side: int | None) -> tuple[DecodedImage, str, os.stat_result]:
    """An image, the SHA-256 of its file, and the state of that."""
    data, state = read_whole(path)
    try:
        return read_image(data, side), hashlib.sha256(data).hexdigest(), state
    except ImageError as error:
        raise ImageError(str(path), error.reason) from error


def _read_twice(path: Path, side: int | None) -> tuple[DecodedImage, str, os.stat_result]:
    """The same of a file that may not fit into memory."""
    try:
        before = path.stat()
        picture, content = read_image(path, side), content_of(path)
        after = path.stat()
    except OSError as error:
        raise ImageError(str(path), reason_of(error)) from error
    if content is None or file_state(before) != file_state(after):
        raise ImageError(str(path), "it changes while it is read")
    return picture, content, after


def read_whole(path: Path) -> tuple[bytes, os.stat_result]:
    """What a file holds, and its state then; `ImageError` where it cannot be read or changes."""
    try:
        for _ in range(_ATTEMPTS):
            with read_source(path) as stream:
                before = os.fstat(stream.fileno())
                data = stream.read()
                after = os.fstat(stream.fileno())
            if file_state(before) == file_state(after) and len(data) == after.st_size:
                return data, after
    except (OSError, ValueError, RefusedImage) as error:
        raise ImageError(str(path), reason_of(error)) from error
    raise ImageError(str(path), "it changes while it is read")


def looked_at(record: ImageRecord) -> ImageRecord:
    """What others tell of a file, or a record with a `fault` where it does not begin as an image.

    Where they tell no `content` but the path alone, what can be told of the file is added. It is
    not decoded.
    """
    try:
        with read_source(Path(record.path)) as stream:
            state = os.fstat(stream.fileno())
            try:
                picture = open_picture(stream)
                picture.info.setdefault("exif", b"")  # or a PNG is decoded, to look behind it
                facts = read_facts(picture, picture.size)
            except Exception:  # noqa: BLE001 - it is mended where it is decoded, if it can be
                facts = read_image(Path(record.path), 1).facts
            if record.content:
                return record
            stream.seek(0)
            content = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - Pillow's readers raise whatever a bad file brings
        kept = ImageRecord(path=record.path, size=record.size, mtime_ns=record.mtime_ns)
        return replace(kept, fault=reason_of(error), labels={})
    return replace(_record(record.path, state, content, facts), labels=record.labels)
