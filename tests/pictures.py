"""Small pictures that tell when they are turned, mirrored or miscoloured."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from runtime.errors import ImageError
from runtime.images.decoding import decode_image

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


def reason(source: Path | bytes, side: int | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(source, side)
    return caught.value.reason
