"""Multinomial logistic regression on frozen embeddings.

Source: the linear probe of Radford et al. 2021, appendix A.3 (arXiv:2103.00020); scikit-learn's.
"""

from __future__ import annotations

import warnings

import numpy as np

from footwork.fewshot.examples import Examples
from footwork.fewshot.heads import LinearHead

INVERSE_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""C of scikit-learn: large, since rows have length 1 and classes differ in small angles."""

_MOST_STEPS = 500


def fit(examples: Examples, inverse_penalty: float) -> LinearHead:
    """Fit it with classes weighted alike.

    The solution lies in the span of the examples, so it is sought there.

    Args:
        examples: At least one; of one class alone nothing can be learned, and all score 0.
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
