"""Images as pages show them."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from footwork.errors import ImageError
from footwork.files.paths import file_address, path_line, size_text
from footwork.home import cache_folder
from footwork.images.thumbnails import Thumbnails
from search.answers.rows import date_text
from search.records import ImageRecord

THUMBNAIL_SIDE = 480
"""Pixels: sharp where a screen has two for one of the page."""
WORKERS = 4
"""Threads that decode."""


def kept_thumbnails() -> Thumbnails:
    """Thumbnails for pages, kept in the user's cache."""
    return Thumbnails(THUMBNAIL_SIDE, cache_folder() / "thumbnails")


def page_image(record: ImageRecord, thumbnail: bytes | ImageError) -> dict[str, Any]:
    """What the templates of pages say of an image, each on one line; empty what is not known.

    Args:
        record: Of the image.
        thumbnail: A JPEG, or why there is none.
    """
    path = Path(record.path)
    shown = b64encode(thumbnail).decode() if isinstance(thumbnail, bytes) else None
    return {
        "name": path_line(path.name),
        "folder": path_line(path.parent),
        "address": file_address(path),
        "thumbnail": shown,
        "why_none": path_line(thumbnail.reason) if isinstance(thumbnail, ImageError) else "",
        "pixels": f"{record.width:,} × {record.height:,}" if record.width and record.height else "",
        "size": size_text(record.size),
        "moment": date_text(record.date) if record.date is not None else None,
    }
