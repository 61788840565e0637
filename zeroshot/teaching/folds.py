"""Which examples are left out together, so that no example is judged by what knew it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.teaching.examples import Examples

Folds = Sequence[NDArray[np.int64]]

SAME_COSINE = 0.9999
"""Above it two embeddings are of one picture: a copy, or one saved again in another quality. With
real vectors of CLIP ViT-B/32, different photographs of one scene stay below 0.95."""

_BLOCK = 2048  # rows compared with all others at once


def same_pictures(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Number the pictures that rows show: equal numbers are (nearly) one picture.

    Args:
        embeddings: Shape (N, D), unit rows.

    Returns:
        Shape (N,), from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for start in range(0, len(embeddings), _BLOCK):
        cosines = embeddings[start : start + _BLOCK] @ embeddings.T
        first, second = np.nonzero(cosines > SAME_COSINE)
        pairs.append(np.stack([first + start, second]))
    first, second = np.concatenate(pairs, axis=1)
    shape = (len(embeddings), len(embeddings))
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=shape)
    return connected_components(graph, directed=False)[1].astype(np.int64)


def leave_one_out(pictures: NDArray[np.int64]) -> Folds:
    """One fold a picture: all rows that show it.

    Args:
        pictures: Shape (N,), as `same_pictures` numbers them.
    """
    order = np.argsort(pictures, kind="stable")
    ends = np.nonzero(np.diff(pictures[order]))[0] + 1
    return [fold for fold in np.split(order, ends) if len(fold)]


def make_folds(examples: Examples, pictures: NDArray[np.int64], most: int | None) -> Folds:
    """Leave-one-out, or as many folds as a method can afford, of every class alike.

    Which row goes where depends on the rows and not on their order.

    Args:
        examples: N.
        pictures: Shape (N,); rows of one picture stay together.
        most: Folds; None leaves pictures out one by one.
    """
    singles = leave_one_out(pictures)
    if most is None or len(singles) <= most:
        return singles
    keys = [(examples.labels[f[0]], *examples.embeddings[f[0]].tolist()) for f in singles]
    order = sorted(range(len(singles)), key=keys.__getitem__)
    return [np.concatenate([singles[i] for i in order[start::most]]) for start in range(most)]
