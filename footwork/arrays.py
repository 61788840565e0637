"""Arrays of numpy by what they hold; their shapes stand where they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Embeddings and logits, as models give them."""
DoubleArray = NDArray[np.float64]
"""Probabilities and statistics."""
RealArray = NDArray[np.floating[Any]]
"""Of whatever precision."""
AnyArray = NDArray[Any]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]
