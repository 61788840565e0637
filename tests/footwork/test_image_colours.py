"""Whatever a file calls its colours, they come out as RGB, on white."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from footwork.images.decoding import decode_image
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
        *(
            (np.array([[0, white, grey]], kind), (0, 255, 128))
            for white, grey in ((65535, 32768), (4095, 2048), (255, 128))
            for kind in (np.uint16, ">u2", np.int32)
        ),
        (np.array([[0, 257, 65535]], np.uint16), (0, 1, 255)),
        (np.array([[-1000, 1000, 0]], np.int32), (0, 255, 128)),
        (np.array([[0, 2**30, 2**29]], np.int32), (0, 255, 128)),
        (np.array([[0, 1, 0.5]], np.float32), (0, 255, 128)),
        (np.array([[0, 1.01, 0.5, -0.01]], np.float32), (0, 255, 128, 0)),
        (np.array([[0, 4, 2]], np.float32), (0, 255, 128)),
        (np.array([[0, 200, 100]], np.float32), (0, 200, 100)),
        (np.array([[0, 256, 100]], np.float32), (0, 255, 100)),
        (np.array([[0, 1, 0.5, -3.4e38]], np.float32), (0, 255, 128, 0)),
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
    ("kind", "white", "odd"),
    [(np.float32, 1, 50), (np.float32, 255, 1e6), (np.int32, 255, 70_000), (np.float32, 1, -9999)],
)
def test_a_glaring_pixel_makes_no_picture_black(kind: type, white: float, odd: float) -> None:
    values = np.full((40, 40), white / 2, kind)
    values[:, ::2] = white
    values[0, 0] = odd
    shown = np.asarray(decode_image(encoded(Image.fromarray(values), "TIFF")))
    assert shown[1:, ::2].min() == 255
    assert 127 <= shown[1:, 1::2].min() <= shown[1:, 1::2].max() <= 128


def test_what_a_tiff_calls_unknown_is_no_extreme() -> None:
    values = np.full((4, 4), 300, np.float32)
    values[0], values[1] = -9999, 700
    content = encoded(Image.fromarray(values), "TIFF", tiffinfo={42113: "-9999"})
    assert decode_image(content).getpixel((0, 1)) == (255, 255, 255)
    assert decode_image(content).getpixel((0, 2)) == (0, 0, 0)


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


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "I;16"])
def test_a_white_drawing_on_nothing_stands_on_black(mode: str) -> None:
    picture = Image.new("LA", (40, 40), (255, 0))
    picture.paste((255, 255), (4, 4, 36, 20))
    options = {}
    if mode == "I;16":
        values = np.full((40, 40), 7, np.uint16)
        values[4:20, 4:36] = 65535
        picture, options = Image.fromarray(values), {"transparency": 7}
    elif mode == "P":
        picture, options = picture.convert("RGBA").quantize(4), {}
    elif mode == "RGBA":
        picture = picture.convert("RGBA")
    decoded = decode_image(encoded(picture, "PNG", **options))
    assert (decoded.getpixel((8, 8)), decoded.getpixel((8, 30))) == ((255,) * 3, (0,) * 3)


@pytest.mark.parametrize(
    ("colour", "ground"),
    [((0, 0, 0), 255), ((200, 200, 200), 255), ((255, 255, 120), 255), ((245, 245, 245), 0)],
)
def test_the_ground_is_what_a_drawing_is_seen_on(colour: tuple[int, ...], ground: int) -> None:
    picture = Image.new("RGBA", (200, 100), (255, 255, 255, 0))
    picture.paste((*colour, 255), (60, 40, 80, 60))
    assert decode_image(encoded(picture, "PNG")).getpixel((5, 5)) == (ground,) * 3


def test_a_page_with_round_corners_stays_on_white() -> None:
    picture = Image.new("RGBA", (200, 100), (255, 255, 255, 255))
    picture.paste((255, 255, 255, 0), (0, 0, 4, 4))
    assert decode_image(encoded(picture, "PNG")).getpixel((1, 1)) == (255,) * 3


def test_half_transparent_is_half_white() -> None:
    content = encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 128)), "PNG")
    assert decode_image(content).getpixel((1, 1)) == (227, 127, 127)
