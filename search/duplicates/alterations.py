"""Whether an image is another one that was altered, and how.

An image can be made of another if the other shows all of it, at least as well: laid over it, with
its tones adjusted, it leaves nothing but what compression and resizing leave. An image taken a
second later cannot, nor can one with a word written on it.

Measured on 30 photos with 28 alterations each: where one was made of the other, blocks of 10 pixels
differ in brightness by 4.4 grey levels at most (root mean square), or by 14 where brightening cut
the highlights, or a remnant of a border was left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from footwork.arrays import ByteArray, DoubleArray, FloatArray
from footwork.errors import ImageError
from footwork.images.decoding import decode_image
from search.duplicates.looks import (
    Look,
    Placing,
    best_placing,
    content_box,
    laid_over,
    scaled,
    turned,
)
from search.records import ImageRecord

if TYPE_CHECKING:
    from PIL.Image import Image

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


def can_be_made(target: FloatArray, source: FloatArray) -> bool:
    """Whether one is the other with other tones, or without its colours; shapes (H, W, 3)."""
    return any(
        not is_left_over(target - made, target)
        for made in (_retoned(source, target), _tinted(source, target))
    )


def _retoned(source: FloatArray, target: FloatArray) -> FloatArray:
    return np.stack([_curve(source[..., c], target[..., c]) for c in range(3)], axis=-1)


def _tinted(source: FloatArray, target: FloatArray) -> FloatArray:
    return np.stack([_curve(source @ _GREY, target[..., c]) for c in range(3)], axis=-1)


def _curve(source: FloatArray, target: FloatArray) -> FloatArray:
    """A target as far as it follows from the level of the source alone."""
    bins = (source / 8).astype(np.intp).clip(0, 31).ravel()
    counts = np.bincount(bins, minlength=32)
    there = counts > 0
    sums = [np.bincount(bins, one.ravel(), 32)[there] / counts[there] for one in (source, target)]
    return np.interp(source, sums[0], sums[1]).astype(np.float32)


def richer_tones(first: FloatArray, second: FloatArray) -> Literal["first", "second"] | None:
    """Which of two images of the same has tones that the other has lost, if one has."""
    cut = [float(((one < 2) | (one > 253)).mean()) for one in (first, second)]
    if abs(cut[0] - cut[1]) > _CUT:
        return "first" if cut[0] < cut[1] else "second"
    grey = [float(np.ptp(one, axis=-1).mean()) < _NO_COLOUR for one in (first, second)]
    if grey[0] == grey[1]:
        return None
    colourless, coloured = (first, second) if grey[0] else (second, first)
    rest = coloured - _tinted(colourless, coloured)
    own = float((rest - (rest @ _GREY)[..., None]).std()) > _NO_COLOUR
    return None if not own else "second" if grey[0] else "first"


def is_plain(picture: FloatArray) -> bool:
    """Whether so little is drawn that it may be an image of its own when it is turned or cut."""
    busy = _blocks(picture @ _GREY).std(axis=(1, 3)) > _BUSY
    return float(busy.mean()) < _BUSY_BLOCKS


def is_left_over(rest: FloatArray, of: FloatArray) -> bool:
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


def toned(before: FloatArray, after: FloatArray) -> list[str]:
    """What was done to the tones of an image, if anything."""
    colour = [np.ptp(one, axis=-1).mean() for one in (before, after)]
    if colour[0] > _COLOUR and colour[1] < _COLOUR:
        return ["grey"]
    if is_left_over(after - _retoned(before, after), after):
        return ["tinted"]
    difference = after - before
    if abs(difference.mean()) > _TONE:
        return ["brightened" if difference.mean() > 0 else "darkened"]
    return ["toned"] if np.sqrt((difference**2).mean()) > _TONE else []


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


def adds_detail(large: ByteArray, small: ByteArray) -> bool | None:
    """Whether an image shows more than a smaller one of the same; None if that cannot be told."""
    from PIL.Image import Resampling, fromarray

    much, little = (fromarray(np.ascontiguousarray(one)) for one in (large, small))
    shown = little.resize((max(1, little.width // 2), max(1, little.height // 2)))
    # The difference to the smaller one is as large where that is the sharper one: so also what is
    # lost of this one when it is made as small.
    own = much.resize(little.size, Resampling.LANCZOS)
    more = min(_beyond(much, other) for other in (little, own)) / (_beyond(little, shown) or 1)
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


def made_of_other(
    greys: tuple[ByteArray, ByteArray], records: tuple[ImageRecord, ImageRecord], turn: int
) -> Literal["first", "second", "equal"] | None:
    """Which of two files of as many pixels was made of the other.

    `equal` if one holds as much as the other, whichever it was; None if that cannot be told.

    The coarser JPEG was made of the finer one, unless the frequencies of the finer one lie on the
    steps of the coarser: then it was saved twice.

    Source: double quantisation, Lukáš and Fridrich 2003, "Estimation of primary quantization
    matrix in double compressed JPEG images".

    Args:
        greys: All pixels, the first turned as the second lies.
        records: Of the files.
        turn: Of the first.
    """
    steps = [_steps(record) for record in records]
    coarseness = [None if one is None else int(one.sum()) for one in steps]
    if coarseness[0] is None or coarseness[1] is None:
        return None
    if coarseness[0] == coarseness[1]:
        return "equal"
    coarse = 0 if coarseness[0] > coarseness[1] else 1
    table = steps[coarse]
    assert table is not None
    fine, own = greys[1 - coarse], steps[1 - coarse]
    assert own is not None
    if greys[0].shape != greys[1].shape:
        return None
    if coarse == 0:  # whose blocks lie as its own file has them
        fine = turned(fine, turn if turn >= 4 else -turn % 4)
    by_chance = _frequencies(fine[4:, 4:])
    own = np.maximum(own.T if turn % 2 else own, 1)
    # Steps of its own file may fall together with those of the other.
    found = [
        _distance(frequencies, table)
        for frequencies in (by_chance, np.round(by_chance / own) * own, _frequencies(fine))
    ]
    if None in found:
        return None
    nearer = min(found[:2]) - found[2]  # type: ignore[type-var, operator]
    alike = max(coarseness) < _COARSER * min(coarseness)  # type: ignore[type-var, operator]
    if nearer <= _ON_GRID and (alike or nearer > _ON_GRID / 2):
        return None
    made = 1 - coarse if nearer > _ON_GRID else coarse
    return "second" if made else "first"


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


def _distance(frequencies: DoubleArray, steps: DoubleArray) -> float | None:
    """Of low frequencies to the nearest step, in steps; by chance about 0.25; None of too few."""
    sums = np.add.outer(np.arange(8), np.arange(8))
    u, v = np.nonzero((sums < _LOW) & (sums > 0) & (steps > 1))
    counted = frequencies[:, u, v] / steps[u, v]
    counted = counted[np.abs(counted) > 0.7]  # those near 0 lie on every step
    return float(np.abs(counted - np.round(counted)).mean()) if len(counted) > 200 else None


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


@dataclass(frozen=True)
class OpenedImage:
    """A file, looked at closely."""

    record: ImageRecord
    look: Look

    @cached_property
    def _seen(self) -> tuple[Image, bool, float]:
        picture = decode_image(Path(self.record.path), _SIDE // 2)
        picture.thumbnail((_SIDE, _SIDE))
        box = content_box(np.asarray(picture))
        scale = (self.record.width or picture.width) / picture.width
        return picture.crop(box), box != (0, 0, *picture.size), scale

    @property
    def content(self) -> Image:
        """Without its border, at most 320 pixels wide and high.

        Raises:
            ImageError: It can no longer be read.
        """
        return self._seen[0]

    @property
    def bordered(self) -> bool:
        """Whether it has a border."""
        return self._seen[1]

    @property
    def scale(self) -> float:
        """Pixels of the file to one of `content`."""
        return self._seen[2]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two images have to do with each other."""

    kept: Literal["first", "second"] | None
    """Which one the other can be made of; None if they are similar, and no more can be told."""
    changes: tuple[str, ...] = ()
    """What was done to the other: "rotated 180°", "cropped"."""


