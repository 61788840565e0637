"""The methods by name: how each is fitted, what it searches, how it is judged on the examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from footwork.evaluation.logits import FloatArray
from footwork.fewshot import discriminant, ensemble, linear_probe, prototypes, tip_adapter
from footwork.fewshot.examples import Examples, Folds
from footwork.fewshot.heads import AnyHead, CacheHead, LinearHead, ProjectionHead

Setting = float | str

SIAMESE_STEPS = (0.0, 5.0, 15.0, 40.0)
"""Optimizer steps over all pairs; how many are too many is found on examples left out."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to learn from examples."""

    title: str
    head: type[AnyHead]
    fit_all: Callable[[Examples, int], Sequence[AnyHead]]
    """Takes the examples and a seed, gives a head for each of `settings`."""
    settings: tuple[Setting, ...] = (0.0,)
    """Values of its one hyper-parameter, the simplest first: another is taken if examples left out
    are for it by more than chance."""
    setting_name: str | None = None
    """None where there is nothing to choose."""
    most_folds: int = 10
    """More refits would take more than seconds."""

    def held_out_scores(self, examples: Examples, folds: Folds, seed: int) -> FloatArray:
        """Score each example by heads that were fitted without its fold, for every setting.

        Returns:
            Shape (S, N, C); NaN for a class that the fold leaves without an example.
        """
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
            for number, head in enumerate(self.fit_all(rest, seed)):
                found = head.scores(examples.embeddings[fold])
                scores[number, fold] = np.where(known, found, np.nan)
        return scores


def _fit_siamese(examples: Examples, seed: int) -> Sequence[AnyHead]:
    from footwork.fewshot import contrastive as siamese  # torch, for this method alone

    return [siamese.fit(examples, steps, seed) for steps in SIAMESE_STEPS]


METHOD = {
    "ensemble": Method(
        "discriminant and logistic regression together",
        LinearHead,
        lambda examples, _seed: ensemble.fit_all(examples),
        ensemble.RECIPES,
        "recipe",
    ),
    "gda": Method(
        "Gaussian discriminant analysis",
        LinearHead,
        lambda examples, _seed: discriminant.fit_all(examples),
        discriminant.LENGTHS,
        "lengths",
    ),
    "prototypes": Method(
        "nearest class mean", LinearHead, lambda examples, _seed: [prototypes.fit(examples)]
    ),
    "linear-probe": Method(
        "logistic regression",
        LinearHead,
        lambda examples, _seed: [
            linear_probe.fit(examples, penalty) for penalty in linear_probe.INVERSE_PENALTIES
        ],
        linear_probe.INVERSE_PENALTIES,
        "inverse_penalty",
    ),
    "tip-adapter": Method(
        "Tip-Adapter",
        CacheHead,
        lambda examples, _seed: [
            tip_adapter.fit(examples, sharpness) for sharpness in tip_adapter.SHARPNESS
        ],
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
