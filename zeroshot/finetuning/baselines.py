"""What a fine-tuned tower must beat: the commonest class, words alone, and the frozen tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from footwork.errors import ConfigError, ModelError
from footwork.evaluation.intervals import wilson_interval
from footwork.evaluation.metrics import Interval
from footwork.fewshot import linear_probe
from footwork.fewshot.examples import Examples
from footwork.fewshot.heads import LinearHead
from footwork.inference.halving import FloatArray
from zeroshot.classifier import ZeroShotClassifier, ZeroShotOptions
from zeroshot.finetuning.examples import FinetuneImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

INVERSE_PENALTY = 100.0
"""Of the linear probe. Fixed, so that nothing is chosen on the images it is judged on."""


def majority_baseline(images: FinetuneImages) -> Interval:
    """Accuracy of the commonest training class on the reported split."""
    counts = np.bincount(images.splits["train"].targets, minlength=len(images.labels))
    right = images.splits[images.reported].targets == counts.argmax()
    return _accuracy(right)


def fit_probe(images: FinetuneImages, train: FloatArray) -> LinearHead:
    """Logistic regression on what the pretrained tower says, no weight of it moved.

    Args:
        images: Of all splits.
        train: Features of the training images, (N, …).
    """
    rows = train.reshape(len(train), -1)
    # To a mean length of 1, for which the penalty is meant; the weights take it back.
    scale = np.float32(np.linalg.norm(rows, axis=1).mean() or 1.0)
    examples = Examples(rows / scale, images.splits["train"].targets, len(images.labels))
    head = linear_probe.fit(examples, INVERSE_PENALTY)
    return LinearHead(head.weights / scale, head.bias)


def probe_baseline(images: FinetuneImages, probe: LinearHead, judged: FloatArray) -> Interval:
    """Accuracy of a probe on the reported split.

    Args:
        images: Of all splits.
        probe: As `fit_probe` gives it.
        judged: Features of the reported split, (M, …).
    """
    scores = probe.scores(judged.reshape(len(judged), -1))
    return _accuracy(scores.argmax(axis=1) == images.splits[images.reported].targets)


def zero_shot_baseline(
    images: FinetuneImages, model_id: str, revision: str | None
) -> Interval | None:
    """Accuracy of the same model by the names of the classes alone.

    Returns:
        None for a model that reads no texts, and for names that say nothing to it.
    """
    from footwork.encoder.dual import DualEncoder

    split = images.splits[images.reported]
    try:
        encoder = DualEncoder.load(model_id, revision)
        classifier = ZeroShotClassifier(encoder, images.labels, ZeroShotOptions(none_below=None))
    except (ModelError, ConfigError):
        return None
    scores = classifier.predict_proba(split.paths)
    return _accuracy(scores.argmax(axis=1) == split.targets)


def _accuracy(right: NDArray[np.bool_]) -> Interval:
    return wilson_interval(int(right.sum()), len(right))
