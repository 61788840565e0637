"""Whether one picture is another in other tones; both of shape (H, W, 3), laid on each other."""

from __future__ import annotations

from typing import Literal

import numpy as np

from search.store.protocol import FloatArray

_BLOCK = 10  # pixels
_LEFT, _LEFT_OF = 4.0, 0.25
"""Grey levels, root mean square of a block, that an alteration leaves of brightness at most, and
the part that it leaves of what is in the block."""
_LEFT_COLOUR = 14.0  # levels of colour, of which compression keeps little
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_BUSY, _BUSY_BLOCKS = 4.0, 0.2
"""Grey levels in a block, and part of such blocks, from which a picture is no plain drawing."""
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
    """Which of two pictures of the same has tones that the other has lost, if one has."""
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
    """Whether so little is drawn that it may be a picture of its own when it is turned or cut."""
    busy = _blocks(picture @ _GREY).std(axis=(1, 3)) > _BUSY
    return float(busy.mean()) < _BUSY_BLOCKS


def is_left_over(rest: FloatArray, of: FloatArray) -> bool:
    """Whether what is left of a picture is more than an alteration leaves."""
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
    """What was done to the tones of a picture, if anything."""
    colour = [np.ptp(one, axis=-1).mean() for one in (before, after)]
    if colour[0] > _COLOUR and colour[1] < _COLOUR:
        return ["grey"]
    if is_left_over(after - _retoned(before, after), after):
        return ["tinted"]
    difference = after - before
    if abs(difference.mean()) > _TONE:
        return ["brightened" if difference.mean() > 0 else "darkened"]
    return ["toned"] if np.sqrt((difference**2).mean()) > _TONE else []
