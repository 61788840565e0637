"""One picture as the arrays that a model's image tower takes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers.image_processing_backends import PilBackend

PixelArrays = dict[str, NDArray[Any]]
"""Input of the image tower → what one picture gives for it, without the batch axis."""

DRAFT = "jpeg-draft-2"
"""How files are decoded for a model: part of what a stored embedding depends on."""

_KNOWN_STEPS = (
    *("preprocess", "_preprocess", "process_image"),
    *("resize", "center_crop", "rescale", "normalize"),
)
_LONGEST_STRIP = 16
"""A resized picture so many times as long as its crop is resized inside the crop alone."""


class Preprocessing:
    """What a model's own image processor does to a picture, in less time where it is known how.

    Args:
        processor: The model's own, on Pillow.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.side = _target_side(processor)
        """Pixels of the shorter side that the model needs of a picture."""
        known = _resize_and_crop(processor)
        self.prepare: Callable[[Image.Image], PixelArrays] = known or self.prepare_by_processor
        """RGB picture → arrays."""

    @property
    def name(self) -> str:
        """Names the processor and, by a hash, its settings."""
        settings = self._processor.to_dict()
        settings.pop("processor_class", None)
        text = json.dumps([settings, DRAFT], sort_keys=True, default=str)
        kind = type(self._processor).__name__
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def prepare_by_processor(self, picture: Image.Image) -> PixelArrays:
        """What the processor itself makes of an RGB picture."""
        arrays = self._processor(images=picture, return_tensors="np")
        return {name: array[0] for name, array in arrays.items()}


def _target_side(processor: Any) -> int:
    size = getattr(processor, "size", None)
    if size and size.shortest_edge:
        return int(size.shortest_edge)
    if size and size.height and size.width:
        return int(max(size.height, size.width))
    patches = getattr(processor, "max_num_patches", None)
    if patches:  # any shape of so many patches: its shorter side is at most that of the square
        return math.ceil(processor.patch_size * math.sqrt(patches))
    largest = [int(value) for value in dict(size or {}).values() if value]
    return max(largest, default=448)


def _resize_and_crop(processor: Any) -> Callable[[Image.Image], PixelArrays] | None:
    """The arithmetic of `PilBackend` without its conversions; None where it is another's.

    Not one that is overridden in a subclass, and nothing but to resize, crop to the middle,
    rescale and normalise.
    """
    kind = type(processor)
    plain = all(getattr(kind, name, None) is getattr(PilBackend, name) for name in _KNOWN_STEPS)
    steps = processor.do_resize and processor.do_rescale and processor.do_normalize
    if not plain or not steps or getattr(processor, "do_pad", None):
        return None
    size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
    if not size or size.longest_edge or size.max_height or not isinstance(processor.resample, int):
        return None
    smallest = size.shortest_edge or min(size.height, size.width)
    if max(crop.height, crop.width) > smallest if crop else size.shortest_edge:
        return None  # framed in black, or of any shape
    mean, deviation = (
        np.asarray(values, np.float32).reshape(-1, 1, 1)
        for values in (processor.image_mean, processor.image_std)
    )
    scale, shift = np.float32(processor.rescale_factor) / deviation, mean / deviation

    def prepare(picture: Image.Image) -> PixelArrays:
        resized = _resized(picture, size, crop, processor.resample)
        pixels = np.asarray(resized).transpose(2, 0, 1).astype(np.float32, order="C")
        pixels *= scale
        pixels -= shift
        return {"pixel_values": pixels}

    return prepare


def _resized(picture: Image.Image, size: Any, crop: Any, resample: int) -> Image.Image:
    if size.shortest_edge:
        shorter = size.shortest_edge
        longer = int(shorter * max(picture.size) / min(picture.size))
        upright = picture.width <= picture.height
        width, height = (shorter, longer) if upright else (longer, shorter)
    else:
        width, height = size.width, size.height
    if not crop:
        return picture.resize((width, height), resample)
    left, top = (width - crop.width) // 2, (height - crop.height) // 2
    box = (left, top, left + crop.width, top + crop.height)
    if max(width, height) > _LONGEST_STRIP * max(crop.width, crop.height):
        # A line of a million pixels would fill the memory, to be cut down to its middle.
        across, down = picture.width / width, picture.height / height
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        return picture.resize((crop.width, crop.height), resample, box=part)
    return picture.resize((width, height), resample).crop(box)
