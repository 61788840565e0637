"""Images are taken as people hold them, and answered as their files are."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from footwork.encoder.dual import DualEncoder
from footwork.errors import ImageError
from footwork.images.decoding import decode_image
from footwork.images.held import held_images
from tests.dual_encoders import build_dual_encoder, load
from tests.pictures import encoded, quarters, wide_profile


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> DualEncoder:
    return load(build_dual_encoder(tmp_path_factory.mktemp("clip") / "clip", "clip"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG large enough to be decoded at a fraction, on its side, in colours of its own."""
    exif = Image.Exif()
    exif[274] = 6
    content = encoded(quarters(400, 300), "JPEG", exif=exif.tobytes(), icc_profile=wide_profile())
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    return path


def read_to_its_end(path: Path) -> BytesIO:
    stream = BytesIO(path.read_bytes())
    stream.read()
    return stream


def column(path: Path) -> Any:
    """Of a data set that stores the bytes, as one that was pushed to the Hub does."""
    data = datasets.Dataset.from_dict({"photo": [{"bytes": path.read_bytes(), "path": None}]})
    return data.cast_column("photo", datasets.Image())["photo"]


@pytest.mark.parametrize(
    "hold",
    [
        str,
        Path.as_uri,
        Path.read_bytes,
        lambda path: bytearray(path.read_bytes()),
        lambda path: path.open("rb"),
        read_to_its_end,
        lambda path: {"bytes": path.read_bytes(), "path": "photo.jpg"},
        lambda path: {"bytes": None, "path": str(path)},
        column,
        lambda path: datasets.Dataset.from_dict({"a": [str(path)]}).cast_column(
            "a", datasets.Image()
        )["a"],
        lambda path: pandas.Series([path]),
        lambda path: np.array([str(path)], object),
        lambda path: (each for each in [path]),
    ],
)
def test_however_a_file_is_held_it_embeds_bit_for_bit_alike(
    hold: Callable[[Path], Any], photo: Path, clip: DualEncoder
) -> None:
    held = hold(photo)
    expected = clip.encode_images([photo])
    assert_array_equal(clip.encode_images(held), expected)
    if hasattr(held, "close"):
        held.close()


def test_pixels_embed_as_the_file_they_were_read_from(clip: DualEncoder, tmp_path: Path) -> None:
    quarters().save(path := tmp_path / "a.png")
    expected, pixels = clip.encode_images(path), np.asarray(quarters())
    for held in (
        quarters(),
        Image.open(path),
        pixels,
        [pixels],
        pixels[None],
        torch.tensor(pixels),
    ):
        assert_array_equal(clip.encode_images(held), expected)
    opaque = np.dstack([pixels, np.full_like(pixels[..., 0], 255)])
    assert_array_equal(clip.encode_images(opaque), expected)
    grey = quarters().convert("L")
    assert_array_equal(clip.encode_images(np.asarray(grey)), clip.encode_images(grey))


def test_what_is_held_stays_as_it_is(photo: Path) -> None:
    with Image.open(photo) as picture:
        [held] = held_images(picture)
        assert held is picture
        former = (picture.size, picture.mode, dict(picture.getexif()))
        assert decode_image(held).size == picture.size[::-1]
        assert (picture.size, picture.mode, dict(picture.getexif())) == former


def test_threads_that_are_given_the_same_open_image_do_not_read_it_at_once() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            opened = Image.open(BytesIO(content))
            first, *others = pool.map(decode_image, [opened] * 4)
            assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("images", "error", "said"),
    [
        (5, TypeError, "An image must be a path, .*; or several in a list. Got int"),
        (["a.png", None], TypeError, r"uint8 of shape \(H, W, 3\).* got NoneType at 1 of"),
        (np.zeros((8, 8, 3)), TypeError, r"Got an array of float64, \(8, 8, 3\)"),
        (torch.zeros((3, 8, 8), dtype=torch.uint8), TypeError, r"Got an array of .*uint8, \(3, 8"),
        ([np.zeros((3, 8, 8), np.uint8)], TypeError, r"got an array of uint8, \(3, 8, 8\) at 0"),
        ([StringIO("text")], TypeError, r"got StringIO at 0 of `images`, open as a text: open\("),
        (StringIO("a.png\nb.png"), TypeError, r"Got StringIO, open as a text: open\(path, 'rb'\)"),
        (np.zeros((9, 8), np.uint16), TypeError, r"Got an array of uint16, \(9, 8\)\."),
        (np.zeros((9, 8, 1), np.uint8), TypeError, r", \(9, 8, 1\): .* x\[:, :, 0\] is its one ch"),
        (
            torch.zeros((1, 9, 8)),
            TypeError,
            r" x\[0\] is .*, and \(255 \* x\)\.astype\('uint8'\) has",
        ),
        (
            np.zeros((3, 9, 8)),
            TypeError,
            r"x\.transpose\(1, 2, 0\) has its channels last, and \(255",
        ),
        ({"label": 3}, TypeError, "Got dict"),
        (pandas.DataFrame({"image": ["a"]}), TypeError, "be one column, .* got DataFrame"),
        (["a.png", "https://example.org/a.png"], ImageError, "nothing is fetched: save the image"),
    ],
)
def test_what_is_no_image_is_told_with_its_place_and_what_is_one(
    images: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        held_images(images)


def test_a_photo_that_is_open_as_a_text_is_not_read(photo: Path) -> None:
    with photo.open() as opened, pytest.raises(TypeError, match=r"TextIOWrapper, open as a text"):
        held_images(opened)


def test_bytes_that_end_as_no_image_are_told_by_their_place(clip: DualEncoder, photo: Path) -> None:
    with pytest.raises(ImageError, match=r"^images\[1\], 4 bytes: it is no picture of a known"):
        clip.encode_images([photo, b"text", photo])
    cut = Image.open(BytesIO(photo.read_bytes()[:-900]))
    with pytest.raises(ImageError, match=r"^images\[1\], JpegImageFile of 400 x 300: it is trunc"):
        clip.encode_images([photo, cut])
    with pytest.raises(ImageError, match=r"gone\.png: it does not exist"):
        clip.encode_images("gone.png")


def test_the_home_of_a_path_is_found(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photo.parent))
    assert held_images("~/photo.jpg") == [photo]
