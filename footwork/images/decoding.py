"""Every file ends as an upright RGB image, or as an `ImageError` that says why not.

Pictures are opened without a word from Pillow. What every viewer shows and Pillow does not is
mended: spoilt remarks in a PNG, a lost end. All of that takes another attempt at a file that was
refused; a sound one is never looked at there.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from random import Random
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory

from footwork.errors import ImageError, error_text
from footwork.files.plain_files import open_plain
from footwork.images.colours import to_rgb
from footwork.images.facts import ImageFacts, read_facts

MAX_PIXELS = 2**29 // 3
"""Of a decoded picture: half a GiB of RGB, which is where Pillow draws its line too."""
MAX_PIXELS_IN_PART = 2 * MAX_PIXELS
"""Of a JPEG decoded at a fraction. A usual one then needs memory for a few rows, a progressive
one 2 bytes a sample of the whole: with twice the pixels no more than a PNG at its limit."""

_JPEG = b"\xff\xd8\xff"
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEAD_BYTES = 64
# Drawings that another program would run: Ghostscript, or the Windows graphics interface.
_PROGRAMS = frozenset({"EPS", "WMF", "EMF"})

_INSTALL_HEIC = "pip install 'footwork[heic]'"

_NOISY = ("PIL", "pillow_heif")
_SILENCE = [("ignore", None, Warning, re.compile(rf"{package}\."), 0) for package in _NOISY]
_NO_LOG = logging.NullHandler()
_setting_up = threading.Lock()
_loading = [threading.Lock() for _ in range(64)]
"""Of images of Pillow's, by where they lie in memory: each has one, which it seldom shares."""


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


class RefusedImage(Exception):  # noqa: N818 - it never reaches a user
    """A picture that is not even tried; the message is the reason."""


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


