"""Whether an image is another one that was altered, and how.

An image can be made of another if the other shows all of it, at least as well: laid over it, with
its tones adjusted, it leaves nothing but what compression and resizing leave. An image taken a
second later cannot, nor can one with a word written on it.

Measured on 30 photos with 28 alterations each: where one was made of the other, blocks of 10 pixels
differ in brightness by 4.4 grey levels at most (root mean square), or by 14 where brightening cut
the highlights, or a remnant of a border was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from footwork.arrays import ByteArray, DoubleArray, FloatArray
from footwork.errors import ImageError
from footwork.images.decoding import decode_image
from search.duplicates.looks import Placing, content_box, laid_over, scaled, turned
from search.records import ImageRecord, age

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 320  # pixels of the longer side that are decoded
_COMPARED = 160  # pixels of the longer side that are compared
_RIM = 2  # pixels around, where remains of a border may be
_WHOLE = 0.975  # of an area, that is all of it
_SAME = 1.03  # ratio of two sides, at most, that are as long
_SIMILAR = 0.92  # agreement at a glance

_RETONED = {"brightened", "darkened", "toned"}
_TURNED = {
    1: "rotated 90° clockwise",
    2: "rotated 180°",
    3: "rotated 90° counter-clockwise",
    4: "mirrored",
    5: "mirrored and rotated 90°",
    6: "mirrored upside down",
    7: "mirrored and rotated 90°",
}
"""What was done to an image, by how it is to be turned to lie as it lay before."""

_BLOCK = 10  # pixels
_LEFT, _LEFT_OF = 4.0, 0.25
"""Grey levels, root mean square of a block, that an alteration leaves of brightness at most, and
the part that it leaves of what is in the block."""
_LEFT_COLOUR = 14.0  # levels of colour, of which compression keeps little
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_BUSY, _BUSY_BLOCKS = 4.0, 0.2
"""Grey levels in a block, and part of such blocks, from which an image is no plain drawing."""
_TONE = 5.0  # grey levels that tones differ, to be told
_COLOUR = 3.0  # grey levels of colour, that are some
_NO_COLOUR = 0.7  # grey levels of colour, that are none
_CUT = 0.02  # part of all values, that is cut at the darkest or lightest

_PART = 1024  # pixels of a side that are looked at
_DETAIL, _NO_DETAIL = 0.36, 0.12
"""What an image shows beyond a smaller one, to what that shows beyond its own half: from here on
it shows more, and up to here it only has more pixels.

Measured on 37 photos and their smaller versions, saved as JPEG: 0.32 and more for sharp ones, 0.14
and more for soft ones; at most 0.35 for what was enlarged by 1.3 to 3, saved badly or not, but for
0.67 where pixels were repeated; at most 0.24 for what was blurred before it was enlarged.
"""
_ON_GRID = 0.015
"""How much nearer the frequencies of an image lie to the steps of another file than by chance.

Measured on 16 photos, saved twice with qualities of 60 to 97: 0.008 at most where the second saving
was the coarser one, 0.03 and more where the first was. Half of it and more is doubtful."""
_COARSER = 1.5
"""Ratio of steps from which a finer second saving would have left what lies on the first's."""
_LOW = 8  # of 14, the sum of both frequencies that are looked at
_LOSSLESS = frozenset({"png", "bmp", "tiff", "ppm", "tga", "qoi"})


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A file, looked at closely."""

    record: ImageRecord
    content: Image
    """Without its border, at most 320 pixels wide and high."""
    bordered: bool
    scale: float
    """Pixels of the file to one of `content`."""


def open_image(record: ImageRecord) -> OpenedImage:
    """Look at a file closely; `ImageError` if it can no longer be read."""
    image = decode_image(Path(record.path), _SIDE // 2)
    image.thumbnail((_SIDE, _SIDE))
    box = content_box(np.asarray(image))
    scale = (record.width or image.width) / image.width
    return OpenedImage(record, image.crop(box), box != (0, 0, *image.size), scale)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two images have to do with each other."""

    kept: int | None
    """0 or 1: of which of them the other can be made; None if they are similar, and no more can be
    told."""
    changes: tuple[str, ...] = ()
    """What was done to the other: "rotated 180°", "cropped"."""


