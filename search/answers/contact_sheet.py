"""Answers as one page for the eye: a file that needs nothing but itself."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from footwork.errors import ImageError
from footwork.files.faults import counted, why
from footwork.files.folders import published_file
from footwork.files.outputs import PAGE_MARK, unwritable
from footwork.files.paths import file_address, path_line, size_text
from footwork.home import cache_folder
from footwork.images.ahead import decoded_ahead
from footwork.images.thumbnails import Thumbnails
from search.answers.answer import RELEVANT, Answer, Hit
from search.answers.contact_sheet_style import STYLE
from search.answers.rows import date_text, label_names

THUMBNAIL_SIDE = 480
"""Pixels: sharp where a screen has two for one of the page."""
_LEGEND = "The percentage is how likely each shows what was asked for."
# Nothing is loaded or run, whatever a file is called.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NO_PICTURE = (
    '<svg width="40" height="32" viewBox="0 0 40 32" fill="none" stroke="currentColor" '
    'stroke-width="1.5" aria-hidden="true"><rect x="1" y="1" width="38" height="30" rx="3"/>'
    '<path d="M1 25l11-10 8 7 7-6 12 10M4 31L36 1"/></svg>'
)


def kept_thumbnails() -> Thumbnails:
    """Thumbnails for pages, kept in the user's cache."""
    return Thumbnails(THUMBNAIL_SIDE, cache_folder() / "thumbnails")


def write_contact_sheet(
    answers: Sequence[Answer],
    path: Path,
    thumbnails: Thumbnails | None = None,
    workers: int = 4,
) -> None:
    """Write an HTML file that shows all hits: thumbnails within, no scripts, complete or absent.

    Hits below relevance, and sections of several queries, are told apart. An image that is gone
    or spoilt has a placeholder.

    Args:
        answers: At least one.
        path: Of the file; replaced if it is there.
        thumbnails: Makes them; None keeps none.
        workers: Threads that decode.

    Raises:
        DataError: It cannot be written.
    """
    sheet = _Sheet(answers, thumbnails or Thumbnails(THUMBNAIL_SIDE), workers)
    try:
        with published_file(path) as sibling, sibling.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in sheet.lines())
    except OSError as error:
        raise unwritable(path, why(error)) from error


