"""Votes of similar examples, without training.

Source: Tip-Adapter, Zhang et al. 2022, equations 3 to 6 (arXiv:2207.09519). There classes have
equally many examples; here the votes of a class are averaged, or the largest class would win. The
weight of the votes against the words, alpha in the paper, is found as for every method.
"""

from __future__ import annotations

import numpy as np

from footwork.fewshot.examples import Examples
from footwork.fewshot.heads import CacheHead

SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""beta of the paper, which searches from 1 on and starts at 5.5 on most of its data."""


def fit(examples: Examples, sharpness: float) -> CacheHead:
    """Remember the examples.

    Args:
        examples: At least one.
        sharpness: How fast a vote falls with the cosine, above 0.
    """
    votes = np.zeros((len(examples), examples.num_classes), dtype=np.float32)
    votes[np.arange(len(examples)), examples.labels] = 1.0 / examples.counts[examples.labels]
    return CacheHead(
        examples.embeddings.astype(np.float32), votes, np.array([sharpness], dtype=np.float32)
    )