def verdict(first: OpenedImage, second: OpenedImage, placing: Placing) -> Verdict | None:
    """Compare two images of which one may lie in the other; None if they are different ones.

    `ImageError` if one can no longer be read.
    """
    inner, outer = (second, first) if placing.swapped else (first, second)
    overlay = _Overlay(inner, outer, placing)
    can_be_made = overlay.can_be_made()
    if not any(can_be_made):
        # What is like a part of another is not yet like it, least of all if both are plain.
        return Verdict(None) if overlay.whole and placing.agreement >= _SIMILAR else None
    explaining = [which for which in (0, 1) if can_be_made[1 - which] and overlay.explains(which)]
    kept = overlay.preferred() if len(explaining) == 2 else next(iter(explaining), None)
    if kept is None:
        return Verdict(None)
    stays, goes = overlay.images[kept], overlay.images[1 - kept]
    changes = overlay.changes(kept)
    # What was made of a file is not older: an original never goes for what may be made of it.
    # Of tones that went up or down nothing else tells which were the first.
    unsure = _RETONED & set(changes) and not _is_first(stays.record, goes.record)
    if _is_older(goes.record, stays.record) or unsure:
        return Verdict(None)
    return Verdict(0 if stays is first else 1, tuple(changes))


class _Overlay:
    """An image laid over another in which it lies; of pairs, the inner one is the first."""

    def __init__(self, inner: OpenedImage, outer: OpenedImage, placing: Placing) -> None:
        from PIL import Image, ImageFilter

        self.images, self._turn = (inner, outer), placing.turn
        over = Image.fromarray(
            np.ascontiguousarray(turned(np.asarray(inner.content), placing.turn))
        )
        box = laid_over(over, outer.content, placing, _COMPARED)
        width, height = box[2] - box[0], box[3] - box[1]
        self.whole = width * height >= _WHOLE * outer.content.width * outer.content.height
        across, down = width / over.width, height / over.height
        self._upright = 1 / _SAME <= across / down <= _SAME
        ratio = float(np.sqrt(across * down)) * outer.scale / inner.scale
        self._ratios = (1 / ratio, ratio)
        """Pixels of each file to one of the other."""
        size = scaled(
            over.width / over.height, min(_COMPARED, *map(max, (over.size, (width, height))))
        )
        blurred = ImageFilter.GaussianBlur(1)
        shown = (over.resize(size), outer.content.resize(size, box=box))
        rim = np.s_[_RIM:-_RIM, _RIM:-_RIM] if min(size) > 4 * _RIM else np.s_[:, :]
        self._pixels = [np.asarray(one.filter(blurred), np.float32)[rim] for one in shown]
        # So little is drawn that it may be an image of its own when it is turned or cut.
        busy = _blocks(self._pixels[1] @ _GREY).std(axis=(1, 3)) > _BUSY
        self._plain = float(busy.mean()) < _BUSY_BLOCKS

    def can_be_made(self) -> tuple[bool, bool]:
        """Whether each of them is the other with other tones, or without its colours."""
        inner, outer = self._pixels
        if not self._upright:
            return False, False
        if self._plain:
            same = self._turn == 0 and self.whole and not _is_left_over(inner - outer, inner)
            return same, same
        return _is_retoned(inner, outer), _is_retoned(outer, inner)

    def explains(self, which: int) -> bool:
        """Whether one of which the other can be made shows all of it, at least as well."""
        if which == 0 and not self.whole:
            return False
        enlarged = self._enlarged
        if enlarged is None:  # the first may be either
            return _is_older(self.images[which].record, self.images[1 - which].record)
        return self._ratios[which] < 1 if enlarged else self._ratios[which] > 1 / _SAME

    @cached_property
    def _enlarged(self) -> bool | None:
        """Whether the one of more pixels shows no more for it; None if that cannot be told."""
        if 1 / _SAME <= self._ratios[1] <= _SAME:
            return False
        if not self.whole or any(image.bordered for image in self.images):
            return None
        small, large = self._files() if self._ratios[1] > 1 else self._files()[::-1]
        adds = adds_detail(large, small)
        return None if adds is None else not adds

    def preferred(self) -> int | None:
        """Which of two that can be made of each other is kept; None if nothing tells."""
        inner, outer = self.images
        if inner.bordered != outer.bordered:
            return int(inner.bordered)
        richer = _richer_tones(*self._pixels)
        if richer is not None:
            return richer
        if (inner.record.camera is None) != (outer.record.camera is None):
            return int(inner.record.camera is None)
        made: int | Literal["equal"] | None = "equal"
        if inner.record.date == outer.record.date and self.whole and not inner.bordered:
            made = _made_of_other(self._files(), (inner.record, outer.record), self._turn)
        if made is None:
            first = _is_first(inner.record, outer.record)
            return None if first is None else int(not first)
        return int(age(inner.record) >= age(outer.record)) if made == "equal" else 1 - made

    def changes(self, kept: int) -> list[str]:
        """What was done to the one that is not kept."""
        before, after = self._pixels[kept], self._pixels[1 - kept]
        stays, goes = self.images[kept], self.images[1 - kept]
        turn = self._turn if kept == 1 or self._turn >= 4 else -self._turn % 4
        changes = [_TURNED[turn]] if turn else []
        changes += ["cropped"] * (not self.whole or (stays.bordered and not goes.bordered))
        changes += ["bordered"] * (goes.bordered and not stays.bordered)
        changes += _change_of_tones(before, after)
        changes += ["smaller"] * (self._ratios[kept] > _SAME)
        changes += ["enlarged"] * (self._ratios[kept] < 1 / _SAME)
        if not changes or stays.record.format != goes.record.format:
            changes.append("re-encoded")
        return changes

    def _files(self) -> tuple[ByteArray, ByteArray]:
        """All pixels of both, in grey, shape (H, W), the inner one turned as the outer lies."""
        inner, outer = (
            np.asarray(decode_image(Path(image.record.path)).convert("L")) for image in self.images
        )
        return turned(inner, self._turn), outer


