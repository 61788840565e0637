"""How good labels from words, or from examples, are on images whose class is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from footwork.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from footwork.class_names import checked_class_names, class_name
from footwork.encoder.protocol import ImageTextEncoder, TextEncoder
from footwork.errors import ConfigError, DataError
from footwork.evaluation import metrics
from footwork.evaluation.calibration import calibrate
from footwork.evaluation.logits import log_softmax, sigmoid
from footwork.files.faults import shortened
from footwork.files.folders import read_manifest
from footwork.prompts.class_embeddings import EmbeddingCache, Scorer, prompt_embeddings, unit_rows
from footwork.prompts.templates import Prompts, spoken
from zeroshot.classifier import ZeroShotClassifier, label_prompts
from zeroshot.evaluation import TOP, Answered, ClassRecall, ImageEvaluation, SetScore, WrongImage
from zeroshot.labelled_images import (
    LabelledImages,
    embed_labelled_images,
    embeddings_hash,
    read_labelled_images,
    without_folder,
)
from zeroshot.options import EvaluateOptions, ZeroShotOptions, is_finetuned
from zeroshot.rows import LabelledImage

if TYPE_CHECKING:
    from footwork.evaluation.result import Assessment
    from footwork.finetuning.train import TrainedRun
    from zeroshot.finetuned import FinetunedClassifier
    from zeroshot.taught import TaughtClassifier, TaughtRun

TAUGHT = "the taught classifier"
DEFAULTS = EvaluateOptions()
_LISTED = 5
_FEW_IMAGES = 100


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a prompt set makes of N images."""

    name: str
    logits: DoubleArray
    """Shape (N, C)."""
    labelled: BoolArray | None = None
    """Shape (N,), which images get a label where "none of these" is an answer; None: all do."""
    notes: tuple[str, ...] = ()


@overload
def evaluate(
    model: ZeroShotClassifier | TaughtClassifier | TaughtRun,
    data: Any,
    options: EvaluateOptions | None = None,
    *,
    revision: str | None = None,
) -> ImageEvaluation: ...


@overload
def evaluate(
    model: FinetunedClassifier | TrainedRun,
    data: Any,
    options: EvaluateOptions | None = None,
    *,
    revision: str | None = None,
) -> Assessment: ...


@overload
def evaluate(
    model: Path | str,
    data: Any,
    options: EvaluateOptions | None = None,
    *,
    revision: str | None = None,
) -> ImageEvaluation | Assessment: ...


def evaluate(
    model: ZeroShotClassifier
    | TaughtClassifier
    | FinetunedClassifier
    | TaughtRun
    | TrainedRun
    | Path
    | str,
    data: Any,
    options: EvaluateOptions | None = None,
    *,
    revision: str | None = None,
) -> ImageEvaluation | Assessment:
    """Judge a classifier on images whose labels are known.

    Args:
        model: A classifier, or what `teach` or `finetune` made: the run, its folder or Hub id.
        data: What `finetune` takes; of several splits the test is judged, else the validation,
            else the train. Its classes are among the classifier's labels; of one by words `_` and
            case do not matter.
        options: What it is compared with; a classifier by words is judged by its own templates
            and bar, and a fine-tuned one by itself.
        revision: Branch, tag or commit of a classifier on the Hub.

    Returns:
        Of a fine-tuned classifier an `Assessment`, else an `ImageEvaluation`: both have `notes` and
        `skipped`.

    Raises:
        ConfigError: `model` is nothing of the kind, `revision` is given with one that is loaded, or
            templates or class names cannot be used.
        DataError: No image can be read, or a class is not among the labels.
        ModelError: The folder cannot be loaded.
    """
    if options is not None:
        options = EvaluateOptions.given("options", options)
    opened = _opened(model, revision)
    with TemporaryDirectory(prefix="footwork-") as files:
        return _judged(opened, data, options, Path(files))


def by_rows(found: ImageEvaluation, files: Path) -> ImageEvaluation:
    """The same, images in memory named by their rows: the folder of their files will be gone."""
    wrong = [
        replace(each, path=each.path.relative_to(files))
        if each.path.is_relative_to(files)
        else each
        for each in found.wrong
    ]
    return replace(found, wrong=tuple(wrong), skipped=without_folder(found.skipped, files))


