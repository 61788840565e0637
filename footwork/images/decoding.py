"""Every file ends as an upright RGB image, or as an `ImageError` that says why not.

What every viewer shows and Pillow does not is mended: spoilt remarks in a PNG, a lost end.

All of it takes another attempt at a file that was refused; a sound one is never looked at here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from footwork.errors import ImageError
from footwork.images.colours import to_rgb
from footwork.images.facts import ImageFacts, read_facts
from footwork.images.opening import (
    MAX_PIXELS,
    RefusedImage,
    open_picture,
    read_source,
    set_fraction,
)

_TRUNCATED = "it is truncated"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "it does not exist"),
    (UnidentifiedImageError, "it is no picture of a known kind"),
    (Image.DecompressionBombError, f"it has more than {MAX_PIXELS / 1e6:.0f} megapixels"),
    (MemoryError, "there is not enough memory to decode it"),
    (EOFError, _TRUNCATED),
)
_LONGEST_REASON = 120  # characters
_SIGNS_OF_A_CUT = ("truncated", "unexpected end", "not enough image data", "premature end")


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture, and what its file tells of it."""

    image: Image.Image
    """Upright, in RGB."""
    facts: ImageFacts
    missing: float = 0.0
    """Share of the pixels that the file ends before."""

    @property
    def note(self) -> str | None:
        """What to know of it, a clause; None where all is well."""
        if not self.missing:
            return None
        return f"its end is missing, {self.missing:.1%} of the picture"


def decode_image(source: Path | bytes, side: int | None = None) -> Image.Image:
    """Decode a picture, upright, in RGB, without transparency; of several the first.

    A file that is cut short is refused, but for the last of its pixels: half a picture, grey below,
    would be labelled and found as if it were one.

    Args:
        source: A file, or what one holds.
        side: Pixels that the shorter side is needed for. A JPEG may then be decoded at a fraction
            that leaves twice as many or more. None decodes all pixels.

    Raises:
        ImageError: It ends as no picture, for whatever reason.
    """
    return read_image(source, side).image


def read_image(source: Path | bytes, side: int | None = None) -> DecodedImage:
    """Decode a picture as `decode_image` does, and tell what its file says of it, in one pass.

    Args:
        source: A file, or what one holds.
        side: As for `decode_image`.

    Raises:
        ImageError: It ends as no picture, for whatever reason.
    """
    if side is not None and side < 1:
        raise ValueError(f"`side` must be at least 1 pixel, got {side}.")
    try:
        with read_source(source) as stream:
            return _decoded(stream, side)
    except Exception as error:  # noqa: BLE001 - Pillow's readers raise whatever a bad file brings
        reason = reason_of(error)
        try:
            return _mended(source, side, error, is_cut=reason == _TRUNCATED)
        except Exception:  # noqa: BLE001 - the first one tells what is wrong with the file
            name = f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
            raise ImageError(name, reason) from error


def _decoded(stream: IO[bytes], side: int | None) -> DecodedImage:
    picture = open_picture(stream)
    declared = picture.size
    set_fraction(picture, side)
    picture.load()
    # Some formats know their size, or turn themselves, only in loading.
    size = declared if isinstance(picture, JpegImageFile) else picture.size
    facts = read_facts(picture, size)
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - spoilt EXIF data do not spoil the pixels
        pass
    return DecodedImage(to_rgb(picture), facts)


def _mended(
    source: Path | bytes, side: int | None, error: Exception, *, is_cut: bool
) -> DecodedImage:
    """What viewers show of a file that was refused; raises whatever there is, if they do not."""
    if isinstance(error, (RefusedImage, MemoryError, Image.DecompressionBombError)):
        raise error
    with read_source(source) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise error
    return decode_mended(content, lambda one: _decoded(BytesIO(one), side), is_cut=is_cut)


def require_image(path: Path) -> None:
    """See that a file decodes as a picture, at the smallest fraction that it allows.

    Raises:
        ImageError: It does not.
    """
    decode_image(path, 1)


def reason_of(error: Exception) -> str:
    """Why a file ends as no picture: a clause such as "it is truncated"."""
    text = " ".join(str(error).split())
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, ImageError):
        return error.reason
    if isinstance(error, RefusedImage):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read: {error.strerror.lower()}"
    if any(sign in text.lower() for sign in _SIGNS_OF_A_CUT):
        return _TRUNCATED
    return f"it cannot be decoded: {text[:_LONGEST_REASON] or type(error).__name__}"


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
