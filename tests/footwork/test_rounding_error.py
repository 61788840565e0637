"""Laws of what bf16 adds, and of what it may have turned."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from footwork.arrays import FloatArray
from footwork.errors import ModelError
from footwork.evaluation.decision import DecisionRule
from footwork.inference.rounding import FEWEST, RoundingError, measured_error, published_error
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL

RULE = DecisionRule(task=SINGLE_LABEL, labels=("a", "b"), temperature=2.0)
EACH = DecisionRule(task=MULTI_LABEL, labels=("a", "b"))
ONE = np.random.default_rng(0).normal(scale=0.1, size=FEWEST)


def measured(errors: Any, rule: DecisionRule = RULE) -> RoundingError | None:
    """What is found where the logits of bf16 are off by `errors`, (N, C)."""
    errors = np.asarray(errors, np.float32)
    exact: FloatArray = np.zeros_like(errors)
    return measured_error(rule, errors, exact)


def deviation(errors: Any, rule: DecisionRule = RULE) -> float:
    found = measured(errors, rule)
    assert found is not None
    return found.deviation


def test_what_moves_all_labels_alike_moves_no_decision_between_them() -> None:
    alike = np.stack([ONE, ONE], axis=1)
    assert deviation(alike) == pytest.approx(0, abs=1e-6)
    assert deviation(alike, EACH) == pytest.approx(ONE.std(ddof=1))


def test_what_moves_two_labels_apart_counts_twice() -> None:
    apart = np.stack([ONE, -ONE], axis=1)
    assert deviation(apart) == pytest.approx(2 * ONE.std(ddof=1))


def test_the_labels_that_err_most_decide() -> None:
    rule = DecisionRule(task=SINGLE_LABEL, labels=("a", "b", "c"))
    still = np.zeros_like(ONE)
    assert deviation(np.stack([still, ONE, still], axis=1), rule) == pytest.approx(ONE.std(ddof=1))


def test_a_bias_is_no_error() -> None:
    found = measured(np.tile([0.3, -0.2], (FEWEST, 1)))
    assert found is not None
    assert found.reach == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.bias, [0.3, -0.2])


def test_a_single_label_is_never_turned() -> None:
    assert deviation(ONE[:, None], DecisionRule(task=SINGLE_LABEL, labels=("a",))) == 0


def test_what_was_not_measured_well_is_unknown() -> None:
    errors = np.stack([ONE, -ONE], axis=1)
    assert measured(errors[1:]) is None
    assert measured(np.where(errors == errors.max(), np.nan, errors)) is None
    assert measured(errors[:, :1], DecisionRule(task=REGRESSION, labels=())) is None


def test_what_is_published_is_read_in_logits_whatever_the_temperature() -> None:
    found = measured(np.stack([ONE, -ONE + 0.1], axis=1))
    assert found is not None
    manifest = json.loads(json.dumps({"rounding": found.scaled(1 / RULE.temperature).to_dict()}))
    read = published_error(manifest, RULE)
    assert read is not None
    np.testing.assert_allclose(read.bias, found.bias, rtol=1e-6)
    assert read.deviation == pytest.approx(found.deviation)
    assert published_error({}, RULE) is published_error({"rounding": None}, RULE) is None


@pytest.mark.parametrize(
    "rounding",
    [
        {"bias": [0.0], "deviation": 0.1},
        {"bias": [0.0, float("nan")], "deviation": 0.1},
        {"bias": [0.0, "0"], "deviation": 0.1},
        {"bias": [0.0, 1e308], "deviation": 0.1},
        {"bias": [0.0, 0.0], "deviation": -0.1},
        {"bias": [0.0, 0.0]},
        0.1,
    ],
)
def test_the_error_of_another_model_is_refused(rounding: Any) -> None:
    with pytest.raises(ModelError, match=r"`rounding` must be as it was published, for 2 labels"):
        published_error({"rounding": rounding}, RULE)


def test_a_regression_has_no_error_to_take_away() -> None:
    with pytest.raises(ModelError, match="`rounding`"):
        published_error(
            {"rounding": {"bias": [], "deviation": 0.0}}, DecisionRule(task=REGRESSION, labels=())
        )
