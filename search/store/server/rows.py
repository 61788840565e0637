"""What Milvus keeps of a file, and how a collection is laid out.

The path is the key: whoever writes a file writes the same row, so a write can be repeated, and two
writers of one file end with one row. What is known of a file and its vector are one row and travel
together: where the vector is older than the file, so is its record, and the next update sees it.

`like` is not used: Milvus 2.3 has no way to take % and _ in it for themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import StoreError
from search.filters import Filter
from search.paths import real_path, stored_text
from search.records import ImageRecord
from search.store.protocol import Embedder

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Row = dict[str, Any]
"""A row, by field."""

FORMAT_VERSION = 3
"""Counted up when rows change so that older code cannot read them; there is no way to convert a
collection but to index anew into another."""
WITH_WORDS = 2
"""The format before, whose rows have a list of `words`, which nobody reads any more."""

MISSING = -(2**62)
"""A time that is not known."""
LOTS = 2**62
"""Lots are below it."""
LONGEST_TEXT = 65_535
"""Bytes of a string in Milvus."""
_LONGEST_ENTRY = 4096  # characters of a camera's name or a fault
MOST_ENTRIES = 4096
"""Of a list in Milvus."""

RECORD_FIELDS = (
    "path",
    "state",
    "size",
    "mtime_ns",
    "ctime_ns",
    "content",
    "format",
    "width",
    "height",
    "date",
    "date_from",
    "camera",
    "fault",
)
LABEL_FIELDS = ("labels", "scores")


class State(IntEnum):
    """What a row is about."""

    PRESENT = 1
    ABSENT = 2
    UNREADABLE = 3
    UNREADABLE_ABSENT = 4
    ROOT = 9
    """It is about no file, but a folder that was indexed, after `ROOT_PREFIX`, or what is left out,
    after `PATTERN_PREFIX` or `REMOVED_PREFIX`."""


ROOT_PREFIX, PATTERN_PREFIX, REMOVED_PREFIX = "root:", "exclude:", "removed:"
"""Paths are absolute, and none begins with them."""


def row_of(record: ImageRecord, vector: FloatArray | Sequence[float]) -> Row:
    """A row without labels.

    Args:
        record: Of a readable or an unreadable file.
        vector: Shape (D,); zeros for an unreadable one, which is found by no query.
    """
    if record.fault is None:
        state = State.PRESENT if record.present else State.ABSENT
    else:
        state = State.UNREADABLE if record.present else State.UNREADABLE_ABSENT
    camera = record.camera or ""
    return {
        **_row(stored_text(record.path), state, vector),
        "size": record.size,
        "mtime_ns": record.mtime_ns,
        "ctime_ns": MISSING if record.ctime_ns is None else record.ctime_ns,
        "content": record.content,
        "format": stored_text(record.format or ""),
        "width": -1 if record.width is None else record.width,
        "height": -1 if record.height is None else record.height,
        "date": MISSING if record.date is None else record.date,
        "date_from": record.date_from or "",
        "camera": stored_text(camera)[:_LONGEST_ENTRY],
        "camera_key": stored_text(camera.casefold())[:_LONGEST_ENTRY],
        "fault": stored_text(record.fault or "")[:_LONGEST_ENTRY],
    }


def root_row(root: str, width: int, prefix: str = ROOT_PREFIX) -> Row:
    """A row that tells a folder that was indexed, or what is left out."""
    return _row(prefix + stored_text(root), State.ROOT, np.zeros(width, np.float32))


def _row(path: str, state: State, vector: FloatArray | Sequence[float]) -> Row:
    lot = int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest()) % LOTS
    return {
        "path": path,
        "lot": lot,
        "state": int(state),
        "vector": vector,
        **dict.fromkeys(("size", "mtime_ns", "ctime_ns", "width", "height", "date"), 0),
        **dict.fromkeys(("content", "format", "date_from", "camera", "camera_key", "fault"), ""),
        **dict.fromkeys(LABEL_FIELDS, ()),
    }


def labelled(row: Row, labels: Mapping[str, float]) -> Row:
    """The row with these labels in place of its own.

    Raises:
        StoreError: There are more than Milvus can hold.
    """
    if len(labels) > MOST_ENTRIES:
        raise StoreError(
            f"{real_path(row['path'])} has {len(labels):,} labels; at most {MOST_ENTRIES:,} can be "
            "stored. Ask for fewer."
        )
    names = [stored_text(name) for name in labels]
    return {**row, "labels": names, "scores": [float(score) for score in labels.values()]}


def record_of(row: Mapping[str, Any]) -> ImageRecord:
    """What a row tells of a file; with its labels where `LABEL_FIELDS` were asked for."""
    labels = None
    if "labels" in row:
        labels = dict(zip(map(real_path, row["labels"]), row["scores"], strict=True))
    return ImageRecord(
        path=real_path(row["path"]),
        size=row["size"],
        mtime_ns=row["mtime_ns"],
        ctime_ns=None if row["ctime_ns"] == MISSING else row["ctime_ns"],
        content=row["content"],
        format=real_path(row["format"]) or None,
        width=None if row["width"] < 0 else row["width"],
        height=None if row["height"] < 0 else row["height"],
        date=None if row["date"] == MISSING else row["date"],
        date_from=row["date_from"] or None,
        camera=real_path(row["camera"]) or None,
        fault=real_path(row["fault"]) or None,
        present=row["state"] in (State.PRESENT, State.UNREADABLE),
        labels=labels,
    )


def vectors_of(rows: Sequence[Mapping[str, Any]], width: int) -> FloatArray:
    """The vectors of B rows, shape (B, D)."""
    if not rows:
        return np.zeros((0, width), np.float32)
    flat: FloatArray = np.concatenate([np.asarray(row["vector"], np.float32) for row in rows])
    return flat.reshape(len(rows), width)


def description_of(embedder: Embedder, index: str) -> str:
    """What is written on a collection, for whoever opens it."""
    return json.dumps({"footwork": FORMAT_VERSION, "embedder": asdict(embedder), "index": index})


def schema_of(embedder: Embedder, description: str) -> CollectionSchema:
    """The fields of a collection."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=False, description=description
    )
    text = {"datatype": DataType.VARCHAR, "max_length": LONGEST_TEXT}
    # 4096 bytes of a path, each of them maybe 4 long as it is stored.
    schema.add_field("path", DataType.VARCHAR, max_length=16_384, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=embedder.width)
    schema.add_field("state", DataType.INT8)
    for name in ("lot", "size", "mtime_ns", "ctime_ns", "date"):
        schema.add_field(name, DataType.INT64)
    for name in ("width", "height"):
        schema.add_field(name, DataType.INT32)
    for name in ("content", "format", "date_from"):
        schema.add_field(name, DataType.VARCHAR, max_length=256)
    for name in ("camera", "camera_key", "fault"):
        schema.add_field(name, **text)
    lists = {"datatype": DataType.ARRAY, "max_capacity": MOST_ENTRIES}
    schema.add_field("labels", element_type=DataType.VARCHAR, max_length=LONGEST_TEXT, **lists)
    schema.add_field("scores", element_type=DataType.DOUBLE, **lists)
    return schema


