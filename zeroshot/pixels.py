"""Pictures as a model takes them, decoded once into a file that is mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from footwork.accelerator import available_cores, gather_shares, is_main_process
from footwork.arrays import FloatArray, IntArray
from footwork.encoder.streaming import Preprocessing, prepare_picture
from footwork.errors import ImageError, ModelError
from footwork.images.ahead import made_ahead

SMALLEST_CROP = 0.8
"""Side of a random crop, as a share of the picture's."""
_EXACT = 1e-4  # levels of 255: what rounding may lose where a picture is kept in 8 bits


class Levels:
    """Between normalised pixels and the 8-bit levels that they were computed from.

    Args:
        processor: The model's own.
    """

    def __init__(self, processor: Any) -> None:
        mean, deviation = (
            np.asarray(values, np.float32).reshape(-1, 1, 1)
            for values in (processor.image_mean, processor.image_std)
        )
        self.scale = np.float32(processor.rescale_factor) / deviation
        self.shift = mean / deviation

    def of(self, pixels: FloatArray) -> FloatArray:
        """Levels, 0 to 255 where the processor did nothing else, (..., 3, H, W)."""
        levels: FloatArray = (pixels + self.shift) / self.scale
        return levels

    def pixels(self, levels: NDArray[np.generic]) -> FloatArray:
        """Normalised pixels, (..., 3, H, W)."""
        pixels: FloatArray = levels.astype(np.float32) * self.scale
        pixels -= self.shift
        return pixels


class PixelFile:
    """N pictures of one shape on the disk, read as they are needed.

    Args:
        path: Of the file.
        shape: (N, 3, H, W).
        levels: How 8-bit levels become pixels; None where pixels are stored as they are.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], levels: Levels | None) -> None:
        self._levels = levels
        dtype = np.float32 if levels is None else np.uint8
        self._stored = np.memmap(path, dtype, "r", shape=shape)

    def __len__(self) -> int:
        return len(self._stored)

    def batch(self, rows: Sequence[int] | IntArray) -> torch.Tensor:
        """Pictures (B, 3, H, W), normalised, in float32."""
        stored = self._stored[np.asarray(rows)]
        return torch.from_numpy(self._levels.pixels(stored) if self._levels else stored)


def decode_once(
    paths: Sequence[Path], processor: Any, target: Path
) -> tuple[PixelFile, dict[Path, str]]:
    """Decode files into one; on the main process, for all of them.

    Args:
        paths: Of pictures.
        processor: The model's own.
        target: The file to write.

    Returns:
        What could be read, in order, and why the rest could not, by path.

    Raises:
        ModelError: The model takes pictures of no fixed shape.
        ImageError: None can be read.
    """
    told = _write(paths, processor, target) if is_main_process() else None
    shape, exact, faults = gather_shares(told)[0]
    return PixelFile(target, shape, Levels(processor) if exact else None), faults


def _write(
    paths: Sequence[Path], processor: Any, target: Path
) -> tuple[tuple[int, ...], bool, dict[Path, str]]:
    """Shape of what is stored, whether in 8 bits, and the faults."""
    faults: dict[Path, str] = {}
    shape: tuple[int, ...] | None = None
    levels, count = _levels_of(processor), 0
    with target.open("wb") as file:
        for pixels in _decoded(paths, processor, faults):
            if shape is None:
                shape = _required_shape(pixels, pixels.shape)
                if levels is not None and not _is_exact(levels, pixels):
                    levels = None
            _required_shape(pixels, shape)
            stored = pixels if levels is None else np.rint(levels.of(pixels)).astype(np.uint8)
            file.write(np.ascontiguousarray(stored).tobytes())
            count += 1
    if shape is None:
        first = next(iter(faults))
        raise ImageError(str(first), f"{faults[first]}; none of {len(paths)} files can be read")
    return (count, *shape), levels is not None, faults


def _decoded(
    paths: Sequence[Path], processor: Any, faults: dict[Path, str]
) -> Iterator[FloatArray]:
    preprocessing = Preprocessing(processor)

    for path, found in made_ahead(
        paths, partial(prepare_picture, preprocessing), available_cores()
    ):
        if isinstance(found, ImageError):
            faults[path] = found.reason
        elif set(found) != {"pixel_values"}:
            raise ModelError(_no_fixed_shape(", ".join(found)))
        else:
            yield found["pixel_values"].astype(np.float32, copy=False)


def _levels_of(processor: Any) -> Levels | None:
    steps = ("do_rescale", "do_normalize")
    return Levels(processor) if all(getattr(processor, step, None) for step in steps) else None


def _is_exact(levels: Levels, pixels: FloatArray) -> bool:
    found = levels.of(pixels)
    whole = np.rint(found)
    close = np.abs(found - whole).max() < 255 * _EXACT
    return bool(close and whole.min() >= 0 and whole.max() <= 255)


def _required_shape(pixels: FloatArray, shape: tuple[int, ...]) -> tuple[int, ...]:
    if pixels.ndim != 3 or pixels.shape != shape:
        raise ModelError(_no_fixed_shape(f"shapes such as {pixels.shape}"))
    return shape


def _no_fixed_shape(found: str) -> str:
    return (
        f"This model takes pictures of no fixed shape ({found}), which cannot be trained on here. "
        "Take one of a fixed resolution."
    )


def augmented(pictures: torch.Tensor, seeds: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Crop each picture at random, resize it back, and mirror every second one.

    Source: the usual training transform since Krizhevsky et al. 2012, with the milder crops that
    suit a pretrained tower.

    Args:
        pictures: Shape (B, 3, H, W).
        seeds: B of them; the same gives the same picture, whatever stands beside it.

    Returns:
        The same shape.
    """
    changed = [_changed(one, seed) for one, seed in zip(pictures, seeds, strict=True)]
    return torch.stack(changed)


def _changed(picture: torch.Tensor, seed: tuple[int, ...]) -> torch.Tensor:
    random = np.random.default_rng(seed)
    height, width = picture.shape[1:]
    share, top, left, mirrored = random.random(4).tolist()
    share = SMALLEST_CROP + (1 - SMALLEST_CROP) * share
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    y, x = round(top * (height - rows)), round(left * (width - columns))
    cropped = picture[None, :, y : y + rows, x : x + columns]
    whole = functional.interpolate(cropped, (height, width), mode="bilinear", align_corners=False)
    return whole[0].flip(-1) if mirrored < 0.5 else whole[0]
