"""A fine-tuned classifier: loaded, asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from footwork.accelerator import channels_last, compute_device
from footwork.arrays import FloatArray, IntArray, RealArray
from footwork.encoder.streaming import PictureStream, Preprocessing
from footwork.errors import ConfigError
from footwork.evaluation.decision import DecisionRule, rule_of
from footwork.images.held import ImagesLike
from footwork.inference.frozen import frozen_model
from footwork.inference.halving import unit_embeddings
from footwork.inference.rounding import FrozenClassifier, published_error
from footwork.models.heads import output_layer_name
from footwork.models.image_classifiers import load_image_processor, load_trained_image_classifier
from footwork.options import EncoderConfig
from footwork.tables.labels import MULTI_LABEL
from zeroshot.classifier import FINETUNE, ImageEncoder, VectorLabeller, published_by
from zeroshot.options import FinetunedOptions, ModelOptions, decoding_in
from zeroshot.rows import LabelledImage, labels_given

DEFAULTS = FinetunedOptions()


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
        self._model, self._processor = model.to(device), processor
        error = published_error(manifest, rule)
        frozen = FrozenClassifier(self._model, options.precision, error)
        self._logits = self._stream(frozen, self.width)

    def _stream(self, model: FrozenClassifier, width: int) -> PictureStream:
        def answer(inputs: dict[str, torch.Tensor]) -> FloatArray:
            def run(asked: Any, rows: IntArray) -> FloatArray:
                some = channels_last({name: each[rows] for name, each in inputs.items()})
                return asked(**some).logits.float().cpu().numpy()

            return model.logits(run, len(next(iter(inputs.values()))), self.rule.closeness)

        preprocessing = Preprocessing(self._processor, self.options.decode or "draft")
        return PictureStream(preprocessing, answer, self.options, self._model.device, width)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        options: FinetunedOptions | None = None,
        *,
        revision: str | None = None,
    ) -> FinetunedClassifier:
        """Load what `finetune` published, a folder or the Hub id that it was pushed to.

        Raises:
            ConfigError: Another decoding than that of its training is asked for.
            ModelError: The folder is none of `finetune`, or is damaged.
        """
        options = FinetunedOptions.given("options", options)
        folder, manifest = published_by(FINETUNE, folder, revision)
        made = decoding_in(manifest)
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
        return unit_embeddings(torch.tensor(self._features.encode_images(images)))

    @cached_property
    def _features(self) -> PictureStream:
        of_peft = getattr(self._model, "get_base_model", None)
        plain = of_peft() if of_peft else self._model
        tower, name = frozen_model(plain, torch.float32), output_layer_name(plain)
        width = next(plain.get_submodule(name).parameters()).shape[1]
        tower.set_submodule(name, torch.nn.Identity())
        return self._stream(FrozenClassifier(tower, "float32"), width)

    def predict_proba(self, images: ImagesLike) -> RealArray:
        """Calibrated probabilities, (N, C); an `ImageError` where one cannot be read."""
        return self.rule.probabilities(self.logits(images))

    def _answers(self, rows: RealArray, paths: Sequence[Path | None]) -> Iterator[LabelledImage]:
        every = self.rule.probabilities(rows)
        if self.rule.task == MULTI_LABEL:
            held = self.rule.held(rows)
        else:
            held = [[self.labels[place]] for place in every.argmax(axis=1).tolist()]
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
