"""Pictures through a model: decoded and prepared in threads, in order, shared by processes."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend

from footwork.accelerator import (
    available_cores,
    gather_shares,
    number_of_processes,
    process_share,
)
from footwork.arrays import AnyArray, FloatArray
from footwork.console import watched
from footwork.encoder.protocol import EncodedImage
from footwork.errors import ImageError
from footwork.images.ahead import attempt, made_ahead
from footwork.images.decoding import decode_image, read_image
from footwork.images.held import ImagesLike, held_images
from footwork.inference.halving import ElasticBatch, shares
from footwork.inference.sequences import threads_kept
from footwork.options import EXACT_MARK, Decode, EncoderConfig

PixelArrays = dict[str, AnyArray]
"""Input of the image tower → what one picture gives for it, without the batch axis."""

DRAFT = "jpeg-draft-2"
"""How files are decoded by default: part of what a stored embedding depends on."""

_KNOWN_STEPS = (
    *("preprocess", "_preprocess", "process_image"),
    *("resize", "center_crop", "rescale", "normalize"),
)
_LONGEST_STRIP = 16
"""A resized picture so many times as long as its crop is resized inside the crop alone."""


class Preprocessing:
    """What a model's own image processor does to a picture, quicker where it is known how."""

    def __init__(self, processor: Any, decode: Decode = "draft") -> None:
        self._processor, self._decode = processor, decode
        self.side = _target_side(processor)
        """Pixels of the shorter side that the model needs of a picture."""
        self.decoded_side = self.side if decode == "draft" else None
        """The same, of which a file may be decoded at a fraction; None decodes all pixels."""
        known = _resize_and_crop(processor)
        self.prepare: Callable[[Image.Image], PixelArrays] = known or self.prepare_by_processor
        """RGB picture → arrays."""

    @property
    def name(self) -> str:
        """Names the processor, by a hash its settings, and how files are decoded for it."""
        settings = self._processor.to_dict()
        settings.pop("processor_class", None)
        text = json.dumps([settings, DRAFT], sort_keys=True, default=str)
        kind = type(self._processor).__name__
        mark = EXACT_MARK if self._decode == "exact" else ""
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}{mark}"

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
    return max((int(value) for value in dict(size or {}).values() if value), default=448)


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
    width, height = size.width, size.height
    if shorter := size.shortest_edge:
        longer = int(shorter * max(picture.size) / min(picture.size))
        upright = picture.width <= picture.height
        width, height = (shorter, longer) if upright else (longer, shorter)
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


class PictureSource(Protocol):
    """Where a picture comes from, if not simply from a file; it may keep what it learns."""

    def decode(self, side: int | None) -> Image.Image:
        """An upright RGB picture, its shorter side at least `side` pixels if it ever was.

        None decodes all pixels. An `ImageError` where there is none.
        """


@dataclass(slots=True)
class PictureFile:
    """A file, and what is to be known of its picture."""

    path: Path
    note: str | None = None
    """Once it is decoded: what is odd about it, a clause."""

    def decode(self, side: int | None) -> Image.Image:
        """The picture, as `PictureSource` says."""
        picture = read_image(self.path, side)
        self.note = picture.note
        return picture.image


AnyPicture = Path | bytes | Image.Image | PictureSource
Picture = TypeVar("Picture", bound=AnyPicture)
Source = TypeVar("Source", bound=Path | PictureSource)
Outcome = FloatArray | ImageError
"""What the model says of a picture, (D,), or why it is none."""

GATHERED = 128
"""Pictures of each process that are exchanged at once."""


