"""Labels put to a model: their vectors, the words that they are measured by, what is odd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from footwork.evaluation.logits import log_softmax, sigmoid
from footwork.prompts.class_embeddings import (
    CHUNK,
    EmbeddingCache,
    OnProgress,
    TextEncoder,
    prompt_embeddings,
    unseen,
)
from footwork.prompts.none_of_these import reference_words
from footwork.prompts.templates import DEFAULT, SIGMOID_DEFAULT, Prompts, load_prompts

if TYPE_CHECKING:
    from PIL import Image

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """The last step of a two-tower model.

    CLIP was trained to choose one text for an image: its scores are a softmax over the labels, so
    they add up to 1 and answer "which of these". SigLIP was trained to say of each pair whether it
    belongs together: its scores are a sigmoid a label and answer "is it there"; they do not add up
    to 1, and 0.2 for the right label is usual. Both rank labels by the cosine alone.

    Sources: Radford et al. 2021, figure 3 (arXiv:2103.00020); Zhai et al. 2023, section 3.2
    (arXiv:2303.15343).
    """

    scale: float
    """Multiplies the cosine: the model's own, already exponentiated."""
    bias: float | None = None
    """Added to it: SigLIP's own; None makes the scores a softmax."""

    def logits(self, cosines: NDArray[np.floating[Any]]) -> FloatArray:
        """What the model calls `logits_per_image`, of the same shape."""
        logits: FloatArray = cosines.astype(np.float64) * self.scale + (self.bias or 0.0)
        return logits

    def scores(self, cosines: NDArray[np.floating[Any]]) -> FloatArray:
        """From 0 to 1, shape (N, C) as the cosines; over all C labels at once."""
        logits = self.logits(cosines)
        return np.exp(log_softmax(logits)) if self.bias is None else sigmoid(logits)


UnitRows = NDArray[np.float32]

