"""Duplicates as rows: what programs read, and what people read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

from footwork.files.faults import counted
from footwork.files.paths import path_line, path_text, size_text
from search.answers.rows import date_text
from search.duplicates.duplicates import Duplicate, Duplicates
from search.records import ImageRecord


def duplicates_document(found: Duplicates) -> dict[str, Any]:
    """For programs: groups of `keep`, `why`, `duplicates`, `bytes`; valid JSON for any name.

    A duplicate that is not `verified` is not to be removed unseen.
    """
    return {
        "groups": [
            {
                "keep": _facts(group.kept),
                "why": group.why,
                "duplicates": [
                    _facts(one.record)
                    | {"kind": one.kind, "changes": list(one.changes), "cosine": one.cosine}
                    | {"verified": one.verified}
                    for one in group.duplicates
                ],
                "bytes": group.bytes,
            }
            for group in found.groups
        ],
        "images": found.images,
        "duplicates": sum(len(group.spare) for group in found.groups),
        "similar": sum(len(group.duplicates) - len(group.spare) for group in found.groups),
        "bytes": found.bytes,
        "unseen": found.unseen,
        "changed": found.changed,
    }


def duplicate_cells(found: Duplicates) -> Iterator[dict[str, Any]]:
    """A row for each image of a group, the one that is kept first."""
    for number, group in enumerate(found.groups, start=1):
        yield {"group": number, "kind": "keep", "changes": "", "cosine": None} | _facts(group.kept)
        for one in group.duplicates:
            kind = one.kind if one.verified else f"{one.kind}, not verified"
            row = {"group": number, "kind": kind, "changes": ", ".join(one.changes)}
            yield row | {"cosine": round(one.cosine, 4)} | _facts(one.record)


def spare_paths(found: Duplicates, end: Literal[b"\n", b"\0"]) -> Iterator[bytes]:
    """The paths of all that were seen not to be needed, byte for byte as they are on the disk."""
    for group in found.groups:
        yield from (os.fsencode(one.record.path) + end for one in group.spare)


def duplicates_lines(found: Duplicates) -> Iterator[str]:
    """For people: every group, and what it comes to."""
    for group in found.groups:
        yield f"keep     {path_line(group.kept.path)}  ({_shape(group.kept)}; {group.why})"
        for one in group.duplicates:
            said = "" if one.kind == "exact" else f"{_shape(one.record)}; "
            yield f"{one.kind:7}  {path_line(one.record.path)}  ({said}{what_was_done(one)})"
        yield ""
    yield duplicates_sum(found)


def what_was_done(one: Duplicate) -> str:
    """What a duplicate is to the image that is kept, for people."""
    if one.kind == "exact":
        return (
            "the same bytes" if one.verified else "the same bytes when indexed; not looked at now"
        )
    return ", ".join(one.changes) or f"only similar, by {one.cosine:.3f}"


def duplicates_sum(found: Duplicates) -> str:
    """What it comes to, in a sentence."""
    among = f"among {counted(found.images, 'image')}"
    if not found.groups:
        return f"No duplicates {among}."
    similar = sum(len(group.duplicates) - len(group.spare) for group in found.groups)
    parts = []
    if found.bytes:
        groups = [group for group in found.groups if group.spare]
        spare = counted(sum(len(group.spare) for group in groups), "duplicate")
        kept = counted(len(groups), "image")
        parts.append(f"{spare} of {kept} {among}, {size_text(found.bytes)}")
        among = ""
    if similar:
        parts.append(f"{similar:,} only similar or not looked at {among}".rstrip())
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


def _facts(record: ImageRecord) -> dict[str, Any]:
    return {
        "path": path_text(record.path),
        "format": record.format,
        "width": record.width,
        "height": record.height,
        "bytes": record.size,
        "date": None if record.date is None else date_text(record.date),
    }


def _shape(record: ImageRecord) -> str:
    pixels = f"{record.width:,} × {record.height:,}, " if record.width and record.height else ""
    return f"{pixels}{size_text(record.size)}"
