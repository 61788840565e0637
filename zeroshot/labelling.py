"""From the options of a command to what labels files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runtime.errors import ConfigError
from runtime.folders import MANIFEST, read_json
from zeroshot.class_names import read_class_names
from zeroshot.classifier import (
    DEFAULT_MODEL,
    LabelledImage,
    ZeroShotClassifier,
    ZeroShotOptions,
)
from zeroshot.options import LabelOptions, ModelOptions

if TYPE_CHECKING:
    from runtime.encoder import DualEncoder
    from zeroshot.finetuning.classifier import FinetunedClassifier
    from zeroshot.teaching.options import TeachOptions
    from zeroshot.teaching.taught import TaughtClassifier
    from zeroshot.teaching.teach import TaughtRun


class Labeller(Protocol):
    """Labels in words, or a taught classifier."""

    @property
    def labels(self) -> Sequence[str]:
        """C names, in the order of the scores."""

    @property
    def notes(self) -> Sequence[str]:
        """What to know before it is used."""

    def label_files(self, paths: Iterable[Path]) -> Iterator[LabelledImage]:
        """Label files of any number, in their order; none of them raises."""


class Labelling(Iterator[LabelledImage]):
    """Answers as they come, and what is to be told when all have come.

    Args:
        answers: Of any number.
        keeps: Whether they are needed once more, to sort the files.
    """

    def __init__(self, answers: Iterator[LabelledImage], *, keeps: bool) -> None:
        self.faults: list[str] = []
        """Files that could not be read, and why."""
        self.kept: list[LabelledImage] = []
        self._answers, self._keeps = answers, keeps

    def __next__(self) -> LabelledImage:
        answer = next(self._answers)
        if answer.fault is not None:
            self.faults.append(f"skipped {answer.path}: {answer.fault}.")
        if self._keeps:
            self.kept.append(answer)
        return answer


def open_labeller(what: LabelOptions, model: ModelOptions) -> Labeller:
    """Load the model, and make the labels known to it.

    Raises:
        ConfigError: The labels or the templates cannot be used.
        ModelError: A model cannot be loaded.
    """
    if what.taught is not None:
        from zeroshot.finetuning.classifier import is_finetuned

        if is_finetuned(read_json(what.taught / MANIFEST)):
            return _open_finetuned(what.taught, model, what.abstain_below)
        return open_taught(what.taught, model, what.abstain_below)
    labels = read_class_names(what.labels, what.labels_file)  # before a model is loaded in vain
    options = ZeroShotOptions(
        templates=what.templates, multi=what.multi, top_k=what.top_k, none_below=what.none_below
    )
    return ZeroShotClassifier(open_encoder(model), labels, options)


def _open_finetuned(
    folder: Path, model: ModelOptions, abstain_below: float | None
) -> FinetunedClassifier:
    from zeroshot.finetuning.classifier import FinetunedClassifier, FinetunedOptions

    if model.model_id != DEFAULT_MODEL:
        raise ConfigError(
            f"{folder} holds a model of its own, fine-tuned; leave out --model {model.model_id}."
        )
    options = FinetunedOptions(
        abstain_below=abstain_below,
        precision=model.precision,
        batch_size=model.batch_size,
        workers=model.workers,
    )
    return FinetunedClassifier.load(folder, options)


def open_encoder(model: ModelOptions) -> DualEncoder:
    """Load the model that a command names.

    Raises:
        ModelError: It cannot be loaded.
    """
    from runtime.encoder import DualEncoder

    return DualEncoder.load(model.model_id, model.revision, model)


def open_taught(
    folder: Path, model: ModelOptions, abstain_below: float | None = None
) -> TaughtClassifier:
    """Load a taught classifier and the model that it was taught with.

    Args:
        folder: Of `teach`.
        model: How the model is run; the folder names which one it is.
        abstain_below: Probability below which no label is given; None takes the folder's.

    Raises:
        ModelError: The folder is none of `teach`, or the model cannot be loaded or is another.
    """
    from zeroshot.teaching.taught import TaughtClassifier

    taught = TaughtClassifier.load(folder)
    thresholds = taught.thresholds
    if abstain_below is not None:
        thresholds = replace(thresholds, abstain_below=abstain_below)
    named = replace(model, model_id=taught.model_id, revision=taught.revision)
    encoder = open_encoder(named if model.model_id == DEFAULT_MODEL else model)
    return TaughtClassifier.load(folder, encoder, thresholds)


def teach_with(
    examples: Path, out: Path, options: TeachOptions, model: ModelOptions, *, overwrite: bool
) -> TaughtRun:
    """Teach a classifier by examples, with the model that a command names.

    Raises:
        ConfigError: `out` exists, or a setting is wrong.
        DataError: There is nothing to learn from.
        ModelError: The model cannot be loaded.
    """
    from runtime.folders import require_free
    from zeroshot.teaching.example_folder import read_examples
    from zeroshot.teaching.teach import teach_files

    require_free(out, overwrite)
    files = read_examples(examples)  # before a model is loaded in vain
    return teach_files(open_encoder(model), files, out, options, overwrite=overwrite)
