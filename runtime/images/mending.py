"""Pictures that every viewer shows, and Pillow does not: spoilt remarks in a PNG, a lost end.

All of it takes another attempt at a file that was refused; a sound one is never looked at here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from runtime.images.opening import MAX_PIXELS

if TYPE_CHECKING:
    from runtime.images.decoding import DecodedImage

LARGEST = 2**28
"""Bytes of a file that is mended; it lies in memory several times."""
MOST_LOST = 0.05
"""Of the pixels. More of them, grey or black, would be labelled and found as if they were there."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_RESTART_INTERVAL = b"\xff\xdd\0\4"
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_LONGEST_PIXEL = 4  # bytes that noise takes in a JPEG, at most
_NEEDED = frozenset({b"tRNS", b"eXIf", b"iCCP", b"iTXt"})
"""Chunks of a PNG that are no pixels and yet say how these look, or when they were taken."""
_XMP = b"XML:com.adobe.xmp\0\0"  # not compressed
_LONGEST_CHUNK = 2**20  # bytes of one of these; Pillow allows a profile no more
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by the colour type of a PNG
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_INTERLACED = (*_PASSES, (0, 1, 1, 2))  # x, y, and the steps of both
_DIFFERENT = 16  # of 255


def decode_mended(
    content: bytes, decode: Callable[[bytes], DecodedImage], *, is_cut: bool
) -> DecodedImage:
    """Decode a file that could not be decoded as it is.

    Args:
        content: Of the file.
        decode: Raises what it likes.
        is_cut: Whether it was said to end too early.

    Returns:
        The picture, which says how much of it is missing: 0 to `MOST_LOST`.

    Raises:
        ValueError: There is no way, or too much is missing.
        Exception: Of `decode`.
    """
    if content.startswith(_PNG):
        whole, lost = _whole_png(content)
        picture = decode(whole)
    elif is_cut:
        # What the missing bytes decide differs with what takes their place.
        picture = decode(_ended(content))
        other = decode(_ended(content, picture.facts.width * picture.facts.height))
        pixels, others = (np.asarray(one.image, np.int16) for one in (picture, other))
        lost = float((np.abs(pixels - others) > _DIFFERENT).any(axis=-1).mean())
    else:
        raise ValueError("It is of a kind that cannot be mended.")
    if lost > MOST_LOST:
        raise ValueError(f"{lost:.0%} of it is missing.")
    return replace(picture, missing=lost)


def _ended(content: bytes, pixels: int = 0) -> bytes:
    """A file that does not end too early.

    Args:
        content: What there is of it.
        pixels: Of the picture, to be ended in another way, with enough for `MOST_LOST` of them.
    """
    if not content.startswith(_JPEG):
        return content + (b"\xff" if pixels else b"\0") * (int(len(content) * 2 * MOST_LOST) + 64)
    content = content.rstrip(b"\0\xff")  # of a copy that came to no end, and half a mark
    return content + _noise(content, int(2 * MOST_LOST * pixels) * _LONGEST_PIXEL) + b"\xff\xd9"


def _noise(content: bytes, length: int) -> bytes:
    """What may follow in a JPEG, with the marks at which it starts anew if it has such.

    Source: ITU-T T.81, sections B.2.1 and F.2.2.5.
    """
    noise = Random(0).randbytes(length).replace(b"\xff", b"\x7f")
    _, _, stated = content.rpartition(_RESTART_INTERVAL)
    interval = int.from_bytes(stated[:2]) if len(stated) < len(content) else 0
    if not interval:
        return noise
    marks = _RESTART.findall(stated)
    first, step = marks[-1][1] - 0xD0 + 1 if marks else 0, interval * 16 * 16 * _LONGEST_PIXEL
    parts = (noise[at : at + step] for at in range(0, length, step))
    return b"".join(
        part + bytes((0xFF, 0xD0 + (first + place) % 8)) for place, part in enumerate(parts)
    )


def _whole_png(content: bytes) -> tuple[bytes, float]:
    """The pixels of a PNG without its remarks and further pictures, and how much is missing.

    Source: https://www.w3.org/TR/png-3/, sections 5.3, 7.2 and 8.1.
    """
    head, kept, packed = b"", [], []
    for kind, body, is_sound in _chunks(content):
        if kind == b"IDAT":
            packed.append(body)
        elif kind == b"IHDR":
            head = body
        elif kind == b"PLTE" or (kind in _NEEDED and is_sound and _is_usable(kind, body)):
            kept.append(_chunk(kind, body))
    length = _unpacked_length(head)
    rows, stream = bytearray(), zlib.decompressobj()
    with suppress(zlib.error):  # what comes before is sound
        for part in packed:
            rows += stream.decompress(part, length - len(rows) + 1)
    lost = max(0.0, 1 - len(rows) / length)
    rows += bytes(max(0, length - len(rows)))
    pixels = _chunk(b"IDAT", zlib.compress(rows, 1))
    parts = (_PNG, _chunk(b"IHDR", head), *kept, pixels, _chunk(b"IEND", b""))
    return b"".join(parts), lost


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind, content, and whether the checksum is right; the last one may be cut."""
    at = len(_PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        yield kind, body, checksum == zlib.crc32(kind + body).to_bytes(4)
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def _is_usable(kind: bytes, body: bytes) -> bool:
    """Whether it is no larger than Pillow takes, unpacked; of texts only XMP is."""
    if kind == b"iTXt" and not body.startswith(_XMP):
        return False
    if kind != b"iCCP":
        return len(body) <= _LONGEST_CHUNK
    _, _, packed = body.partition(b"\0")
    stream = zlib.decompressobj()
    try:
        stream.decompress(packed[1:], _LONGEST_CHUNK)
    except zlib.error:
        return False
    return packed[:1] == b"\0" and not stream.unconsumed_tail


def _unpacked_length(head: bytes) -> int:
    """Bytes that the pixels of a PNG unpack to, by its header."""
    width, height, bits, colours, *_, interlaced = struct.unpack(">IIBBBBB", head)
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"It has {width} x {height} pixels.")
    length = 0
    for x, y, across, down in _INTERLACED if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            length += rows * (1 + (columns * bits * _SAMPLES[colours] + 7) // 8)
    return length
