"""From the options of a command to what labels files, and what is done with them then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from footwork.arrays import FloatArray
from footwork.class_names import read_class_names
from footwork.encoder.protocol import ImageTextEncoder
from footwork.errors import ConfigError
from footwork.files.folders import read_manifest
from footwork.files.paths import path_line
from footwork.prompts.class_embeddings import OnProgress, unseen
from zeroshot.classifier import DEFAULT_MODEL, LabelledImage, ZeroShotClassifier, ZeroShotOptions
from zeroshot.config import is_finetuned
from zeroshot.options import LabelOptions, ModelOptions, SortingOptions

if TYPE_CHECKING:
    from footwork.encoder.dual import DualEncoder
    from zeroshot.finetuned import FinetunedClassifier
    from zeroshot.taught import TaughtClassifier


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


class VectorLabeller(Labeller, Protocol):
    """A labeller to which an image is its vector."""

    def label_embeddings(
        self, embeddings: FloatArray, paths: Sequence[Path | None] | None = None
    ) -> Iterator[LabelledImage]:
        """Label images that are embedded already, (N, D)."""


def open_labeller(
    what: LabelOptions, model: ModelOptions, on_progress: OnProgress = unseen
) -> Labeller:
    """Load the model, and make the labels known to it.

    Args:
        what: The labels.
        model: The model, and how it is run.
        on_progress: Told how many prompts are read, and of how many.

    Raises:
        ConfigError: The labels or the templates cannot be used.
        ModelError: A model cannot be loaded.
    """
    if _is_finetuned(what):
        return open_finetuned(Path(str(what.taught)), model, what.abstain_below)
    return open_vector_labeller(what, model, on_progress=on_progress)


def open_vector_labeller(
    what: LabelOptions,
    model: ModelOptions,
    encoder: ImageTextEncoder | None = None,
    on_progress: OnProgress = unseen,
) -> VectorLabeller:
    """As `open_labeller`, of labels that vectors tell.

    Args:
        what: The labels.
        model: The model, and how it is run.
        encoder: What embeds in its place: that of an index.
        on_progress: As for `open_labeller`.

    Raises:
        ConfigError: The labels or the templates cannot be used.
        ModelError: A model cannot be loaded, or the labels were not taught on its vectors.
    """
    if _is_finetuned(what):
        raise ConfigError(
            f"{what.taught} holds a model of its own, fine-tuned, which embeds nothing, so that no "
            "index can serve it. Leave out --index."
        )
    if what.taught is not None:
        return open_taught(Path(what.taught), model, what.abstain_below, encoder)
    labels = read_class_names(what.labels, what.labels_file)  # before a model is loaded in vain
    options = ZeroShotOptions(
        templates=what.templates, multi=what.multi, top_k=what.top_k, none_below=what.none_below
    )
    return ZeroShotClassifier(encoder or open_encoder(model), labels, options, on_progress)


def _is_finetuned(what: LabelOptions) -> bool:
    return what.taught is not None and is_finetuned(read_manifest(Path(what.taught), verify=False))


def open_finetuned(
    folder: Path, model: ModelOptions, abstain_below: float | None
) -> FinetunedClassifier:
    """Load what `finetune` published.

    Raises:
        ConfigError: Another model is named.
        ModelError: The folder is damaged.
    """
    from zeroshot.finetuned import FinetunedClassifier, FinetunedOptions

    if model.model_id is not None:
        raise ConfigError(
            f"{folder} holds a model of its own, fine-tuned; leave out --model {model.model_id}."
        )
    options = FinetunedOptions(
        abstain_below=abstain_below,
        precision=model.precision,
        batch_size=model.batch_size,
        workers=model.workers,
        decode=model.decode,
    )
    return FinetunedClassifier.load(folder, options)


def open_encoder(model: ModelOptions) -> DualEncoder:
    """Load the model that a command names.

    Raises:
        ModelError: It cannot be loaded.
    """
    from footwork.encoder.dual import DualEncoder

    return DualEncoder.load(model.model_id or DEFAULT_MODEL, model.revision, model)


def open_taught(
    folder: Path,
    model: ModelOptions,
    abstain_below: float | None = None,
    encoder: ImageTextEncoder | None = None,
) -> TaughtClassifier:
    """Load a taught classifier and the model that it was taught with.

    Args:
        folder: Of `teach`.
        model: How the model is run; the folder names which one it is.
        abstain_below: Probability below which no label is given; None takes the folder's.
        encoder: The model, where it is there already.

    Raises:
        ConfigError: Another decoding than that of its examples is asked for.
        ModelError: The folder is none of `teach`, or the model cannot be loaded or is another.
    """
    from zeroshot.taught import TaughtClassifier

    taught = TaughtClassifier.load(folder)
    thresholds = taught.thresholds
    if abstain_below is not None:
        thresholds = replace(thresholds, abstain_below=abstain_below)
    model = model.decoding_as(taught.decode, f"What was taught in {folder}")
    if encoder is None:
        named = replace(model, model_id=taught.model_id, revision=taught.revision)
        encoder = open_encoder(named if model.model_id is None else model)
    return TaughtClassifier(taught.knowledge, taught.manifest, thresholds, encoder)


class Labelling(Iterator[LabelledImage]):
    """Answers as they come, and what is to be told when all have come.

    Args:
        answers: Of any number.
        keeps: Whether they are needed once more, to sort the files.
    """

    def __init__(self, answers: Iterator[LabelledImage], *, keeps: bool) -> None:
        self.faults: list[str] = []
        """Files that could not be read, and why."""
        self.notes: list[str] = []
        """What to know of files that could be read."""
        self.kept: list[LabelledImage] = []
        self._answers, self._keeps = answers, keeps

    def __next__(self) -> LabelledImage:
        answer = next(self._answers)
        if answer.fault is not None:
            self.faults.append(f"skipped {path_line(answer.path or '-')}: {answer.fault}.")
        if answer.note is not None:
            self.notes.append(f"{path_line(answer.path or '-')}: {answer.note}.")
        if self._keeps:
            self.kept.append(replace(answer, scores={}))  # by which no file is sorted
        return answer


def use_labels(
    labelled: Sequence[LabelledImage], options: SortingOptions, notify: Callable[[str], None]
) -> bool:
    """Write sidecars, copy or move.

    Args:
        labelled: The files.
        options: What is done with them.
        notify: Is told what was done, and what could not be.

    Returns:
        Whether all of it could be done.
    """
    failed = 0
    if options.xmp:  # first, so that they go along
        from zeroshot.sidecars import write_sidecars

        sidecars = write_sidecars(labelled)
        notify(f"{sidecars.written} sidecars say what their images show.")
        for fault in sidecars.failed:
            notify(fault)
        failed += len(sidecars.failed)
    if options.target is not None:
        from zeroshot.sorting import apply_plan, plan_sorting

        plan = plan_sorting(labelled, options.target, options.how)
        if not options.yes:
            notify(plan.to_text())
        else:
            outcome = apply_plan(plan, notify)
            notify(outcome.to_text())
            failed += len(outcome.failed)
    return not failed
