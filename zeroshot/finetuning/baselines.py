"""What a fine-tuned tower must beat: the commonest class, words alone, and the frozen tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.bootstrap import wilson_interval
from runtime.encoder.batches import FloatArray
from runtime.errors import ConfigError, ModelError
from runtime.metrics import Interval
from zeroshot.class_embeddings import unit_rows
from zeroshot.classifier import ZeroShotClassifier, ZeroShotOptions
from zeroshot.finetuning.examples import FinetuneImages
from zeroshot.teaching import linear_probe
from zeroshot.teaching.examples import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

INVERSE_PENALTY = 100.0
"""Of the linear probe. Fixed, so that nothing is chosen on the images it is judged on."""


def majority_baseline(images: FinetuneImages) -> Interval:
    """Accuracy of the commonest training class on the reported split."""
    counts = np.bincount(images.splits["train"].targets, minlength=len(images.labels))
    right = images.splits[images.reported].targets == counts.argmax()
    return _accuracy(right)


def probe_baseline(images: FinetuneImages, train: FloatArray, judged: FloatArray) -> Interval:
    """Accuracy of logistic regression on what the pretrained tower says, no weight of it moved.

    Args:
        images: Of all splits.
        train: Features of the training images, (N, …).
        judged: Features of the reported split, (M, …).
    """
    rows, others = (unit_rows(part.reshape(len(part), -1)) for part in (train, judged))
    examples = Examples(rows, images.splits["train"].targets, len(images.labels))
    scores = linear_probe.fit(examples, INVERSE_PENALTY).scores(others)
    return _accuracy(scores.argmax(axis=1) == images.splits[images.reported].targets)


def zero_shot_baseline(
    images: FinetuneImages, model_id: str, revision: str | None
) -> Interval | None:
    """Accuracy of the same model by the names of the classes alone.

    Returns:
        None for a model that reads no texts, and for names that say nothing to it.
    """
    from runtime.encoder import DualEncoder

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
