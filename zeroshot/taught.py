"""A classifier that was taught by examples: saved, loaded, asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import DoubleArray
from footwork.encoder.protocol import ImageTextEncoder
from footwork.errors import ModelError
from footwork.fewshot.knowledge import (
    Answers,
    Knowledge,
    Thresholds,
    read_knowledge,
    save_knowledge,
)
from footwork.files.folders import MANIFEST, read_manifest, write_json
from footwork.options import decoding_of
from zeroshot.classifier import LabelledImage

if TYPE_CHECKING:
    from PIL import Image

APPLICATION = "zeroshot teach"
_CHUNK = 4096  # rows judged at once
_TOGETHER = 64  # files whose answers come at once


@dataclass(frozen=True, slots=True)
class TaughtImage(LabelledImage):
    """The answer for one image; `z_score` is left open."""

    familiarity: float | None = None
    """How like the examples it is: 0 is usual, less is stranger."""
    doubt: str | None = None
    """Why no label is given: `unsure` between classes, or `unfamiliar` to all of them."""


class TaughtClassifier:
    """Labels images as it was taught.

    Args:
        knowledge: What it computes with.
        manifest: What `footwork.json` holds.
        thresholds: When no label is given.
        encoder: Embeds files; None loads the model that the manifest names when it is needed.

    Raises:
        ModelError: It was taught with another encoder.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        manifest: dict[str, Any],
        thresholds: Thresholds,
        encoder: ImageTextEncoder | None = None,
    ) -> None:
        self.knowledge = knowledge
        self.manifest = manifest
        self.thresholds = thresholds
        self.labels: tuple[str, ...] = tuple(manifest["labels"])
        """C names, in the order of the scores."""
        self.model_id: str = manifest["model"]["id"]
        self.revision: str | None = manifest["model"]["revision"]
        self.decode = decoding_of(manifest["model"]["fingerprint"])
        """How its examples were decoded, and images are."""
        self._given = encoder
        if encoder is not None:
            self.require_encoder(encoder)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before it is used: nothing that its forecast does not say."""
        return ()

    @classmethod
    def load(
        cls,
        folder: Path | str,
        encoder: ImageTextEncoder | None = None,
        thresholds: Thresholds | None = None,
        *,
        revision: str | None = None,
    ) -> TaughtClassifier:
        """Load what `teach` published.

        Args:
            folder: Of `teach`, or the Hub id (owner/name) that it was pushed to.
            encoder: Embeds files; None loads the model that the folder names when it is needed.
            thresholds: When no label is given; None takes those that were found when it was taught.
            revision: Branch, tag or commit on the Hub.

        Raises:
            ModelError: The folder is none of `teach`, is damaged, or was taught with another
                encoder.
        """
        from footwork.models.hub import repository_of, trained_folder

        name, folder = folder, trained_folder(folder, revision)
        manifest = read_manifest(folder)
        if manifest.get("application") != APPLICATION:
            name = repository_of(folder) or name
            message = f"{name} holds no taught classifier. Make one: footwork zeroshot teach."
            if manifest.get("application") == "textclf":
                message = (
                    f"{name} classifies texts, not images: footwork textclf predict {name} DATA"
                )
            raise ModelError(message)
        try:
            knowledge = read_knowledge(folder, manifest["knowledge"])
            stated = Thresholds(**manifest["thresholds"])
            taught = cls(knowledge, manifest, stated)
            list(taught.label_embeddings(knowledge.familiarity.middle[None]))
        except ModelError:
            raise
        except Exception as error:
            message = f"{folder} cannot be used: {type(error).__name__}: {error}. Teach it again."
            raise ModelError(message) from error
        return cls(knowledge, manifest, thresholds or stated, encoder)

    def save(self, folder: Path) -> None:
        """Write weights and manifest into a folder that exists."""
        save_knowledge(folder, self.knowledge)
        write_json(folder / MANIFEST, self.manifest)

    def require_encoder(self, encoder: ImageTextEncoder) -> None:
        """Refuse an encoder whose embeddings are not those of the examples.

        Raises:
            ModelError: It is another one.
        """
        taught = self.manifest["model"]["fingerprint"]
        if encoder.fingerprint != taught:
            raise ModelError(
                f"This classifier was taught on embeddings of {self.model_id} ({taught}), but the "
                f"images are embedded by {encoder.model_id} ({encoder.fingerprint}). Use the "
                "first, or teach again with the second."
            )

    @cached_property
    def encoder(self) -> ImageTextEncoder:
        """Embeds files.

        Raises:
            ModelError: The model cannot be loaded, or has changed.
        """
        if self._given is not None:
            return self._given
        from footwork.encoder.dual import DualEncoder
        from footwork.options import EncoderConfig

        loaded = DualEncoder.load(self.model_id, self.revision, EncoderConfig(decode=self.decode))
        self.require_encoder(loaded)
        return loaded

    def predict(self, images: Sequence[Path | Image.Image]) -> list[TaughtImage]:
        """Label images, in their order.

        Raises:
            ImageError: One cannot be read.
        """
        paths = [image if isinstance(image, Path) else None for image in images]
        return list(self.label_embeddings(self.encoder.encode_images(images), paths))

    def label_files(self, paths: Iterable[Path]) -> Iterator[TaughtImage]:
        """Label files of any number in bounded memory, in their order; none of them raises."""
        stream = self.encoder.encode_files(paths)
        while batch := list(islice(stream, _TOGETHER)):
            rows = [file.embedding for file in batch if file.embedding is not None]
            read = [file.path for file in batch if file.embedding is not None]
            answers = self.label_embeddings(np.stack(rows), read) if rows else iter(())
            for file in batch:
                if file.embedding is None:
                    yield TaughtImage(file.path, None, fault=file.fault)
                else:
                    answer = next(answers)
                    yield replace(answer, note=file.note) if file.note else answer

    def predict_proba(self, embeddings: NDArray[Any]) -> DoubleArray:
        """Calibrated probabilities, (N, C), of embeddings (N, D), unit rows."""
        return self.answers(embeddings).probabilities

    def answers(self, embeddings: NDArray[Any]) -> Answers:
        """Judge embeddings, (N, D), unit rows, of the encoder it was taught with.

        Raises:
            ValueError: They are of another width.
        """
        width = self.knowledge.familiarity.middle.shape[0]
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise ValueError(f"`embeddings` must have shape (N, {width}), got {embeddings.shape}.")
        return self.knowledge.answers(embeddings)

    def label_embeddings(
        self, embeddings: NDArray[Any], paths: Sequence[Path | None] | None = None
    ) -> Iterator[TaughtImage]:
        """Label images that are embedded already, by the encoder it was taught with.

        Args:
            embeddings: Shape (N, D), unit rows.
            paths: N paths to answer with.

        Raises:
            ValueError: The shapes do not fit.
        """
        if paths is not None and len(paths) != len(embeddings):
            raise ValueError(f"`paths` must be {len(embeddings)}, got {len(paths)}.")
        for start in range(0, len(embeddings), _CHUNK):
            rows = self.answers(embeddings[start : start + _CHUNK])
            part = [None] * len(embeddings) if paths is None else paths[start : start + _CHUNK]
            lists = rows.probabilities.tolist(), rows.familiarities.tolist()
            yield from map(self._answer, part, *lists)

    def _answer(
        self, path: Path | None, probabilities: list[float], familiarity: float
    ) -> TaughtImage:
        best, doubt = max(probabilities), None
        label, thresholds = self.labels[probabilities.index(best)], self.thresholds
        if thresholds.familiar_from is not None and familiarity < thresholds.familiar_from:
            doubt = "unfamiliar"
        elif thresholds.abstain_below is not None and best < thresholds.abstain_below:
            doubt = "unsure"
        return TaughtImage(
            path=path,
            label=None if doubt else label,
            score=best,
            scores=dict(zip(self.labels, probabilities, strict=True)),
            labels=() if doubt else (label,),
            label_scores=() if doubt else (best,),
            familiarity=familiarity,
            doubt=doubt,
        )
