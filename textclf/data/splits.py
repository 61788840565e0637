"""Which rows have the same text, so that none is held out for validation beside its twin."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

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
    keys = map(normalise_text, texts)
    if pairs is not None:
        keys = map("{}\0{}".format, keys, map(normalise_text, pairs))
    numbers: dict[bytes, int] = {}
    digests = (blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16) for key in keys)
    return np.array([numbers.setdefault(d.digest(), len(numbers)) for d in digests], dtype=np.int64)
