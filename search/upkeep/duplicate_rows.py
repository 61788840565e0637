"""Duplicates as rows: what programs read, and what people read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

from runtime.faults import counted
from runtime.paths import path_line, path_text
from runtime.sizes import size_text
from search.answers.rows import date_text
from search.records import ImageRecord
from search.upkeep.duplicates import Duplicates, Group


def duplicates_document(found: Duplicates) -> dict[str, Any]:
    """For programs: groups of `keep`, `why`, `duplicates`, `bytes`; valid JSON for any name."""
    return {
        "groups": [_group_document(group) for group in found.groups],
        "images": found.images,
        "duplicates": sum(len(group.duplicates) for group in found.groups),
        "bytes": found.bytes,
        "unseen": found.unseen,
    }


def duplicate_cells(found: Duplicates) -> Iterator[dict[str, Any]]:
    """A row for each image of a group, the one that is kept first."""
    for number, group in enumerate(found.groups, start=1):
        yield {"group": number, "kind": "keep", "cosine": None} | _facts(group.kept)
        for one in group.duplicates:
            row = {"group": number, "kind": one.kind, "cosine": round(one.cosine, 4)}
            yield row | _facts(one.record)


def spare_paths(found: Duplicates, end: Literal[b"\n", b"\0"]) -> Iterator[bytes]:
    """The paths of all that need not be kept, byte for byte as they are on the disk."""
    for group in found.groups:
        yield from (os.fsencode(one.record.path) + end for one in group.duplicates)


def duplicates_lines(found: Duplicates) -> Iterator[str]:
    """For people: every group, and what it comes to."""
    for group in found.groups:
        yield f"keep   {path_line(group.kept.path)}  ({_shape(group.kept)}; {group.why})"
        for one in group.duplicates:
            said = (
                "same bytes" if one.kind == "exact" else f"{_shape(one.record)}; {one.cosine:.3f}"
            )
            yield f"{one.kind:5}  {path_line(one.record.path)}  ({said})"
        yield ""
    yield duplicates_sum(found)


def duplicates_sum(found: Duplicates) -> str:
    """What it comes to, in a sentence."""
    among = f"among {counted(found.images, 'image')}"
    if not found.groups:
        return f"No duplicates {among}."
    spare = counted(sum(len(group.duplicates) for group in found.groups), "duplicate")
    kept = counted(len(found.groups), "image")
    return f"{spare} of {kept} {among}, {size_text(found.bytes)}. Nothing was deleted."


def duplicates_note(found: Duplicates) -> str | None:
    """What could not be told, if anything."""
    if not found.unseen:
        return None
    return (
        f"{counted(found.unseen, 'image')} may be near duplicates, but could not be opened, and "
        "are left out; --no-look goes by the embeddings alone."
    )


def _group_document(group: Group) -> dict[str, Any]:
    return {
        "keep": _facts(group.kept),
        "why": group.why,
        "duplicates": [
            _facts(one.record) | {"kind": one.kind, "cosine": one.cosine}
            for one in group.duplicates
        ],
        "bytes": group.bytes,
    }


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
