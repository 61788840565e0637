"""Labels for images from words alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol

import numpy as np

from footwork.arrays import BoolArray, DoubleArray, FloatArray, RealArray
from footwork.class_names import checked_class_names
from footwork.encoder.protocol import FileEncoder, ImageTextEncoder, TextEncoder
from footwork.errors import ModelError
from footwork.files.folders import read_manifest
from footwork.images.held import ImagesLike, held_images
from footwork.options import DEFAULT_IMAGE_MODEL, EncoderConfig
from footwork.prompts.class_embeddings import OnProgress, Scorer, embed_labels, unit_rows, unseen
from footwork.prompts.none_of_these import NONE_BELOW, presence, z_scores
from footwork.prompts.templates import DEFAULT, SIGMOID_DEFAULT, Prompts, load_prompts
from footwork.reloaded import Reloaded
from zeroshot.options import ModelOptions, ZeroShotOptions, is_finetuned
from zeroshot.rows import MANY, Answer, ImageAnswers, LabelledImage, labels_given

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder

BEST = 10
"""Scores that are given of more than `MANY` labels, unless `top_k` says otherwise."""
DEFAULTS = ZeroShotOptions()
TEACH, FINETUNE = "zeroshot teach", "zeroshot finetune"
_CELLS = 1 << 20  # scores that are in memory together
_MADE_BY = {
    TEACH: ("taught classifier", "TaughtClassifier"),
    FINETUNE: ("fine-tuned model", "FinetunedClassifier"),
}


def label_prompts(encoder: TextEncoder, templates: str | None) -> Prompts:
    """The prompts of `load_prompts`; None takes the usual ones of the model."""
    return load_prompts(templates, DEFAULT if encoder.logit_bias is None else SIGMOID_DEFAULT)


def published_by(
    command: str, model: Path | str, revision: str | None
) -> tuple[Path, dict[str, Any]]:
    """The folder and the manifest of what `TEACH` or `FINETUNE` made, here or on the Hub.

    A `ModelError` where there is none, or one of another kind, which is told.
    """
    from footwork.models.hub import repository_of, trained_folder

    folder = trained_folder(model, revision)
    name, manifest = repository_of(folder) or model, read_manifest(folder)
    made_by = FINETUNE if is_finetuned(manifest) else manifest.get("application")
    if made_by == command:
        return folder, manifest
    if made_by == "textclf":
        raise ModelError(
            f"{name} classifies texts, not images: footwork textclf predict {name} DATA"
        )
    if made_by in _MADE_BY:
        what, kind = _MADE_BY[made_by]
        raise ModelError(f"{name} holds a {what}. Load it by {kind}.load.")
    what, _ = _MADE_BY[command]
    fault = f"{name} holds no {what}" if folder.exists() else f"There is no folder {name}"
    raise ModelError(f"{fault}. Make one: footwork {command}.")


class ImageEncoder(FileEncoder, Protocol):
    """Gives images, in memory or in files, a vector each."""

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Rows, (N, D); an `ImageError` where one cannot be read."""


class VectorLabeller(ABC, Reloaded, Generic[Answer]):
    """Labels images by one vector each: an embedding, or logits."""

    _labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What to know before it is used."""
    answer: type[Answer]
    width: int
    """D, of a vector."""
    together = 1
    """Files whose answers come at once."""
    chunk: int
    """Rows that are judged at once."""

    @property
    def labels(self) -> tuple[str, ...]:
        """C names, in the order of the scores."""
        return self._labels

    @property
    @abstractmethod
    def vectors(self) -> ImageEncoder:
        """Gives images the vectors by which they are judged."""

    @abstractmethod
    def _answers(self, rows: RealArray, paths: Sequence[Path | None]) -> Iterator[Answer]:
        """Judge vectors, (N, D)."""

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Unit rows, (N, D), of N images as `predict` takes them."""
        return self.vectors.encode_images(images)

    def predict(self, images: ImagesLike) -> ImageAnswers[Answer]:
        """Label images, in their order; one alone is answered by a list of one.

        Each is a path, the bytes of a file, a file opened in binary mode, an image of PIL, or an
        array of uint8, (H, W, 3), (H, W, 4) or (H, W); together they are a list or a column. An
        `ImageError` where one cannot be read, a TypeError where one is none of these.
        """
        sources = held_images(images)
        embeddings = self.vectors.encode_images(sources)
        paths = [image if isinstance(image, Path) else None for image in sources]
        return ImageAnswers(self.label_embeddings(embeddings, paths), self.labels, sources)

    def label_files(self, paths: Iterable[Path | str] | Path | str) -> Iterator[LabelledImage]:
        """Label files of any number in bounded memory, in their order; none of them raises."""
        several = [paths] if isinstance(paths, Path | str) else paths
        stream = self.vectors.encode_files(map(Path, several))
        while batch := list(islice(stream, self.together)):
            rows = [file.embedding for file in batch if file.embedding is not None]
            read = [file.path for file in batch if file.embedding is not None]
            answers = self.label_embeddings(np.stack(rows), read) if rows else iter(())
            for file in batch:
                if file.embedding is None:
                    yield self.answer(file.path, None, fault=file.fault)
                else:
                    answer = next(answers)
                    yield replace(answer, note=file.note) if file.note else answer

    def label_embeddings(
        self, embeddings: RealArray, paths: Sequence[Path | None] | None = None
    ) -> Iterator[Answer]:
        """Label images that are embedded already, by this model.

        Args:
            embeddings: Shape (N, D), as its `vectors` gives them.
            paths: N paths to answer with.

        Raises:
            ValueError: The shapes do not fit.
        """
        self._require_width(embeddings)
        if paths is not None and len(paths) != len(embeddings):
            raise ValueError(f"`paths` must be {len(embeddings)}, got {len(paths)}.")
        for start in range(0, len(embeddings), self.chunk):
            rows = np.asarray(embeddings[start : start + self.chunk])
            part = [None] * len(rows) if paths is None else paths[start : start + self.chunk]
            yield from self._answers(rows, part)

    def _require_width(self, embeddings: RealArray) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.width:
            message = f"must have shape (N, {self.width}), got {embeddings.shape}."
            raise ValueError(f"`embeddings` {message}")


