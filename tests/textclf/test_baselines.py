from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from textclf import baselines
from textclf.baselines import fit_baselines
from textclf.data import Examples, TextData

SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
REGRESSION = "regression"

WORDS = {"good": ("fine", "great", "lovely"), "bad": ("poor", "awful", "dull")}


def examples(texts: list[str], targets: Any, pairs: list[str] | None = None) -> Examples:
    rows = list(range(1, len(texts) + 1))
    return Examples(texts, pairs, np.asarray(targets), rows, "table")


def data(
    task: str, labels: tuple[str, ...], train: Examples, judged: Examples | None = None
) -> TextData:
    return TextData(
        task=task,
        labels=labels,
        text_columns=("text",),
        label_column="label",
        splits={"train": train, "validation": train, "test": judged or train},
        sha256="0" * 64,
        held_out=False,
    )


def reviews(rows: int, seed: int) -> tuple[list[str], list[int]]:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, rows)
    texts = [
        f"the film {generator.integers(100)} was {generator.choice(WORDS[('bad', 'good')[label]])}"
        for label in targets
    ]
    return texts, targets.tolist()


def test_the_linear_model_learns_words_and_the_majority_does_not() -> None:
    train, split = examples(*reviews(200, 0)), examples(*reviews(100, 1))
    found = fit_baselines(data(SINGLE, ("bad", "good"), train, split), "test")
    assert list(found) == ["majority", "linear"]
    assert found["linear"].metrics["accuracy"].value == 1.0
    assert found["majority"].metrics["accuracy"].value < 0.7


def test_baselines_are_the_same_every_time() -> None:
    train, split = examples(*reviews(80, 0)), examples(*reviews(50, 1))
    one, other = (
        fit_baselines(data(SINGLE, ("bad", "good"), train, split), "test") for _ in range(2)
    )
    assert one["linear"].to_dict() == other["linear"].to_dict()


def test_the_second_text_of_a_pair_is_read() -> None:
    generator = np.random.default_rng(0)
    texts, targets = reviews(200, 0)
    pairs = [texts[i] if same else texts[-i] for i, same in enumerate(generator.random(200) < 0.5)]
    same = [int(a == b) for a, b in zip(texts, pairs, strict=True)]
    train = examples(texts[:150], same[:150], pairs[:150])
    split = examples(texts[150:], same[150:], pairs[150:])
    found = fit_baselines(data(SINGLE, ("different", "same"), train, split), "test")
    linear, majority = (found[name].metrics["accuracy"].value for name in ("linear", "majority"))
    assert linear > majority + 0.2
    train = examples(["text"] * 150, targets[:150], texts[:150])
    split = examples(["text"] * 50, targets[150:], texts[150:])
    second = fit_baselines(data(SINGLE, ("bad", "good"), train, split), "test")
    assert second["linear"].metrics["accuracy"].value == 1.0


def test_several_labels_are_learned_apart() -> None:
    texts, first = reviews(150, 0)
    others, second = reviews(150, 1)
    both = zip(texts, others, strict=True)
    joined = [f"{text} but then {other.replace('was', 'had').upper()}" for text, other in both]
    targets = np.stack((first, np.ones(150), np.zeros(150)), axis=1).astype(np.float32)
    train, split = examples(joined[:100], targets[:100]), examples(joined[100:], targets[100:])
    found = fit_baselines(data(MULTI, ("good", "always", "never"), train, split), "test")
    assert found["linear"].metrics["micro_f1"].value > found["majority"].metrics["micro_f1"].value
    assert found["majority"].per_class[1].recall == 1.0
    assert found["linear"].per_class[1].recall == 1.0
    assert found["linear"].per_class[2].predicted == 0
    assert second


def test_labels_are_given_from_the_thresholds_that_validation_rows_choose() -> None:
    texts, first = reviews(150, 0)
    targets = np.stack((first, np.array(first) * (np.arange(150) % 3 == 0)), axis=1)
    train, split = examples(texts[:100], targets[:100]), examples(texts[100:], targets[100:])
    rows = data(MULTI, ("good", "seldom"), train, split)
    found = fit_baselines(rows, "test")["linear"].calibration
    again = fit_baselines(rows, "validation")["linear"].calibration
    assert found is not None
    assert again is not None
    assert found.thresholds == again.thresholds != ()
    assert (found.fitted, again.fitted) == (False, True)


def test_the_commonest_set_is_given_whole() -> None:
    targets = np.array([[1, 0, 1]] * 5 + [[0, 1, 0]] * 4 + [[1, 1, 1]], dtype=np.float32)
    train = examples([f"text {row}" for row in range(10)], targets)
    found = fit_baselines(data(MULTI, ("a", "b", "c"), train, train), "test")
    assert found["majority"].metrics["accuracy"].value == 0.5
    assert [score.predicted for score in found["majority"].per_class] == [10, 0, 10]


def test_numbers_are_predicted_by_ridge() -> None:
    texts, targets = reviews(200, 0)
    amounts = np.array(targets, dtype=np.float32) * 4 + 1
    train, split = examples(texts[:150], amounts[:150]), examples(texts[150:], amounts[150:])
    found = fit_baselines(data(REGRESSION, (), train, split), "test")
    assert found["linear"].metrics["r2"].value > 0.9
    assert found["majority"].metrics["r2"].value < 0.1
    assert "pearson" not in found["majority"].metrics


@pytest.mark.parametrize(
    ("texts", "targets", "said"),
    [
        (["one text", "another text"], [1, 1], "one target"),
        (["", "   "], [0, 1], "no word"),
    ],
)
def test_where_nothing_is_learned_the_majority_stands_in(
    texts: list[str], targets: list[int], said: str
) -> None:
    split = examples(["a new text", "another"], [0, 1])
    found = fit_baselines(data(SINGLE, ("a", "b"), examples(texts, targets), split), "test")
    linear, majority = (found[name].metrics for name in ("linear", "majority"))
    for name, figure in majority.items():
        assert linear[name].value == pytest.approx(figure.value, abs=1e-6)
    assert any(said in note for note in found["linear"].notes)


def test_no_temperature_of_a_baseline_is_fitted_on_the_rows_it_is_judged_on() -> None:
    train, split = examples(*reviews(80, 0)), examples(*reviews(50, 1))
    for found in fit_baselines(data(SINGLE, ("bad", "good"), train, split), "test").values():
        assert found.calibration is not None
        assert not found.calibration.fitted
        assert found.calibration.temperature == 1.0


def test_a_class_without_training_rows_is_unlikely_but_possible() -> None:
    texts, targets = reviews(60, 0)
    train, split = examples(texts, targets), examples(["fine", "poor", "odd"], [1, 0, 2])
    found = fit_baselines(data(SINGLE, ("bad", "good", "odd"), train, split), "test")["linear"]
    assert found.per_class[2].predicted == 0
    assert np.isfinite(found.metrics["log_loss"].value)


def test_too_much_text_is_sampled_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_TRAIN_CELLS", 100)
    train = examples(*reviews(80, 0))
    found = fit_baselines(data(SINGLE, ("bad", "good"), train, examples(*reviews(40, 1))), "test")
    assert any("50 of 80 training rows" in note for note in found["linear"].notes)
    assert found["linear"].metrics["accuracy"].value > 0.9


def test_hard_data_lets_no_warning_out() -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(map(str, generator.integers(0, 50, 30))) for _ in range(120)]
    train = examples(texts, generator.integers(0, 3, 120))
    split = examples(texts[:10], generator.integers(0, 3, 10))
    found = fit_baselines(data(SINGLE, ("a", "b", "c"), train, split), "test")
    assert found["linear"].rows == 10
