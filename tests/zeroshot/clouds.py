"""Made-up embeddings of which the best possible answer is known."""

from __future__ import annotations

import numpy as np

from footwork.arrays import DoubleArray, IntArray
from footwork.fewshot.examples import Examples
from footwork.fewshot.knowledge import Words
from footwork.prompts.class_embeddings import unit_rows

WIDTH = 48


def clouds(
    counts: tuple[int, ...], seed: int = 0, apart: float = 1.0, width: int = WIDTH
) -> Examples:
    """Unit rows around one centre a class; most of what varies is shared by all of them.

    The centres do not depend on the seed, nor on how many examples there are.
    """
    centres = np.random.default_rng(99).normal(size=(len(counts), width))
    shape = np.linspace(0.1, 2.0, width)
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(size=(len(labels), width)) * shape
    shared = 4.0 * np.ones(width)
    return Examples(unit_rows(apart * centres[labels] + noise + shared), labels, len(counts))


def round_clouds(counts: tuple[int, ...], seed: int, apart: float, width: int) -> Examples:
    """The same, but no axis tells more than another: what varies is turned against the axes."""
    generator = np.random.default_rng(99)
    centres = generator.normal(size=(len(counts), width))
    shape = np.exp(0.5 * generator.normal(size=width))
    turned = shape[:, None] * np.linalg.qr(generator.normal(size=(width, width)))[0]
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(size=(len(labels), width)) @ turned
    return Examples(unit_rows(apart * centres[labels] + noise + 4.0), labels, len(counts))


def words_for(examples: Examples, seed: int = 5) -> Words:
    """Class names that point more or less at the classes."""
    generator = np.random.default_rng(seed)
    means = examples.class_means()
    away = unit_rows(means - means.mean(axis=0))
    noise = generator.normal(size=away.shape) / np.sqrt(away.shape[1])
    # Nothing along what all images share, or one name would win for every image.
    noise -= noise.mean(axis=1, keepdims=True)
    references = unit_rows(generator.normal(size=(30, away.shape[1])))
    return Words(unit_rows(away + noise), references, 20.0)


def accuracy(scores: DoubleArray, labels: IntArray) -> float:
    return float((scores.argmax(axis=1) == labels).mean())
