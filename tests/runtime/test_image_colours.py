"""Whatever a file calls its colours, they come out as RGB, on white."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from runtime.images.decoding import decode_image
from tests.pictures import difference, encoded, quarters


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_a_png_of_any_mode_shows_its_shades(mode: str) -> None:
    grey = Image.fromarray(np.array([[0, 255], [64, 192]], np.uint8)).resize((8, 8), 0)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = grey.convert(mode)
    assert picture.mode == mode
    decoded = decode_image(encoded(picture, "PNG"))
    expected = picture.convert("RGB") if mode == "1" else grey.convert("RGB")
    assert decoded == expected


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "RGBX"])
def test_a_tiff_of_any_colours_shows_them(mode: str) -> None:
    picture = quarters()
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    else:
        picture = picture.convert(mode)
    assert difference(decode_image(encoded(picture, "TIFF")), quarters()) < 12


def test_a_cmyk_jpeg_is_not_a_negative() -> None:
    content = encoded(quarters().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    assert difference(decode_image(content), quarters()) < 12


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65535, 32768]], np.uint16), (0, 255, 128)),
        (np.array([[0, 257, 514]], np.uint16), (0, 1, 2)),
        (np.array([[0, 65535, 32768]], ">u2"), (0, 255, 128)),
        (np.array([[0, 65535, 32768]], np.int32), (0, 255, 128)),
        (np.array([[-1000, 1000, 0]], np.int32), (0, 255, 128)),
        (np.array([[0, 2**30, 2**29]], np.int32), (0, 255, 128)),
        (np.array([[0, 1, 0.5]], np.float32), (0, 255, 128)),
        (np.array([[0, 200, 100]], np.float32), (0, 200, 100)),
        (np.array([[-8848, 8848, 0]], np.float32), (0, 255, 128)),
        (np.array([[np.nan, 0, 1, np.inf, -np.inf]], np.float32), (0, 0, 255, 255, 0)),
        (np.array([[np.nan, np.nan]], np.float32), (0, 0)),
        (np.array([[700, 700]], np.float32), (0, 0)),
    ],
)
def test_deep_grey_is_scaled_to_8_bits(values: np.ndarray, expected: tuple[int, ...]) -> None:
    decoded = decode_image(encoded(Image.fromarray(values), "TIFF"))
    assert [decoded.getpixel((x, 0)) for x in range(len(expected))] == [(v,) * 3 for v in expected]


@pytest.mark.parametrize(
    ("bits", "white_is_zero", "expected"),
    [(16, False, (0, 255, 128)), (16, True, (255, 0, 127)), (12, False, (0, 255, 128))],
)
def test_a_deep_tiff_says_what_is_white(
    bits: int, white_is_zero: bool, expected: tuple[int, ...]
) -> None:
    if bits == 12:
        pixels = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00])  # 000 fff 800 000
        width, tags = 4, {258: 12}
        picture = Image.frombytes("L", (6, 1), pixels)
    else:
        picture, width, tags = Image.fromarray(np.array([[0, 65535, 32768]], np.uint16)), 3, {}
    content = bytearray(encoded(picture, "TIFF"))
    for tag, value in ({256: width, 262: 0 if white_is_zero else 1} | tags).items():
        patch_tiff_tag(content, tag, value)
    decoded = decode_image(bytes(content))
    assert tuple(decoded.getpixel((x, 0))[0] for x in range(3)) == expected


def patch_tiff_tag(content: bytearray, tag: int, value: int) -> None:
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, entry)[0] == tag:
            kind = struct.unpack_from("<H", content, entry + 2)[0]
            struct.pack_into("<H" if kind == 3 else "<I", content, entry + 8, value)
            return
    raise KeyError(tag)


def with_transparency(mode: str) -> tuple[Image.Image, dict[str, object]]:
    """Black to the left, nothing to the right."""
    if mode in ("LA", "RGBA", "PA"):
        picture = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
        picture.paste((0, 0, 0, 0), (4, 0, 8, 8))
        return picture.convert(mode), {}
    if mode == "I;16":
        values = np.repeat(np.array([[0, 1]], np.uint16), 4, axis=1).repeat(8, axis=0)
        return Image.fromarray(values), {"transparency": 1}
    picture = Image.new(mode, (8, 8))
    if mode == "P":
        picture.putpalette([0, 0, 0, 10, 10, 10])
    picture.paste((7, 7, 7) if mode == "RGB" else 1, (4, 0, 8, 8))
    return picture, {"transparency": (7, 7, 7) if mode == "RGB" else 1}


@pytest.mark.parametrize(
    ("mode", "format_name"),
    [
        *((mode, "PNG") for mode in ("LA", "RGBA", "P", "L", "RGB", "I;16")),
        ("PA", "TIFF"),
        ("P", "GIF"),
        *(("RGBA", name) for name in ("WEBP", "TIFF", "GIF", "AVIF", "HEIF", "JPEG2000")),
    ],
)
def test_what_is_transparent_is_white(mode: str, format_name: str) -> None:
    picture, options = with_transparency(mode)
    decoded = decode_image(encoded(picture, format_name, **options))
    assert decoded.size == (8, 8)
    assert max(decoded.getpixel((1, 4))) < 6
    assert min(decoded.getpixel((6, 4))) > 249


def test_half_transparent_is_half_white() -> None:
    content = encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 128)), "PNG")
    assert decode_image(content).getpixel((1, 1)) == (227, 127, 127)
