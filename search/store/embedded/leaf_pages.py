"""Rows of a damaged SQLite file, read from its leaf pages where no way leads to them any more.

Source: https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PAGE = 4096
"""Bytes of a page of a catalog."""
_LEAF = 13  # of a table
_HEADER = 8  # bytes of a leaf page's header
_LONGEST = PAGE - 35  # bytes of a row that lies on one page
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Kind of a value → bytes."""


def leaf_rows(path: Path, columns: int) -> Iterator[tuple[Any, ...]]:
    """Rows of every table that has so many columns, deleted ones on unused pages among them.

    Args:
        path: A SQLite file.
        columns: Of a row; the first one is its number.

    Yields:
        The number and the other values. Rows longer than a page are left out.
    """
    with path.open("rb") as file:
        while page := file.read(PAGE):
            if len(page) == PAGE and page[0] == _LEAF:
                yield from _rows(page, columns)


def _rows(page: bytes, columns: int) -> Iterator[tuple[Any, ...]]:
    count = int.from_bytes(page[3:5])
    for place in range(_HEADER, min(_HEADER + 2 * count, PAGE - 1), 2):
        # A spoilt page can hold anything.
        with suppress(IndexError, ValueError, struct.error, UnicodeDecodeError):
            row = _row(page, int.from_bytes(page[place : place + 2]))
            if len(row) == columns:
                yield row


def _row(page: bytes, place: int) -> tuple[Any, ...]:
    length, place = _varint(page, place)
    number, place = _varint(page, place)
    if length > _LONGEST or place + length > PAGE:
        raise ValueError(length)
    header, at = _varint(page, place)
    value, kinds = place + header, []
    while at < value:
        kind, at = _varint(page, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        size = _size(kind)
        values.append(_value(kind, page[value : value + size]))
        value += size
    return (number, *values[1:])


def _varint(page: bytes, place: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        byte = page[place + index]
        if index == 8:
            return value << 8 | byte, place + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + index + 1
    raise AssertionError("nine bytes at most")


def _size(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return 8 if kind == 7 else _INTEGERS.get(kind, 0)


def _value(kind: int, data: bytes) -> Any:
    if kind >= 12:
        return data.decode("utf-8") if kind % 2 else data
    if kind in _INTEGERS:
        return int.from_bytes(data, signed=True)
    if kind == 7:
        return struct.unpack(">d", data)[0]
    return {8: 0, 9: 1}.get(kind)
