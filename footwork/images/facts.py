"""What an image file tells of itself beside its pixels. Spoilt details are absent, never an error.

Source of the tags: CIPA DC-008 (Exif 3.0), sections 4.6.4 to 4.6.6; of the names in XMP: ISO
16684-1, section 8, and the Metadata Working Group's guidelines 2.0, section 5.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_ORIENTATION, _MAKE, _MODEL = 0x0112, 0x010F, 0x0110
_TAKEN, _DIGITIZED, _CHANGED = 0x9003, 0x9004, 0x0132
_DETAILS = 0x8769  # where a directory of its own holds the rest, both dates among it
_GPS, _GPS_DATE, _GPS_TIME = 0x8825, 0x001D, 0x0007
_XMP = 0x02BC
_ON_THEIR_SIDE = (5, 6, 7, 8)

_DATE = re.compile(
    r"(\d{4})[:/.-] ?(\d\d?)[:/.-] ?(\d\d?)"
    r"(?:[T: ]+(\d\d?)[:.] ?(\d\d?)(?:[:.] ?(\d\d?))?)?(?!\d)",
    re.ASCII,
)
_XMP_DATE = rb"\b%s\s*(?:=\s*[\"']|>)\s*([^\"'<]{1,40})"  # an attribute, or an element
_XMP_DATES = [
    re.compile(_XMP_DATE % name)
    for name in (rb"exif:DateTimeOriginal", rb"photoshop:DateCreated", rb"xmp:CreateDate")
]
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
    zone; by GPS, which alone has that of no place, in UTC."""
    camera: str | None = None
    """Make and model."""


def read_facts(picture: ImageFile, size: tuple[int, int]) -> ImageFacts:
    """Gather what is known of a picture; its EXIF data may be spoilt in any way.

    Args:
        picture: Loaded, since some formats keep their EXIF data behind their pixels.
        size: Width and height of the whole picture in pixels, as it lies in the file.
    """
    tags = _unspoilt(picture.getexif)
    on_its_side = _value(tags, _ORIENTATION) in _ON_THEIR_SIDE
    width, height = size[::-1] if on_its_side else size
    name = (picture.format or "").lower()
    return ImageFacts(
        format=_USUAL_NAMES.get(name, name),
        width=width,
        height=height,
        date=next(_dates(picture, tags), None),
        camera=_camera(_words(tags, _MAKE), _words(tags, _MODEL)),
    )


def _unspoilt(read: Callable[[], Any]) -> Any:
    """What is parsed as it is asked for; None where it is spoilt, which spoils nothing else."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - Pillow raises whatever spoilt data bring
        return None


def _value(tags: Any, tag: int) -> Any:
    return _unspoilt(lambda: tags.get(tag))


def _words(tags: Any, tag: int) -> list[str]:
    value = _value(tags, tag)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return []
    text = value.split("\0")[0][:1000]  # what follows a NUL is of another text
    return "".join(c if c.isprintable() else " " for c in text).split()


def _dates(picture: ImageFile, tags: Any) -> Iterator[int]:
    """The best first: taken, digitized, the same by XMP, changed, by GPS."""
    details = _unspoilt(lambda: tags.get_ifd(_DETAILS))
    gps = _unspoilt(lambda: tags.get_ifd(_GPS))
    # Hours, minutes and seconds as rationals.
    clock = _unspoilt(lambda: ":".join(f"{int(part):02}" for part in gps.get(_GPS_TIME)))
    for text in (
        " ".join(_words(details, _TAKEN)),
        " ".join(_words(details, _DIGITIZED)),
        *_xmp_dates(picture, tags),
        " ".join(_words(tags, _CHANGED)),
        " ".join((*_words(gps, _GPS_DATE), clock or "")),
    ):
        if (date := _seconds(text)) is not None:
            yield date


def _xmp_dates(picture: ImageFile, tags: Any) -> Iterator[str]:
    """What its XMP packet says; it is not parsed, since a program may have written half of it."""
    told = (picture.info.get("xmp"), picture.info.get("XML:com.adobe.xmp"), _value(tags, _XMP))
    for packet in told:
        if isinstance(packet, str):
            packet = packet.encode("utf-8", "replace")
        if not isinstance(packet, bytes):
            continue
        for written in filter(None, (name.search(packet) for name in _XMP_DATES)):
            yield written[1].decode("latin-1")


def _seconds(text: str) -> int | None:
    """A day that a calendar has counts, though no clock shows the time: 24:00:00, or a second 60.

    That is taken for the last moment before it.
    """
    found = _DATE.match(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    if hour > 23:
        hour, minute, second = 23, 59, 59
    try:
        date = datetime(year, month, day, hour, min(minute, 59), min(second, 59))
    except ValueError:  # zeros, or a 31st of February
        return None
    return timegm(date.timetuple()) if date.year >= _FIRST_PHOTOGRAPH else None


def _camera(make: list[str], model: list[str]) -> str | None:
    """Make and model, the make once: both `Canon EOS R5` and `NIKON D90` bring their own."""
    known = {word.casefold() for word in make}
    words = model if model and model[0].casefold() in known else [*make, *model]
    return " ".join(words)[:_LONGEST_NAME].rstrip() or None