class PictureStream:
    """Runs a model, on its device, over pictures of any number.

    Args:
        preprocessing: Of the model.
        answer: The model: what it is given of B pictures of equal shapes, on its device, to rows,
            (B, D); on a CPU several threads may ask it at once.
        config: Pictures at once, and threads.
        device: Of the model.
        width: D, of its rows.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        answer: Callable[[dict[str, torch.Tensor]], FloatArray],
        config: EncoderConfig,
        device: torch.device,
        width: int,
    ) -> None:
        on_cpu = device.type == "cpu"
        self._preprocessing, self._answer, self._device = preprocessing, answer, device
        self._workers = config.workers or (torch.get_num_threads() if on_cpu else available_cores())
        self.batch = ElasticBatch(config.batch_size or (16 if on_cpu else 64), "image")
        # On a CPU every thread computes; an accelerator computes one batch after another.
        self._turn = nullcontext() if on_cpu else threading.Lock()
        self.width = width

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Rows, (N, D), in this process alone; an `ImageError` where one is no picture."""
        images = held_images(images)
        if not len(images):
            return np.zeros((0, self.width), np.float32)
        if len(images) == 1:  # the model may have all cores
            outcomes = self._answer_share(images)
        else:
            stream = (outcome for _, outcome in self._stream(images))
            outcomes = list(watched(stream, "reading", "images", len(images)))
        rows: list[FloatArray] = []
        for place, (image, outcome) in enumerate(zip(images, outcomes, strict=True)):
            if isinstance(outcome, ImageError):
                where = "" if isinstance(image, Path) else f"images[{place}], "
                raise ImageError(f"{where}{outcome.name}", outcome.reason)
            rows.append(outcome)
        return np.stack(rows)

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EncodedImage]:
        """As `encode_sources`, of files; one that is no picture has a `fault`."""
        for file, row in self.encode_sources(map(PictureFile, paths)):
            if isinstance(row, ImageError):
                yield EncodedImage(file.path, None, row.reason)
            else:
                yield EncodedImage(file.path, row, None, file.note)

    def encode_sources(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Outcome]]:
        """Each file with its row or fault, in order.

        Of several processes each answers its share and yields all files, so all of them must call
        this with the same ones and go through to the end.
        """
        if number_of_processes() == 1:
            yield from self._stream(sources)
            return
        every, size = list(sources), GATHERED * number_of_processes()
        chunks = [every[start : start + size] for start in range(0, len(every), size)]
        mine = [chunk[process_share(len(chunk))] for chunk in chunks]
        answered = self._stream(path for share in mine for path in share)
        for share in mine:
            for part in gather_shares(list(islice(answered, len(share)))):
                yield from part

    def _stream(self, images: Iterable[Picture]) -> Iterator[tuple[Picture, Outcome]]:
        """Every picture with its row or fault, in order.

        On a CPU each thread decodes a share and runs the model over it, on one core: so all
        cores are busy whatever decoding and model cost, and no thread waits for another.
        """
        workers = self._workers
        todo = shares(images, workers, lambda: self.batch.size)

        def answer(share: Sequence[AnyPicture]) -> list[Outcome]:
            torch.set_num_threads(1)
            return self._answer_share(share)

        with threads_kept():
            for share, outcomes in made_ahead(todo, answer, workers, 2 * workers):
                yield from zip(share, outcomes, strict=True)

    def _answer_share(self, images: Sequence[AnyPicture]) -> list[Outcome]:
        prepared = [prepare_picture(self._preprocessing, image) for image in images]
        pictures = [picture for picture in prepared if not isinstance(picture, ImageError)]
        rows = iter(self.batch.run(self._forward, pictures) if pictures else ())
        return [fault if isinstance(fault, ImageError) else next(rows) for fault in prepared]

    def _forward(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        inputs = {
            name: torch.from_numpy(np.stack([each[name] for each in pictures])).to(self._device)
            for name in pictures[0]
        }
        with self._turn, torch.inference_mode():  # which belongs to the thread
            return self._answer(inputs)


def prepare_picture(preprocessing: Preprocessing, image: AnyPicture) -> PixelArrays | ImageError:
    """A picture as the model takes it, or why it is none."""
    side = preprocessing.decoded_side

    def prepare(source: AnyPicture) -> PixelArrays:
        if isinstance(source, (Path, bytes, Image.Image)):
            return preprocessing.prepare(decode_image(source, side))
        return preprocessing.prepare(source.decode(side))

    return attempt(prepare, image)