def decode_image(source: Path | bytes | Image.Image, side: int | None = None) -> Image.Image:
    """Decode a file, or its bytes, upright, in RGB, without transparency; of several the first.

    An image of Pillow's is made so, too, in all its pixels, and is itself left as it is.

    A file that is cut short is refused, but for the last of its pixels: half a picture, grey below,
    would be labelled and found as if it were one. A JPEG may be decoded at a fraction that leaves
    twice the pixels that the shorter `side` is needed for, or more; None decodes all. What ends as
    no picture, for whatever reason, is an `ImageError`.
    """
    if not isinstance(source, Image.Image):
        return read_image(source, side).image
    try:
        with _loading[id(source) // 16 % len(_loading)]:  # two threads would read one file at once
            source.load()
        return to_rgb(_turned(source.copy()))
    except Exception as error:
        name = f"{type(source).__name__} of {source.width} x {source.height}"
        raise ImageError(name, reason_of(error)) from error


def require_image(path: Path) -> None:
    """See that a file decodes as a picture, at the smallest fraction that it allows."""
    decode_image(path, 1)


def read_image(source: Path | bytes, side: int | None = None) -> DecodedImage:
    """As `decode_image`, and tell what the file says of the picture, in one pass."""
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


def reason_of(error: Exception) -> str:
    """Why a file ends as no picture: a clause such as "it is truncated"."""
    text = error_text(error)
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
    return f"it cannot be decoded: {text[:_LONGEST_REASON]}"


def read_source(source: Path | bytes) -> IO[bytes]:
    """A stream of what is to be decoded; a `RefusedImage` if it is empty, or no regular file."""
    if isinstance(source, bytes):
        if not source:
            raise RefusedImage("it is empty")
        return BytesIO(source)
    try:
        stream = open_plain(source)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise RefusedImage(error.strerror) from error
    if os.fstat(stream.fileno()).st_size:
        return stream
    stream.close()
    raise RefusedImage("it is empty")


def open_picture(stream: IO[bytes]) -> ImageFile:
    """Read the header of a picture from a stream that stays open until it is loaded.

    A `RefusedImage` needs a package that is not installed, or would run another program; beside it
    Pillow raises whatever it does.
    """
    _set_up_pillow()
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if head.startswith(_JPEG):
        # `Image.open` would refuse a large one by its size before draft mode can lower it.
        return jpeg_factory(stream)
    if is_heic(head):
        try:
            # Not registered with Pillow: what else runs in this process keeps its own choice.
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise RefusedImage(f"it is HEIC; to read such files: {_INSTALL_HEIC}") from error
        return HeifImageFile(stream)
    picture = Image.open(stream)
    if picture.format in _PROGRAMS:
        raise RefusedImage(f"it is a drawing ({picture.format}), not a picture of pixels")
    return picture


def is_installed_now(reason: str) -> bool:
    """Whether a file was refused for want of a package that is there by now."""
    return _INSTALL_HEIC in reason and find_spec("pillow_heif") is not None


def _decoded(stream: IO[bytes], side: int | None) -> DecodedImage:
    picture = open_picture(stream)
    declared = picture.size
    limit = MAX_PIXELS
    if side and isinstance(picture, JpegImageFile):
        # At a half, a quarter or an eighth, yet at twice `side` or more. Which side is the shorter
        # does not depend on how the picture is turned.
        picture.draft(None, (2 * side, 2 * side))
        if picture.size != declared:
            limit = MAX_PIXELS_IN_PART
    if (pixels := declared[0] * declared[1]) > limit:
        raise RefusedImage(
            f"it has {pixels / 1e6:.0f} megapixels, over the limit of {limit / 1e6:.0f}"
        )
    picture.load()
    # Some formats know their size, or turn themselves, only in loading.
    size = declared if isinstance(picture, JpegImageFile) else picture.size
    facts = read_facts(picture, size)
    return DecodedImage(to_rgb(_turned(picture)), facts)


def _turned(picture: Image.Image) -> Image.Image:
    """The same, loaded, turned as its EXIF data say."""
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - spoilt EXIF data do not spoil the pixels
        pass
    return picture


def is_heic(head: bytes) -> bool:
    """Whether a file begins as HEIC does, and not as AVIF, its sibling, which Pillow knows.

    Source: ISO/IEC 23008-12, section 10: brands of the file type box.
    """
    if head[4:8] != b"ftyp":
        return False
    length = int.from_bytes(head[:4], "big")
    brands = {head[i : i + 4] for i in range(8, min(length, _HEAD_BYTES), 4)}
    return head[8:12] in _HEIC_BRANDS and not brands & _AVIF_BRANDS


def _set_up_pillow() -> None:
    """Load all of Pillow's formats, and keep its remarks on odd files from the user.

    `warnings.catch_warnings` would not do: it swaps the filters of the whole process, and threads
    that leave it in another order than they came would leave the wrong ones. So a filter for
    Pillow's own modules stays. It is looked for each time, as others swap the filters, too.

    One thread at a time: a format that another thread is about to register would be missed.
    """
    with _setting_up:
        Image.init()
        _silence_libtiff()
        for package, silence in zip(_NOISY, _SILENCE, strict=True):
            if silence not in warnings.filters:
                warnings.filterwarnings("ignore", module=rf"{package}\.")
            logging.getLogger(package).addHandler(_NO_LOG)


@cache
def _silence_libtiff() -> None:
    """It writes what it thinks of a file to the standard error of the process, past Python's.

    Source: https://libtiff.gitlab.io/libtiff/functions/TIFFError.html
    """
    from PIL import _imaging  # which libtiff is linked with

    with suppress(OSError, AttributeError):  # linked in another way: then it goes on talking
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            setter = library[name]
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


LARGEST = 2**28
"""Bytes of a file that is mended; it lies in memory several times."""
MOST_LOST = 0.05
"""Of the pixels. More of them, grey or black, would be labelled and found as if they were there."""

_PNG = b"\x89PNG\r\n\x1a\n"
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


def _mended(
    source: Path | bytes, side: int | None, error: Exception, *, is_cut: bool
) -> DecodedImage:
    """What viewers show of a file that was refused.

    Raises:
        Exception: Whatever there is, if they show nothing, or too much of it is missing.
    """
    if isinstance(error, (RefusedImage, MemoryError, Image.DecompressionBombError)):
        raise error
    with read_source(source) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise error
    if content.startswith(_PNG):
        whole, lost = _whole_png(content)
        if not whole:
            raise error
        picture = _decoded(BytesIO(whole), side)
    elif is_cut:
        # What the missing bytes decide differs with what takes their place.
        picture = _decoded(BytesIO(_ended(content)), side)
        pixels = picture.facts.width * picture.facts.height
        other = _decoded(BytesIO(_ended(content, pixels)), side)
        one, another = (np.asarray(each.image, np.int16) for each in (picture, other))
        lost = float((np.abs(one - another) > _DIFFERENT).any(axis=-1).mean())
    else:
        raise error
    if lost > MOST_LOST:
        raise error
    return replace(picture, missing=lost)


def _ended(content: bytes, pixels: int = 0) -> bytes:
    """A file that does not end too early.

    With `pixels`, those of the picture, it ends in another way, with enough for `MOST_LOST` of
    them.
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

    Of one that lacks more than `MOST_LOST` nothing is made: a few bytes may claim a gigabyte.

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
    if (lost := max(0.0, 1 - len(rows) / length)) > MOST_LOST:
        return b"", lost
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