def last_of_each(rows: Iterable[Row]) -> list[Row]:
    """One row a path: of two in one request, Milvus keeps either."""
    return list({row["path"]: row for row in rows}.values())


_MOST_VALUES = 1000
_MOST_CHARACTERS = 1_000_000


def literal(text: str) -> str:
    """A string as the filter language writes it.

    Args:
        text: Of `stored_text`.
    """
    codes = (*range(32), 127)
    escapes = {code: f"\\{code:03o}" for code in codes} | {34: '\\"', 92: "\\\\"}
    return f'"{text.translate(escapes)}"'


def any_path(texts: Iterable[str]) -> Iterator[str]:
    """Conditions that together hold for some paths, each short enough for a request.

    Args:
        texts: The paths as they are stored.
    """
    values: list[str] = []
    length = 0
    for text in texts:
        value = literal(text)
        if values and (len(values) == _MOST_VALUES or length + len(value) > _MOST_CHARACTERS):
            yield f"path in [{', '.join(values)}]"
            values, length = [], 0
        values.append(value)
        length += len(value)
    if values:
        yield f"path in [{', '.join(values)}]"


def any_size(sizes: Iterable[int]) -> Iterator[str]:
    """Conditions that together hold for images, present or not, of some sizes in bytes."""
    every = sorted(set(sizes))
    for start in range(0, len(every), _MOST_VALUES):
        chosen = ", ".join(map(str, every[start : start + _MOST_VALUES]))
        yield f"state in [{State.PRESENT:d}, {State.ABSENT:d}] and size in [{chosen}]"


def known_files(under: str | None) -> str:
    """A condition that holds for every file, or for one path and all below it."""
    files = f"state != {State.ROOT:d}"
    if under is None:
        return files
    return f"{files} and {_at_or_below(under)}"


def present_images(where: Filter) -> str:
    """A condition that holds for the present images that a filter lets through."""
    parts = [f"state == {State.PRESENT:d}"]
    if where.folders:
        parts.append(f"({' or '.join(map(_at_or_below, where.folders))})")
    if where.cameras:
        begins = (_starts("camera_key", name.casefold()) for name in where.cameras)
        parts.append(f"({' or '.join(begins)})")
    if where.formats:
        parts.append(f"format in [{_list([name.lower() for name in where.formats])}]")
    if where.labels:
        parts.append(f"array_contains_any(labels, [{_list(where.labels)}])")
    return " and ".join([*parts, *_bounds(where)])


def _bounds(where: Filter) -> Iterator[str]:
    if where.until is not None:
        yield f"date > {MISSING}"
    for name, operator, value in (
        ("date", ">=", where.since),
        ("date", "<", where.until),
        ("width", ">=", where.min_width),
        ("height", ">=", where.min_height),
        ("size", ">=", where.min_bytes),
        ("size", "<=", where.max_bytes),
    ):
        if value is not None:
            yield f"{name} {operator} {value}"


def _at_or_below(path: str) -> str:
    path = path.rstrip("/")
    return f"(path == {literal(stored_text(path))} or {_starts('path', f'{path}/')})"


def _starts(field: str, prefix: str) -> str:
    """Strings are compared byte by byte, and UTF-8 keeps the order of code points."""
    prefix = stored_text(prefix)
    if not prefix:
        return f'{field} != ""'
    after = ord(prefix[-1]) + 1
    if 0xD800 <= after <= 0xDFFF:
        after = 0xE000  # what lies between is for surrogates
    if after > 0x10FFFF:
        return f"{field} >= {literal(prefix)}"  # nothing comes after
    return f"({field} >= {literal(prefix)} and {field} < {literal(prefix[:-1] + chr(after))})"


def _list(texts: Sequence[str]) -> str:
    return ", ".join(literal(stored_text(text)) for text in texts)
