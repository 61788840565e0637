"""A fine-tuned classifier: loaded, asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from footwork.accelerator import channels_last, compute_device, keep_freed_memory
from footwork.arrays import FloatArray, IntArray, RealArray
from footwork.encoder.streaming import PictureStream, PixelArrays, Preprocessing
from footwork.errors import ConfigError, ModelError
from footwork.evaluation.decision import DecisionRule, rule_of
from footwork.files.folders import read_manifest
from footwork.images.held import ImagesLike
from footwork.inference.frozen import frozen_model
from footwork.inference.halving import ElasticBatch, unit_embeddings
from footwork.inference.rounding import Closeness, FrozenClassifier, published_error
from footwork.models.heads import output_layer_name
from footwork.models.hub import trained_folder
from footwork.models.image_classifiers import load_image_processor, load_trained_image_classifier
from footwork.options import Decode, EncoderConfig
from footwork.tables.labels import MULTI_LABEL
from zeroshot.classifier import ImageEncoder, VectorLabeller
from zeroshot.options import FinetunedOptions, ModelOptions, is_finetuned
from zeroshot.rows import LabelledImage, labels_given

DEFAULTS = FinetunedOptions()


class LogitTower:
    """An image classifier, asked as an image tower is: its rows are logits.

    Args:
        model: Answers with an object that has `logits`.
        closeness: Of its decisions.
        device: Of the model.
        batch_size: Pictures at once.
    """

    def __init__(
        self, model: FrozenClassifier, closeness: Closeness, device: torch.device, batch_size: int
    ) -> None:
        self._model, self._closeness, self._device = model, closeness, device
        self.batch = ElasticBatch(batch_size, "image")
        # An accelerator computes one batch after another.
        self._turn = nullcontext() if device.type == "cpu" else threading.Lock()

    def embed(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        """Pictures of equal shapes to logits, (B, C)."""
        return self.batch.run(self._forward, pictures)

    def _forward(self, pictures: Sequence[PixelArrays]) -> FloatArray:
        stacked = {name: np.stack([each[name] for each in pictures]) for name in pictures[0]}
        inputs = {name: torch.from_numpy(each) for name, each in stacked.items()}

        def run(model: Any, rows: IntArray) -> FloatArray:
            asked = {name: each[rows].to(self._device) for name, each in inputs.items()}
            with self._turn, torch.inference_mode():
                return model(**channels_last(asked)).logits.float().cpu().numpy()

        return self._model.logits(run, len(pictures), self._closeness)


class FinetunedClassifier(VectorLabeller[LabelledImage]):
    """Labels images with the classes that its tower was fine-tuned on; see `load`.

    What it judges of an image are its logits, (C,).
    """

    answer = LabelledImage
    chunk = 4096

    def __init__(
        self,
        model: Any,
        processor: Any,
        manifest: dict[str, Any],
        rule: DecisionRule,
        options: FinetunedOptions = DEFAULTS,
    ) -> None:
        self.manifest, self.options = manifest, options
        asked = options.abstain_below
        self.rule = rule if asked is None else replace(rule, abstain_below=asked)
        self._labels, self.width = rule.labels, len(rule.labels)
        device = compute_device(options.device)
        keep_freed_memory()
        self._model, self._processor = model.to(device), processor
        error = published_error(manifest, rule)
        frozen = FrozenClassifier(self._model, options.precision, error)
        self._logits = self._stream(frozen)

    def _stream(self, model: FrozenClassifier) -> PictureStream:
        device = self._model.device
        size = self.options.batch_size or (16 if device.type == "cpu" else 64)
        tower = LogitTower(model, self.rule.closeness, device, size)
        preprocessing = Preprocessing(self._processor, self.options.decode or "draft")
        return PictureStream(preprocessing, tower, self.options.workers, device, self.width)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        options: FinetunedOptions = DEFAULTS,
        *,
        revision: str | None = None,
    ) -> FinetunedClassifier:
        """Load what `finetune` published, a folder or the Hub id that it was pushed to.

        Raises:
            ConfigError: Another decoding than that of its training is asked for.
            ModelError: The folder is none of `finetune`, or is damaged.
        """
        folder = trained_folder(folder, revision)
        manifest = read_manifest(folder)
        if not is_finetuned(manifest):
            message = f"{folder} holds no fine-tuned model. Make one: footwork zeroshot finetune."
            raise ModelError(message)
        config = manifest.get("config")  # older ones knew no other decoding
        is_exact = isinstance(config, dict) and config.get("decode") == "exact"
        made: Decode = "exact" if is_exact else "draft"
        options = options.decoding_as(made, f"The fine-tuned model in {folder}")
        model, processor = load_trained_image_classifier(folder), load_image_processor(str(folder))
        found = cls(model, processor, manifest, rule_of(manifest, model.config), options)
        found.origin = folder.absolute(), options
        return found

    @property
    def abstain_below(self) -> float | None:
        """Probability below which no label is given; None always gives one."""
        return self.rule.abstain_below

    @property
    def vectors(self) -> ImageEncoder:
        """Gives the logits of images and files."""
        return self._logits

    def logits(self, images: ImagesLike) -> FloatArray:
        """What the model says, before the temperature, (N, C); as `predict_proba`."""
        return self._logits.encode_images(images)

    def encode_images(self, images: ImagesLike) -> FloatArray:
        """Unit rows, (N, D), of what the output layer reads of N images as `predict` takes them."""
        rows = self._features.encode_images(images)
        return unit_embeddings(torch.tensor(rows)) if len(rows) else np.zeros((0, 0), np.float32)

    @cached_property
    def _features(self) -> PictureStream:
        of_peft = getattr(self._model, "get_base_model", None)
        plain = of_peft() if of_peft else self._model
        tower = frozen_model(plain, torch.float32)
        tower.set_submodule(output_layer_name(plain), torch.nn.Identity())
        return self._stream(FrozenClassifier(tower, "float32"))

    def predict_proba(self, images: ImagesLike) -> RealArray:
        """Calibrated probabilities, (N, C); an `ImageError` where one cannot be read."""
        return self.rule.probabilities(self.logits(images))

    def _answers(self, rows: RealArray, paths: Sequence[Path | None]) -> Iterator[LabelledImage]:
        every = self.rule.probabilities(rows)
        held = [[self.labels[place]] for place in every.argmax(axis=1).tolist()]
        if self.rule.task == MULTI_LABEL:
            held = self.rule.held(rows)
        for path, probabilities, labels in zip(paths, every.tolist(), held, strict=True):
            scores = dict(zip(self.labels, probabilities, strict=True))
            given, best = [(label, scores[label]) for label in labels], max(probabilities)
            given.sort(key=lambda pair: -pair[1])
            if self.abstain_below is not None and best < self.abstain_below:
                given = []
            yield LabelledImage(path, score=best, scores=scores, **labels_given(given))


def open_finetuned(
    folder: Path, model: ModelOptions, abstain_below: float | None
) -> FinetunedClassifier:
    """Load what `finetune` published; a `ConfigError` where another model or decoding is named."""
    if model.model_id is not None:
        raise ConfigError(
            f"{folder} holds a model of its own, fine-tuned; leave out --model {model.model_id}."
        )
    how = {each.name: getattr(model, each.name) for each in fields(EncoderConfig)}
    return FinetunedClassifier.load(folder, FinetunedOptions(abstain_below=abstain_below, **how))
