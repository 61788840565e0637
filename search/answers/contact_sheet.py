"""The contact sheet of some answers: one page of images that needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from footwork.files.faults import counted
from footwork.files.paths import path_line
from footwork.pages.templates import write_page
from search.answers.answer import Answer, Hit
from search.answers.page_images import page_images
from search.query.relevance import RELEVANT
from search.records import best_labels


def write_contact_sheet(answers: Sequence[Answer], path: Path) -> None:
    """Write an HTML file that shows all hits: thumbnails within, no scripts, complete or absent.

    Hits below relevance, and sections of several queries, are told apart. An image that is gone
    or spoilt has a placeholder. A file that is there is replaced; `DataError` where it cannot be
    written.
    """
    if not answers:
        raise ValueError("A contact sheet needs at least one answer.")
    folders = {os.path.dirname(hit.record.path) for answer in answers for hit in answer.hits}  # noqa: PTH120 - of many
    root = Path(os.path.commonpath(folders)) if folders else Path("/")

    def images(hits: Sequence[Hit]) -> Iterator[dict[str, Any]]:
        shown = page_images((hit.record, hit.missing) for hit in hits)
        for hit, image in zip(hits, shown, strict=True):
            folder = Path(hit.record.path).parent
            below = folder.relative_to(root) if root.name else folder
            yield image | {
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
        "search/answers/contact_sheet.html",
        title=one if len(answers) == 1 else several,
        root=path_line(root) if root.name else "",  # that of a file system says nothing
        answers=[section(answer) for answer in answers],
    )
