"""The methods by name: how each is fitted, what it searches, how it is judged; and all settings."""

# No postponed annotations: cyclopts evaluates those of a dataclass where a subclass stands.

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from footwork.arrays import DoubleArray, FloatArray
from footwork.errors import ConfigError, require_at_least
from footwork.fewshot.discriminant import LENGTHS, discriminants, prototypes
from footwork.fewshot.examples import Examples, Folds
from footwork.fewshot.heads import AnyHead, CacheHead, LinearHead, ProjectionHead
from footwork.settings import Settings

INVERSE_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""C of scikit-learn: large, since rows have length 1 and classes differ in small angles."""
_MOST_STEPS = 500


def linear_probe(examples: Examples, inverse_penalty: float) -> LinearHead:
    """Multinomial logistic regression, classes weighted alike; of one class alone all score 0.

    The solution lies in the span of the examples, so it is sought there.

    Source: the linear probe of Radford et al. 2021, appendix A.3 (arXiv:2103.00020).

    Args:
        examples: At least one.
        inverse_penalty: Of the squared weights, above 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    basis = examples.basis()
    weights = np.zeros((examples.num_classes, len(basis)))
    bias = np.zeros(examples.num_classes)
    present = np.unique(examples.labels)
    if len(present) > 1:
        model = LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=_MOST_STEPS)
        with warnings.catch_warnings():
            # Weights that still move after so many steps separate the examples long since.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Many classes of few examples are what is wanted here, not a regression.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model.fit(examples.embeddings @ basis.T, examples.labels)
        # Of two classes scikit-learn fits the second against the first.
        chosen = present if len(present) > 2 else present[1:]
        weights[chosen], bias[chosen] = model.coef_, model.intercept_
    return LinearHead((weights @ basis).astype(np.float32), bias.astype(np.float32))


SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""beta of the paper, which searches from 1 on and starts at 5.5 on most of its data."""


def tip_adapter(examples: Examples, sharpness: float) -> CacheHead:
    """Votes of similar examples, without training; a vote falls with the cosine by `sharpness`.

    There classes have equally many examples; here the votes of a class are averaged, or the largest
    class would win. The weight of the votes against the words, alpha in the paper, is found as for
    every method.

    Source: Tip-Adapter, Zhang et al. 2022, equations 3 to 6 (arXiv:2207.09519).
    """
    votes = np.zeros((len(examples), examples.num_classes), dtype=np.float32)
    votes[np.arange(len(examples)), examples.labels] = 1.0 / examples.counts[examples.labels]
    return CacheHead(
        examples.embeddings.astype(np.float32), votes, np.array([sharpness], dtype=np.float32)
    )


RECIPES = (
    "discriminant + regression",
    "regression",
    "tight regression",
    "discriminant",
    "discriminant + regression, standardised",
)
_LOOSE, _TIGHT = 1.0, 100.0
"""Of regression on rows of length 1: near the nearest mean, and near a wide margin."""
_COMMON_ROWS, _FEW_ROWS = 30, 3
"""Rows that the common spread of all axes counts for, against those that an axis is told by."""


def ensemble(examples: Examples) -> tuple[LinearHead, ...]:
    """Discriminant and logistic regression together, for each of `RECIPES`, which share parts.

    Which of the two does better depends on the embedding, and few examples cannot tell: the sum of
    both loses little to the better one. On photographs (two layers of EfficientNet), news, emotions
    (MiniLM) and digits, 2 to 16 examples a class, it was half a point better on average than the
    better of scikit-learn's regressions on unit and on standardised rows, and at worst a point
    below it; the discriminant was at worst 1.4 below, the regressions 2.4 and 4. Where examples are
    many, another recipe may be better by more than chance, and is taken then.
    """
    level, scale = _levelled(examples, _COMMON_ROWS)
    gaussians = discriminants(level)
    loose, tight = (linear_probe(level, penalty) for penalty in (_LOOSE, _TIGHT))
    standard, standard_scale = _levelled(examples, _FEW_ROWS)
    parts = (*discriminants(standard), linear_probe(standard, _LOOSE))
    return (
        _sum((*gaussians, loose, tight), level, scale),
        linear_probe(examples, _LOOSE),
        _sum((tight,), level, scale),
        _sum(gaussians[:1], level, scale),
        _sum(parts, standard, standard_scale),
    )


def _levelled(examples: Examples, common_rows: int) -> tuple[Examples, FloatArray]:
    """Divide each axis by its spread, drawn towards that of all axes; and the divisors, (D,).

    As far as so many rows can tell how far each spreads: where an axis is told by few,
    standardising it does more harm than good.
    """
    spreads = examples.embeddings.var(axis=0, dtype=np.float64)
    common = max(float(spreads.mean()), np.finfo(np.float64).tiny)
    rows = len(examples)
    scale = np.sqrt((rows * spreads / common + common_rows) / (rows + common_rows))
    level = Examples(examples.embeddings / scale, examples.labels, examples.num_classes)
    return level, scale.astype(np.float32)


def _sum(parts: tuple[LinearHead, ...], level: Examples, scale: FloatArray) -> LinearHead:
    """Add up heads that were brought to scores of one spread, and undo the levelling."""
    weights, bias = np.zeros_like(parts[0].weights), np.zeros_like(parts[0].bias)
    for part in parts:
        spread = part.scores(level.embeddings).std(axis=1).mean()
        if spread > 1e-12:
            weights += part.weights / np.float32(spread)
            bias += part.bias / np.float32(spread)
    return LinearHead(weights / scale, bias)


SIAMESE_STEPS = (0.0, 5.0, 15.0, 40.0)
"""Optimizer steps over all pairs; how many are too many is found on examples left out."""


def _siamese(examples: Examples, seed: int) -> Sequence[AnyHead]:
    from footwork.fewshot import contrastive  # torch, for this method alone

    return [contrastive.fit(examples, steps, seed) for steps in SIAMESE_STEPS]


Setting = float | str


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


METHODS: dict[str, Method] = {
    "ensemble": Method(
        "discriminant and logistic regression together",
        LinearHead,
        lambda examples, _: ensemble(examples),
        RECIPES,
        "recipe",
    ),
    "gda": Method(
        "Gaussian discriminant analysis",
        LinearHead,
        lambda examples, _: discriminants(examples),
        LENGTHS,
        "lengths",
    ),
    "prototypes": Method("nearest class mean", LinearHead, lambda some, _: [prototypes(some)]),
    "linear-probe": Method(
        "logistic regression",
        LinearHead,
        lambda examples, _: [linear_probe(examples, penalty) for penalty in INVERSE_PENALTIES],
        INVERSE_PENALTIES,
        "inverse_penalty",
    ),
    "tip-adapter": Method(
        "Tip-Adapter",
        CacheHead,
        lambda examples, _: [tip_adapter(examples, sharpness) for sharpness in SHARPNESS],
        SHARPNESS,
        "sharpness",
    ),
    "siamese": Method("Siamese head", ProjectionHead, _siamese, SIAMESE_STEPS, "steps", 5),
}
MethodName = Literal["ensemble", "gda", "prototypes", "linear-probe", "tip-adapter", "siamese"]


@dataclass(frozen=True, kw_only=True)
class LearnOptions(Settings):
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
    examples enough to know it (59 at the least for 0.95); `none` withholds none as unsure."""
    refused: float | None = 0.05
    """Share of inputs of the classes that may be taken for none of them; `none` lets that
    happen to none."""
    compare: bool = False
    """Estimate the other methods too."""
    seed: int = 0
    """Of the siamese head, where it looks at a part of the examples at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words is not None and not 0 <= self.words <= 1:
            raise ConfigError(f"`words` is a share from 0 to 1, got {self.words}.")
        for name in ("target_accuracy", "refused"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"`{name}` is a share between 0 and 1, got {value}.")
        require_at_least(0, self, "seed")