def verdict(first: OpenedImage, second: OpenedImage) -> Verdict | None:
    """Compare two images; None if they are different ones.

    Raises:
        ImageError: One can no longer be read.
    """
    within = best_placing(first.look, second.look)
    around = best_placing(second.look, first.look)
    if within is None and around is None:
        return None
    if within is None or (around is not None and around.agreement > within.agreement):
        assert around is not None
        found = _compared(second, first, around)
        swapped = {"first": "second", "second": "first", None: None}
        return found and replace(found, kept=swapped[found.kept])  # type: ignore[arg-type]
    return _compared(first, second, within)


def _compared(inner: OpenedImage, outer: OpenedImage, placing: Placing) -> Verdict | None:
    """The verdict on an image and one in which it may lie."""
    overlay = _Overlay(inner, outer, placing)
    if not overlay.matches:
        # What is like a part of another is not yet like it, least of all if both are plain.
        alike = overlay.whole and placing.agreement >= _SIMILAR
        return Verdict(None) if alike else None
    of_outer, of_inner = overlay.explains("outer"), overlay.explains("inner")
    if of_outer and of_inner:
        prefers_inner = overlay.prefers_inner()
        if prefers_inner is None:
            return Verdict(None)
        of_outer = not prefers_inner
    if not (of_outer or of_inner):
        return Verdict(None)
    kept, gone = (outer, inner) if of_outer else (inner, outer)
    changes = overlay.changes("outer" if of_outer else "inner")
    # What was made of a file is not older: an original never goes for what may be made of it.
    # Of tones that went up or down nothing else tells which were the first.
    first = _is_first(kept.record, gone.record)
    if _is_older(gone.record, kept.record) or (_RETONED & set(changes) and not first):
        return Verdict(None)
    return Verdict("second" if of_outer else "first", tuple(changes))


