"""The methods by name: how each is fitted, what it searches, how it is judged on the examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.logits import FloatArray
from zeroshot.teaching import discriminant, linear_probe, prototypes, tip_adapter
from zeroshot.teaching.examples import Examples
from zeroshot.teaching.folds import Folds
from zeroshot.teaching.heads import AnyHead, CacheHead, LinearHead, ProjectionHead

SIAMESE_STEPS = (0.0, 5.0, 15.0, 40.0)
"""Optimizer steps over all pairs; how many are too many is found on examples left out."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to learn from examples."""

    title: str
    head: type[AnyHead]
    fit: Callable[[Examples, float, int], AnyHead]
    """Takes the examples, a setting and a seed."""
    settings: tuple[float, ...] = (0.0,)
    """Values of its one hyper-parameter, to choose from on examples left out."""
    setting_name: str | None = None
    """None where there is nothing to choose."""
    most_folds: int | None = None
    """Refits for each setting that take seconds; None can leave out one example after the other."""
    shortcut: Callable[[Examples, Folds], FloatArray] | None = None
    """The same scores without refits."""

    def held_out_scores(self, examples: Examples, folds: Folds, seed: int) -> FloatArray:
        """Score each example by heads that were fitted without its fold, for every setting.

        Returns:
            Shape (S, N, C); NaN for a class that the fold leaves without an example.
        """
        if self.shortcut is not None:
            return self.shortcut(examples, folds)
        # All of them see inner products alone: on the span the answers are the same.
        reduced = examples.embeddings @ examples.basis().T
        examples = Examples(reduced, examples.labels, examples.num_classes)
        shape = (len(self.settings), len(examples), examples.num_classes)
        scores = np.full(shape, np.nan)
        for fold in folds:
            rest = examples.without(fold)
            if not len(rest):
                continue
            known = rest.counts > 0
            for number, setting in enumerate(self.settings):
                found = self.fit(rest, setting, seed).scores(examples.embeddings[fold])
                scores[number, fold] = np.where(known, found, np.nan)
        return scores


def _fit_siamese(examples: Examples, setting: float, seed: int) -> AnyHead:
    from zeroshot.teaching import siamese  # torch, for this method alone

    return siamese.fit(examples, setting, seed)


METHOD = {
    "gda": Method(
        "Gaussian discriminant analysis",
        LinearHead,
        lambda examples, setting, _seed: discriminant.fit(examples, setting),
        discriminant.LENGTHS,
        "lengths",
        shortcut=discriminant.held_out_scores,
    ),
    "prototypes": Method(
        "nearest class mean", LinearHead, lambda examples, _setting, _seed: prototypes.fit(examples)
    ),
    "linear-probe": Method(
        "logistic regression",
        LinearHead,
        lambda examples, setting, _seed: linear_probe.fit(examples, setting),
        linear_probe.INVERSE_PENALTIES,
        "inverse_penalty",
        most_folds=10,
    ),
    "tip-adapter": Method(
        "Tip-Adapter",
        CacheHead,
        lambda examples, setting, _seed: tip_adapter.fit(examples, setting),
        tip_adapter.SHARPNESS,
        "sharpness",
    ),
    "siamese": Method(
        "Siamese head",
        ProjectionHead,
        _fit_siamese,
        SIAMESE_STEPS,
        "steps",
        most_folds=5,
    ),
}
