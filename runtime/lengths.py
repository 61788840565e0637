"""Texts of one length together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def of_one_length(lengths: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of at most `size`, equally long, so that none is padded for another's sake.

    Args:
        lengths: Tokens of each text, (N,).
        size: Texts.
    """
    order = np.argsort(lengths, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        yield from (group[start : start + size] for start in range(0, len(group), size))
