"""Duplicates as one page for the eye: a file that needs nothing but itself."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from pathlib import Path

from footwork.errors import ImageError
from footwork.files.faults import why
from footwork.files.folders import published_file
from footwork.files.outputs import PAGE_MARK, unwritable
from footwork.files.paths import file_address, path_line, size_text
from footwork.images.ahead import decoded_ahead
from footwork.images.thumbnails import Thumbnails
from search.answers.contact_sheet_style import STYLE
from search.answers.rows import date_text
from search.duplicates.duplicates import Duplicates
from search.duplicates.rows import duplicates_sum, what_was_done
from search.records import ImageRecord

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_WORKERS = 4

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
    try:
        with published_file(path) as sibling, sibling.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _lines(found, thumbnails))
    except OSError as error:
        raise unwritable(path, why(error)) from error


def _lines(found: Duplicates, thumbnails: Thumbnails) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield PAGE_MARK
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>Duplicates</title><style>{STYLE}</style></head><body>"
    yield f'<header><h1>Duplicates</h1><p class="quiet">{duplicates_sum(found)}</p></header>'
    yield '<main id="hits">'

    def picture(shown: _Shown) -> bytes:
        return thumbnails.of(Path(shown[0].path), shown[0].content)

    for shown, data in decoded_ahead(_images(found), picture, _WORKERS):
        record, said, group = shown
        if group:
            yield f"{'</ol></section>' if group > 1 else ''}<section><h2>Group {group}</h2>"
            yield '<ol class="hits">'
        yield _figure(record, said, data)
    yield f"{'</ol></section>' if found.groups else ''}</main></body></html>"


def _images(found: Duplicates) -> Iterator[_Shown]:
    for number, group in enumerate(found.groups, start=1):
        yield group.kept, f"keep: {group.why}", number
        for one in group.duplicates:
            yield one.record, what_was_done(one), 0


def _figure(record: ImageRecord, said: str, data: bytes | ImageError) -> str:
    path = Path(record.path)
    address, name = escape(file_address(path)), escape(path_line(path.name))
    if isinstance(data, ImageError):
        shown = f'<span class="gone">{name}: {escape(path_line(data.reason))}</span>'
    else:
        code = b64encode(data).decode()
        shown = f'<img alt="{name}" src="data:image/jpeg;base64,{code}" decoding="async">'
    pixels = f"{record.width:,} × {record.height:,}" if record.width and record.height else ""
    date = None if record.date is None else date_text(record.date)
    facts = [pixels, size_text(record.size), (date or "")[:16].replace("T", " ")]
    spans = " · ".join(f"<span>{fact}</span>" for fact in facts if fact)
    folder = escape(path_line(path.parent))
    return (
        f'<li><a class="mount" href="{address}">{shown}</a>'
        f'<div class="name"><a href="{address}" title="{name}" tabindex="-1">{name}</a></div>'
        f'<p class="folder" title="{folder}"><bdi>{folder}</bdi></p>'
        f'<p class="facts"><b>{said}</b></p><p class="facts">{spans}</p></li>'
    )