def _judged(
    model: ZeroShotClassifier | TaughtClassifier | FinetunedClassifier,
    data: Any,
    options: EvaluateOptions | None,
    files: Path,
) -> ImageEvaluation | Assessment:
    from zeroshot.finetuned import FinetunedClassifier
    from zeroshot.task import assess

    if isinstance(model, FinetunedClassifier):
        return assess(data, model, files)
    images = read_labelled_images(data, files)
    if isinstance(model, ZeroShotClassifier):
        own = model.options
        options = replace(options or DEFAULTS, templates=own.templates, none_below=own.none_below)
    return by_rows(evaluate_images(model.encoder, images, options or DEFAULTS, model), files)


def _opened(
    model: Any, revision: str | None
) -> ZeroShotClassifier | TaughtClassifier | FinetunedClassifier:
    """A classifier that is loaded, that of a run, or of a folder or a Hub id."""
    from footwork.models.hub import trained_folder
    from zeroshot.finetuned import FinetunedClassifier
    from zeroshot.taught import TaughtClassifier

    model = getattr(model, "classifier", model)
    if isinstance(model, (ZeroShotClassifier, TaughtClassifier, FinetunedClassifier)):
        if revision is not None:
            raise ConfigError("`revision` is for loading, and this classifier is loaded.")
        return model
    if not isinstance(model, (str, Path)):
        raise ConfigError(
            "`model` must be a classifier of images, a run that made one, or its folder or Hub id, "
            f"got {type(model).__name__}. Those of texts are judged by textclf.evaluate."
        )
    folder = trained_folder(model, revision)
    is_tower = is_finetuned(read_manifest(folder, verify=False))
    return FinetunedClassifier.load(folder) if is_tower else TaughtClassifier.load(folder)


def evaluate_images(
    encoder: ImageTextEncoder,
    images: LabelledImages,
    options: EvaluateOptions = DEFAULTS,
    classifier: TaughtClassifier | ZeroShotClassifier | None = None,
) -> ImageEvaluation:
    """Embed labelled images once, and judge template sets, or a taught classifier, on them.

    What was taught is judged in detail in place of the templates, and compared with them: all
    choose among its labels, or among those of a classifier by words.

    Raises:
        ConfigError: Templates or class names cannot be used.
        DataError: No image can be read, there is one class only, or one that was not taught.
        ModelError: It was taught with another encoder.
    """
    by_words = classifier if isinstance(classifier, ZeroShotClassifier) else None
    taught = None if isinstance(classifier, ZeroShotClassifier) else classifier
    labels = tuple(map(class_name, classifier.labels if classifier else images.class_names))
    names = by_words.labels if by_words else checked_class_names(list(map(spoken, labels)))
    if by_words:
        known = {spoken(label).casefold(): label for label in labels}
        found = (
            name if name in labels else known.get(spoken(name).casefold(), name)
            for name in images.class_names
        )
        images = replace(images, class_names=tuple(found))
    _require_comparable(images.class_names, labels, by_words=by_words is not None)
    if taught is not None:
        taught.require_encoder(encoder)
    sets = _prompt_sets(encoder, names, options)  # before images cost time
    images, embeddings = embed_labelled_images(encoder, images)
    targets = images.targets_among(labels)
    every = _answers(encoder, names, sets, options, taught, embeddings)
    detailed = next(every)
    logits, hits = detailed.logits, detailed.logits.argmax(axis=1) == targets
    scores = [_set_score(detailed, targets, options.seed)]
    for place, other in enumerate(every, start=1):
        difference = metrics.paired_difference(
            other.logits.argmax(axis=1) == targets,
            hits,
            np.random.default_rng([options.seed, place]),
            len(sets) - (taught is None),
        )
        scores.append(replace(_set_score(other, targets, options.seed), difference=difference))
    # A model with a sigmoid judges each label by itself; a taught classifier does not.
    is_sigmoid = encoder.logit_bias is not None and taught is None
    shares = sigmoid if is_sigmoid else lambda rows: np.exp(log_softmax(rows))
    wanted = np.eye(len(labels), dtype=np.int64)[targets] if is_sigmoid else targets
    counts = np.bincount(targets, minlength=len(labels))
    majority = labels[int(counts.argmax())], float(counts.max() / len(targets))
    confusion = metrics.confusion_counts(targets, logits.argmax(axis=1), len(labels))
    notes = _notes(scores[0].metrics["top_1"], majority, len(targets), is_sigmoid=is_sigmoid)
    return ImageEvaluation(
        source=images.source,
        fingerprint=encoder.fingerprint,
        labels=labels,
        sets=tuple(scores),
        majority=majority,
        per_class=_class_recalls(labels, confusion),
        confusion=confusion,
        # No threshold gives a label here: the best one is the answer.
        calibration=replace(calibrate(logits, wanted, options.seed), thresholds=()),
        answered=_answered(detailed.labelled, hits),
        wrong=_wrong_images(images.paths, labels, targets, logits, shares),
        skipped=images.skipped,
        notes=(*images.notes, *detailed.notes, *notes, *_choice_notes(sets, taught, embeddings)),
    )


