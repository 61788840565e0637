"""From cosines to scores, as the model was trained to make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.logits import log_softmax, sigmoid

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """The last step of a two-tower model.

    CLIP was trained to choose one text for an image: its scores are a softmax over the labels, so
    they add up to 1 and answer "which of these". SigLIP was trained to say of each pair whether it
    belongs together: its scores are a sigmoid a label and answer "is it there"; they do not add up
    to 1, and 0.2 for the right label is usual. Both rank labels by the cosine alone.

    Sources: Radford et al. 2021, figure 3 (arXiv:2103.00020); Zhai et al. 2023, section 3.2
    (arXiv:2303.15343).
    """

    scale: float
    """Multiplies the cosine: the model's own, already exponentiated."""
    bias: float | None = None
    """Added to it: SigLIP's own; None makes the scores a softmax."""

    def logits(self, cosines: NDArray[np.floating[Any]]) -> FloatArray:
        """What the model calls `logits_per_image`, of the same shape."""
        logits: FloatArray = cosines.astype(np.float64) * self.scale + (self.bias or 0.0)
        return logits

    def scores(self, cosines: NDArray[np.floating[Any]]) -> FloatArray:
        """From 0 to 1, shape (N, C) as the cosines; over all C labels at once."""
        logits = self.logits(cosines)
        return np.exp(log_softmax(logits)) if self.bias is None else sigmoid(logits)
