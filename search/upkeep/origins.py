"""Which of two files that show the same was made of the other, by what saving leaves in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from footwork.errors import ImageError
from search.records import ImageRecord
from search.upkeep.looks import turned

if TYPE_CHECKING:
    from PIL.Image import Image

_Greys = NDArray[np.uint8]

_PART = 1024  # pixels of a side that are looked at
_DETAIL, _NO_DETAIL = 0.36, 0.12
"""What a picture shows beyond a smaller one, to what that shows beyond its own half: from here on
it shows more, and up to here it only has more pixels.

Measured on 37 photos and their smaller versions, saved as JPEG: 0.32 and more for sharp ones, 0.14
and more for soft ones; at most 0.35 for what was enlarged by 1.3 to 3, saved badly or not, but for
0.67 where pixels were repeated; at most 0.24 for what was blurred before it was enlarged.
"""
_ON_GRID = 0.015
"""How much nearer the frequencies of a picture lie to the steps of another file than by chance.

Measured on 16 photos, saved twice with qualities of 60 to 97: 0.008 at most where the second saving
was the coarser one, 0.03 and more where the first was. Half of it and more is doubtful."""
_COARSER = 1.5
"""Ratio of steps from which a finer second saving would have left what lies on the first's."""
_LOW = 8  # of 14, the sum of both frequencies that are looked at
_LOSSLESS = frozenset({"png", "bmp", "tiff", "ppm", "tga", "qoi"})


def adds_detail(large: _Greys, small: _Greys) -> bool | None:
    """Whether a picture shows more than a smaller one of the same; None if that cannot be told."""
    from PIL.Image import Resampling, fromarray

    much, little = (fromarray(np.ascontiguousarray(one)) for one in (large, small))
    shown = little.resize((max(1, little.width // 2), max(1, little.height // 2)))
    # The difference to the smaller one is as large where that is the sharper one: so also what is
    # lost of this one when it is made as small.
    own = much.resize(little.size, Resampling.LANCZOS)
    more = min(_beyond(much, other) for other in (little, own)) / (_beyond(little, shown) or 1)
    return True if more >= _DETAIL else False if more <= _NO_DETAIL else None


def _beyond(large: Image, small: Image) -> float:
    """Grey levels, root mean square, that a picture shows beyond a smaller one."""
    from PIL.Image import Resampling

    kernels = (Resampling.NEAREST, Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS)
    whole = np.asarray(large, np.float32)
    return min(
        float((whole - np.asarray(small.resize(large.size, kernel), np.float32)).std())
        for kernel in kernels
    )


def made_of_other(
    greys: tuple[_Greys, _Greys], records: tuple[ImageRecord, ImageRecord], turn: int
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


def _steps(record: ImageRecord) -> NDArray[np.float64] | None:
    """Of each frequency of brightness, shape (8, 8): 0 if it is lossless, None if unknown."""
    from footwork.images.opening import open_picture, read_source

    if record.format in _LOSSLESS:
        return np.zeros((8, 8))
    try:
        with read_source(Path(record.path)) as stream:
            table = getattr(open_picture(stream), "quantization", {}).get(0)
    except (OSError, ImageError):
        return None
    return None if table is None else np.array(table, np.float64).reshape(8, 8)


def _frequencies(greys: _Greys) -> NDArray[np.float64]:
    """Shape (N, 8, 8), of N blocks."""
    height, width = (min(side, _PART) // 8 for side in greys.shape)
    blocks = greys[: height * 8, : width * 8].reshape(height, 8, width, 8).astype(np.float64)
    k = np.arange(8)
    waves = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) / 2
    waves[0] /= np.sqrt(2)
    found = np.einsum("ux,yxzw,vw->yzuv", waves, blocks - 128, waves, optimize=True)
    return np.asarray(found).reshape(-1, 8, 8)


def _distance(frequencies: NDArray[np.float64], steps: NDArray[np.float64]) -> float | None:
    """Of low frequencies to the nearest step, in steps; by chance about 0.25; None of too few."""
    sums = np.add.outer(np.arange(8), np.arange(8))
    u, v = np.nonzero((sums < _LOW) & (sums > 0) & (steps > 1))
    counted = frequencies[:, u, v] / steps[u, v]
    counted = counted[np.abs(counted) > 0.7]  # those near 0 lie on every step
    return float(np.abs(counted - np.round(counted)).mean()) if len(counted) > 200 else None
