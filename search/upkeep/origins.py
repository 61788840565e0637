"""Which of two files that show the same was made of the other, by what saving leaves in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from search.records import ImageRecord
from search.upkeep.looks import turned

_Greys = NDArray[np.uint8]

_PART = 1024  # pixels of a side that are looked at
_DETAIL = 0.25
"""What a picture shows beyond a smaller one, to what that shows beyond its own half.

Measured on 50 photos: 0.26 and more for blurred ones beside their halves, 0.49 and more for sharp
ones; at most 0.28 for what was enlarged by half, 0.21 by twice and more, unless it was saved badly.
"""
_ON_GRID = 0.015
"""How much nearer the frequencies of a picture lie to the steps of another file than by chance.

Measured on 16 photos, saved twice with qualities of 60 to 97: 0.008 at most where the second saving
was the coarser one, 0.03 and more where the first was. Half of it and more is doubtful."""
_LOW = 8  # of 14, the sum of both frequencies that are looked at
_LOSSLESS = frozenset({"png", "bmp", "tiff", "ppm", "tga", "qoi"})


def adds_detail(large: _Greys, small: _Greys) -> bool:
    """Whether a picture shows more than a smaller one of the same, or only has more pixels."""
    from PIL import Image

    little = Image.fromarray(np.ascontiguousarray(small))
    half = little.resize((max(1, little.width // 2), max(1, little.height // 2)))
    shown = np.asarray(little, np.float32) - np.asarray(half.resize(little.size), np.float32)
    kernels = (
        *(Image.Resampling.NEAREST, Image.Resampling.BILINEAR),
        *(Image.Resampling.BICUBIC, Image.Resampling.LANCZOS),
    )
    size = large.shape[::-1]
    more = min(
        float((large - np.asarray(little.resize(size, kernel), np.float32)).std())
        for kernel in kernels
    )
    return more >= _DETAIL * float(shown.std())


def made_of_other(
    greys: tuple[_Greys, _Greys], records: tuple[ImageRecord, ImageRecord], turn: int
) -> Literal[0, 1] | None:
    """Which of two files of as many pixels was made of the other; None if nothing tells.

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
    coarse: Literal[0, 1]
    if coarseness[0] is None or coarseness[1] is None or coarseness[0] == coarseness[1]:
        return None
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
    chances = (_distance(by_chance, table), _distance(np.round(by_chance / own) * own, table))
    nearer = min(chances) - _distance(_frequencies(fine), table)
    if _ON_GRID / 2 < nearer <= _ON_GRID:
        return None
    return 1 - coarse if nearer > _ON_GRID else coarse  # type: ignore[return-value]


def _steps(record: ImageRecord) -> NDArray[np.float64] | None:
    """Of each frequency of brightness, shape (8, 8): 0 if it is lossless, None if unknown."""
    from runtime.images.opening import open_picture, read_source

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


def _distance(frequencies: NDArray[np.float64], steps: NDArray[np.float64]) -> float:
    """Of low frequencies to the nearest step, in steps; by chance about 0.25."""
    sums = np.add.outer(np.arange(8), np.arange(8))
    u, v = np.nonzero((sums < _LOW) & (sums > 0) & (steps > 1))
    counted = frequencies[:, u, v] / steps[u, v]
    counted = counted[np.abs(counted) > 0.7]  # those near 0 lie on every step
    return float(np.abs(counted - np.round(counted)).mean()) if len(counted) > 200 else 0.25