class _Overlay:
    """An image laid over another in which it lies."""

    def __init__(self, inner: OpenedImage, outer: OpenedImage, placing: Placing) -> None:
        from PIL import Image, ImageFilter

        self.inner, self.outer = inner, outer
        over = Image.fromarray(
            np.ascontiguousarray(turned(np.asarray(inner.content), placing.turn))
        )
        box = laid_over(over, outer.content, placing, _COMPARED)
        width, height = box[2] - box[0], box[3] - box[1]
        self.turn = placing.turn
        self.whole = width * height >= _WHOLE * outer.content.width * outer.content.height
        across, down = width / over.width, height / over.height
        self._upright = 1 / _SAME <= across / down <= _SAME
        self.ratio = float(np.sqrt(across * down)) * outer.scale / inner.scale
        """Pixels of the outer file to one of the inner."""
        size = scaled(
            over.width / over.height, min(_COMPARED, *map(max, (over.size, (width, height))))
        )
        blurred = ImageFilter.GaussianBlur(1)
        pictures = (over.resize(size), outer.content.resize(size, box=box))
        rim = np.s_[_RIM:-_RIM, _RIM:-_RIM] if min(size) > 4 * _RIM else np.s_[:, :]
        self._pixels = [np.asarray(one.filter(blurred), np.float32)[rim] for one in pictures]

    @property
    def plain(self) -> bool:
        """Whether so little is drawn that turned or cropped it may be an image of its own."""
        return is_plain(self._pixels[1])

    @property
    def matches(self) -> bool:
        """Whether one of them can be made of the other, whichever it is."""
        if not self._upright:
            return False
        inner, outer = self._pixels
        if self.plain:
            return self.turn == 0 and self.whole and not is_left_over(inner - outer, inner)
        return can_be_made(inner, outer) or can_be_made(outer, inner)

    def explains(self, which: Literal["inner", "outer"]) -> bool:
        """Whether one shows all that the other shows, at least as well."""
        inner, outer = self._pixels
        target, source, ratio = inner, outer, self.ratio
        if which == "inner":
            target, source, ratio = outer, inner, 1 / self.ratio
        if which == "inner" and not self.whole:
            return False
        if not (self.plain or can_be_made(target, source)):
            return False
        if self._enlarged is None:  # the first may be either
            sides = (self.outer, self.inner) if which == "outer" else (self.inner, self.outer)
            return _is_older(sides[0].record, sides[1].record)
        return ratio < 1 if self._enlarged else ratio > 1 / _SAME

    @cached_property
    def _enlarged(self) -> bool | None:
        """Whether the one of more pixels shows no more for it; None if that cannot be told."""
        if 1 / _SAME <= self.ratio <= _SAME:
            return False
        if not self.whole or self.inner.bordered or self.outer.bordered:
            return None
        small, large = self._files() if self.ratio > 1 else self._files()[::-1]
        adds = adds_detail(large, small)
        return None if adds is None else not adds

    def prefers_inner(self) -> bool | None:
        """Whether of two that can be made of each other the inner is kept; None: nothing tells."""
        inner, outer = self.inner, self.outer
        if inner.bordered != outer.bordered:
            return outer.bordered
        richer = richer_tones(*self._pixels)
        if richer is not None:
            return richer == "first"
        if (inner.record.camera is None) != (outer.record.camera is None):
            return inner.record.camera is not None
        made: str | None = "equal"
        if inner.record.date == outer.record.date and self.whole and not inner.bordered:
            made = made_of_other(self._files(), (inner.record, outer.record), self.turn)
        if made is None:
            return _is_first(inner.record, outer.record)
        return _age(inner.record) < _age(outer.record) if made == "equal" else made == "second"

    def changes(self, kept: Literal["inner", "outer"]) -> list[str]:
        """What was done to the one that is not kept."""
        inner, outer = self._pixels
        of_outer = kept == "outer"
        before, after = (outer, inner) if of_outer else (inner, outer)
        stays, goes = (self.outer, self.inner) if of_outer else (self.inner, self.outer)
        ratio = self.ratio if of_outer else 1 / self.ratio
        turn = self.turn if of_outer or self.turn >= 4 else -self.turn % 4
        found = [_TURNED[turn]] if turn else []
        found += ["cropped"] * (not self.whole or (stays.bordered and not goes.bordered))
        found += ["bordered"] * (goes.bordered and not stays.bordered)
        found += toned(before, after)
        found += ["smaller"] * (ratio > _SAME) + ["enlarged"] * (ratio < 1 / _SAME)
        if not found or stays.record.format != goes.record.format:
            found.append("re-encoded")
        return found

    def _files(self) -> tuple[ByteArray, ByteArray]:
        """All pixels of both, in grey, shape (H, W), the inner one turned as the outer lies."""
        inner, outer = (
            np.asarray(decode_image(Path(one.record.path)).convert("L"))
            for one in (self.inner, self.outer)
        )
        return turned(inner, self.turn), outer


def _is_older(one: ImageRecord, other: ImageRecord) -> bool:
    return one.mtime_ns + 1_000_000_000 < other.mtime_ns


def _is_first(one: ImageRecord, other: ImageRecord) -> bool | None:
    """Whether a file was there before another; None if their times are the same."""
    if one.date is not None and other.date is not None and one.date != other.date:
        return one.date < other.date
    if _is_older(one, other) or _is_older(other, one):
        return _is_older(one, other)
    return None


def _age(record: ImageRecord) -> tuple[Any, ...]:
    """What is smaller for the file that is rather the first."""
    date = float("inf") if record.date is None else record.date
    return date, len(record.path), record.path
