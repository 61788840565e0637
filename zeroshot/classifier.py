"""Labels for images from words alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, DoubleArray
from footwork.class_names import checked_class_names
from footwork.encoder.protocol import ImageTextEncoder, TextEncoder
from footwork.errors import ConfigError
from footwork.prompts.class_embeddings import OnProgress, unit_rows, unseen
from footwork.prompts.labels import Scorer, embed_labels
from footwork.prompts.none_of_these import NONE_BELOW, presence, z_scores
from footwork.prompts.templates import DEFAULT, SIGMOID_DEFAULT, Prompts, load_prompts

if TYPE_CHECKING:
    from PIL import Image

    from footwork.options import EncoderConfig

DEFAULT_MODEL = "openai/clip-vit-base-patch32"
MANY = 1000
"""Labels up to which every score is given unless `top_k` says otherwise; of more only the best
`BEST` are: all scores of 50,000 labels are 2 MB an image that nobody reads."""
BEST = 10
_CELLS = 1 << 20  # scores that are in memory together


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotOptions:
    """How labels are put to the model, and when they are given."""

    templates: str | None = None
    """imagenet (80), short (7), one template such as "a sketch of a {}.", a file of them, or a
    .json file of prompts {label: [prompt, …]}; if not given, the usual one of the model."""
    multi: bool = False
    """Judge each label by itself: an image may have several."""
    top_k: int | None = None
    """How many scores to give, the best first; if not given, all, in the order of the labels, and
    of more than 1,000 labels the best 10."""
    none_below: float | None = NONE_BELOW
    """Give no label that stands less above unrelated words than this, in their standard
    deviations: more is stricter. `none` always gives one."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"`top_k` must be at least 1, got {self.top_k}.")
        if self.none_below is not None and not np.isfinite(self.none_below):
            raise ConfigError(f"`none_below` must be a number, got {self.none_below}.")


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """The answer for one image."""

    path: Path | None
    """None for an image that has none."""
    label: str | None
    """The best label; None where none of them fits, or the image cannot be read."""
    score: float | None = None
    """Of the best label, given or not, 0 to 1; None where the image cannot be read."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of every label, or of the best `top_k`."""
    labels: tuple[str, ...] = ()
    """All that are given, the best first: with `multi` any number, else one or none."""
    label_scores: tuple[float, ...] = ()
    """Of each of `labels`."""
    z_score: float | None = None
    """How far the best label stands above reference prompts, in their standard deviations."""
    fault: str | None = None
    """Why the image cannot be read."""
    note: str | None = None
    """What to know of a file that could be read, a clause."""


def label_prompts(encoder: TextEncoder, templates: str | None) -> Prompts:
    """The prompts of `load_prompts`; None takes the usual ones of the model.

    Raises:
        ConfigError: The templates cannot be used.
    """
    return load_prompts(templates, DEFAULT if encoder.logit_bias is None else SIGMOID_DEFAULT)


