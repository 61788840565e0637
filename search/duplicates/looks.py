"""What is seen of an image at a glance, and whether another may have been made of it.

A glance is cheap and may be mistaken: `search.duplicates.alterations` looks closely at what it lets
through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from footwork.arrays import ByteArray, FloatArray
from footwork.images.decoding import decode_image

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = TypeVar("Kind", bound=np.generic)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

TURNS = 8
"""Ways to lay an image on another: 0 to 3 quarters counter-clockwise, then the same mirrored."""
_ALIKE = 0.8
"""Agreement from which a closer look is worth it."""
_SURE = 0.985
"""Agreement of whole images from which no crop is looked for."""
_SEEN = 128  # pixels of the longer side, in which a border is looked for
_SIDE, _CELLS = 32, 16  # pixels of the longer side that are kept; cells of a side
_FLAT = 2.0  # grey levels: an image with less in it looks like any other of its kind
_SMALLEST = 0.6  # of a side, that a crop leaves
_STEP = 0.04  # between the sizes of crops that are tried
_SHAPES = 1.12
"""Ratio of two ratios of width to height, at most, of images that show all of each other."""
_EVEN, _OTHER = 8, 16  # grey levels that a border differs within itself at most, from all else
_MOSTLY = 0.95  # of a line of a border; compression blurs its edge
_WIDEST = 0.3  # of a side, that a border takes
_EDGE = 0.5  # of the line beside a border, that differs from it
_STEPS, _STILL = 12, 0.03  # pixels, of a step that is the last


@dataclass(frozen=True, slots=True)
class Look:
    """An image without its border, at a glance."""

    greys: ByteArray
    """Shape (H, W), the longer one 32."""
    cells: FloatArray
    """Shape (16, 16), of length 1; zeros where nothing is to be seen."""
    ratio: float
    """Width to height."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Where one image may lie in another."""

    agreement: float
    turn: int = 0
    """Of the inner one, to lie as the outer one does."""
    box: Box = (0, 0, 1, 1)
    """In the outer one without its border, in parts of its sides."""
    swapped: bool = False
    """Whether the second of those that were compared is the inner one."""


