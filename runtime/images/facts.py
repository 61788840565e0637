"""What an image file tells of itself beside its pixels. Spoilt details are absent, never an error.

Source of the tags: CIPA DC-008 (Exif 3.0), sections 4.6.4 to 4.6.6.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Exif
    from PIL.ImageFile import ImageFile

_ORIENTATION, _MAKE, _MODEL = 0x0112, 0x010F, 0x0110
_TAKEN, _DIGITIZED, _CHANGED = 0x9003, 0x9004, 0x0132
_DETAILS = 0x8769  # where a directory of its own holds the rest, both dates among it
_ON_THEIR_SIDE = (5, 6, 7, 8)

_DATE = re.compile(
    r"(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)(?:[T ]+(\d\d?):(\d\d?)(?::(\d\d?))?)?(?!\d)", re.ASCII
)
_FIRST_PHOTOGRAPH = 1826
_LONGEST_NAME = 80  # characters
# Phones keep a depth map or a gain map behind the picture: to its user it is a JPEG all the same.
_USUAL_NAMES = {"mpo": "jpeg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a file tells of its picture."""

    format: str
    """Lower case, as Pillow names it: `jpeg`, `png`; a JPEG of several pictures is `jpeg` too."""
    width: int
    """Pixels, upright, of the file: a JPEG that was decoded at a fraction has more than those."""
    height: int
    """Pixels, upright, of the file."""
    date: int | None = None
    """When it was taken: seconds since 1970 of the clock on the wall there, whatever its time
    zone."""
    camera: str | None = None
    """Make and model."""


def read_facts(picture: ImageFile, size: tuple[int, int]) -> ImageFacts:
    """Gather what is known of a loaded picture; its EXIF data may be spoilt in any way.

    Args:
        picture: Loaded, since some formats keep their EXIF data behind their pixels.
        size: Width and height of the whole picture in pixels, as it lies in the file.
    """
    width, height = size[::-1] if read_orientation(picture) in _ON_THEIR_SIDE else size
    name = (picture.format or "").lower()
    tags = _main_tags(picture)
    return ImageFacts(
        format=_USUAL_NAMES.get(name, name),
        width=width,
        height=height,
        date=next(_dates(tags), None),
        camera=_camera(_words(tags, _MAKE), _words(tags, _MODEL)),
    )


def read_orientation(picture: ImageFile) -> int | None:
    """How a loaded picture is to be turned, 1 to 8; None if it does not tell."""
    value = _value(_main_tags(picture), _ORIENTATION)
    return value if isinstance(value, int) else None


def _main_tags(picture: ImageFile) -> Exif | None:
    try:
        return picture.getexif()
    except Exception:  # noqa: BLE001 - spoilt EXIF data do not spoil the pixels
        return None


def _details(tags: Exif | None) -> dict[int, Any] | None:
    try:
        return None if tags is None else tags.get_ifd(_DETAILS)
    except Exception:  # noqa: BLE001 - nor what else it tells
        return None


def _value(tags: Exif | dict[int, Any] | None, tag: int) -> Any:
    try:
        return None if tags is None else tags.get(tag)
    except Exception:  # noqa: BLE001 - values are parsed as they are asked for
        return None


def _words(tags: Exif | dict[int, Any] | None, tag: int) -> list[str]:
    value = _value(tags, tag)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return []
    text = value.split("\0")[0][:1000]  # what follows a NUL is of another text
    return "".join(c if c.isprintable() else " " for c in text).split()


def _dates(tags: Exif | None) -> Iterator[int]:
    """The best first: taken, digitized, changed."""
    details = _details(tags)
    for place, tag in ((details, _TAKEN), (details, _DIGITIZED), (tags, _CHANGED)):
        date = _seconds(" ".join(_words(place, tag)))
        if date is not None:
            yield date


def _seconds(text: str) -> int | None:
    found = _DATE.match(text)
    if found is None:
        return None
    parts = [int(part or 0) for part in found.groups()]
    try:
        date = datetime(*parts)  # type: ignore[arg-type]
    except ValueError:  # zeros, or a 31st of February
        return None
    return timegm(date.timetuple()) if date.year >= _FIRST_PHOTOGRAPH else None


def _camera(make: list[str], model: list[str]) -> str | None:
    """Make and model, the make once: both `Canon EOS R5` and `NIKON D90` bring their own."""
    known = {word.casefold() for word in make}
    words = model if model and model[0].casefold() in known else [*make, *model]
    return " ".join(words)[:_LONGEST_NAME].rstrip() or None
