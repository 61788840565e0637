"""What rows have in common when some are held out for validation: their text, and their label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textclf.data.labels import MULTI_LABEL, REGRESSION

_AMOUNT_BINS = 10


def normalise_text(text: str) -> str:
    """What two texts have in common if they differ in case and whitespace only."""
    return " ".join(text.casefold().split())


def text_groups(texts: Sequence[str], pairs: Sequence[str] | None) -> NDArray[np.int64]:
    """A number for each row, the same for rows with the same normalised text.

    Args:
        texts: N texts.
        pairs: N second texts, or None.
    """
    keys = [normalise_text(text) for text in texts]
    if pairs is not None:
        keys = [f"{key}\0{normalise_text(pair)}" for key, pair in zip(keys, pairs, strict=True)]
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def strata(targets: NDArray[np.generic], task: str) -> NDArray[np.int64]:
    """Which rows are alike in their labels, (N,).

    Args:
        targets: As `encode_targets` makes them.
        task: For multi-label a row belongs to the rarest of its labels, for regression to a
            tenth of the amounts.
    """
    if task == REGRESSION:
        edges = np.quantile(targets.astype(np.float64), np.linspace(0, 1, _AMOUNT_BINS + 1)[1:-1])
        return np.searchsorted(edges, targets.astype(np.float64)).astype(np.int64)
    if task == MULTI_LABEL:
        present = targets.astype(np.float64) > 0
        rarity = np.where(present, present.sum(axis=0), np.inf)
        rarest = rarity.argmin(axis=1) if targets.shape[1] else np.zeros(len(targets))
        return np.where(present.any(axis=1), rarest, -1).astype(np.int64)
    return targets.astype(np.int64)


def return_unseen(
    held: NDArray[np.bool_], groups: NDArray[np.int64], targets: NDArray[np.generic], task: str
) -> NDArray[np.bool_]:
    """Give rows back to training until it has every class of validation.

    Args:
        held: True for rows of validation, (N,).
        groups: As `text_groups` gives them, (N,).
        targets: As `encode_targets` makes them.
        task: Regression has no classes; nothing is given back.
    """
    if task == REGRESSION:
        return held
    held = held.copy()
    present = _presence(targets, task)
    for column in np.flatnonzero(present[held].any(axis=0) & ~present[~held].any(axis=0)):
        if not present[~held, column].any():
            row = np.flatnonzero(held & present[:, column])[0]
            held[groups == groups[row]] = False
    return held


def _presence(targets: NDArray[np.generic], task: str) -> NDArray[np.bool_]:
    if task == MULTI_LABEL:
        return targets.astype(np.float64) > 0
    classes = targets.astype(np.int64)
    present: NDArray[np.bool_] = classes[:, None] == np.arange(classes.max(initial=-1) + 1)
    return present