def look_of(path: str) -> Look:
    """A glance at a file; `ImageError` if it cannot be read."""
    from PIL.Image import Resampling

    image = decode_image(Path(path), _SEEN // 2)
    image.thumbnail((_SEEN, _SEEN), Resampling.BICUBIC)
    image = image.crop(content_box(np.asarray(image)))
    ratio = image.width / image.height
    grey = image.convert("L")
    small = np.asarray(grey.resize(scaled(ratio, _SIDE), Resampling.BOX))
    cells = np.asarray(grey.resize((_CELLS, _CELLS), Resampling.BOX), np.float32)
    cells = cells - cells.mean()
    cells = np.zeros_like(cells) if cells.std() < _FLAT else cells / np.linalg.norm(cells)
    return Look(small, cells, ratio)


def best_placing(first: Look, second: Look) -> Placing | None:
    """Where one of two images lies in the other, of which it may be made, if anywhere."""
    if not (first.cells.any() and second.cells.any()):
        return None
    placings = []
    for swapped, inner, outer in ((False, first, second), (True, second, first)):
        whole = list(_whole(inner, outer))
        is_sure = any(placing.agreement >= _SURE for placing in whole)
        crops = () if is_sure else _crops(inner, outer)
        placings += [replace(placing, swapped=swapped) for placing in (*whole, *crops)]
    best = max(placings, key=lambda placing: placing.agreement, default=None)
    return best if best is not None and best.agreement >= _ALIKE else None


def _whole(inner: Look, outer: Look) -> Iterator[Placing]:
    for turn in range(TURNS):
        ratio = outer.ratio / (1 / inner.ratio if turn % 2 else inner.ratio)
        if 1 / _SHAPES <= ratio <= _SHAPES:
            yield Placing(float(np.vdot(turned(inner.cells, turn), outer.cells)), turn)


def _crops(inner: Look, outer: Look) -> Iterator[Placing]:
    """Where an upright crop agrees best, by normalised correlation, at several sizes."""
    from PIL.Image import Resampling, fromarray

    height, width = outer.greys.shape
    widest = min(1.0, inner.ratio / outer.ratio)  # of the outer width, with all of a side
    field, image = outer.greys.astype(np.float32), fromarray(inner.greys)
    for scale in np.arange(1 - _STEP / 2, _SMALLEST, -_STEP):
        w = round(width * widest * scale)
        h = round(width * widest * scale / inner.ratio)
        if not (_SMALLEST * width <= w <= width and _SMALLEST * height <= h <= height):
            continue
        sought = np.asarray(image.resize((w, h), Resampling.BOX), np.float32)
        sought = sought - sought.mean()
        places = sliding_window_view(field, (h, w)).reshape(-1, h * w)
        squares = np.einsum("pc,pc->p", places, places) - places.sum(axis=1) ** 2 / (h * w)
        agreements = (
            places @ sought.ravel() / np.sqrt(squares.clip(1) * (np.vdot(sought, sought) or 1))
        )
        best = int(np.argmax(agreements))
        y, x = divmod(best, width - w + 1)
        box = (x / width, y / height, (x + w) / width, (y + h) / height)
        yield Placing(float(agreements[best]), 0, box)


def turned(pixels: NDArray[Kind], turn: int) -> NDArray[Kind]:
    """An image of shape (H, W, …), turned."""
    quarters = np.rot90(pixels, turn % 4)
    return quarters if turn < 4 else quarters[:, ::-1]


def scaled(ratio: float, side: float) -> tuple[int, int]:
    """Width and height in pixels of this ratio, the longer one `side`."""
    width, height = (side, side / ratio) if ratio >= 1 else (side * ratio, side)
    return max(1, round(width)), max(1, round(height))


def content_box(pixels: ByteArray) -> tuple[int, int, int, int]:
    """An image, of shape (H, W, 3), without the border that was put around it.

    A border is of one colour, and what it frames begins at an edge: the margin of a drawing is
    none.
    """
    height, width = pixels.shape[:2]
    columns = pixels.transpose(1, 0, 2)
    sides = (pixels, pixels[::-1], columns, columns[::-1])
    top, bottom, left, right = map(_border_width, sides)
    box = (left, top, width - right, height - bottom)
    whole = (0, 0, width, height)
    if box == whole or box[2] - box[0] < 8 or box[3] - box[1] < 8:
        return whole
    inside = pixels[box[1] : box[3], box[0] : box[2]].astype(np.int16)
    edges = [
        (np.abs(line - ring).max(axis=-1) > _OTHER).mean()
        for border, line, ring in (
            (top, inside[1], pixels[0, width // 2]),
            (bottom, inside[-2], pixels[-1, width // 2]),
            (left, inside[:, 1], pixels[height // 2, 0]),
            (right, inside[:, -2], pixels[height // 2, -1]),
        )
        if border
    ]
    return box if np.mean(edges) >= _EDGE else whole


def _border_width(lines: ByteArray) -> int:
    seen = lines[: int(len(lines) * _WIDEST) + 1].astype(np.int16)
    colour = np.median(seen[0], axis=0)
    same = (np.abs(seen - colour).max(axis=2) <= _EVEN).mean(axis=1) >= _MOSTLY
    # The line where they meet is a blend of both.
    return 0 if same.all() or not same[0] else int(np.argmin(same)) + 1


def laid_over(inner: Image, outer: Image, placing: Placing, most: int) -> Box:
    """Where an image lies in another, in pixels of that, by least squares.

    The inner one is turned as the outer one lies, which has no border. `placing` says where about
    it lies; at most so many pixels of the longer side are compared.
    """
    box = np.array(placing.box, np.float64)
    for side in (most // 4, most):
        size = scaled(inner.width / inner.height, min(side, max(inner.size)))
        field = outer.copy().convert("L")
        field.thumbnail((2 * side, 2 * side))
        limit = np.array([field.width, field.height] * 2, np.float64)
        sought = _standardised(inner.convert("L").resize(size))
        box *= limit
        for _ in range(_STEPS):  # of Gauss-Newton, of all four sides
            here = _standardised(field.resize(size, box=tuple(box)))
            slopes = []
            for moved in np.diag([0.5, 0.5, -0.5, -0.5]):
                there = _standardised(field.resize(size, box=tuple(box + moved)))
                slopes.append((there - here).ravel() / moved.sum())
            step, *_ = np.linalg.lstsq(np.stack(slopes, 1), (sought - here).ravel(), rcond=None)
            box = np.clip(box + step.clip(-4, 4), 0, limit)
            box[2:] = np.clip(box[2:], box[:2] + 8, limit[2:])
            box[:2] = np.clip(box[:2], 0, box[2:] - 8)
            if np.abs(step).max() < _STILL:
                break
        box /= limit
    left, top, right, bottom = (box * ([outer.width, outer.height] * 2)).tolist()
    return left, top, right, bottom


def _standardised(image: Image) -> FloatArray:
    greys = np.asarray(image, np.float32)
    greys = greys - greys.mean()
    return greys / (greys.std() or 1)