class ZeroShotClassifier(VectorLabeller[LabelledImage]):
    """Chooses among labels that it reads for the first time; a `ConfigError` where it cannot.

    For other labels of the same model: `ZeroShotClassifier(classifier.encoder, labels)`.
    `on_progress` is told how many of their prompts are read, and of how many.
    """

    answer = LabelledImage

    def __init__(
        self,
        encoder: ImageTextEncoder,
        labels: Iterable[str],
        options: ZeroShotOptions = DEFAULTS,
        on_progress: OnProgress = unseen,
    ) -> None:
        options = ZeroShotOptions.given("options", options)
        self._labels = checked_class_names(labels)
        prompts = label_prompts(encoder, options.templates)
        embedded = embed_labels(encoder, self.labels, prompts, on_progress)
        self.class_embeddings = embedded.classes
        """Shape (C, D), unit rows."""
        self.width = self.class_embeddings.shape[1]
        self.chunk = max(1, _CELLS // max(len(self.labels), len(embedded.references)))
        self.notes = embedded.notes
        if options.top_k is None and len(self.labels) > MANY:
            options = replace(options, top_k=BEST)
            self.notes += (
                f"Of {len(self.labels):,} labels only the best {BEST} scores of each image are "
                "given; --top-k sets how many.",
            )
        self.options = options
        none_below = options.none_below
        self._threshold = NONE_BELOW if none_below is None else none_below
        self._references = embedded.references
        self._encoder = encoder
        self._scorer = Scorer(encoder.logit_scale, encoder.logit_bias)

    @classmethod
    def load(
        cls,
        model_id: str = DEFAULT_IMAGE_MODEL,
        labels: Iterable[str] = (),
        options: ZeroShotOptions = DEFAULTS,
        revision: str | None = None,
        config: EncoderConfig | None = None,
    ) -> ZeroShotClassifier:
        """Load a model (a Hub id, local folder, preset or `tiny`), and put C labels to it.

        Raises:
            ConfigError: The labels or the templates cannot be used.
            ModelError: The model cannot be loaded.
        """
        from footwork.encoder.dual import DualEncoder

        labels = checked_class_names(labels)  # before a model is loaded in vain
        options = ZeroShotOptions.given("options", options)
        encoder = DualEncoder(model_id, revision, EncoderConfig.given("config", config))
        found = cls(encoder, labels, options)
        found.origin = encoder.model_id, labels, options, encoder.revision, config
        return found

    @property
    def encoder(self) -> ImageTextEncoder:
        """Embeds images and texts."""
        return self._encoder

    @property
    def vectors(self) -> ImageEncoder:
        """As `encoder`."""
        return self._encoder

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, (N, D), of N texts, in the space of the images."""
        return self._encoder.encode_texts(texts)

    def predict_proba(self, images: ImagesLike) -> DoubleArray:
        """A score of every label, (N, C): of a `Scorer`, or `presence` for `multi` and softmax."""
        return self._judge(self._encoder.encode_images(images))[0]

    def _judge(self, embeddings: RealArray) -> tuple[DoubleArray, DoubleArray]:
        """Scores and z-scores, both (N, C)."""
        rows = unit_rows(embeddings)
        cosines = rows @ self.class_embeddings.T
        above = z_scores(cosines, rows @ self._references.T)
        if self.options.multi and self._scorer.bias is None:
            return presence(above, self._threshold), above
        return self._scorer.scores(cosines), above

    def _answers(self, rows: RealArray, paths: Sequence[Path | None]) -> Iterator[LabelledImage]:
        scores, above = self._judge(rows)
        numbers, best = np.arange(len(scores)), above.argmax(axis=1)
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
            scores[numbers, best].tolist(),
            above[numbers, best].tolist(),
            strict=True,
        )
        for path, named, pairs, score, z_score in answers:
            yield LabelledImage(
                path, score=score, scores=named, z_score=z_score, **labels_given(pairs)
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


def open_encoder(model: ModelOptions) -> DualEncoder:
    """Load the model that a command names."""
    from footwork.encoder.dual import DualEncoder

    return DualEncoder(model.model_id or DEFAULT_IMAGE_MODEL, model.revision, model)
