"""From logits to an answer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from footwork.errors import ModelError
from footwork.evaluation.decision import DecisionRule, rule_of
from footwork.tables.labels import TASKS

SINGLE, MULTI, REGRESSION = TASKS


def test_a_temperature_changes_probabilities_and_no_label() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4))
    labels = ("a", "b", "c", "d")
    rules = (DecisionRule(task=SINGLE, labels=labels, temperature=t) for t in (0.5, 5.0))
    answers = (rule.predictions([""] * 50, logits) for rule in rules)
    for one, other in zip(*answers, strict=True):
        assert one.label == other.label
        assert one.probability > other.probability
        assert sum(one.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("task", [SINGLE, MULTI])
@pytest.mark.parametrize("abstain_below", [None, 0.7])
@pytest.mark.parametrize("thresholds", [(), (0.1, 0.5, 0.8)])
def test_a_smaller_error_than_the_closeness_changes_no_answer(
    task: str, abstain_below: float | None, thresholds: tuple[float, ...]
) -> None:
    generator = np.random.default_rng(1)
    settings = {"temperature": 1.7, "abstain_below": abstain_below, "thresholds": thresholds}
    rule = DecisionRule(task=task, labels=("a", "b", "c"), **settings)  # type: ignore[arg-type]
    logits = generator.normal(scale=2, size=(500, 3))
    names = [""] * 500
    before = rule.predictions(names, logits)
    # Two logits may each move by half the distance.
    reach = rule.closeness(logits)[:, None] * 0.499
    for _ in range(20):
        after = rule.predictions(names, logits + reach * generator.choice([-1, 1], size=(500, 3)))
        assert [(a.label, a.abstained) for a in before] == [(a.label, a.abstained) for a in after]


def test_each_label_is_given_from_its_own_threshold_on() -> None:
    logits = np.random.default_rng(2).normal(scale=2, size=(200, 3))
    rule = DecisionRule(task=MULTI, labels=("a", "b", "c"), temperature=1.7)
    bars = {"a": 0.1, "b": 0.5, "c": 0.8}
    own = replace(rule, thresholds=tuple(bars.values()))
    answers = (each.predictions([""] * 200, logits) for each in (rule, own))
    for former, answer in zip(*answers, strict=True):
        assert former.probabilities == answer.probabilities
        assert former.label == [name for name, p in answer.probabilities.items() if p >= 0.5]
        assert answer.label == [name for name, p in answer.probabilities.items() if p >= bars[name]]


def test_a_regression_has_no_decision_to_be_close_to() -> None:
    rule = DecisionRule(task="regression", labels=())
    assert not rule.decides
    assert np.isinf(rule.closeness(np.zeros((3, 1)))).all()
    assert rule.predictions(["x"], np.array([[2.5]]))[0].label == 2.5


def test_one_label_alone_is_always_certain() -> None:
    rule = DecisionRule(task=SINGLE, labels=("only",))
    assert np.isinf(rule.closeness(np.array([[0.3]]))).all()
    assert rule.predictions(["x"], np.array([[0.3]]))[0].probability == 1.0


def test_a_manifest_goes_before_the_config() -> None:
    calibration = {"temperature": 2.0, "abstain_below": None}
    manifest = {"task": SINGLE, "labels": ["007", "NA"], "calibration": calibration}
    config = SimpleNamespace(num_labels=2)
    rule = rule_of(manifest, config)
    assert rule == DecisionRule(task=SINGLE, labels=("007", "NA"), temperature=2.0)
    assert rule_of(manifest | {"calibration": None}, config).temperature == 1.0
    several = {"task": MULTI, "calibration": {"thresholds": [0.2, 0.7]}}
    assert rule_of(manifest | several, config).thresholds == (0.2, 0.7)


@pytest.mark.parametrize(
    "changed",
    [
        {"task": "guess"},
        {"labels": ["a", "b", "c"]},
        {"labels": ["a", 5]},
        {"labels": "ab"},
        {"calibration": []},
        {"calibration": {"temperature": "1"}},
        {"calibration": {"temperature": float("nan")}},
        {"calibration": {"temperature": -1.0}},
        {"calibration": {"abstain_below": "0.5"}},
        {"calibration": {"thresholds": [0.5]}},
        {"calibration": {"thresholds": [0.5, 1.5]}},
        {"calibration": {"thresholds": [0.5, "0.5"]}},
        {"calibration": {"thresholds": 0.5}},
    ],
)
def test_a_manifest_that_is_no_rule_of_the_model_is_refused(changed: dict[str, Any]) -> None:
    manifest = {"task": SINGLE, "labels": ["a", "b"], "calibration": None} | changed
    with pytest.raises(ModelError, match="manifest of the model does not fit it"):
        rule_of(manifest, SimpleNamespace(num_labels=2))


@pytest.mark.parametrize(
    ("problem_type", "labels", "task"),
    [(None, 3, SINGLE), (None, 1, REGRESSION), (MULTI, 2, MULTI), (REGRESSION, 1, REGRESSION)],
)
def test_a_foreign_config_is_read_as_transformers_reads_it(
    problem_type: str | None, labels: int, task: str
) -> None:
    names = {index: f"L{index}" for index in range(labels)}
    config = SimpleNamespace(problem_type=problem_type, num_labels=labels, id2label=names)
    rule = rule_of({}, config)
    assert rule.task == task
    assert rule.labels == (() if task == REGRESSION else tuple(names.values()))
