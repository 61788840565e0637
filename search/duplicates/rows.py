"""Duplicates as rows and as a page: what programs read, and what people read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from footwork.files.faults import counted
from footwork.files.paths import path_line, size_text
from footwork.pages.templates import write_page
from search.answers.page_images import page_images
from search.duplicates.duplicates import Duplicate, Duplicates
from search.records import ImageRecord, pixels_text, record_row


def duplicates_document(found: Duplicates) -> dict[str, Any]:
    """For programs: groups of `keep`, `why`, `duplicates`, `bytes`; valid JSON for any name.

    A duplicate that is not `verified` is not to be removed unseen.
    """
    groups = [
        {
            "keep": record_row(group.kept),
            "why": group.why,
            "duplicates": [
                record_row(one.record)
                | {"kind": one.kind, "changes": list(one.changes), "cosine": one.cosine}
                | {"verified": one.verified}
                for one in group.duplicates
            ],
            "bytes": group.bytes,
        }
        for group in found.groups
    ]
    spare, others = _counts(found)
    return {
        "groups": groups,
        "images": found.images,
        "duplicates": spare,
        "similar": others,
        "bytes": found.bytes,
        "unseen": found.unseen,
        "changed": found.changed,
    }


def _counts(found: Duplicates) -> tuple[int, int]:
    spare = sum(len(group.spare) for group in found.groups)
    return spare, sum(len(group.duplicates) for group in found.groups) - spare


def duplicate_cells(found: Duplicates) -> Iterator[dict[str, Any]]:
    """A row for each image of a group, the one that is kept first."""
    for number, group in enumerate(found.groups, start=1):
        kept = {"group": number, "kind": "keep", "changes": "", "cosine": None}
        yield kept | record_row(group.kept)
        for one in group.duplicates:
            kind = one.kind if one.verified else f"{one.kind}, not verified"
            row = {"group": number, "kind": kind, "changes": ", ".join(one.changes)}
            yield row | {"cosine": round(one.cosine, 4)} | record_row(one.record)


def duplicates_lines(found: Duplicates) -> Iterator[str]:
    """For people: every group, and what it comes to."""
    for group in found.groups:
        yield f"keep     {path_line(group.kept.path)}  ({_size(group.kept)}; {group.why})"
        for one in group.duplicates:
            size = "" if one.kind == "exact" else f"{_size(one.record)}; "
            yield f"{one.kind:7}  {path_line(one.record.path)}  ({size}{what_was_done(one)})"
        yield ""
    yield duplicates_sum(found)


def _size(record: ImageRecord) -> str:
    return ", ".join(filter(None, (pixels_text(record), size_text(record.size))))


def what_was_done(one: Duplicate) -> str:
    """What a duplicate is to the image that is kept, for people."""
    if one.kind == "exact":
        return "the same bytes" + ("" if one.verified else " when indexed; not looked at now")
    return ", ".join(one.changes) or f"only similar, by {one.cosine:.3f}"


def duplicates_sum(found: Duplicates) -> str:
    """What it comes to, in a sentence."""
    among = f" among {counted(found.images, 'image')}"
    if not found.groups:
        return f"No duplicates{among}."
    spare, others = _counts(found)
    parts = []
    if found.bytes:
        kept = counted(sum(bool(group.spare) for group in found.groups), "image")
        parts.append(f"{counted(spare, 'duplicate')} of {kept}{among}, {size_text(found.bytes)}")
        among = ""
    if others:
        parts.append(f"{others:,} only similar or not looked at{among}")
    return f"{'; '.join(parts)}. Nothing was deleted."


def duplicates_notes(found: Duplicates) -> Iterator[str]:
    """What could not be told, if anything."""
    if found.changed:
        yield (
            f"Left out, since what is indexed is not what stands there: "
            f"{counted(found.changed, 'file')}. Run `footwork search index` again."
        )
    if found.unseen:
        yield (
            f"Left out, since they could not be opened: {counted(found.unseen, 'image')} that may "
            "have duplicates (is a drive away?). --no-look goes by the index alone."
        )


def write_duplicates_page(found: Duplicates, path: Path) -> None:
    """Write an HTML file of all groups, as `write_contact_sheet` does of hits."""
    shown: list[tuple[ImageRecord, str, int]] = []  # what is said of it; the group that it opens
    for number, group in enumerate(found.groups, start=1):
        shown.append((group.kept, f"keep: {group.why}", number))
        shown += [(one.record, what_was_done(one), 0) for one in group.duplicates]
    images = page_images((record, None) for record, _, _ in shown)
    write_page(
        path,
        "search/duplicates/duplicates.html",
        sum=duplicates_sum(found),
        groups=len(found.groups),
        images=(
            (said, group, image) for (_, said, group), image in zip(shown, images, strict=True)
        ),
    )
