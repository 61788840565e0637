"""A file is decoded as the picture a viewer would show."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, ImageCms

from footwork.images.decoding import decode_image, read_image
from tests.pictures import FORMATS, HEIGHT, WIDTH, difference, encoded, quarters, wide_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

TURN_BACK = {  # what a camera does to a picture before it notes the orientation
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("side", [None, 8])
def test_a_picture_of_any_format_is_decoded(format_name: str, side: int | None) -> None:
    decoded = decode_image(encoded(quarters(), format_name), side)
    assert difference(decoded, quarters()) < 12


def test_a_file_and_what_it_holds_are_one_picture_whatever_the_name_says(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode("caf\u00e9 鳥.txt".encode())
    path.write_bytes(encoded(quarters(), "PNG"))
    assert decode_image(path) == decode_image(path.read_bytes()) == quarters()


@pytest.mark.parametrize("orientation", TURN_BACK)
@pytest.mark.parametrize("format_name", ["AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("side", [None, 9])
def test_a_picture_stands_upright_once(
    format_name: str, orientation: int, side: int | None
) -> None:
    turn = TURN_BACK[orientation]
    taken = quarters() if turn is None else quarters().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_image(encoded(taken, format_name, exif=exif.tobytes()), side)
    assert (read.facts.width, read.facts.height) == (WIDTH, HEIGHT)  # of the whole one, upright
    decoded = read.image
    assert difference(decoded, quarters()) < 12
    assert decoded.width > decoded.height
    assert not decoded.getexif()
    assert not decoded.info


@pytest.mark.parametrize("size", [(1000, 640), (333, 999), (210, 160)])
@pytest.mark.parametrize("side", [1, 20, 55, 83, 84, 400])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_decoded_at_a_fraction_but_never_under_twice_the_side(
    size: tuple[int, int], side: int, progressive: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(quarters(*size), "JPEG", progressive=progressive, exif=exif)
    whole, part = decode_image(content), decode_image(content, side)
    scale = whole.width / part.width
    assert round(scale) in (1, 2, 4, 8)
    assert part.size == tuple(-(-length // round(scale)) for length in whole.size)
    enough = min(2 * side, *size)
    assert min(part.size) >= enough
    assert scale > 7 or min(whole.size) // (2 * round(scale)) < enough
    assert difference(part, whole) < 6


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO", "HEIF"])
def test_of_several_pictures_the_first_is_taken(format_name: str) -> None:
    first, second = quarters(), Image.new("RGB", (WIDTH, HEIGHT), "yellow")
    if format_name == "HEIF":
        several = pillow_heif.from_pillow(first)
        several.add_from_pillow(second)
        stream = BytesIO()
        several.save(stream)
        content = stream.getvalue()
    else:
        content = encoded(first, format_name, save_all=True, append_images=[second, second])
    for side in (None, 10):
        assert difference(decode_image(content, side), quarters()) < 12


@pytest.mark.parametrize("profile", [SRGB.tobytes(), b"no profile", wide_profile(b"GRAY")])
def test_a_profile_of_srgb_or_of_nothing_changes_nothing(profile: bytes) -> None:
    tagged = encoded(quarters(), "PNG", icc_profile=profile)
    assert decode_image(tagged) == quarters()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "WEBP", "HEIF"])
def test_wide_colours_are_shown_in_srgb(mode: str, format_name: str) -> None:
    if (mode == "RGBA" and format_name == "JPEG") or (mode == "P" and format_name != "PNG"):
        pytest.skip("there is no such file")
    wide = ImageCms.ImageCmsProfile(BytesIO(wide_profile()))
    picture = ImageCms.profileToProfile(quarters(), SRGB, wide)
    picture = picture.quantize(8) if mode == "P" else picture.convert(mode)
    tagged = encoded(picture, format_name, icc_profile=wide_profile())
    assert difference(picture.convert("RGB"), quarters()) > 30
    assert difference(decode_image(tagged), quarters()) < 25  # of which 22 are of HEIF and JPEG
    assert decode_image(tagged, 10).info == {}


def test_wide_colours_and_transparency_go_together() -> None:
    picture = Image.new("RGB", (8, 8), (10, 200, 10))
    picture.paste((7, 7, 7), (4, 0, 8, 8))
    tagged = encoded(picture, "PNG", icc_profile=wide_profile(), transparency=(7, 7, 7))
    assert decode_image(tagged).getpixel((1, 1)) == (0, 221, 0)
    assert decode_image(tagged).getpixel((6, 1)) == (255, 255, 255)


def test_a_side_is_at_least_a_pixel() -> None:
    with pytest.raises(ValueError, match="`side` must be at least 1 pixel, got 0"):
        decode_image(b"", 0)
