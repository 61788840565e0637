"""What is asked of an encoder: texts and images as unit vectors of one space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from footwork.arrays import FloatArray
from footwork.images.held import ImagesLike


class TextEncoder(Protocol):
    """A text model, or the text side of a two-tower model."""

    @property
    def model_id(self) -> str:
        """As it was asked for."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its revision and how it reads."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def logit_scale(self) -> float:
        """Multiplies the cosine."""

    @property
    def logit_bias(self) -> float | None:
        """Added to it; None for a model with a softmax."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, (N, D)."""

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which texts are longer than the model reads."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A file and its embedding, or why it has none."""

    path: Path
    embedding: FloatArray | None  # (D,), of length 1; of a fine-tuned classifier its logits, (C,)
    fault: str | None
    """A clause such as "it is truncated"."""
    note: str | None = None
    """What to know of a picture that could be read, a clause."""


class FileEncoder(Protocol):
    """Embeds files, in bounded memory."""

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EncodedImage]:
        """Each file's row or fault, in order."""


@runtime_checkable
class ImageTextEncoder(TextEncoder, FileEncoder, Protocol):
    """A two-tower model: what `footwork.encoder.dual.DualEncoder` is, or that of an index."""

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Unit rows, (N, D)."""
