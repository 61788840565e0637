"""Labels put to a model: their vectors, the words that they are measured by, what is odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from footwork.arrays import DoubleArray, FloatArray, RealArray
from footwork.encoder.protocol import TextEncoder
from footwork.evaluation.logits import log_softmax, sigmoid
from footwork.evaluation.text import shorten
from footwork.files.faults import shortened
from footwork.prompts.class_embeddings import (
    CHUNK,
    EmbeddingCache,
    OnProgress,
    prompt_embeddings,
    unseen,
)
from footwork.prompts.none_of_these import reference_words
from footwork.prompts.templates import Prompts


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

    def logits(self, cosines: RealArray) -> DoubleArray:
        """What the model calls `logits_per_image`, of the same shape."""
        logits: DoubleArray = cosines.astype(np.float64) * self.scale + (self.bias or 0.0)
        return logits

    def scores(self, cosines: RealArray) -> DoubleArray:
        """From 0 to 1, shape (N, C) as the cosines; over all C labels at once."""
        logits = self.logits(cosines)
        return np.exp(log_softmax(logits)) if self.bias is None else sigmoid(logits)


NEAR = 0.25
"""Distance (1 - cosine) between two labels that are nearly the same, as a share of the median
distance between two reference prompts. The share is of the model's own geometry, since templates
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
    embeddings: FloatArray,
    references: FloatArray,
) -> tuple[str, ...]:
    """Say which labels are cut, and which are nearly the same to the model.

    Args:
        encoder: Knows how much text the model reads.
        class_names: C names.
        prompts: What stands for each.
        embeddings: Of the labels, (C, D).
        references: Of the reference prompts, (R, D).
    """
    cut: list[str] = []
    for start in range(0, len(class_names), CHUNK):
        names = class_names[start : start + CHUNK]
        cut += [names[index] for index in encoder.cut_texts(list(map(prompts.longest, names)))]
    notes = []
    if cut:
        shown = shortened((repr(shorten(name, 60)) for name in cut), LISTED)
        notes.append(
            "Longer than the model reads, with the longest prompt around it: "
            f"{shown}. The end is ignored: shorten the label or the template."
        )
    if len(class_names) > MOST_COMPARED:
        notes.append(f"More than {MOST_COMPARED:,} labels are not compared with one another.")
        return tuple(notes)
    pairs, number = near_pairs(class_names, embeddings, near_cosine(references))
    if pairs:
        listed = "; ".join(
            f"{pair.first!r} and {pair.second!r} (cosine {pair.cosine:.2f})" for pair in pairs
        )
        more = f"; {number - len(pairs):,} more pairs" if number > len(pairs) else ""
        notes.append(
            f"Nearly the same to the model: {listed}{more}. It chooses between them almost by "
            "chance: keep one, or say in the label what differs."
        )
    return tuple(notes)


def near_cosine(references: FloatArray) -> float:
    """The cosine from which two labels are nearly the same.

    Args:
        references: Shape (R, D), of unrelated words, R at least 2.
    """
    cosines = references @ references.T
    usual = float(np.median(cosines[np.triu_indices(len(references), 1)]))
    return max(LEAST, 1.0 - NEAR * (1.0 - usual))


def near_pairs(
    class_names: Sequence[str], embeddings: FloatArray, bound: float
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
            number += int(np.count_nonzero(near))
            if len(nearest) == LISTED:
                near &= cosines >= nearest[-1][0]
            rows_near, columns_near = np.nonzero(near)
            values = cosines[rows_near, columns_near]
            best = np.lexsort((columns_near, rows_near, -values))[:LISTED]
            firsts, seconds = (
                (rows_near + row)[best].tolist(),
                (columns_near + column)[best].tolist(),
            )
            nearest += zip(values[best].tolist(), firsts, seconds, strict=True)
            nearest = sorted(nearest, key=lambda pair: (-pair[0], *pair[1:]))[:LISTED]
    pairs = (NearPair(class_names[i], class_names[j], cosine) for cosine, i, j in nearest)
    return tuple(pairs), number


@dataclass(frozen=True, slots=True)
class EmbeddedLabels:
    """A set of labels as one model sees it; all rows are unit rows."""

    classes: FloatArray
    """Shape (C, D)."""
    references: FloatArray
    """Shape (R, D), of reference prompts: words that have nothing to do with most inputs."""
    notes: tuple[str, ...]
    """What to know before the labels are used, one sentence or two each."""


def embed_labels(
    encoder: TextEncoder,
    class_names: Sequence[str],
    prompts: Prompts,
    on_progress: OnProgress = unseen,
) -> EmbeddedLabels:
    """Embed labels, and reference prompts in the same templates.

    Args:
        encoder: The model.
        class_names: C names, as they read in a sentence.
        prompts: What stands for each.
        on_progress: Told how many prompts are encoded, and of how many.

    Raises:
        ConfigError: Prompts are those of a class that is not there.
    """
    prompts.require_known(class_names)
    cache = EmbeddingCache()
    classes = prompt_embeddings(encoder, class_names, prompts, cache, on_progress)
    words, shared = reference_words(encoder.model_id), Prompts(prompts.templates)
    references = prompt_embeddings(encoder, words, shared, cache)
    notes = label_notes(encoder, class_names, prompts, classes, references)
    return EmbeddedLabels(classes, references, (*notes, *([cache.note] if cache.note else [])))
