"""How good labels from words, or from examples, are on images whose class is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from footwork.arrays import DoubleArray, IntArray
from footwork.encoder.protocol import ImageTextEncoder
from footwork.evaluation.calibration import calibrate
from footwork.evaluation.logits import log_softmax, sigmoid
from footwork.evaluation.metrics import (
    bootstrap_class_counts,
    bootstrap_sums,
    class_counts,
    confusion_counts,
    paired_difference,
    percentile_interval,
    share_interval,
    single_label_scores,
    wilson_interval,
)
from zeroshot.evaluation import TOP, Answered, ClassRecall, ImageEvaluation, SetScore, WrongImage
from zeroshot.labelled_images import EmbeddedImages, LabelledImages, embed_labelled_images
from zeroshot.prompt_sets import Answers, EvaluateOptions, PromptSets, Taught

__all__ = ["EvaluateOptions", "evaluate_embedded", "evaluate_images"]

DEFAULTS = EvaluateOptions()
_FEW_IMAGES = 100


def evaluate_images(
    encoder: ImageTextEncoder,
    images: LabelledImages,
    options: EvaluateOptions = DEFAULTS,
    taught: Taught | None = None,
) -> ImageEvaluation:
    """Embed labelled images once, and judge template sets, or a taught classifier, on them.

    Args:
        encoder: Embeds pictures and texts.
        images: As `read_labelled_images` finds them.
        options: Which templates.
        taught: Judged in place of the templates, and compared with them.

    Raises:
        ConfigError: Templates or class names cannot be used.
        DataError: No image can be read, there is one class only, or one that was not taught.
        ModelError: `taught` was taught with another encoder.
    """
    sets = PromptSets(encoder, images.class_names, options, taught)  # before images cost time
    return _judge(sets, encoder, embed_labelled_images(encoder, images), options.seed)


def evaluate_embedded(
    encoder: ImageTextEncoder,
    embedded: EmbeddedImages,
    options: EvaluateOptions = DEFAULTS,
    taught: Taught | None = None,
) -> ImageEvaluation:
    """As `evaluate_images`, of images that are embedded already, by this model."""
    sets = PromptSets(encoder, embedded.images.class_names, options, taught)
    return _judge(sets, encoder, embedded, options.seed)


def _judge(
    sets: PromptSets, encoder: ImageTextEncoder, embedded: EmbeddedImages, seed: int
) -> ImageEvaluation:
    images, labels = embedded.images, sets.labels
    places = {label: place for place, label in enumerate(labels)}
    targets = np.array([places[name] for name in images.class_names])[images.targets]
    every = sets.answers(embedded.embeddings)
    detailed = next(every)
    given = detailed.logits.argmax(axis=1)
    hits = given == targets
    confusion = confusion_counts(targets, given, len(labels))
    scores = [_set_score(detailed, targets, seed)]
    for place, other in enumerate(every, start=1):
        difference = paired_difference(
            other.logits.argmax(axis=1) == targets,
            hits,
            np.random.default_rng([seed, place]),
            sets.comparisons,
        )
        scores.append(replace(_set_score(other, targets, seed), difference=difference))
    counts = np.bincount(targets, minlength=len(labels))
    majority = labels[int(counts.argmax())], float(counts.max() / len(targets))
    answered = None
    if (kept := detailed.labelled) is not None:
        right = float(hits[kept].mean()) if kept.any() else None
        answered = Answered(float(kept.mean()), right)
    wanted = np.eye(len(labels), dtype=np.int64)[targets] if sets.sigmoid else targets
    return ImageEvaluation(
        source=images.source,
        fingerprint=encoder.fingerprint,
        labels=labels,
        sets=tuple(scores),
        majority=majority,
        per_class=_class_recalls(labels, confusion),
        confusion=confusion,
        calibration=calibrate(detailed.logits, wanted, seed),
        answered=answered,
        wrong=_wrong_images(embedded, sets, targets, detailed.logits),
        skipped=images.skipped,
        notes=(*images.notes, *detailed.notes, *_notes(sets, scores[0], majority, images)),
    )


def _set_score(answers: Answers, targets: IntArray, seed: int) -> SetScore:
    logits, num_classes = answers.logits, answers.logits.shape[1]
    generator = np.random.default_rng(seed)
    confusion = confusion_counts(targets, logits.argmax(axis=1), num_classes)
    samples = single_label_scores(bootstrap_class_counts(confusion, generator))
    recall = float(single_label_scores(class_counts(confusion))["balanced_accuracy"])
    ranks = _true_ranks(logits, targets)
    rows = len(targets)
    metrics = {"top_1": share_interval(int((ranks == 0).sum()), rows, samples["accuracy"])}
    if num_classes > TOP:
        among = ranks < TOP
        drawn = bootstrap_sums(among[:, None], generator)[:, 0] / rows
        metrics["top_5"] = share_interval(int(among.sum()), rows, drawn)
    interval = percentile_interval(recall, samples["balanced_accuracy"])
    # Where all or none are right there is no spread to resample.
    metrics["macro_recall"] = interval if interval and 0 < recall < 1 else metrics["top_1"]
    return SetScore(answers.name, metrics, None)


def _true_ranks(logits: DoubleArray, targets: IntArray) -> IntArray:
    """How many labels stand before the right one, which of equals are those named before it."""
    own = np.take_along_axis(logits, targets[:, None], axis=1)
    named_before = np.arange(logits.shape[1]) < targets[:, None]
    ranks: IntArray = ((logits > own) | ((logits == own) & named_before)).sum(axis=1)
    return ranks


def _class_recalls(labels: Sequence[str], confusion: IntArray) -> tuple[ClassRecall, ...]:
    counts = class_counts(confusion)
    columns = (counts.hits.tolist(), counts.targets.tolist(), counts.predicted.tolist())
    return tuple(
        ClassRecall(label, wilson_interval(hits, images) if images else None, images, given)
        for label, hits, images, given in zip(labels, *columns, strict=True)
    )


def _wrong_images(
    embedded: EmbeddedImages,
    sets: PromptSets,
    targets: IntArray,
    logits: DoubleArray,
) -> tuple[WrongImage, ...]:
    ranks = _true_ranks(logits, targets)
    rows = np.nonzero(ranks)[0]
    own, best = logits[rows, targets[rows]], logits[rows].max(axis=1)
    rows = rows[np.argsort(own - best, kind="stable")]
    scores = sigmoid(logits[rows]) if sets.sigmoid else np.exp(log_softmax(logits[rows]))
    wrong = []
    for row, score in zip(rows.tolist(), scores, strict=True):
        label, given = int(targets[row]), int(logits[row].argmax())
        wrong.append(
            WrongImage(
                path=embedded.images.paths[row],
                label=sets.labels[label],
                given=sets.labels[given],
                probability=float(score[given]),
                label_probability=float(score[label]),
                rank=int(ranks[row]) + 1,
            )
        )
    return tuple(wrong)


def _notes(
    sets: PromptSets, score: SetScore, majority: tuple[str, float], images: LabelledImages
) -> list[str]:
    notes, top_1 = [], score.metrics["top_1"]
    if len(images.paths) < _FEW_IMAGES:
        notes.append(
            f"Only {len(images.paths)} images: every figure is rough, and so are the intervals."
        )
    if top_1.low <= majority[1]:
        notes.append(
            f"It is not clearly better than to answer {majority[0]!r} every time, which has "
            f"{majority[1]:.1%} right."
        )
    if sets.sigmoid:
        notes.append(
            "The model judges each label by itself, and so does the calibration, over all images "
            "and labels together: the many labels that do not hold weigh most."
        )
    if len(sets.prompts) > 1:
        notes.append(
            f"The best of {len(sets.prompts)} template sets, chosen by these images, looks better "
            "on them than it is: judge the choice on others."
        )
    if sets.taught_by(images.source):
        notes.append(
            "These are the examples that it was taught by: the figures say nothing of new images. "
            "Its own forecast, of examples left out, does."
        )
    elif score.name not in sets.prompts:
        notes.append("These figures hold only if none of these images was among the examples.")
    return notes