NEAR = 0.25
"""Distance (1 - cosine) between two labels that are nearly the same, as a share of the median
distance between two reference words. The share is of the model's own geometry, since templates
and towers draw all texts together by different amounts.

Measured on real vectors of CLIP ViT-B/32, where it is a cosine of 0.95: of 125 photographs, 67 %
or more gave two such labels logits less than 1 apart (odds below 2.7 to 1), against a third for
two labels drawn at random. It names donut and doughnut, girl and woman, swimsuit and swimwear,
most plurals and spellings; none of the pairs within COCO's 80 classes, 15 pairs within the 1,203
of LVIS.
"""
LEAST = 0.9
"""The cosine below which labels are never nearly the same, however far apart other texts lie."""
MOST_COMPARED = 100_000
"""Labels of which every two are compared: at 512 numbers each, minutes of one core."""
LISTED = 5
"""Examples that a note gives."""
_BLOCK = 1024  # labels whose cosines with as many others are looked at together


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two labels that the model hardly tells apart."""

    first: str
    second: str
    cosine: float


def label_notes(
    encoder: TextEncoder,
    class_names: Sequence[str],
    prompts: Prompts,
    embeddings: UnitRows,
    references: UnitRows,
) -> tuple[str, ...]:
    """Say which labels are cut, and which are nearly the same to the model.

    Args:
        encoder: Knows how much text the model reads.
        class_names: C names.
        prompts: What stands for each.
        embeddings: Of the labels, (C, D).
        references: Of the reference words, (R, D).
    """
    cut: list[str] = []
    for start in range(0, len(class_names), CHUNK):
        names = class_names[start : start + CHUNK]
        cut += [names[index] for index in encoder.cut_texts(list(map(prompts.longest, names)))]
    notes = [_cut_note(cut)] if cut else []
    if len(class_names) > MOST_COMPARED:
        return (*notes, f"More than {MOST_COMPARED:,} labels are not compared with one another.")
    pairs, number = near_pairs(class_names, embeddings, near_cosine(references))
    return (*notes, _near_note(pairs, number)) if pairs else tuple(notes)


def near_cosine(references: UnitRows) -> float:
    """The cosine from which two labels are nearly the same.

    Args:
        references: Shape (R, D), of unrelated words, R at least 2.
    """
    cosines = references @ references.T
    usual = float(np.median(cosines[np.triu_indices(len(references), 1)]))
    return max(LEAST, 1.0 - NEAR * (1.0 - usual))


def near_pairs(
    class_names: Sequence[str], embeddings: UnitRows, bound: float
) -> tuple[tuple[NearPair, ...], int]:
    """Pairs at or above a cosine: the nearest `LISTED` of them, and how many there are.

    Args:
        class_names: C names.
        embeddings: Shape (C, D), unit rows.
        bound: A cosine.
    """
    nearest: list[tuple[float, int, int]] = []
    number = 0
    for row in range(0, len(embeddings), _BLOCK):
        rows = embeddings[row : row + _BLOCK]
        for column in range(row, len(embeddings), _BLOCK):
            cosines = rows @ embeddings[column : column + _BLOCK].T
            near = cosines >= bound
            if column == row:
                near = np.triu(near, 1)
            found = int(np.count_nonzero(near))
            if found:
                number += found
                nearest = _nearest(nearest, cosines, near, (row, column))
    return tuple(
        NearPair(class_names[i], class_names[j], cosine) for cosine, i, j in nearest
    ), number


def _nearest(
    known: Sequence[tuple[float, int, int]],
    cosines: UnitRows,
    near: NDArray[np.bool_],
    corner: tuple[int, int],
) -> list[tuple[float, int, int]]:
    """The `LISTED` nearest of the pairs known and those of a block."""
    if len(known) == LISTED:
        near = near & (cosines >= known[-1][0])
    rows, columns = np.nonzero(near)
    values = cosines[rows, columns]
    best = np.lexsort((columns, rows, -values))[:LISTED]
    places = (rows + corner[0])[best].tolist(), (columns + corner[1])[best].tolist()
    pairs = list(zip(values[best].tolist(), *places, strict=True))
    return sorted([*known, *pairs], key=lambda pair: (-pair[0], *pair[1:]))[:LISTED]


def _near_note(pairs: Sequence[NearPair], number: int) -> str:
    listed = "; ".join(
        f"{pair.first!r} and {pair.second!r} (cosine {pair.cosine:.2f})" for pair in pairs
    )
    more = f"; {number - len(pairs):,} more pairs" if number > len(pairs) else ""
    return (
        f"Nearly the same to the model: {listed}{more}. It chooses between them almost by "
        "chance: keep one, or say in the label what differs."
    )


def _cut_note(names: Sequence[str]) -> str:
    listed = "; ".join(repr(f"{name[:60]}…" if len(name) > 60 else name) for name in names[:LISTED])
    more = f"; {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"Longer than the model reads, with the longest prompt around it: {listed}{more}. "
        "The end is ignored: shorten the label or the template."
    )


class EmbeddedFile(Protocol):
    """A file and its vector, or why it has none: what `footwork.encoder.dual.EncodedImage` is."""

    @property
    def path(self) -> Path:
        """As it was given."""

    @property
    def embedding(self) -> UnitRows | None:
        """Shape (D,), of length 1."""

    @property
    def fault(self) -> str | None:
        """A clause such as "it is truncated"."""

    @property
    def note(self) -> str | None:
        """What to know of a picture that could be read, a clause."""


class ImageTextEncoder(TextEncoder, Protocol):
    """A two-tower model: what `footwork.encoder.dual.DualEncoder` is, or that of an index."""

    @property
    def model_id(self) -> str:
        """As it was asked for."""

    @property
    def logit_scale(self) -> float:
        """Multiplies the cosine."""

    @property
    def logit_bias(self) -> float | None:
        """Added to it; None for a model with a softmax."""

    def encode_images(self, images: Sequence[Path | Image.Image]) -> UnitRows:
        """Unit rows, (N, D)."""

    def encode_files(self, paths: Iterable[Path]) -> Iterator[EmbeddedFile]:
        """Each file's row or fault, in order."""


@dataclass(frozen=True, slots=True)
class EmbeddedLabels:
    """A set of labels as one model sees it; all rows are unit rows."""

    classes: UnitRows
    """Shape (C, D)."""
    references: UnitRows
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
