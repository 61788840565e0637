"""What Milvus keeps of a file, how a collection is laid out, and conditions in its language.

The path is the key: whoever writes a file writes the same row, so a write can be repeated, and two
writers of one file end with one row. What is known of a file and its vector are one row and travel
together: where the vector is older than the file, so is its record, and the next update sees it.

`like` is not used: Milvus 2.3 has no way to take % and _ in it for themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
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

LOTS = 2**62
"""Lots are below it."""
MOST_ENTRIES = 4096
"""Of a list in Milvus."""
_LONGEST_TEXT = 65_535  # bytes of a string in Milvus
_LONGEST_ENTRY = 4096  # characters of a camera's name or a fault
_MISSING = -(2**62)  # a time that is not known
_MOST_VALUES, _MOST_CHARACTERS = 1000, 1_000_000  # of a list in a condition

_SAME = [one.name for one in fields(ImageRecord) if one.name not in ("path", "present", "labels")]
RECORD_FIELDS = ("path", "state", *_SAME)
LABEL_FIELDS = ("labels", "scores")
_NONE: Mapping[str, int | str] = {
    **dict.fromkeys(("ctime_ns", "date"), _MISSING),
    **dict.fromkeys(("width", "height"), -1),
    **dict.fromkeys(("format", "date_from", "camera", "fault"), ""),
}
"""What stands for None: Milvus 2.3 has none."""


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
    """A row without labels; an unreadable file, which no query finds, has a vector of zeros."""
    if record.fault is None:
        state = State.PRESENT if record.present else State.ABSENT
    else:
        state = State.UNREADABLE if record.present else State.UNREADABLE_ABSENT
    path = stored_text(record.path)
    lot = int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest()) % LOTS
    row: Row = {"path": path, "lot": lot, "state": int(state), "vector": vector}
    for name in _SAME:
        value = getattr(record, name)
        value = _NONE[name] if value is None else value
        row[name] = stored_text(value)[:_LONGEST_ENTRY] if isinstance(value, str) else value
    camera_key = stored_text((record.camera or "").casefold())[:_LONGEST_ENTRY]
    return row | {"camera_key": camera_key, **dict.fromkeys(LABEL_FIELDS, ())}


def root_row(root: str, width: int, prefix: str = ROOT_PREFIX) -> Row:
    """A row that tells a folder that was indexed, or what is left out."""
    nothing = ImageRecord(path=f"{prefix}{root}", size=0, mtime_ns=0)
    return row_of(nothing, np.zeros(width, np.float32)) | {"state": int(State.ROOT)}


def labelled(row: Row, labels: Mapping[str, float]) -> Row:
    """The row with these labels in place of its own; `StoreError` for more than Milvus holds."""
    if len(labels) > MOST_ENTRIES:
        raise StoreError(
            f"{real_path(row['path'])} has {len(labels):,} labels; at most {MOST_ENTRIES:,} can be "
            "stored. Ask for fewer."
        )
    names = [stored_text(name) for name in labels]
    return {**row, "labels": names, "scores": [float(score) for score in labels.values()]}


def record_of(row: Mapping[str, Any]) -> ImageRecord:
    """What a row tells of a file; with its labels where `LABEL_FIELDS` were asked for."""
    known: dict[str, Any] = {}
    for name in _SAME:
        value = None if row[name] == _NONE.get(name) else row[name]
        known[name] = real_path(value) if isinstance(value, str) else value
    labels = None
    if "labels" in row:
        labels = dict(zip(map(real_path, row["labels"]), row["scores"], strict=True))
    present = row["state"] in (State.PRESENT, State.UNREADABLE)
    return ImageRecord(path=real_path(row["path"]), present=present, labels=labels, **known)


def vectors_of(rows: Sequence[Mapping[str, Any]], width: int) -> FloatArray:
    """The vectors of B rows, shape (B, D)."""
    vectors = [np.zeros(0, np.float32), *(np.asarray(row["vector"], np.float32) for row in rows)]
    return np.concatenate(vectors).reshape(len(rows), width)


def schema_of(embedder: Embedder, description: str) -> CollectionSchema:
    """The fields of a collection."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=False, description=description
    )
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
        schema.add_field(name, DataType.VARCHAR, max_length=_LONGEST_TEXT)
    lists = {"datatype": DataType.ARRAY, "max_capacity": MOST_ENTRIES}
    schema.add_field("labels", element_type=DataType.VARCHAR, max_length=_LONGEST_TEXT, **lists)
    schema.add_field("scores", element_type=DataType.DOUBLE, **lists)
    return schema


def literal(text: str) -> str:
    """A string, of `stored_text`, as the filter language writes it."""
    codes = (*range(32), 127)
    escapes = {code: f"\\{code:03o}" for code in codes} | {34: '\\"', 92: "\\\\"}
    return f'"{text.translate(escapes)}"'


def any_path(texts: Iterable[str]) -> Iterator[str]:
    """Conditions that together hold for some paths, as they are stored."""
    return (f"path in [{part}]" for part in _parts(map(literal, texts)))


def any_size(sizes: Iterable[int]) -> Iterator[str]:
    """Conditions that together hold for images, present or not, of some sizes in bytes."""
    images = f"state in [{State.PRESENT:d}, {State.ABSENT:d}]"
    return (f"{images} and size in [{part}]" for part in _parts(map(str, sorted(set(sizes)))))


def _parts(values: Iterable[str]) -> Iterator[str]:
    """Lists of values, each short enough for a request."""
    part, length = list[str](), 0
    for value in values:
        if part and (len(part) == _MOST_VALUES or length + len(value) > _MOST_CHARACTERS):
            yield ", ".join(part)
            part, length = [], 0
        part.append(value)
        length += len(value)
    if part:
        yield ", ".join(part)


def known_files(under: str | None) -> str:
    """A condition that holds for every file, or for one path and all below it."""
    files = f"state != {State.ROOT:d}"
    return files if under is None else f"{files} and {_at_or_below(under)}"


def present_images(where: Filter) -> str:
    """A condition that holds for the present images that a filter lets through."""
    parts = [f"state == {State.PRESENT:d}"]
    if where.folders:
        parts.append(f"({' or '.join(map(_at_or_below, where.folders))})")
    if where.cameras:
        begins = (_starts("camera_key", name.casefold()) for name in where.cameras)
        parts.append(f"({' or '.join(begins)})")
    if where.formats:
        parts.append(f"format in [{_list(name.lower() for name in where.formats)}]")
    if where.labels:
        parts.append(f"array_contains_any(labels, [{_list(where.labels)}])")
    if where.until is not None:
        parts.append(f"date > {_MISSING}")
    parts += (f"{name} {operator} {value}" for name, operator, value in where.bounds())
    return " and ".join(parts)


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


def _list(texts: Iterable[str]) -> str:
    return ", ".join(literal(stored_text(text)) for text in texts)