class ZeroShotClassifier:
    """Chooses among labels that it reads for the first time.

    Args:
        encoder: Embeds images and texts.
        labels: C names.
        options: How it asks and answers.
        on_progress: Told how many prompts are read, and of how many.

    Raises:
        ConfigError: The labels or the templates cannot be used.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        labels: Sequence[str],
        options: ZeroShotOptions = ZeroShotOptions(),
        on_progress: OnProgress = unseen,
    ) -> None:
        self.labels = checked_class_names(labels)
        """C names, in the order of the scores."""
        prompts = label_prompts(encoder, options.templates)
        embedded = embed_labels(encoder, self.labels, prompts, on_progress)
        self.class_embeddings = embedded.classes
        """Shape (C, D), unit rows."""
        self.notes = embedded.notes
        """What to know of these labels before they are used."""
        if options.top_k is None and len(self.labels) > MANY:
            options = replace(options, top_k=BEST)
            self.notes += (
                f"Of {len(self.labels):,} labels only the best {BEST} scores of each image are "
                "given; --top-k sets how many.",
            )
        self.options = options
        self._references = embedded.references
        self._encoder = encoder
        self._scorer = Scorer(encoder.logit_scale, encoder.logit_bias)

    @classmethod
    def load(
        cls,
        model_id: str = DEFAULT_MODEL,
        labels: Sequence[str] = (),
        options: ZeroShotOptions = ZeroShotOptions(),
        revision: str | None = None,
        config: EncoderConfig | None = None,
    ) -> ZeroShotClassifier:
        """Load a model, and put the labels to it.

        Args:
            model_id: Hub id, local folder, preset or `tiny`.
            labels: C names.
            options: How it asks and answers.
            revision: Branch, tag or commit of the model on the Hub.
            config: How images are read and encoded.

        Raises:
            ConfigError: The labels or the templates cannot be used.
            ModelError: The model cannot be loaded.
        """
        from footwork.encoder.dual import DualEncoder
        from footwork.options import EncoderConfig

        labels = checked_class_names(labels)  # before a model is loaded in vain
        encoder = DualEncoder.load(model_id, revision, config or EncoderConfig())
        return cls(encoder, labels, options)

    def predict(self, images: Sequence[Path | Image.Image]) -> list[LabelledImage]:
        """Label images, in their order.

        Raises:
            ImageError: One cannot be read.
        """
        embeddings = self._encoder.encode_images(images)
        paths = [image if isinstance(image, Path) else None for image in images]
        return list(self.label_embeddings(embeddings, paths))

    def predict_proba(self, images: Sequence[Path | Image.Image]) -> DoubleArray:
        """The score of every label: see `Scorer`, and `presence` for `multi` with a softmax model.

        Returns:
            Shape (N, C).

        Raises:
            ImageError: One cannot be read.
        """
        return self._judge(self._encoder.encode_images(images))[0]

    def label_files(self, paths: Iterable[Path]) -> Iterator[LabelledImage]:
        """Label files of any number in bounded memory, in their order; none of them raises."""
        for encoded in self._encoder.encode_files(paths):
            if encoded.embedding is None:
                yield LabelledImage(encoded.path, None, fault=encoded.fault)
            else:
                for answer in self.label_embeddings(encoded.embedding[None], [encoded.path]):
                    yield replace(answer, note=encoded.note) if encoded.note else answer

    def label_embeddings(
        self, embeddings: NDArray[Any], paths: Sequence[Path | None] | None = None
    ) -> Iterator[LabelledImage]:
        """Label images that are embedded already, by this model.

        Args:
            embeddings: Shape (N, D), of any length.
            paths: N paths to answer with.

        Raises:
            ValueError: The shapes do not fit.
        """
        width = self.class_embeddings.shape[1]
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise ValueError(f"`embeddings` must have shape (N, {width}), got {embeddings.shape}.")
        if paths is not None and len(paths) != len(embeddings):
            raise ValueError(f"`paths` must be {len(embeddings)}, got {len(paths)}.")
        step = max(1, _CELLS // max(len(self.labels), len(self._references)))
        for start in range(0, len(embeddings), step):
            rows = np.asarray(embeddings[start : start + step])
            part = [None] * len(rows) if paths is None else paths[start : start + step]
            yield from self._answers(part, *self._judge(rows))

    def _judge(self, embeddings: NDArray[Any]) -> tuple[DoubleArray, DoubleArray]:
        """Scores and z-scores, both (N, C)."""
        rows = unit_rows(embeddings)
        cosines = rows @ self.class_embeddings.T
        above = z_scores(cosines, rows @ self._references.T)
        if self.options.multi and self._scorer.bias is None:
            return presence(above, self._threshold), above
        return self._scorer.scores(cosines), above

    @property
    def _threshold(self) -> float:
        none_below = self.options.none_below
        return NONE_BELOW if none_below is None else none_below

    def _answers(
        self, paths: Sequence[Path | None], scores: DoubleArray, above: DoubleArray
    ) -> Iterator[LabelledImage]:
        """From scores and z-scores, (N, C), to what is given."""
        rows, best = np.arange(len(scores)), above.argmax(axis=1)
        given = above >= self._threshold
        first = np.arange(above.shape[1]) == best[:, None]
        if self.options.none_below is None:
            lacking = ~given.any(axis=1, keepdims=True)
            given = given | (first & lacking) if self.options.multi else first
        elif not self.options.multi:
            given = given & first
        answers = zip(
            paths,
            self._named(scores, above),
            self._ranked(given, scores, above),
            scores[rows, best].tolist(),
            above[rows, best].tolist(),
            strict=True,
        )
        for path, named, pairs, score, z_score in answers:
            labels = tuple(label for label, _ in pairs)
            yield LabelledImage(
                path=path,
                label=labels[0] if labels else None,
                score=score,
                scores=named,
                labels=labels,
                label_scores=tuple(of_label for _, of_label in pairs),
                z_score=z_score,
            )

    def _named(self, scores: DoubleArray, above: DoubleArray) -> Iterator[dict[str, float]]:
        """The scores that are told of each image: all, or the best `top_k`."""
        if self.options.top_k is None:
            for row in scores:
                yield dict(zip(self.labels, row.tolist(), strict=True))
            return
        count = min(self.options.top_k, len(self.labels))
        # To sort all of a thousand labels would take longer than everything else here.
        near = above >= np.partition(above, -count, axis=1)[:, -count, None]
        for pairs in self._ranked(near, scores, above):
            yield dict(pairs[:count])

    def _ranked(
        self, chosen: BoolArray, scores: DoubleArray, above: DoubleArray
    ) -> Iterator[list[tuple[str, float]]]:
        """The labels chosen for each image, the best first, each with its score."""
        images, labels = np.nonzero(chosen)
        order = np.lexsort((-above[images, labels], images))
        names = [self.labels[label] for label in labels[order].tolist()]
        pairs = list(zip(names, scores[images, labels][order].tolist(), strict=True))
        ends = np.cumsum(np.count_nonzero(chosen, axis=1)).tolist()
        return (pairs[start:end] for start, end in pairwise([0, *ends]))