def _require_comparable(
    class_names: Sequence[str], labels: Sequence[str], *, by_words: bool
) -> None:
    if len(labels) < 2:
        raise DataError(
            f"All images are of one class, {labels[0]!r}: every answer would be right. Add images "
            "of other classes."
        )
    known = set(labels)
    unknown = [name for name in class_names if name not in known]
    if not unknown:
        return
    lacking, its = (shortened(map(repr, names), _LISTED) for names in (unknown, labels))
    if by_words:
        raise DataError(
            f"The classifier does not know {lacking}; its labels are {its}. Rename these classes, "
            "leave them out, or add them to its labels."
        )
    raise DataError(
        f"The taught classifier does not know {lacking}; it was taught {its}. Rename these "
        "classes, leave them out, or teach them."
    )


def _prompt_sets(
    encoder: TextEncoder, names: Sequence[str], options: EvaluateOptions
) -> dict[str, Prompts]:
    """By name: the options' `templates`, the usual ones of the model, and those to compare with."""
    sets: dict[str, Prompts] = {}
    for wanted in (options.templates, None, *options.compare):
        prompts = label_prompts(encoder, wanted).among(names)
        if prompts not in sets.values():
            sets[prompts.templates[0] if wanted is None else wanted] = prompts
    return sets


def _answers(
    encoder: ImageTextEncoder,
    names: Sequence[str],
    sets: Mapping[str, Prompts],
    options: EvaluateOptions,
    taught: TaughtClassifier | None,
    embeddings: FloatArray,
) -> Iterator[Answers]:
    """What each set makes of the images, (N, D), the one to be judged in detail first."""
    rows, cache = unit_rows(embeddings), EmbeddingCache()
    scorer = Scorer(encoder.logit_scale, encoder.logit_bias)
    waiting = list(sets)
    if taught is None:
        asked = ZeroShotOptions(templates=options.templates, top_k=1, none_below=options.none_below)
        classifier = ZeroShotClassifier(encoder, names, asked)
        logits = scorer.logits(rows @ classifier.class_embeddings.T)
        labelled = None
        if options.none_below is not None:
            labelled = _labelled(classifier.label_embeddings(embeddings))
        yield Answers(waiting.pop(0), logits, labelled, classifier.notes)
    else:
        probabilities = np.maximum(taught.answers(rows).probabilities, np.finfo(np.float64).tiny)
        labelled = _labelled(taught.label_embeddings(rows))
        yield Answers(TAUGHT, np.log(probabilities), None if labelled.all() else labelled)
    for name in waiting:
        texts = prompt_embeddings(encoder, names, sets[name], cache)
        yield Answers(name, scorer.logits(rows @ texts.T))


def _labelled(answers: Iterable[LabelledImage]) -> BoolArray:
    return np.array([answer.label is not None for answer in answers])


def _answered(labelled: BoolArray | None, hits: BoolArray) -> Answered | None:
    if labelled is None:
        return None
    right = float(hits[labelled].mean()) if labelled.any() else None
    return Answered(float(labelled.mean()), right)


