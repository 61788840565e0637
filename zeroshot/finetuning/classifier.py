"""A fine-tuned classifier: loaded, asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from footwork.accelerator import compute_device, resolve_precision
from footwork.encoder.preprocessing import PixelArrays, Preprocessing
from footwork.encoder.streaming import PictureFile, PictureStream
from footwork.encoder.towers import ImageTower
from footwork.errors import ConfigError, ImageError, ModelError
from footwork.evaluation.logits import log_softmax
from footwork.files.folders import MANIFEST, read_manifest
from footwork.inference.halving import FloatArray
from footwork.models.hub import trained_folder
from footwork.models.image_classifiers import load_image_processor, load_trained_image_classifier
from footwork.options import EncoderConfig
from zeroshot.classifier import LabelledImage
from zeroshot.finetuning.kind import is_finetuned


@dataclass(frozen=True, kw_only=True)
class FinetunedOptions(EncoderConfig):
    """How it is run, and when it gives no label."""

    abstain_below: float | None = None
    """Give no label below this probability; None takes what was calibrated, 0 always gives one."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        EncoderConfig.__post_init__(self)
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ConfigError(
                f"`abstain_below` must be a probability from 0 to 1, got {self.abstain_below}."
            )


class LogitTower(ImageTower):
    """An image classifier, asked as an image tower is: its rows are logits."""

    def _forward(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        device, lowered = next(self._model.parameters()).device, self._dtype is not torch.float32
        inputs = {
            name: torch.from_numpy(np.stack([one[name] for one in pictures])).to(device)
            for name in pictures[0]
        }
        in_dtype = torch.autocast(device.type, self._dtype, enabled=lowered)
        with self._turn, torch.inference_mode(), in_dtype:
            return self._model(**inputs).logits.float().cpu().numpy()


class FinetunedClassifier:
    """Labels images with the classes that its tower was fine-tuned on.

    Args:
        model: A classifier.
        processor: Its image processor.
        manifest: What `footwork.json` holds.
        options: How it answers.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        manifest: dict[str, Any],
        options: FinetunedOptions = FinetunedOptions(),
    ) -> None:
        device = compute_device()
        self.manifest, self.options = manifest, options
        self.labels: tuple[str, ...] = tuple(manifest["labels"])
        """C names, in the order of the scores."""
        self.temperature = float(manifest["calibration"]["temperature"])
        """Logits are divided by it, so that probabilities mean what they say."""
        asked = options.abstain_below
        self.abstain_below: float | None = (
            manifest["calibration"]["abstain_below"] if asked is None else asked
        )
        """Probability below which no label is given; None always gives one."""
        dtype = resolve_precision(options.precision, device)
        size = options.batch_size or (16 if device.type == "cpu" else 64)
        tower = LogitTower(model.to(device), dtype, size)
        self._pictures = PictureStream(Preprocessing(processor), tower, options.workers, device)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        options: FinetunedOptions = FinetunedOptions(),
        *,
        revision: str | None = None,
    ) -> FinetunedClassifier:
        """Load what `finetune` published.

        Args:
            folder: Of `finetune`, or the Hub id (owner/name) that it was pushed to.
            options: How it answers.
            revision: Branch, tag or commit on the Hub.

        Raises:
            ModelError: The folder is none of `finetune`, or is damaged.
        """
        folder = trained_folder(folder, revision)
        manifest = read_manifest(folder)
        if not is_finetuned(manifest):
            message = f"{folder} holds no fine-tuned model. Make one: footwork zeroshot finetune."
            raise ModelError(message)
        model, processor = load_trained_image_classifier(folder), load_image_processor(str(folder))
        match manifest:
            case {
                "labels": [*labels],
                "calibration": {
                    "temperature": float() | int() as temperature,
                    "abstain_below": None | float() | int(),
                },
            } if 0 < temperature < 1e6 and all(isinstance(one, str) for one in labels):
                if model.config.num_labels == len(labels):
                    return cls(model, processor, manifest, options)
        raise ModelError(
            f"{folder / MANIFEST} does not fit the model, which tells {model.config.num_labels} "
            "classes apart: `labels` and `calibration` must be as they were published. Train it "
            "again, or copy the folder again."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before it is used: nothing that its report does not say."""
        return ()

    def predict(self, images: Sequence[Path | Image.Image]) -> list[LabelledImage]:
        """Label pictures, in their order.

        Raises:
            ImageError: One cannot be read.
        """
        paths = [image if isinstance(image, Path) else None for image in images]
        rows = self._pictures.rows(images)
        return [self._answer(path, row) for path, row in zip(paths, rows, strict=True)]

    def label_files(self, paths: Iterable[Path]) -> Iterator[LabelledImage]:
        """Label files of any number in bounded memory, in their order; none of them raises."""
        for file, outcome in self._pictures.files(map(PictureFile, paths)):
            if isinstance(outcome, ImageError):
                yield LabelledImage(file.path, None, fault=outcome.reason)
            else:
                yield replace(self._answer(file.path, outcome), note=file.note)

    def predict_proba(self, images: Sequence[Path | Image.Image]) -> NDArray[np.float64]:
        """Calibrated probabilities, (N, C).

        Raises:
            ImageError: One cannot be read.
        """
        return self._probabilities(self.logits(images))

    def logits(self, images: Sequence[Path | Image.Image]) -> FloatArray:
        """What the model says, before the temperature, (N, C).

        Raises:
            ImageError: One cannot be read.
        """
        rows = self._pictures.rows(images)
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def _probabilities(self, logits: FloatArray) -> NDArray[np.float64]:
        probabilities: NDArray[np.float64] = np.exp(log_softmax(logits / self.temperature))
        return probabilities

    def _answer(self, path: Path | None, logits: FloatArray) -> LabelledImage:
        probabilities = self._probabilities(logits[None])[0].tolist()
        best = max(probabilities)
        label = self.labels[probabilities.index(best)]
        bar = self.abstain_below
        given = (label,) if bar is None or best >= bar else ()
        return LabelledImage(
            path=path,
            label=given[0] if given else None,
            score=best,
            scores=dict(zip(self.labels, probabilities, strict=True)),
            labels=given,
            label_scores=(best,) if given else (),
        )
