"""Every file ends as an upright RGB picture, or as an `ImageError` that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from runtime.errors import ImageError
from runtime.images.colours import to_rgb
from runtime.images.facts import ImageFacts, read_facts, read_orientation
from runtime.images.mending import LARGEST, decode_mended
from runtime.images.opening import (
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

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    upright = _upright(to_rgb(picture), read_orientation(picture))
    return DecodedImage(upright, read_facts(picture, size))


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


def _upright(picture: Image.Image, orientation: int | None) -> Image.Image:
    turn = _TURNS.get(orientation or 1)
    return picture if turn is None else picture.transpose(turn)
