"""A picture is prepared as the model's own processor would, in less time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    Siglip2ImageProcessorPil,
    SiglipImageProcessorPil,
    ViTImageProcessorPil,
)

from footwork.encoder import streaming
from footwork.encoder.streaming import Preprocessing
from footwork.inference.halving import SMALLEST_SHARE, shares

SQUASH = {"height": 30, "width": 20}
PROCESSORS = {
    "clip": CLIPImageProcessorPil(),
    "small clip": CLIPImageProcessorPil(
        size={"shortest_edge": 33}, crop_size={"height": 31, "width": 24}, resample=2
    ),
    "clip without crop": CLIPImageProcessorPil(size=SQUASH, do_center_crop=False),
    "squash, then crop": CLIPImageProcessorPil(size=SQUASH, crop_size={"height": 20, "width": 9}),
    "siglip": SiglipImageProcessorPil(),
    "vit": ViTImageProcessorPil(size=SQUASH, image_mean=[0.1, 0.2, 0.3]),
}
OTHERS = {
    "crop beyond the edge": CLIPImageProcessorPil(
        size={"shortest_edge": 20}, crop_size={"height": 32, "width": 32}
    ),
    "another arithmetic": ConvNextImageProcessorPil(size={"shortest_edge": 32}),
    "patches": Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16),
    "no rescaling": CLIPImageProcessorPil(do_rescale=False),
}


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def assert_prepares_alike(processor: Any, picture: Image.Image) -> None:
    found = Preprocessing(processor).prepare(picture)
    expected = processor(picture, return_tensors="np")
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        assert_allclose(array, expected[name][0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(301, 200), (199, 450), (64, 64), (7, 5), (1, 9)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_pictures_of_any_shape_are_prepared_as_by_the_processor(
    name: str, size: tuple[int, int]
) -> None:
    assert_prepares_alike(PROCESSORS[name], noise(*size))


@pytest.mark.parametrize("name", PROCESSORS)
def test_known_arithmetic_does_without_the_processor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Preprocessing, "prepare_by_processor", None)
    assert Preprocessing(PROCESSORS[name]).prepare(noise(50, 40))["pixel_values"].shape[0] == 3


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_known_is_left_to_the_processor(name: str) -> None:
    left = Preprocessing(OTHERS[name])
    assert left.prepare == left.prepare_by_processor
    assert_prepares_alike(OTHERS[name], noise(50, 40))


def test_a_line_of_pixels_is_not_blown_up_to_fill_the_memory() -> None:
    line = noise(60_000, 1)  # resized whole it would take 9 GB
    pixels = Preprocessing(CLIPImageProcessorPil()).prepare(line)["pixel_values"]
    assert pixels.shape == (3, 224, 224)


def test_a_strip_is_resized_inside_its_crop_to_almost_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "_LONGEST_STRIP", 1)
    for size in ((301, 200), (199, 450)):
        picture, processor = noise(9, 7).resize(size), CLIPImageProcessorPil()
        found = Preprocessing(processor).prepare(picture)["pixel_values"]
        expected = processor(picture, return_tensors="np")["pixel_values"][0]
        assert_allclose(found, expected, atol=2.01 / 255 / min(processor.image_std))


@pytest.mark.parametrize(
    ("processor", "side"),
    [
        (CLIPImageProcessorPil(), 224),
        (SiglipImageProcessorPil(size={"height": 384, "width": 300}), 384),
        (Siglip2ImageProcessorPil(patch_size=16, max_num_patches=256), 256),
    ],
)
def test_the_side_is_what_the_model_needs(processor: Any, side: int) -> None:
    assert Preprocessing(processor).side == side


@pytest.mark.parametrize("count", [0, 1, 5, 64, 1000])
def test_shares_hold_everything_once_in_order_and_shrink_towards_the_end(count: int) -> None:
    cut = list(shares(iter(range(count)), workers=3, size=lambda: 16))
    assert [item for share in cut for item in share] == list(range(count))
    sizes = [len(share) for share in cut]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=0) <= 16
    if count == 1000:
        assert sizes[0] == 16
        assert sizes[-2] == SMALLEST_SHARE


def test_shares_read_only_a_little_ahead() -> None:
    source = iter(range(10_000))
    stream = shares(source, workers=2, size=lambda: 8)
    next(stream)
    assert next(source) <= 4 * 8
