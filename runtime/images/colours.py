"""Any mode of Pillow's to RGB of 8 bits, as a viewer would show it.

ICC profiles are left alone: the models were trained on pictures read without them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

_TIFF_BITS = 258  # BitsPerSample
_TIFF_KIND, _WHITE_IS_ZERO = 262, 0  # PhotometricInterpretation
_LARGEST_16_BIT = 2**16 - 1


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a loaded picture; what is transparent shows white.

    Returns:
        A new picture in RGB that knows no more of its file.

    Raises:
        ValueError: Pillow cannot convert the mode.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        converted = _from_deep_grey(picture).convert("RGB")
    elif picture.mode == "LAB":
        converted = _from_lab(picture)
    elif picture.has_transparency_data:
        converted = _on_white(picture.convert("RGBA"))
    else:
        converted = picture.convert("RGB")
    # Whoever turns pictures by their EXIF data would turn this one twice.
    converted.info.clear()
    return converted


def _on_white(picture: Image.Image) -> Image.Image:
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _from_lab(picture: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert converted is not None  # only in place there is none
    return converted


def _from_deep_grey(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or of floats; `convert` would cut all above 255 to white."""
    values = np.asarray(picture).astype(np.float32)
    transparent = picture.info.get("transparency")
    hidden = values == transparent if isinstance(transparent, int) else None
    low, high = _black_and_white(picture, values)
    values -= low
    values *= 255 / (high - low or 1)
    if hidden is not None:
        values[hidden] = 255
    grey = np.nan_to_num(values, copy=False, nan=0).clip(0, 255, out=values)
    return Image.fromarray(np.rint(grey, out=values).astype(np.uint8))


def _black_and_white(picture: Image.Image, values: NDArray[np.float32]) -> tuple[float, float]:
    """The values that are to be black and white.

    16 bits span what they can hold; so do floats from 0 to 1 or 0 to 255. Anything else, such as
    heights in metres, is stretched between its extremes.
    """
    if picture.mode.startswith("I;16"):
        return _span_of_16_bit(picture)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    usual = (_LARGEST_16_BIT,) if picture.mode == "I" else (1, 255)
    for largest in usual:
        if low >= 0 and high <= largest:
            return 0, largest
    return low, high


def _span_of_16_bit(picture: Image.Image) -> tuple[float, float]:
    if not isinstance(picture, TiffImageFile):
        return 0, _LARGEST_16_BIT
    # Pillow unpacks 12 bits into 16 as they are, and leaves a negative a negative.
    largest = 2 ** picture.tag_v2.get(_TIFF_BITS, (16,))[0] - 1
    if picture.tag_v2.get(_TIFF_KIND) == _WHITE_IS_ZERO:
        return largest, 0
    return 0, largest
