"""Pictures through a model: decoded in threads, in order, faults named, shared by processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from PIL import Image, ImageOps

from footwork.accelerator import available_cores, gather_shares, number_of_processes, process_share
from footwork.arrays import FloatArray
from footwork.encoder.preprocessing import PixelArrays, Preprocessing
from footwork.errors import ImageError
from footwork.images.ahead import attempt, made_ahead
from footwork.images.colours import to_rgb
from footwork.images.decoding import decode_image, read_image
from footwork.inference.halving import ElasticBatch, shares


class PictureSource(Protocol):
    """Where a picture comes from, if not simply from a file; it may keep what it learns."""

    def decode(self, side: int) -> Image.Image:
        """An upright RGB picture, its shorter side at least `side` pixels if it ever was.

        Raises:
            ImageError: There is none.
        """


@dataclass(slots=True)
class PictureFile:
    """A file, and what is to be known of its picture."""

    path: Path
    note: str | None = None
    """Once it is decoded: what is odd about it, a clause."""

    def decode(self, side: int) -> Image.Image:
        """The picture, as `PictureSource` says."""
        picture = read_image(self.path, side)
        self.note = picture.note
        return picture.image


Picture = TypeVar("Picture", bound=Path | Image.Image | PictureSource)
Source = TypeVar("Source", bound=Path | PictureSource)
Outcome = FloatArray | ImageError
"""What the model says of a picture, (D,), or why it is none."""

GATHERED = 128
"""Pictures of each process that are exchanged at once."""


class Tower(Protocol):
    """Answers prepared pictures; several threads may ask it at once."""

    batch: ElasticBatch

    def embed(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        """Pictures of equal shapes to rows, (B, D)."""


class PictureStream:
    """Runs a model over pictures of any number.

    Args:
        preprocessing: The model's own.
        tower: The model.
        workers: Threads that decode, and on a processor compute; None takes one a core.
        device: Of the model.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        tower: Tower,
        workers: int | None,
        device: torch.device,
    ) -> None:
        on_cpu = device.type == "cpu"
        self._preprocessing, self._tower = preprocessing, tower
        self._workers = workers or (torch.get_num_threads() if on_cpu else available_cores())

    def rows(self, images: Sequence[Path | Image.Image]) -> list[FloatArray]:
        """A row each, (D,), in this process alone.

        Raises:
            ImageError: A file ends as no picture.
        """
        if len(images) == 1:  # the model may have all cores
            outcomes = self._answer_share(images)
        else:
            outcomes = [outcome for _, outcome in self._stream(images)]
        rows: list[FloatArray] = []
        for outcome in outcomes:
            if isinstance(outcome, ImageError):
                raise outcome
            rows.append(outcome)
        return rows

    def files(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Outcome]]:
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

        On a processor each thread decodes a share and runs the model over it, on one core: so all
        cores are busy whatever decoding and model cost, and no thread waits for another.
        """
        threads = torch.get_num_threads()
        todo = shares(images, self._workers, lambda: self._tower.batch.size)
        try:
            for share, outcomes in made_ahead(
                todo, self._answer_share_on_one_core, self._workers, 2 * self._workers
            ):
                yield from zip(share, outcomes, strict=True)
        finally:
            # What a worker sets for itself is also what threads that are yet to come would get.
            torch.set_num_threads(threads)

    def _answer_share_on_one_core(
        self, images: Sequence[Path | Image.Image | PictureSource]
    ) -> list[Outcome]:
        torch.set_num_threads(1)
        return self._answer_share(images)

    def _answer_share(self, images: Sequence[Path | Image.Image | PictureSource]) -> list[Outcome]:
        prepared = [prepare_picture(self._preprocessing, image) for image in images]
        pictures = [one for one in prepared if not isinstance(one, ImageError)]
        rows = iter(self._tower.embed(pictures) if pictures else ())
        return [one if isinstance(one, ImageError) else next(rows) for one in prepared]


def prepare_picture(
    preprocessing: Preprocessing, image: Path | Image.Image | PictureSource
) -> PixelArrays | ImageError:
    """A picture as the model takes it, or why it is none."""
    if isinstance(image, Image.Image):
        return preprocessing.prepare(to_rgb(ImageOps.exif_transpose(image)))
    side = preprocessing.side

    def prepare(source: Path | PictureSource) -> PixelArrays:
        decoded = decode_image(source, side) if isinstance(source, Path) else source.decode(side)
        return preprocessing.prepare(decoded)

    return attempt(prepare, image)