def _set_score(answers: Answers, targets: IntArray, seed: int) -> SetScore:
    logits, num_classes = answers.logits, answers.logits.shape[1]
    generator = np.random.default_rng(seed)
    confusion = metrics.confusion_counts(targets, logits.argmax(axis=1), num_classes)
    samples = metrics.single_label_scores(metrics.bootstrap_class_counts(confusion, generator))
    found = metrics.single_label_scores(metrics.class_counts(confusion))
    recall = float(found["balanced_accuracy"])
    ranks = _true_ranks(logits, targets)
    rows = len(targets)
    scores = {"top_1": metrics.share_interval(int((ranks == 0).sum()), rows, samples["accuracy"])}
    if num_classes > TOP:
        among = ranks < TOP
        drawn = metrics.bootstrap_sums(among[:, None], generator)[:, 0] / rows
        scores["top_5"] = metrics.share_interval(int(among.sum()), rows, drawn)
    interval = metrics.percentile_interval(recall, samples["balanced_accuracy"])
    # Where all or none are right there is no spread to resample.
    scores["macro_recall"] = interval if interval and 0 < recall < 1 else scores["top_1"]
    return SetScore(answers.name, scores, None)


def _true_ranks(logits: DoubleArray, targets: IntArray) -> IntArray:
    """How many labels stand before the right one, which of equals are those named before it."""
    own = np.take_along_axis(logits, targets[:, None], axis=1)
    named_before = np.arange(logits.shape[1]) < targets[:, None]
    ranks: IntArray = ((logits > own) | ((logits == own) & named_before)).sum(axis=1)
    return ranks


def _class_recalls(labels: Sequence[str], confusion: IntArray) -> tuple[ClassRecall, ...]:
    counts = metrics.class_counts(confusion)
    columns = (counts.hits.tolist(), counts.targets.tolist(), counts.predicted.tolist())
    return tuple(
        ClassRecall(label, metrics.wilson_interval(hits, images) if images else None, images, given)
        for label, hits, images, given in zip(labels, *columns, strict=True)
    )


def _wrong_images(
    paths: Sequence[Path],
    labels: Sequence[str],
    targets: IntArray,
    logits: DoubleArray,
    shares: Callable[[DoubleArray], DoubleArray],
) -> tuple[WrongImage, ...]:
    """The worst first; `shares` makes probabilities of logits."""
    ranks = _true_ranks(logits, targets)
    rows = np.nonzero(ranks)[0]
    own, best = logits[rows, targets[rows]], logits[rows].max(axis=1)
    rows = rows[np.argsort(own - best, kind="stable")]
    wrong = []
    for row, probabilities in zip(rows.tolist(), shares(logits[rows]), strict=True):
        label, given = int(targets[row]), int(logits[row].argmax())
        wrong.append(
            WrongImage(
                path=paths[row],
                label=labels[label],
                given=labels[given],
                probability=float(probabilities[given]),
                label_probability=float(probabilities[label]),
                rank=int(ranks[row]) + 1,
            )
        )
    return tuple(wrong)


def _notes(
    top_1: metrics.Interval, majority: tuple[str, float], images: int, *, is_sigmoid: bool
) -> list[str]:
    notes = []
    if images < _FEW_IMAGES:
        notes.append(f"Only {images} images: every figure is rough, and so are the intervals.")
    if top_1.low <= majority[1]:
        notes.append(
            f"It is not clearly better than to answer {majority[0]!r} every time, which has "
            f"{majority[1]:.1%} right."
        )
    if is_sigmoid:
        notes.append(
            "The model judges each label by itself, and so does the calibration, over all images "
            "and labels together: the many labels that do not hold weigh most."
        )
    return notes


def _choice_notes(
    sets: Mapping[str, Prompts], taught: TaughtClassifier | None, embeddings: FloatArray
) -> list[str]:
    """What figures are worth by which something was chosen."""
    notes = []
    if len(sets) > 1:
        notes.append(
            f"The best of {len(sets)} template sets, chosen by these images, looks better "
            "on them than it is: judge the choice on others."
        )
    if taught is None:
        return notes
    if taught.manifest.get("data", {}).get("embeddings_sha256") == embeddings_hash(embeddings):
        notes.append(
            "These are the examples that it was taught by: the figures say nothing of new images. "
            "Its own forecast, of examples left out, does."
        )
    else:
        notes.append("These figures hold only if none of these images was among the examples.")
    return notes
