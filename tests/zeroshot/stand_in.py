"""An encoder without a model: texts and pictures that share words have near vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from footwork.arrays import DoubleArray, FloatArray

WIDTH = 256
_SILENT = {"a", "of", "the", "and"}


@dataclass
class StandInEncoder:
    """A picture shows the words of its file's name; `broken` cannot be read."""

    fingerprint: str = "stand-in"
    width: int = WIDTH
    logit_scale: float = 100.0
    logit_bias: float | None = None
    max_text_words: int = 12
    encoded: list[str] = field(default_factory=list)
    """Every text that was encoded."""
    largest: int = 0
    """Texts of the largest call."""
    model_id: str = "stand-in"

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        self.encoded.extend(texts)
        self.largest = max(self.largest, len(texts))
        return np.stack([_vector(text, "text")[: self.width] for text in texts])

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        return [i for i, text in enumerate(texts) if len(text.split()) > self.max_text_words]

    def encode_images(self, images: Sequence[Any]) -> FloatArray:
        return np.stack([_vector(Path(image).stem, "image") for image in images])

    def encode_files(self, paths: Iterable[Path]) -> Iterator[Any]:
        for path in paths:
            broken = path.stem == "broken"
            yield SimpleNamespace(
                path=path,
                embedding=None if broken else self.encode_images([path])[0],
                fault="it ends too early" if broken else None,
                note=None,
            )


def _vector(text: str, modality: str) -> FloatArray:
    # As in CLIP: each modality has a direction of its own, far from the other's.
    words = [word for word in re.findall(r"\w+", text.lower()) if word not in _SILENT]
    row = 2.0 * _direction(modality) + sum(_direction(word) for word in words)
    return (row / np.linalg.norm(row)).astype(np.float32)


@cache
def _direction(word: str) -> DoubleArray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    row = np.random.default_rng(seed).normal(size=WIDTH)
    return row / np.linalg.norm(row)
