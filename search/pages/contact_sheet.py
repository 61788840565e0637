"""Answers as one page for the eye: a file that needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from footwork.files.faults import counted
from footwork.files.paths import path_line
from footwork.images.ahead import decoded_ahead
from footwork.images.thumbnails import Thumbnails
from footwork.pages.templates import write_page
from search.answers.answer import RELEVANT, Answer, Hit
from search.answers.rows import label_names
from search.pages.images import THUMBNAIL_SIDE, WORKERS, page_image


def write_contact_sheet(
    answers: Sequence[Answer], path: Path, thumbnails: Thumbnails | None = None
) -> None:
    """Write an HTML file that shows all hits: thumbnails within, no scripts, complete or absent.

    Hits below relevance, and sections of several queries, are told apart. An image that is gone
    or spoilt has a placeholder.

    Args:
        answers: At least one.
        path: Of the file; replaced if it is there.
        thumbnails: Makes them; None keeps none.

    Raises:
        DataError: It cannot be written.
    """
    if not answers:
        raise ValueError("A contact sheet needs at least one answer.")
    thumbnails = thumbnails or Thumbnails(THUMBNAIL_SIDE)
    root = _common_folder(answers)

    def thumbnail(hit: Hit) -> bytes:
        return thumbnails.of(Path(hit.record.path), hit.record.content, hit.missing)

    def images(hits: Sequence[Hit]) -> Iterator[dict[str, Any]]:
        """Made as the page comes to them: it is never in memory as a whole."""
        for hit, made in decoded_ahead(hits, thumbnail, WORKERS):
            folder = Path(hit.record.path).parent
            below = folder if root is None else folder.relative_to(root)
            yield page_image(hit.record, made) | {
                "below": path_line(below) if below.parts else "",
                "percent": f"{100 * hit.relevance:.0f}",
                "score": f"score {hit.score:.3f}",
                "camera": path_line(hit.record.camera or ""),
                "labels": [path_line(label) for label in label_names(hit)],
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

    several = counted(len(answers), "query", "queries")
    write_page(
        path,
        "search/pages/contact_sheet.html",
        title=several if len(answers) > 1 else f"“{path_line(answers[0].query)}”",
        root=path_line(root or ""),
        answers=[section(answer) for answer in answers],
    )


def _common_folder(answers: Sequence[Answer]) -> Path | None:
    """The folder that all hits have in common, unless it is the root of the file system."""
    folders = {os.path.dirname(hit.record.path) for answer in answers for hit in answer.hits}  # noqa: PTH120 - of many
    common = Path(os.path.commonpath(folders)) if folders else None
    return common if common is not None and common.name else None
