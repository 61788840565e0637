"""Any mode of Pillow's to RGB of 8 bits in the colours of sRGB, as a viewer would show it."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from itertools import product

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from footwork.arrays import FloatArray

_HARDLY = 8  # of 255, for any colour: profiles that call themselves sRGB differ by some
_TIFF_BITS = 258  # BitsPerSample
_TIFF_KIND, _WHITE_IS_ZERO = 262, 0  # PhotometricInterpretation
_TIFF_UNKNOWN = 42113  # GDAL_NODATA
_NO_VALUE = 1e30
_LOOKED_AT = 1_000_000  # pixels
_RARE = 0.001  # of the pixels, at either end
_OVERSHOOT = 0.05  # of what resizing and sharpening leave beyond black and white
_DARKEST = 32  # of 255: floats that stay below are no shades from 0 to 255
_GLANCE = 64  # pixels of the longer side that tell what a drawing is like
_MOSTLY = 0.9


def to_rgb(picture: Image.Image) -> Image.Image:
    """A loaded picture in RGB; what is transparent shows white, behind a white drawing black.

    It knows no more of its file. A mode that Pillow cannot convert raises ValueError.
    """
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _from_deep_grey(picture)
    if picture.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        lit = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
        assert lit is not None  # only in place there is none
        converted = lit
    else:
        plain = "CMYK" if picture.mode == "CMYK" and profile else "RGB"
        converted = picture.convert("RGBA" if picture.has_transparency_data else plain)
    if profile and (transform := _transform(profile, converted.mode)):
        converted = transform.apply(converted)
    if converted.mode == "RGBA":
        drawing, shade = converted, "black" if _is_lost_on_white(converted) else "white"
        converted = Image.new("RGB", drawing.size, shade)
        converted.paste(drawing, mask=drawing.getchannel("A"))
    elif converted.mode != "RGB":
        converted = converted.convert("RGB")
    # Whoever turns pictures by their EXIF data would turn this one twice.
    converted.info.clear()
    return converted


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """To sRGB, which models and screens take for granted; None from what is hardly anything else.

    Of photographs in Display P3, Adobe RGB and ProPhoto RGB, EfficientNet-Lite0 names 12, 18 and
    40 % otherwise than in sRGB if their numbers are taken as they are, and 3 % once converted.
    """
    target, srgb = "RGB" if mode == "CMYK" else mode, ImageCms.createProfile("sRGB")
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        if given.profile.xcolor_space.strip() != mode.removesuffix("A"):
            return None  # spoilt, or of a picture that had other colours before
        transform = ImageCms.buildTransform(given, srgb, mode, target)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode == "CMYK":
        return transform
    colours = np.array([list(product(range(0, 256, 51), repeat=3))], np.uint8)
    shown = np.asarray(transform.apply(Image.fromarray(colours).convert(mode)).convert("RGB"))
    return transform if np.abs(shown.astype(int) - colours).max() > _HARDLY else None


def _is_lost_on_white(picture: Image.Image) -> bool:
    """Whether a drawing in RGBA differs ten times as much from black as from white.

    Pictures with little that is transparent, such as windows with round corners, are no drawings.
    """
    small = picture.reduce(max(1, max(picture.size) // _GLANCE))  # colours weighted by their alpha
    pixels = np.asarray(small, np.float32) / 255
    colours, alpha = pixels[..., :3], pixels[..., 3]
    on_white = (alpha * (1 - colours.min(axis=-1))).sum()
    on_black = (alpha * colours.max(axis=-1)).sum()
    return bool(alpha.mean() < _MOSTLY and 10 * on_white < on_black)


def _from_deep_grey(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floats, as L or LA; `convert` would cut all above 255 to white."""
    values = np.asarray(picture).astype(np.float32)
    transparent = picture.info.get("transparency")
    hidden = values == transparent if isinstance(transparent, int) else None
    values[~(np.abs(values) < _NO_VALUE)] *= np.inf  # such as what stands for "unknown" in floats
    if isinstance(picture, TiffImageFile):
        values[values == _unknown_value(picture)] = np.nan
    low, high = _black_and_white(picture, values)
    values -= low
    values *= 255 / (high - low or 1)
    grey = np.nan_to_num(values, copy=False, nan=0).clip(0, 255, out=values)
    shown = Image.fromarray(np.rint(grey, out=values).astype(np.uint8))
    if hidden is not None:
        shown.putalpha(Image.fromarray(np.where(hidden, np.uint8(0), np.uint8(255))))
    return shown


def _unknown_value(picture: TiffImageFile) -> float | None:
    """What stands for "unknown" among heights and the like, by a tag of GDAL's."""
    try:
        return float(str(picture.tag_v2.get(_TIFF_UNKNOWN)).strip("\0 "))
    except ValueError:
        return None


def _black_and_white(picture: Image.Image, values: FloatArray) -> tuple[float, float]:
    """The values that are to be black and white.

    They are told by nearly all of the pixels: a few glaring ones shall not make the others black.
    Integers span 8, 12 or 16 bits, whatever they are stored in, and floats 0 to 1 or 0 to 255.
    Anything else, such as heights in metres or what is much brighter than white, is stretched
    between its extremes.
    """
    if isinstance(picture, TiffImageFile) and picture.mode.startswith("I;16"):
        # Pillow unpacks 12 bits into 16 as they are, and leaves a negative a negative.
        bits = picture.tag_v2.get(_TIFF_BITS, (16,))[0]
        if picture.tag_v2.get(_TIFF_KIND) == _WHITE_IS_ZERO:
            return 2**bits - 1, 0
        if bits != 16:
            return 0, 2**bits - 1
    some = values.ravel()[:: max(1, values.size // _LOOKED_AT)]
    some = some[np.isfinite(some)]
    if not some.size:
        return 0, 1
    low, high = map(float, np.quantile(some, (_RARE, 1 - _RARE), method="inverted_cdf"))
    if picture.mode != "F":
        return next(
            ((0, top) for top in (255, 4095, 65535) if low >= 0 and high <= top), (low, high)
        )
    for top, least in ((1, 0), (255, _DARKEST)):
        if -_OVERSHOOT * top <= low and least <= high <= (1 + _OVERSHOOT) * top:
            return 0, top
    return low, high