def _is_older(one: ImageRecord, other: ImageRecord) -> bool:
    return one.mtime_ns + 1_000_000_000 < other.mtime_ns


def _is_first(one: ImageRecord, other: ImageRecord) -> bool | None:
    """Whether a file was there before another; None if their times are the same."""
    if one.date is not None and other.date is not None and one.date != other.date:
        return one.date < other.date
    if _is_older(one, other) or _is_older(other, one):
        return _is_older(one, other)
    return None


# Tones. Pixels are of shape (H, W, 3), in levels from 0 to 255.


def _is_retoned(target: FloatArray, source: FloatArray) -> bool:
    ways = (_retoned(source, target), _tinted(source, target))
    return any(not _is_left_over(target - made, target) for made in ways)


def _retoned(source: FloatArray, target: FloatArray) -> FloatArray:
    """A target as far as each of its channels follows from that of the source."""
    return np.stack([_curve(source[..., c], target[..., c]) for c in range(3)], axis=-1)


def _tinted(source: FloatArray, target: FloatArray) -> FloatArray:
    """A target as far as it follows from the brightness of the source."""
    return np.stack([_curve(source @ _GREY, target[..., c]) for c in range(3)], axis=-1)


def _curve(source: FloatArray, target: FloatArray) -> FloatArray:
    bins = (source / 8).astype(np.intp).clip(0, 31).ravel()
    counts = np.bincount(bins, minlength=32)
    some = counts > 0
    means = [np.bincount(bins, of.ravel(), 32)[some] / counts[some] for of in (source, target)]
    return np.interp(source, means[0], means[1]).astype(np.float32)


def _is_left_over(rest: FloatArray, of: FloatArray) -> bool:
    """Whether what is left of an image is more than an alteration leaves."""
    grey = rest @ _GREY
    allowed = _LEFT + _LEFT_OF * _blocks(of @ _GREY).std(axis=(1, 3))
    left = _strength(grey[..., None]) > allowed
    return bool(left.any() or (_strength(rest - grey[..., None]) > _LEFT_COLOUR).any())


def _strength(values: FloatArray) -> FloatArray:
    """The root mean square of each block, of the channel that has most; from (H, W, channels)."""
    return np.sqrt((_blocks(values) ** 2).mean(axis=(1, 3)).max(axis=-1))


