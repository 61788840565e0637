"""What the class names say of an image: the zero-shot half of a taught classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.logits import FloatArray
from runtime.rejection import standings
from zeroshot.embedded_labels import ImageTextEncoder, embed_labels
from zeroshot.teaching.heads import Float32


@dataclass(frozen=True, slots=True)
class Words:
    """Class names and unrelated words, embedded."""

    classes: Float32
    """Shape (C, D), unit rows."""
    references: Float32
    """Shape (R, D), unit rows, of words that have nothing to do with the classes."""
    scale: float
    """What the model multiplies cosines by."""

    def logits(self, embeddings: NDArray[Any]) -> FloatArray:
        """Zero-shot logits, (N, C), of embeddings (N, D)."""
        return self.scale * _cosines(embeddings, self.classes)

    def standing(self, embeddings: NDArray[Any]) -> FloatArray:
        """How far the best class name stands above unrelated words, (N,)."""
        cosines = _cosines(embeddings, self.classes), _cosines(embeddings, self.references)
        return standings(*cosines).max(axis=1)


def embed_words(
    encoder: ImageTextEncoder, class_names: Sequence[str], templates: str | None
) -> tuple[Words, tuple[str, ...]]:
    """Embed class names as zero-shot does.

    Args:
        encoder: The model.
        class_names: C folder names; `_` and `-` are read as spaces.
        templates: Of `load_prompts`; None takes the usual one of the model.

    Raises:
        ConfigError: The templates cannot be used.

    Returns:
        And notes on names that say little, one sentence each.
    """
    found = embed_labels(encoder, [spoken(name) for name in class_names], templates)
    return Words(found.classes, found.references, encoder.logit_scale), found.notes


def spoken(folder_name: str) -> str:
    """A folder's name as it reads in a sentence: `t-shirt_long` is "t shirt long"."""
    return " ".join(folder_name.replace("_", " ").replace("-", " ").split())


def _cosines(embeddings: NDArray[Any], rows: Float32) -> FloatArray:
    found: FloatArray = embeddings.astype(np.float64) @ rows.T.astype(np.float64)
    return found
