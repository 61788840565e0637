"""Small pictures that tell when they are turned, mirrored or miscoloured."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from footwork.errors import ImageError
from footwork.images.decoding import decode_image

WIDTH, HEIGHT = 96, 64
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (90,) * 3}
FORMATS = ["AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]


def quarters(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A picture that looks different however it is turned."""
    picture = Image.new("RGB", (width, height))
    for i, colour in enumerate(COLOURS.values()):
        left, top = i % 2 * width // 2, i // 2 * height // 2
        picture.paste(colour, (left, top, left + width // 2, top + height // 2))
    return picture


def encoded(picture: Image.Image, format_name: str, **options: object) -> bytes:
    stream = BytesIO()
    if format_name == "HEIF":
        pillow_heif.from_pillow(picture).save(stream, **options)
    else:
        picture.save(stream, format_name, **options)
    return stream.getvalue()


def difference(one: Image.Image, other: Image.Image) -> float:
    """Largest, over the middles of the quarters, of 255."""
    assert one.mode == other.mode == "RGB"
    points = [(x / 4, y / 4) for x in (1, 3) for y in (1, 3)]

    def colours(picture: Image.Image) -> np.ndarray:
        width, height = picture.size
        return np.array([picture.getpixel((int(x * width), int(y * height))) for x, y in points])

    return float(np.abs(colours(one) - colours(other)).max())


def wide_profile(space: bytes = b"RGB ") -> bytes:
    """An ICC profile of the primaries of ProPhoto RGB, with the exponent 2.2.

    Source: ICC.1:2001-04, sections 6.1 to 6.5.
    """

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    white = (0.9642, 1.0, 0.8249)
    primaries = (
        (b"r", (0.7977, 0.288, 0.0)),
        (b"g", (0.1352, 0.7119, 0.0)),
        (b"b", (0.0313, 0, 0.825)),
    )
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*white)}
    for name, primary in primaries:
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*primary)
        tags[name + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, 132 + 12 * len(tags) + len(data), len(value))
        data += value
    head = struct.pack(">I4xI4s4s4s", 128 + len(table + data), 0x02400000, b"mntr", space, b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    return head.ljust(68, b"\0") + fixed(*white).ljust(60, b"\0") + table + data


def reason(source: Path | bytes, side: int | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(source, side)
    return caught.value.reason