def _blocks(values: FloatArray) -> FloatArray:
    """Shape (rows, 10, columns, 10, …)."""
    size = min(_BLOCK, *values.shape[:2])
    height, width = (side // size for side in values.shape[:2])
    cut = values[: height * size, : width * size]
    return cut.reshape(height, size, width, size, *values.shape[2:])


def _richer_tones(*both: FloatArray) -> int | None:
    """Which of two images of the same has tones that the other has lost, if one has."""
    cut = [float(((pixels < 2) | (pixels > 253)).mean()) for pixels in both]
    if abs(cut[0] - cut[1]) > _CUT:
        return int(cut[0] >= cut[1])
    grey = [float(np.ptp(pixels, axis=-1).mean()) < _NO_COLOUR for pixels in both]
    if grey[0] == grey[1]:
        return None
    coloured = int(grey[0])
    rest = both[coloured] - _tinted(both[1 - coloured], both[coloured])
    own = float((rest - (rest @ _GREY)[..., None]).std()) > _NO_COLOUR
    return coloured if own else None


def _change_of_tones(before: FloatArray, after: FloatArray) -> list[str]:
    colour = [np.ptp(pixels, axis=-1).mean() for pixels in (before, after)]
    if colour[0] > _COLOUR and colour[1] < _COLOUR:
        return ["grey"]
    if _is_left_over(after - _retoned(before, after), after):
        return ["tinted"]
    difference = after - before
    if abs(difference.mean()) > _TONE:
        return ["brightened" if difference.mean() > 0 else "darkened"]
    return ["toned"] if np.sqrt((difference**2).mean()) > _TONE else []


# Detail, and traces of savings.


def adds_detail(large: ByteArray, small: ByteArray) -> bool | None:
    """Whether an image shows more than a smaller one of the same; None if that cannot be told."""
    from PIL.Image import Resampling, fromarray

    much, little = (fromarray(np.ascontiguousarray(greys)) for greys in (large, small))
    half = little.resize((max(1, little.width // 2), max(1, little.height // 2)))
    # The difference to the smaller one is as large where that is the sharper one: so also what is
    # lost of this one when it is made as small.
    own = much.resize(little.size, Resampling.LANCZOS)
    more = min(_beyond(much, other) for other in (little, own)) / (_beyond(little, half) or 1)
    return True if more >= _DETAIL else False if more <= _NO_DETAIL else None


def _beyond(large: Image, small: Image) -> float:
    """Grey levels, root mean square, that an image shows beyond a smaller one."""
    from PIL.Image import Resampling

    kernels = (Resampling.NEAREST, Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS)
    whole = np.asarray(large, np.float32)
    return min(
        float((whole - np.asarray(small.resize(large.size, kernel), np.float32)).std())
        for kernel in kernels
    )


def _made_of_other(
    greys: tuple[ByteArray, ByteArray], records: tuple[ImageRecord, ImageRecord], turn: int
) -> int | Literal["equal"] | None:
    """Which of two files of as many pixels was made of the other.

    `equal` if one holds as much as the other, whichever it was; None if that cannot be told.

    The coarser JPEG was made of the finer one, unless the frequencies of the finer one lie on the
    steps of the coarser: then it was saved twice.

    Source: double quantisation, Lukáš and Fridrich 2003, "Estimation of primary quantization
    matrix in double compressed JPEG images".

    All pixels are given, those of the first turned as the second lies, by `turn`.
    """
    steps = [table for record in records if (table := _steps(record)) is not None]
    if len(steps) < 2:
        return None
    coarseness = [int(table.sum()) for table in steps]
    if coarseness[0] == coarseness[1]:
        return "equal"
    if greys[0].shape != greys[1].shape:
        return None
    coarse = int(coarseness[1] > coarseness[0])
    fine, own = greys[1 - coarse], steps[1 - coarse]
    if coarse == 0:  # whose blocks lie as its own file has them
        fine = turned(fine, turn if turn >= 4 else -turn % 4)
    by_chance = _frequencies(fine[4:, 4:])
    own = np.maximum(own.T if turn % 2 else own, 1)
    # Steps of its own file may fall together with those of the other.
    chance, on_own, there = (
        _distance(frequencies, steps[coarse])
        for frequencies in (by_chance, np.round(by_chance / own) * own, _frequencies(fine))
    )
    nearer = np.minimum(chance, on_own) - there
    alike = max(coarseness) < _COARSER * min(coarseness)
    if np.isnan(nearer) or (nearer <= _ON_GRID and (alike or nearer > _ON_GRID / 2)):
        return None
    return 1 - coarse if nearer > _ON_GRID else coarse


def _steps(record: ImageRecord) -> DoubleArray | None:
    """Of each frequency of brightness, shape (8, 8): 0 if it is lossless, None if unknown."""
    from footwork.images.decoding import open_picture, read_source

    if record.format in _LOSSLESS:
        return np.zeros((8, 8))
    try:
        with read_source(Path(record.path)) as stream:
            table = getattr(open_picture(stream), "quantization", {}).get(0)
    except (OSError, ImageError):
        return None
    return None if table is None else np.array(table, np.float64).reshape(8, 8)


def _frequencies(greys: ByteArray) -> DoubleArray:
    """Shape (N, 8, 8), of N blocks."""
    height, width = (min(side, _PART) // 8 for side in greys.shape)
    blocks = greys[: height * 8, : width * 8].reshape(height, 8, width, 8).astype(np.float64)
    k = np.arange(8)
    waves = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) / 2
    waves[0] /= np.sqrt(2)
    found = np.einsum("ux,yxzw,vw->yzuv", waves, blocks - 128, waves, optimize=True)
    return np.asarray(found).reshape(-1, 8, 8)


def _distance(frequencies: DoubleArray, steps: DoubleArray) -> float:
    """Of low frequencies to the nearest step, in steps; by chance about 0.25; nan of too few."""
    sums = np.add.outer(np.arange(8), np.arange(8))
    u, v = np.nonzero((sums < _LOW) & (sums > 0) & (steps > 1))
    counted = frequencies[:, u, v] / steps[u, v]
    counted = counted[np.abs(counted) > 0.7]  # those near 0 lie on every step
    return float(np.abs(counted - np.round(counted)).mean()) if len(counted) > 200 else np.nan
