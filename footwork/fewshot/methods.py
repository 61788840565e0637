"""The methods by name: how each is fitted, what it searches, how it is judged; and all settings."""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from footwork.arrays import DoubleArray
from footwork.errors import ConfigError
from footwork.fewshot import discriminant, ensemble, linear_probe, prototypes, tip_adapter
from footwork.fewshot.examples import Examples, Folds
from footwork.fewshot.heads import AnyHead, CacheHead, LinearHead, ProjectionHead

MethodName = Literal["ensemble", "gda", "prototypes", "linear-probe", "tip-adapter", "siamese"]
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

    def held_out_scores(self, examples: Examples, folds: Folds, seed: int) -> DoubleArray:
        """Score each example by heads that were fitted without its fold, for every setting.

        Returns:
            Shape (S, N, C); NaN for a class that the fold leaves without an example.
        """
        # All of them see inner products alone: on the span the answers are the same.
        reduced = examples.embeddings @ examples.basis().T
        examples = Examples(reduced, examples.labels, examples.num_classes)
        scores = np.full((len(self.settings), len(examples), examples.num_classes), np.nan)
        for fold in folds:
            rest = examples.without(fold)
            heads = self.fit_all(rest, seed) if len(rest) else ()
            for number, head in enumerate(heads):
                of_fold = head.scores(examples.embeddings[fold])
                scores[number, fold] = np.where(rest.counts > 0, of_fold, np.nan)
        return scores


def _fit_siamese(examples: Examples, seed: int) -> Sequence[AnyHead]:
    from footwork.fewshot import contrastive  # torch, for this method alone

    return [contrastive.fit(examples, steps, seed) for steps in SIAMESE_STEPS]


METHODS: dict[str, Method] = {
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
        "Siamese head", ProjectionHead, _fit_siamese, SIAMESE_STEPS, "steps", most_folds=5
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnOptions:
    """How a classifier learns from examples."""

    method: MethodName = "ensemble"
    """ensemble: Gaussian discriminant analysis and logistic regression together; gda: the former;
    linear-probe: the latter; prototypes: the nearest class mean; tip-adapter: votes of similar
    examples; siamese: a head trained to tell same from different."""
    words: float | None = None
    """Share of the class names in the answer, from 0 (examples alone) to 1 (words alone); if not
    given, it is found on examples that are left out, and is 0 where names are not seen to be any
    better than chance, and to help."""
    target_accuracy: float | None = 0.95
    """Give no label below the probability from which this share of labels is right, if there are
    examples enough to know it (59 at the least for 0.95); `none` always gives one."""
    refused: float | None = 0.05
    """Share of inputs of the classes that may be taken for none of them; `none` lets that
    happen to none."""
    compare: bool = False
    """Estimate the other methods too."""
    seed: int = 0
    """Of the siamese head, where it looks at a part of the examples at a time."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: One is out of range.
        """
        if self.method not in get_args(MethodName):
            message = f"`method` must be one of {', '.join(METHODS)}, got {self.method!r}."
            raise ConfigError(message)
        if self.words is not None and not 0 <= self.words <= 1:
            raise ConfigError(f"`words` is a share from 0 to 1, got {self.words}.")
        for name in ("target_accuracy", "refused"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"`{name}` is a share between 0 and 1, got {value}.")
        if self.seed < 0:
            raise ConfigError(f"`seed` must be at least 0, got {self.seed}.")
