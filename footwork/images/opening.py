"""Open a picture without decoding it, and without a word from Pillow."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import threading
import warnings
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory

from footwork.files.plain_files import open_plain

MAX_PIXELS = 2**29 // 3
"""Of a decoded picture: half a GiB of RGB, which is where Pillow draws its line too."""
MAX_PIXELS_IN_PART = 2 * MAX_PIXELS
"""Of a JPEG decoded at a fraction. A usual one then needs memory for a few rows, a progressive
one 2 bytes a sample of the whole: with twice the pixels no more than a PNG at its limit."""

_JPEG_MARK = b"\xff\xd8\xff"
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


class RefusedImage(Exception):  # noqa: N818 - it never leaves this folder
    """A picture that is not even tried; the message is the reason."""


def read_source(source: Path | bytes) -> IO[bytes]:
    """A stream of what is to be decoded.

    Raises:
        RefusedImage: It is empty, or no regular file.
        OSError: It cannot be opened.
    """
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
    """Read the header of a picture.

    Args:
        stream: At its beginning; to stay open until the picture is loaded.

    Raises:
        RefusedImage: It needs a package that is not installed, or would run another program.
        Exception: Whatever Pillow raises.
    """
    _set_up_pillow()
    picture = _recognise(stream)
    if picture.format in _PROGRAMS:
        raise RefusedImage(f"it is a drawing ({picture.format}), not a picture of pixels")
    return picture


def set_fraction(picture: ImageFile, side: int | None) -> None:
    """Set a JPEG to be decoded at a half, a quarter or an eighth, yet at twice `side` or more.

    Args:
        picture: Not yet loaded; a JPEG tells of that many pixels only from now on.
        side: Pixels that the shorter side is needed for; which one is the shorter does not depend
            on how the picture is turned. None needs all.

    Raises:
        RefusedImage: It has too many pixels.
    """
    pixels, limit = picture.width * picture.height, MAX_PIXELS
    if side and isinstance(picture, JpegImageFile):
        picture.draft(None, (2 * side, 2 * side))
        if picture.width * picture.height < pixels:
            limit = MAX_PIXELS_IN_PART
    if pixels > limit:
        raise RefusedImage(
            f"it has {pixels / 1e6:.0f} megapixels, over the limit of {limit / 1e6:.0f}"
        )


def _recognise(stream: IO[bytes]) -> ImageFile:
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if head.startswith(_JPEG_MARK):
        # `Image.open` would refuse a large one by its size before draft mode can lower it.
        return jpeg_factory(stream)
    return _open_heic(stream) if is_heic(head) else Image.open(stream)


def _open_heic(stream: IO[bytes]) -> ImageFile:
    try:
        # Not registered with Pillow: what else runs in this process keeps its own choice.
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise RefusedImage(f"it is HEIC; to read such files: {_INSTALL_HEIC}") from error
    return HeifImageFile(stream)


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
