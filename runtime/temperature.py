"""One number to divide logits by, so that probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.logits import FloatArray, log_softmax, sigmoid

_SHARPEST, _FLATTEST = 0.01, 100.0
"""Bounds of a temperature."""

_FIT_CELLS = 500_000
"""Logits that a fit looks at: with more, a random part of the rows tells the same number."""

_Slope = Callable[[float], tuple[float, float]]


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Find the one number to divide logits by, so that probabilities are most likely.

    The negative log-likelihood is convex in 1 / temperature: a Newton step where it stays in the
    bracket, else a bisection. Each target gives 1 / (N + 2) of its mass to the alternatives, as
    Platt scaling does, so that a split without an error does not ask for infinite confidence.

    Source: Guo et al. 2017, section 4.2 (arXiv:1706.04599); the smoothing from Platt 1999.

    Args:
        logits: Shape (N, C), finite.
        targets: Shape (N,), class numbers, for a softmax; shape (N, C), 0 or 1, for sigmoids.

    Returns:
        Between 0.01 and 100; 1 where no temperature is better than another.
    """
    if not logits.size:
        return 1.0
    most = max(1000, _FIT_CELLS // logits.shape[1])
    if len(logits) > most:
        chosen = np.random.default_rng(0).choice(len(logits), most, replace=False)
        logits, targets = logits[chosen], targets[chosen]
    scores = logits.astype(np.float64)
    slope = (
        _softmax_slope(scores, targets) if targets.ndim == 1 else _sigmoid_slope(scores, targets)
    )
    return 1.0 / _root(slope, 1.0 / _FLATTEST, 1.0 / _SHARPEST)


def bound_note(temperature: float) -> str | None:
    """What a temperature says that the search for it ended at; None for any other."""
    if _SHARPEST < temperature < _FLATTEST:
        return None
    flat = "the classifier is hardly better than chance"
    sharp = "the logits hardly differ from row to row"
    found = flat if temperature >= _FLATTEST else sharp
    return f"the temperature is at the end of its search: {found}"


def _softmax_slope(logits: FloatArray, targets: NDArray[Any]) -> _Slope:
    centred = logits - logits.mean(axis=1, keepdims=True)
    share = 1.0 / (len(logits) + 2.0)
    # The spread of the smoothing has mean logit 0 after centring.
    wanted = (1.0 - share) * centred[np.arange(len(logits)), targets].mean()

    def slope(inverse: float) -> tuple[float, float]:
        probabilities = np.exp(log_softmax(inverse * centred))
        mean = (probabilities * centred).sum(axis=1)
        square = (probabilities * centred**2).sum(axis=1)
        return float(mean.mean() - wanted), float((square - mean**2).mean())

    return slope


def _sigmoid_slope(logits: FloatArray, targets: NDArray[Any]) -> _Slope:
    share = 1.0 / (len(logits) + 2.0)
    wanted = targets.astype(np.float64) * (1.0 - 2.0 * share) + share

    def slope(inverse: float) -> tuple[float, float]:
        probabilities = sigmoid(inverse * logits)
        curvature = (probabilities * (1.0 - probabilities) * logits**2).mean()
        return float(((probabilities - wanted) * logits).mean()), float(curvature)

    return slope


def _root(slope: _Slope, low: float, high: float) -> float:
    """Find where an increasing slope crosses 0, or the end that it points to."""
    at_low, at_high = slope(low)[0], slope(high)[0]
    if at_low == at_high:
        return 1.0
    if at_low >= 0 or at_high <= 0:
        return low if at_low >= 0 else high
    point = 1.0
    for _ in range(100):
        value, curvature = slope(point)
        low, high = (point, high) if value < 0 else (low, point)
        step = point - value / curvature if curvature > 0 else 0.0
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - point) < 1e-9 * point:
            return following
        point = following
    return point
