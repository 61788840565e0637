"""Which rows have the same text, so that none is held out for validation beside its twin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