class _Sheet:
    """A page, made line by line as the pictures come."""

    def __init__(self, answers: Sequence[Answer], thumbnails: Thumbnails, workers: int) -> None:
        if not answers:
            raise ValueError("A contact sheet needs at least one answer.")
        self._answers, self._thumbnails, self._workers = answers, thumbnails, workers
        self._root = _common_folder(answers)

    def lines(self) -> Iterator[str]:
        """The whole file."""
        several = len(self._answers) > 1
        title = (
            counted(len(self._answers), "query", "queries")
            if several
            else _quoted(self._answers[0].query)
        )
        yield '<!doctype html><html lang="en" id="top"><head><meta charset="utf-8">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        yield PAGE_MARK
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield '<meta name="color-scheme" content="light dark">'
        yield f"<title>{title}</title><style>{STYLE}</style></head><body>"
        yield '<a class="skip" href="#hits">Skip to the images</a>'
        where = f'<p class="quiet">in {_shown(self._root)}</p>' if self._root else ""
        yield f"<header><h1>{title}</h1>{where}</header>"
        if several:
            yield '<nav aria-label="Queries"><ol>'
            for number, answer in enumerate(self._answers, start=1):
                yield (
                    f'<li><a href="#q{number}"><span>{_quoted(answer.query)}</span>'
                    f'<span class="quiet">{_count(answer)}</span></a></li>'
                )
            yield "</ol></nav>"
        yield '<main id="hits">'
        if several:
            for number, answer in enumerate(self._answers, start=1):
                yield f'<section id="q{number}" aria-labelledby="h{number}">'
                yield '<a class="up" href="#top">Back to top</a>'
                yield f'<h2 id="h{number}">{_quoted(answer.query)}</h2>'
                yield from self._answer(answer)
                yield "</section>"
        else:
            yield from self._answer(self._answers[0])
        yield "</main></body></html>"

    def _answer(self, answer: Answer) -> Iterator[str]:
        near = [hit for hit in answer.hits if hit.relevance >= RELEVANT]
        far = [hit for hit in answer.hits if hit.relevance < RELEVANT]
        if answer.fault is not None:
            yield f'<p class="notice">Not asked: {_shown(answer.fault)}.</p>'
        elif answer.nothing_matches:
            yield f'<p class="notice">Nothing here matches {_quoted(answer.query)}.</p>'
        else:
            yield f'<p class="quiet">{_count(answer)}. {_LEGEND}</p>'
        if near:
            yield from self._grid(near, 1, "hits")
        if far:
            heading = "The nearest all the same" if answer.nothing_matches else "Less relevant"
            yield f"<h3>{heading}</h3>"
            yield '<p class="quiet">More likely not what was asked for: below 50 %.</p>'
            yield from self._grid(far, len(near) + 1, "hits faded")

    def _grid(self, hits: Sequence[Hit], first: int, style: str) -> Iterator[str]:
        yield f'<ol class="{style}" start="{first}">'
        pictures = decoded_ahead(hits, self._picture, self._workers)
        for rank, (hit, picture) in enumerate(pictures, start=first):
            yield self._figure(hit, rank, picture)
        yield "</ol>"

    def _picture(self, hit: Hit) -> bytes:
        return self._thumbnails.of(Path(hit.record.path), hit.record.content, hit.missing)

    def _figure(self, hit: Hit, rank: int, picture: bytes | ImageError) -> str:
        path = Path(hit.record.path)
        address = escape(file_address(path))
        name, labels = _shown(path.name), [_shown(label) for label in label_names(hit)]
        percent = f"{100 * hit.relevance:.0f}"
        folder = path.parent if self._root is None else path.parent.relative_to(self._root)
        listed = "".join(f"<li>{label}</li>" for label in labels)
        if isinstance(picture, ImageError):
            reason = _shown(picture.reason)
            shown = f'<span class="gone">{_NO_PICTURE}{name}: {reason}</span>'
        else:
            data = b64encode(picture).decode()
            alt = ", ".join([name, *labels])
            shown = f'<img alt="{alt}" src="data:image/jpeg;base64,{data}" decoding="async">'
        return "".join(
            [
                f'<li><a class="mount" href="{address}">{shown}</a>',
                f'<div class="name"><a href="{address}" title="{name}" tabindex="-1">{name}</a>',
                f'<span class="rank">{rank}</span></div>',
                f'<p class="folder" title="{_shown(path.parent)}"><bdi>{_shown(folder)}</bdi></p>'
                if folder.parts
                else "",
                '<div class="relevance"><span class="bar" aria-hidden="true">'
                f'<i style="width:{percent}%"></i></span>'
                f'<span title="Relevance">{percent} %</span></div>',
                f'<p class="notice">Not there: {_shown(hit.missing)}</p>' if hit.missing else "",
                *_facts(hit),
                f'<ul class="labels" aria-label="Labels">{listed}</ul>' if labels else "",
                "</li>",
            ]
        )


def _count(answer: Answer) -> str:
    if answer.nothing_matches:
        return "nothing matches"
    return counted(sum(hit.relevance >= RELEVANT for hit in answer.hits), "image")


def _facts(hit: Hit) -> Iterator[str]:
    """In lines of the page."""
    record = hit.record
    pixels = f"{record.width:,} × {record.height:,}" if record.width and record.height else ""
    yield _line([pixels, size_text(record.size), f"score {hit.score:.3f}"])
    date = date_text(record.date) if record.date is not None else None
    shown = f'<time datetime="{date}">{date[:16].replace("T", " ")}</time>' if date else ""
    yield _line([shown, _shown(record.camera or "")])


def _line(parts: Iterable[str]) -> str:
    spans = [f"<span>{part}</span>" for part in parts if part]
    return f'<p class="facts">{" · ".join(spans)}</p>' if spans else ""


def _common_folder(answers: Sequence[Answer]) -> Path | None:
    """The folder that all hits have in common, unless it is the root of the file system."""
    folders = {os.path.dirname(hit.record.path) for answer in answers for hit in answer.hits}  # noqa: PTH120 - of many
    common = Path(os.path.commonpath(folders)) if folders else None
    return common if common is not None and common.name else None


def _quoted(query: str) -> str:
    return f"“{_shown(query)}”"


def _shown(text: str | Path) -> str:
    return escape(path_line(text))
