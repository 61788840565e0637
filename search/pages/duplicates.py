"""Duplicates as one page for the eye: a file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from footwork.images.ahead import decoded_ahead
from footwork.images.thumbnails import Thumbnails
from footwork.pages.templates import write_page
from search.duplicates.duplicates import Duplicates
from search.duplicates.rows import duplicates_sum, what_was_done
from search.pages.images import WORKERS, page_image
from search.records import ImageRecord

_Shown = tuple[ImageRecord, str, int]
"""An image, what is said of it, and the group that it opens, 0 for none."""


def write_duplicates_page(found: Duplicates, path: Path, thumbnails: Thumbnails) -> None:
    """Write an HTML file of all groups: thumbnails within, no scripts, complete or absent.

    Args:
        found: Of any number.
        path: Of the file; replaced if it is there.
        thumbnails: Makes them.

    Raises:
        DataError: It cannot be written.
    """

    def shown() -> Iterator[_Shown]:
        for number, group in enumerate(found.groups, start=1):
            yield group.kept, f"keep: {group.why}", number
            for duplicate in group.duplicates:
                yield duplicate.record, what_was_done(duplicate), 0

    def thumbnail(of: _Shown) -> bytes:
        return thumbnails.of(Path(of[0].path), of[0].content)

    def images() -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Made as the page comes to them: it is never in memory as a whole."""
        for (record, said, group), made in decoded_ahead(shown(), thumbnail, WORKERS):
            yield said, group, page_image(record, made)

    write_page(
        path,
        "search/pages/duplicates.html",
        sum=duplicates_sum(found),
        groups=len(found.groups),
        images=images(),
    )
