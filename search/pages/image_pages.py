"""Answers and duplicates as pages of images, each a file that needs nothing but itself.

Images are made as a page comes to them: it is never in memory as a whole.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from footwork.errors import ImageError
from footwork.files.faults import counted
from footwork.files.paths import file_address, path_line, size_text
from footwork.home import cache_folder
from footwork.images.ahead import decoded_ahead
from footwork.images.thumbnails import Thumbnails
from footwork.pages.templates import write_page
from search.answers.answer import Answer, Hit
from search.duplicates.duplicates import Duplicates
from search.duplicates.rows import duplicates_sum, what_was_done
from search.query.relevance import RELEVANT
from search.records import ImageRecord, best_labels, date_text, pixels_text

_SIDE = 480  # pixels: sharp where a screen has two for one of the page
_WORKERS = 4  # threads that decode


def kept_thumbnails() -> Thumbnails:
    """Thumbnails for pages, kept in the user's cache."""
    return Thumbnails(_SIDE, cache_folder() / "thumbnails")


def write_contact_sheet(answers: Sequence[Answer], path: Path, thumbnails: Thumbnails) -> None:
    """Write an HTML file that shows all hits: thumbnails within, no scripts, complete or absent.

    Hits below relevance, and sections of several queries, are told apart. An image that is gone
    or spoilt has a placeholder. A file that is there is replaced; `DataError` where it cannot be
    written.
    """
    if not answers:
        raise ValueError("A contact sheet needs at least one answer.")
    folders = {os.path.dirname(hit.record.path) for answer in answers for hit in answer.hits}  # noqa: PTH120 - of many
    root = Path(os.path.commonpath(folders)) if folders else Path("/")

    def thumbnail(hit: Hit) -> bytes:
        return thumbnails.of(Path(hit.record.path), hit.record.content, hit.missing)

    def images(hits: Sequence[Hit]) -> Iterator[dict[str, Any]]:
        for hit, made in decoded_ahead(hits, thumbnail, _WORKERS):
            folder = Path(hit.record.path).parent
            below = folder.relative_to(root) if root.name else folder
            yield _page_image(hit.record, made) | {
                "below": path_line(below) if below.parts else "",
                "percent": f"{100 * hit.relevance:.0f}",
                "score": f"score {hit.score:.3f}",
                "camera": path_line(hit.record.camera or ""),
                "labels": [path_line(label) for label in best_labels(hit.record.labels)],
                "missing": path_line(hit.missing or ""),
            }

    def section(answer: Answer) -> dict[str, Any]:
        near = [hit for hit in answer.hits if hit.relevance >= RELEVANT]
        far = [hit for hit in answer.hits if hit.relevance < RELEVANT]
        grids = ((False, 1, near), (True, len(near) + 1, far))
        return {
            "query": path_line(answer.query),
            "count": "nothing matches" if answer.nothing_matches else counted(len(near), "image"),
            "fault": path_line(answer.fault or ""),
            "nothing_matches": answer.nothing_matches,
            "grids": [(is_far, first, images(hits)) for is_far, first, hits in grids if hits],
        }

    one, several = f"“{path_line(answers[0].query)}”", counted(len(answers), "query", "queries")
    write_page(
        path,
        "search/pages/contact_sheet.html",
        title=one if len(answers) == 1 else several,
        root=path_line(root) if root.name else "",  # that of a file system says nothing
        answers=[section(answer) for answer in answers],
    )


def write_duplicates_page(found: Duplicates, path: Path, thumbnails: Thumbnails) -> None:
    """Write an HTML file of all groups, as `write_contact_sheet` does of hits."""
    shown: list[tuple[ImageRecord, str, int]] = []  # what is said of it; the group that it opens
    for number, group in enumerate(found.groups, start=1):
        shown.append((group.kept, f"keep: {group.why}", number))
        shown += [(one.record, what_was_done(one), 0) for one in group.duplicates]

    def thumbnail(of: tuple[ImageRecord, str, int]) -> bytes:
        return thumbnails.of(Path(of[0].path), of[0].content)

    images = (
        (said, group, _page_image(record, made))
        for (record, said, group), made in decoded_ahead(shown, thumbnail, _WORKERS)
    )
    write_page(
        path,
        "search/pages/duplicates.html",
        sum=duplicates_sum(found),
        groups=len(found.groups),
        images=images,
    )


def _page_image(record: ImageRecord, thumbnail: bytes | ImageError) -> dict[str, Any]:
    """What the templates say of an image, each on one line; empty what is not known."""
    path = Path(record.path)
    return {
        "name": path_line(path.name),
        "folder": path_line(path.parent),
        "address": file_address(path),
        "thumbnail": b64encode(thumbnail).decode() if isinstance(thumbnail, bytes) else None,
        "why_none": path_line(thumbnail.reason) if isinstance(thumbnail, ImageError) else "",
        "pixels": pixels_text(record),
        "size": size_text(record.size),
        "moment": date_text(record.date),
    }
