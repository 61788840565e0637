"""Small JPEGs of pictures, kept so that each file is decoded once."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from footwork.errors import ImageError
from footwork.files.folders import published_file
from footwork.files.paths import path_line
from footwork.files.plain_files import content_hash, open_plain
from footwork.images.decoding import decode_image

if TYPE_CHECKING:
    from PIL import Image

_QUALITY = 82  # percent of libjpeg
_CHECKSUM = 4  # bytes, at the end of a kept file
_RECIPE = 3
"""Part of a kept file's name: to be raised when the same picture would come out otherwise."""


def thumbnail_jpeg(source: Path | bytes | Image.Image, side: int) -> bytes:
    """A small JPEG, its longest side `side` pixels: upright, bare, never enlarged."""
    # Its shorter side is decoded at `side` pixels or more, so that the longer one is too.
    picture = decode_image(source, -(-side // 2))
    picture.thumbnail((side, side))
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()


class Thumbnails:
    """Thumbnails of one size; what cannot be kept is made again. For any number of threads.

    `folder` is where they are kept, made with the first one; None keeps none.
    """

    def __init__(self, side: int, folder: Path | None = None) -> None:
        if side < 1:
            raise ValueError(f"`side` must be at least 1 pixel, got {side}.")
        self.side, self._folder = side, folder

    def of(self, path: Path, content: str, missing: str | None = None) -> bytes:
        """The thumbnail of a picture, which may have gone since it was made, or an `ImageError`.

        Args:
            path: Its file.
            content: SHA-256 of the file as it was known, hexadecimal; the same content has the
                same thumbnail, wherever it lies. Empty if unknown: it is then not kept, and
                neither is that of a file which has changed.
            missing: Why the file is not to be opened, a clause; a thumbnail that was kept will do.
        """
        kept: Path | None = None
        if self._folder is not None and content.isalnum():
            kept = self._folder / content[:2] / f"{content}-{self.side}-{_RECIPE}.jpg"
            with suppress(OSError), open_plain(kept) as file:
                whole = file.read()
                if whole[-_CHECKSUM:] == crc32(whole[:-_CHECKSUM]).to_bytes(_CHECKSUM):
                    return whole[:-_CHECKSUM]
        if missing is not None:
            raise ImageError(path_line(path), missing)
        made = thumbnail_jpeg(path, self.side)
        with suppress(OSError):  # a full disk costs only the time to make it again
            if kept is not None and content_hash(path) == content:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with published_file(kept) as sibling:
                    sibling.write_bytes(made + crc32(made).to_bytes(_CHECKSUM))
        return made
