"""The prompt sets that an evaluation puts side by side, and a taught classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, DoubleArray, FloatArray
from footwork.class_names import checked_class_names, class_name
from footwork.encoder.protocol import ImageTextEncoder
from footwork.errors import ConfigError, DataError
from footwork.files.faults import shortened
from footwork.help_page import METHOD
from footwork.prompts.class_embeddings import EmbeddingCache, prompt_embeddings, unit_rows
from footwork.prompts.labels import Scorer
from footwork.prompts.none_of_these import NONE_BELOW
from footwork.prompts.templates import DEFAULT, SIGMOID_DEFAULT, Prompts, load_prompts, spoken
from zeroshot.classifier import LabelledImage, ZeroShotClassifier, ZeroShotOptions

TAUGHT = "the taught classifier"
_LISTED = 5


@METHOD
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What is judged, and what it is compared with."""

    templates: str | None = None
    """Judged in detail: imagenet, short, one template, a file of them, or a .json file of prompts
    by label; if not given, the usual one of the model."""
    compare: tuple[str, ...] = ("{}", "short", "imagenet")
    """Template sets to compare it with, beside the usual one. imagenet costs 80 texts a class,
    once."""
    none_below: float | None = NONE_BELOW
    """As for `label`: what "none of these" would cost is told. `none` always gives a label."""
    seed: int = 0
    """Of the resamples and folds."""

    def __post_init__(self) -> None:
        """Check the seed; the rest is checked where it is read.

        Raises:
            ConfigError: It is negative.
        """
        if self.seed < 0:
            raise ConfigError(f"`seed` must be at least 0, got {self.seed}.")


class Taught(Protocol):
    """A taught classifier: what `zeroshot.taught.TaughtClassifier` is."""

    @property
    def labels(self) -> Sequence[str]:
        """C names."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Names, under `data`, the `path` of the examples."""

    def require_encoder(self, encoder: ImageTextEncoder) -> None:
        """Refuse another encoder than the one it was taught with."""

    def predict_proba(self, embeddings: NDArray[Any]) -> DoubleArray:
        """Probabilities, (N, C), for embeddings (N, D)."""

    def label_embeddings(self, embeddings: NDArray[Any]) -> Iterator[LabelledImage]:
        """The label of each, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a prompt set makes of N images."""

    name: str
    logits: DoubleArray
    """Shape (N, C)."""
    labelled: BoolArray | None = None
    """Shape (N,), which images get a label where "none of these" is an answer; None: all do."""
    notes: tuple[str, ...] = ()


class PromptSets:
    """Template sets, and before them a taught classifier where there is one.

    Args:
        encoder: Embeds texts.
        class_names: Of the images.
        options: Which template sets.
        taught: To be judged in detail, its labels being those that all sets choose among.

    Raises:
        ConfigError: Templates or class names cannot be used.
        DataError: There is one class only, or one that was not taught.
        ModelError: The classifier was taught with another encoder.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        class_names: Sequence[str],
        options: EvaluateOptions,
        taught: Taught | None = None,
    ) -> None:
        self.labels = tuple(map(class_name, class_names if taught is None else taught.labels))
        """C names, in the order of the logits."""
        self._spoken = checked_class_names([spoken(label) for label in self.labels])
        _require_comparable(class_names, self.labels)
        if taught is not None:
            taught.require_encoder(encoder)
        default = DEFAULT if encoder.logit_bias is None else SIGMOID_DEFAULT
        self.prompts: dict[str, Prompts] = {}
        """By name; the first are the options' `templates`."""
        for wanted in (options.templates, None, *options.compare):
            prompts = load_prompts(wanted, default)
            prompts.require_known(self._spoken)
            if prompts not in self.prompts.values():
                self.prompts[default[0] if wanted is None else wanted] = prompts
        self._asked = ZeroShotOptions(
            templates=options.templates, top_k=1, none_below=options.none_below
        )
        self._encoder, self._taught = encoder, taught

    @property
    def sigmoid(self) -> bool:
        """Whether the probabilities that are judged are sigmoids, a label by itself."""
        return self._encoder.logit_bias is not None and self._taught is None

    def taught_by(self, source: str) -> bool:
        """Whether a folder holds the examples themselves."""
        examples = self._taught.manifest.get("data", {}).get("path") if self._taught else None
        return examples is not None and Path(examples).resolve() == Path(source).resolve()

    @property
    def comparisons(self) -> int:
        """How many stand beside the first."""
        return len(self.prompts) - (self._taught is None)

    def answers(self, embeddings: FloatArray) -> Iterator[Answers]:
        """What each makes of the images, the one to be judged in detail first.

        Args:
            embeddings: Shape (N, D).
        """
        names = list(self.prompts)
        if self._taught is None:
            yield self._in_detail(embeddings, names.pop(0))
        else:
            yield _taught_answers(self._taught, embeddings)
        cache, rows = EmbeddingCache(), unit_rows(embeddings)
        scorer = Scorer(self._encoder.logit_scale, self._encoder.logit_bias)
        for name in names:
            texts = prompt_embeddings(self._encoder, self._spoken, self.prompts[name], cache)
            yield Answers(name, scorer.logits(rows @ texts.T))

    def _in_detail(self, embeddings: FloatArray, name: str) -> Answers:
        classifier = ZeroShotClassifier(self._encoder, self._spoken, self._asked)
        scorer = Scorer(self._encoder.logit_scale, self._encoder.logit_bias)
        logits = scorer.logits(unit_rows(embeddings) @ classifier.class_embeddings.T)
        labelled = _labelled(classifier.label_embeddings(embeddings))
        always = self._asked.none_below is None
        return Answers(name, logits, None if always else labelled, classifier.notes)


def _taught_answers(taught: Taught, embeddings: FloatArray) -> Answers:
    rows = unit_rows(embeddings)
    probabilities = np.maximum(taught.predict_proba(rows), np.finfo(np.float64).tiny)
    labelled = _labelled(taught.label_embeddings(rows))
    return Answers(TAUGHT, np.log(probabilities), None if labelled.all() else labelled)


def _labelled(answers: Iterator[LabelledImage]) -> BoolArray:
    return np.array([answer.label is not None for answer in answers])


def _require_comparable(class_names: Sequence[str], labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise DataError(
            f"All images are of one class, {labels[0]!r}: every answer would be right. Add images "
            "of other classes."
        )
    known = set(labels)
    unknown = [name for name in class_names if name not in known]
    if unknown:
        listed, taught = (shortened(map(repr, names), _LISTED) for names in (unknown, labels))
        raise DataError(
            f"The taught classifier does not know {listed}; it was taught {taught}. Rename these "
            "classes, leave them out, or teach them."
        )
