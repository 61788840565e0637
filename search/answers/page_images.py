"""Images as pages and terminals show them: thumbnails, and what is known of the files.

They are made as a page comes to them: it is never in memory as a whole.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from footwork.errors import ImageError
from footwork.files.paths import file_address, path_line, size_text
from footwork.home import cache_folder
from footwork.images.ahead import decoded_ahead
from footwork.images.thumbnails import Thumbnails
from search.records import ImageRecord, date_text, pixels_text

_SIDE = 480  # pixels: sharp where a screen has two for one of the page
_WORKERS = 4  # threads that decode

Shown = tuple[ImageRecord, str | None]
"""An image, and why its file is not there, a clause; None if it is."""


def thumbnails_of(
    images: Iterable[Shown], side: int = _SIDE
) -> Iterator[tuple[Shown, bytes | ImageError]]:
    """Each image with its JPEG, kept in the user's cache, or with why there is none."""
    kept = Thumbnails(side, cache_folder() / "thumbnails")

    def thumbnail(shown: Shown) -> bytes:
        record, missing = shown
        return kept.of(Path(record.path), record.content, missing)

    return decoded_ahead(images, thumbnail, _WORKERS)


def page_images(images: Iterable[Shown], side: int = _SIDE) -> Iterator[dict[str, Any]]:
    """What the templates say of each image, on one line each; empty what is not known."""
    for (record, _), made in thumbnails_of(images, side):
        path = Path(record.path)
        yield {
            "name": path_line(path.name),
            "folder": path_line(path.parent),
            "address": file_address(path),
            "thumbnail": b64encode(made).decode() if isinstance(made, bytes) else None,
            "why_none": path_line(made.reason) if isinstance(made, ImageError) else "",
            "pixels": pixels_text(record),
            "size": size_text(record.size),
            "moment": date_text(record.date),
        }
