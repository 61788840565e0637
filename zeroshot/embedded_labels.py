"""Labels put to a model: their vectors, the words that they are measured by, what is odd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.reference_words import reference_words
from zeroshot.class_embeddings import OnProgress, TextEncoder, prompt_embeddings, unseen
from zeroshot.embedding_cache import EmbeddingCache
from zeroshot.label_notes import label_notes
from zeroshot.templates import DEFAULT, SIGMOID_DEFAULT, Prompts, load_prompts

if TYPE_CHECKING:
    from PIL import Image

FloatArray = NDArray[np.float32]


class EmbeddedFile(Protocol):
    """A file and its vector, or why it has none: what `runtime.encoder.EncodedImage` is."""

    @property
    def path(self) -> Path:
        """As it was given."""

    @property
    def embedding(self) -> FloatArray | None:
        """Shape (D,), of length 1."""

    @property
    def fault(self) -> str | None:
        """A clause such as "it is truncated"."""

    @property
    def note(self) -> str | None:
        """What to know of a picture that could be read, a clause."""


class ImageTextEncoder(TextEncoder, Protocol):
    """A two-tower model: what `runtime.encoder.DualEncoder` is, or that of an index."""

    @property
    def model_id(self) -> str:
        """As it was asked for."""

    @property
    def logit_scale(self) -> float:
        """Multiplies the cosine."""

    @property
    def logit_bias(self) -> float | None:
        """Added to it; None for a model with a softmax."""

    def encode_images(self, images: Sequence[Path | Image.Image]) -> FloatArray:
        """Unit rows, (N, D)."""

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EmbeddedFile]:
        """Each file's row or fault, in order."""


@dataclass(frozen=True, slots=True)
class EmbeddedLabels:
    """A set of labels as one model sees it; all rows are unit rows."""

    classes: FloatArray
    """Shape (C, D)."""
    references: FloatArray
    """Shape (R, D), of words that have nothing to do with most pictures."""
    notes: tuple[str, ...]
    """What to know before the labels are used, one sentence or two each."""


def embed_labels(
    encoder: ImageTextEncoder,
    class_names: Sequence[str],
    templates: str | None,
    on_progress: OnProgress = unseen,
) -> EmbeddedLabels:
    """Embed labels and reference words in the same templates.

    Args:
        encoder: The model.
        class_names: C names, as they read in a sentence.
        templates: Of `load_prompts`; None takes the usual one of the model.
        on_progress: Told how many prompts are encoded, and of how many.

    Raises:
        ConfigError: The templates cannot be used.
    """
    default = DEFAULT if encoder.logit_bias is None else SIGMOID_DEFAULT
    prompts = load_prompts(templates, default)
    prompts.require_known(class_names)
    cache = EmbeddingCache()
    classes = prompt_embeddings(encoder, class_names, prompts, cache, on_progress)
    words, shared = reference_words(encoder.model_id), Prompts(prompts.templates)
    references = prompt_embeddings(encoder, words, shared, cache)
    notes = label_notes(encoder, class_names, prompts, classes, references)
    return EmbeddedLabels(classes, references, (*notes, *([cache.note] if cache.note else [])))
