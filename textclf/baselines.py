"""What a classifier must beat: the commonest answer, and TF-IDF with a linear model.

The linear model is a strong one on purpose (Wang and Manning 2012, ACL: bag-of-n-gram linear
models are hard to beat on short texts): words and pairs of words, and pieces of 3 to 5 characters
inside words for spelling and for languages without spaces.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import DoubleArray, IntArray
from footwork.evaluation.baselines import label_models, majority_logits
from footwork.evaluation.calibration import GivenCalibration
from footwork.evaluation.result import Evaluation, evaluate_logits
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    from textclf.data import Examples, LabelledData

REGULARISATION = 4.0
"""Inverse strength C of the logistic regression. Fixed: on four public sets (sentiment, questions,
intents, reviews) 1 to 16 moved the accuracy by two points at most, and 4 was best or near it."""

_FEATURES = 100_000
"""Most word features, and most character features."""
_TEXT_CHARACTERS = 2_000
"""What is read of one text."""
_TRAIN_CHARACTERS = 10_000_000
"""What is read of the training split: less than a minute."""
_TRAIN_CELLS = 3_000_000
"""Training rows times classes: about a minute."""
_RARE_FROM = 1_000
"""From this many texts on, a feature must occur in two of them."""


def fit_baselines(data: LabelledData, split: Examples) -> dict[str, Evaluation]:
    """Fit both baselines on the training split and judge them on another.

    `majority` gives the commonest class, the commonest set of labels (multi-label) or the mean
    (regression). `linear` is TF-IDF of word 1-2-grams and character 3-5-grams with a logistic
    regression, one a label with balanced classes (multi-label), or ridge regression. Of a pair
    both texts give columns of their own, and so does the difference between them. A training
    split that would take minutes is sampled, which the evaluation's notes then say.

    Returns:
        `majority` and `linear`.
    """
    targets = data.train.targets
    logits = {"majority": majority_logits(data.task, len(data.labels), targets, len(split.texts))}
    logits["linear"], notes = _linear_logits(data, split, logits["majority"])
    found = {
        # As they are: what was fitted on the rows that judge them would flatter them.
        name: evaluate_logits(data.task, data.labels, split.targets, values, GivenCalibration())
        for name, values in logits.items()
    }
    found["linear"] = replace(found["linear"], remarks=notes)
    return found


def _linear_logits(
    data: LabelledData, split: Examples, fallback: DoubleArray
) -> tuple[DoubleArray, tuple[str, ...]]:
    """Return logits of the rows of `split`, and what a reader should know."""
    chosen = _affordable_rows(data)
    targets = data.train.targets[chosen]
    notes = []
    if len(chosen) < len(data.train.texts):
        notes.append(
            f"The linear baseline was fitted on {len(chosen):,} of {len(data.train.texts):,} "
            "training rows, drawn at random, to be done in minutes."
        )
    if len(np.unique(targets, axis=0)) < 2:
        return fallback, (*notes, "All training rows have one target: nothing for a linear model.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A baseline that has not converged is still a baseline.
        features = _features(data.train, chosen, split)
        if features is None:
            return fallback, (*notes, "No training text has a word: nothing for a linear model.")
        fit = {SINGLE_LABEL: _softmax_logits, MULTI_LABEL: _label_logits, REGRESSION: _ridge}
        logits = fit[data.task](features, targets, max(1, len(data.labels)))
    return logits, tuple(notes)


def _affordable_rows(data: LabelledData) -> IntArray:
    """Choose the training rows: all, or a random part where they would take minutes."""
    train = data.train
    sizes = [min(len(text), _TEXT_CHARACTERS) for text in train.texts]
    if train.pairs is not None:
        sizes = [a + min(len(b), _TEXT_CHARACTERS) for a, b in zip(sizes, train.pairs, strict=True)]
    order = np.random.default_rng(0).permutation(len(sizes))
    by_text = int(np.searchsorted(np.cumsum(np.asarray(sizes)[order]), _TRAIN_CHARACTERS))
    by_class = _TRAIN_CELLS // max(1, len(data.labels))
    return np.sort(order[: max(1, min(by_text, by_class))])


def _features(train: Examples, chosen: IntArray, split: Examples) -> tuple[Any, Any] | None:
    """Return the sparse rows of the chosen training texts and of the split, if there are words."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    pairs = train.pairs is not None and split.pairs is not None
    fitted, judged = _texts(train, chosen.tolist()), _texts(split, range(len(split.texts)))
    rare = 2 if len(fitted) >= _RARE_FROM else 1
    options = {"sublinear_tf": True, "min_df": rare, "max_features": _FEATURES}
    blocks = []
    for kind in (
        {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b|[^\w\s]"},
        {"ngram_range": (3, 5), "analyzer": "char_wb"},
    ):
        vectorizer = TfidfVectorizer(**kind, **options)
        try:
            blocks.append((vectorizer.fit_transform(fitted), vectorizer.transform(judged)))
        except ValueError:  # scikit-learn's for an empty vocabulary
            continue
    if not blocks:
        return None
    tables = [hstack(parts, "csr") for parts in zip(*blocks, strict=True)]
    first, second = (_side_by_side(table) if pairs else table for table in tables)
    return first, second


def _texts(examples: Examples, rows: Sequence[int]) -> list[str]:
    """Return the first texts of the rows, then the second ones if there are."""
    sides = [examples.texts] if examples.pairs is None else [examples.texts, examples.pairs]
    return [side[row][:_TEXT_CHARACTERS] for side in sides for row in rows]


def _side_by_side(table: Any) -> Any:
    """Turn first texts above second ones into columns of both and of their difference."""
    from scipy.sparse import hstack

    first, second = table[: table.shape[0] // 2], table[table.shape[0] // 2 :]
    return hstack([first, second, abs(first - second)], "csr")


def _softmax_logits(
    features: tuple[Any, Any], targets: NDArray[Any], num_classes: int
) -> DoubleArray:
    """Fit one softmax; classes without a training row get the odds of one row in N + C."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=REGULARISATION, tol=1e-3, max_iter=200)
    scores = model.fit(features[0], targets).decision_function(features[1])
    if scores.ndim == 1:
        scores = np.stack((np.zeros_like(scores), scores), axis=1)
    unseen = np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1))
    unseen += scores.max(axis=1) - np.log(len(targets) + num_classes)
    logits = np.tile(unseen[:, None], (1, num_classes))
    logits[:, model.classes_] = scores
    return logits


def _label_logits(
    features: tuple[Any, Any], targets: NDArray[Any], num_classes: int
) -> DoubleArray:
    """Fit one logistic regression a label, classes balanced so that 0 is a fair threshold."""
    logits = np.empty((features[1].shape[0], num_classes))
    for label, model in enumerate(label_models(features[0], targets, REGULARISATION)):
        constant = isinstance(model, float)
        logits[:, label] = model if constant else model.decision_function(features[1])
    return logits


def _ridge(features: tuple[Any, Any], targets: NDArray[Any], num_classes: int) -> DoubleArray:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1.0).fit(features[0], targets.astype(np.float64))
    return np.asarray(model.predict(features[1]), dtype=np.float64).reshape(-1, num_classes)
