from __future__ import annotations

import html
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from footwork.errors import DataError, ModelError
from footwork.evaluation import metrics
from footwork.evaluation.calibration import GivenCalibration, merged_bins, reliability_bins
from footwork.evaluation.metrics import METRICS, PRIMARY_METRIC
from footwork.evaluation.result import Evaluation, evaluate_logits, quick_metrics, worst_classes
from footwork.evaluation.text import aligned, confused_pairs, display_width, ends, number, shorten
from footwork.finetuning.card import verdict

reference = pytest.importorskip("sklearn.metrics")

SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
REGRESSION = "regression"


Case = tuple[str, tuple[str, ...], np.ndarray, np.ndarray]


def single(rows: int, num_classes: int) -> Evaluation:
    return evaluate_logits(*single_case(rows, num_classes))


def single_case(rows: int, num_classes: int) -> Case:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(rows, num_classes)).astype(np.float32)
    targets = (logits + 0.5 * generator.gumbel(size=logits.shape)).argmax(axis=1)
    names = tuple(f"a_rather_long_class_name_{index}" for index in range(num_classes))
    return SINGLE, names, targets, logits


def multi_case(rows: int = 150) -> Case:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(rows, 4)) - 0.5
    targets = (logits + generator.logistic(size=logits.shape) > 0).astype(np.float32)
    return MULTI, ("a", "b", "c", "d"), targets, logits


def regression_case(rows: int = 150) -> Case:
    generator = np.random.default_rng(0)
    targets = 50 + 10 * generator.normal(size=rows)
    return REGRESSION, (), targets, (targets + generator.normal(size=rows))[:, None]


CASES = [single_case(200, 3), multi_case(), regression_case()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_the_primary_metric_is_a_ratio_of_sums_over_the_rows(case: Case) -> None:
    found = evaluate_logits(*case)
    top, bottom = found.summands.sum(axis=0)
    assert top / bottom == pytest.approx(found.metrics[PRIMARY_METRIC[case[0]]].value)
    assert len(found.summands) == len(case[2])


@pytest.mark.parametrize(("rare", "metric"), [(5, "macro_f1"), (15, "accuracy"), (0, "accuracy")])
def test_where_a_class_is_rare_macro_f1_tells_good_from_bad(rare: int, metric: str) -> None:
    targets = np.repeat([0, 1], [100 - rare, rare])
    always = evaluate_logits(SINGLE, ("ok", "fraud"), targets, np.tile([1.0, 0.0], (100, 1)))
    assert always.primary_metric == metric
    if rare == 5:
        told = evaluate_logits(SINGLE, ("ok", "fraud"), targets, np.eye(2)[targets])
        assert verdict(told, always, "the commonest answer").startswith("It beats")


def test_single_label_figures_are_those_of_scikit_learn() -> None:
    _, names, targets, logits = single_case(200, 3)
    found = {k: v.value for k, v in evaluate_logits(SINGLE, names, targets, logits).metrics.items()}
    predictions = logits.argmax(axis=1)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert found == pytest.approx(
        {
            "accuracy": reference.accuracy_score(targets, predictions),
            "macro_f1": reference.f1_score(targets, predictions, average="macro"),
            "balanced_accuracy": reference.balanced_accuracy_score(targets, predictions),
            "mcc": reference.matthews_corrcoef(targets, predictions),
            "log_loss": reference.log_loss(targets, probabilities),
        }
    )


@pytest.mark.parametrize("bars", [(), (0.3, 0.5, 0.6, 0.45)])
def test_multi_label_figures_are_those_of_scikit_learn(bars: tuple[float, ...]) -> None:
    _, names, targets, logits = multi_case()
    judged = evaluate_logits(MULTI, names, targets, logits, GivenCalibration(2.0, None, bars))
    found = {k: v.value for k, v in judged.metrics.items()}
    given = 1 / (1 + np.exp(-logits / 2)) >= (bars or 0.5)
    assert [score.threshold for score in judged.per_class] == list(bars or [0.5] * 4)
    assert found == pytest.approx(
        {
            "micro_f1": reference.f1_score(targets, given, average="micro"),
            "macro_f1": reference.f1_score(targets, given, average="macro"),
            "accuracy": reference.accuracy_score(targets, given),
            "mean_average_precision": reference.average_precision_score(targets, logits),
        }
    )


def test_regression_figures_are_those_of_scipy() -> None:
    from scipy.stats import pearsonr, spearmanr

    task, names, targets, logits = regression_case()
    found = {k: v.value for k, v in evaluate_logits(task, names, targets, logits).metrics.items()}
    assert found == pytest.approx(
        {
            "mae": reference.mean_absolute_error(targets, logits),
            "rmse": reference.root_mean_squared_error(targets, logits),
            "r2": reference.r2_score(targets, logits),
            "pearson": pearsonr(targets, logits[:, 0])[0],
            "spearman": spearmanr(targets, logits[:, 0])[0],
        }
    )


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_every_value_lies_in_its_interval_and_is_that_of_the_training(case: tuple) -> None:
    judged = evaluate_logits(*case, given=GivenCalibration())
    evaluation, quick = judged, quick_metrics(case[0], *case[2:])
    assert evaluation.to_dict() == evaluate_logits(*case, given=GivenCalibration()).to_dict()
    for name, interval in evaluation.metrics.items():
        assert interval.low <= interval.value <= interval.high
        assert interval.low < interval.high
        assert quick[name] == pytest.approx(interval.value)
    assert quick["loss"] > 0
    assert tuple(quick) == METRICS[case[0]]
    assert set(quick) == {*evaluation.metrics, "loss"}


def test_what_is_undefined_counts_nothing_for_choosing() -> None:
    quick = quick_metrics(REGRESSION, np.ones(5), np.arange(5.0)[:, None])
    assert (quick["r2"], quick["pearson"], quick["spearman"]) == (0.0, 0.0, 0.0)
    assert quick_metrics(MULTI, np.zeros((3, 2)), -np.ones((3, 2)))["micro_f1"] == 0.0


def test_rows_are_ranked_once_a_label_and_not_for_each_resample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranked: list[int] = []
    unique = np.unique
    monkeypatch.setattr(metrics, "_CHUNK_CELLS", 1)
    monkeypatch.setattr(metrics.np, "unique", lambda x, **k: ranked.append(1) or unique(x, **k))
    task, names, targets, logits = multi_case()
    evaluate_logits(task, names, targets, logits, GivenCalibration())
    assert len(ranked) < 20


def test_thresholds_of_labels_are_found_and_judged_on_other_rows() -> None:
    task, names, targets, logits = multi_case(4000)
    found = evaluate_logits(task, names, targets, logits - 2)  # no label reaches 0.5 by itself
    assert found.calibration is not None
    again = evaluate_logits(task, names, targets, logits - 2, given=found.calibration.given)
    plain = evaluate_logits(task, names, targets, logits - 2, given=GivenCalibration())
    values = [each.metrics["micro_f1"].value for each in (again, found, plain)]
    assert values[0] >= values[1] > values[0] - 0.02  # the rows that chose them flatter them
    assert values[1] > values[2] + 0.1
    assert again.metrics["mean_average_precision"] == plain.metrics["mean_average_precision"]
    assert "each was judged by thresholds found without it" in found.to_text()
    assert "temperature and thresholds were not found on these rows" in again.to_text()
    assert "predicted  threshold" in again.to_text()
    noise = np.random.default_rng(0).normal(size=(60, 40))
    sparse = (np.random.default_rng(1).random((60, 40)) < 0.05).astype(float)
    chosen = evaluate_logits(MULTI, tuple(map(str, range(40))), sparse, noise)
    assert chosen.metrics["micro_f1"].value < 0.2


def test_labels_that_are_never_given_are_told_first() -> None:
    targets = np.eye(3)[np.arange(30) % 3]
    mute = evaluate_logits(MULTI, ("a", "b", "c"), targets, targets - 9, GivenCalibration())
    assert mute.notes[0].startswith("NO LABEL IS EVER GIVEN to any of the rows")
    logits = targets * 8 - 4
    logits[:, 1] = -4
    partly = evaluate_logits(MULTI, ("a", "b", "c"), targets, logits, GivenCalibration())
    assert partly.notes[0] == "NEVER GIVEN: 1 of 3 classes, though they have rows (b)."
    assert "NEVER GIVEN" in " ".join(partly.to_text().split())
    same = evaluate_logits(SINGLE, ("a", "b"), np.arange(30) % 2, np.eye(2)[[0] * 30])
    assert same.notes[0].startswith("NEVER GIVEN: 1 of 2 classes")
    right = evaluate_logits(MULTI, ("a", "b", "c"), targets, targets * 8 - 4, GivenCalibration())
    assert "GIVEN" not in " ".join(right.notes)


def test_a_given_calibration_is_judged_and_changes_no_figure() -> None:
    found = evaluate_logits(*CASES[0])
    judged = evaluate_logits(*CASES[0], given=GivenCalibration(3.0, 0.6))
    assert judged.metrics == found.metrics
    assert judged.calibration is not None
    assert found.calibration is not None
    assert (judged.calibration.temperature, judged.calibration.abstain_below) == (3.0, 0.6)
    assert judged.calibration.ece_before == found.calibration.ece_before
    text = judged.to_text()
    assert "temperature 3.000; " in text
    assert "abstain below 0.6000: " in text
    assert "the temperature and threshold were not found on these rows" in text
    assert "cross-fitted" not in text
    assert "found on these same rows" in found.to_text()
    json.dumps(judged.to_dict(), allow_nan=False)


def test_the_order_of_the_rows_does_not_matter() -> None:
    task, names, targets, logits = single_case(200, 3)
    order = np.random.default_rng(1).permutation(200)
    turned = evaluate_logits(task, names, targets[order], logits[order])
    same = evaluate_logits(task, names, targets, logits)
    assert turned.metrics["accuracy"] == same.metrics["accuracy"]
    assert (turned.confusion == same.confusion).all()


@pytest.mark.parametrize(
    "case",
    [
        (SINGLE, ("a", "b"), np.zeros(1, dtype=int), np.array([[1.0, 0.0]])),
        (SINGLE, ("a", "b"), np.zeros(30, dtype=int), np.zeros((30, 2))),
        (SINGLE, ("a",), np.zeros(5, dtype=int), np.zeros((5, 1))),
        (SINGLE, ("a", "b"), np.arange(30) % 2, np.tile([0.0, 1.0], (30, 1))),
        (MULTI, ("a", "b"), np.zeros((3, 2)), -np.ones((3, 2))),
        (MULTI, ("a", "b"), np.ones((1, 2)), np.ones((1, 2))),
        (REGRESSION, (), np.ones(1), np.ones((1, 1))),
        (REGRESSION, (), np.ones(5), np.arange(5.0)[:, None]),
        (REGRESSION, (), np.arange(5.0), np.full(5, 2.0)),
    ],
)
def test_degenerate_splits_give_no_nan_and_no_warning(case: tuple) -> None:
    evaluation = evaluate_logits(*case)
    json.dumps(evaluation.to_dict(), allow_nan=False)
    json.dumps(quick_metrics(case[0], *case[2:]), allow_nan=False)
    assert "nan" not in evaluation.to_text()


def test_what_is_undefined_is_absent_and_said() -> None:
    evaluation = evaluate_logits(REGRESSION, (), np.ones(5), np.arange(5.0))
    assert set(evaluation.metrics) == {"mae", "rmse"}
    assert any("r2, pearson, spearman" in note for note in evaluation.notes)


def test_a_class_without_a_row_is_not_judged() -> None:
    evaluation = evaluate_logits(SINGLE, ("a", "b"), np.zeros(9, dtype=int), np.eye(2)[[0] * 9])
    assert evaluation.metrics["macro_f1"].value == 1.0
    absent = evaluation.per_class[1]
    assert (absent.precision, absent.recall, absent.f1, absent.support) == (None, None, None, 0)
    assert any("No row of 1 of 2 classes (b)" in note for note in evaluation.notes)


def test_all_right_on_few_rows_is_put_into_perspective() -> None:
    found = evaluate_logits(SINGLE, ("a", "b"), np.arange(8) % 2, np.eye(2)[[0, 1] * 4])
    assert "Only 8 rows" in " ".join(found.notes)
    assert "Wilson" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("task", "labels", "logits", "error", "message"),
    [
        (SINGLE, "ab", np.zeros((0, 2)), DataError, "no row to evaluate"),
        (SINGLE, "ab", [[0, 0], [0, 0], [0, np.nan], [0, 0]], ModelError, "1 of 4 .* row 3"),
        (SINGLE, "abc", np.zeros((4, 2)), ValueError, r"shape \(4, 3\)"),
        ("ranking", "ab", np.zeros((4, 2)), ValueError, "`task` must be one of"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    task: str, labels: str, logits: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate_logits(task, tuple(labels), np.zeros(len(logits), int), np.array(logits))


def test_an_evaluation_shows_itself_on_a_line_in_a_notebook_and_as_frames() -> None:
    found = single(400, 3)
    metrics, classes = found.to_pandas(), found.to_pandas(per_class=True)
    main = found.metrics[found.primary_metric]
    told = metrics.set_index("metric").loc[found.primary_metric]
    assert told.to_dict() == asdict(main)
    assert classes["f1"].tolist() == [score.f1 for score in found.per_class]
    figure = f"{found.primary_metric} {number(main.value)} ({ends(main)})"
    assert repr(found) == f"<Evaluation: 400 rows, {figure}>"
    assert html.unescape(found._repr_html_()) == f"<pre>{found.to_text()}</pre>"
    assert repr(replace(found, metrics={})) == "<Evaluation: 400 rows>"


@pytest.mark.parametrize("num_classes", [2, 6, 12, 77])
def test_the_text_fits_a_terminal(num_classes: int) -> None:
    lines = single(400, num_classes).to_text().splitlines()
    assert max(map(display_width, lines)) <= 100
    assert len(lines) < 60
    assert any(line.startswith("accuracy") for line in lines)
    assert any("temperature" in line for line in lines)


def test_many_classes_show_the_worst_and_the_most_confused() -> None:
    evaluation = single(2000, 40)
    text = evaluation.to_text()
    assert "the 10 classes of lowest F1, of 40" in text
    assert "the most confused pairs" in text
    worst = worst_classes(evaluation.per_class, 10)
    assert max(score.f1 for score in worst) <= min(
        score.f1 for score in evaluation.per_class if score not in worst
    )
    pairs = confused_pairs(evaluation.labels, evaluation.confusion, 5)
    assert all(true != predicted for true, predicted, _ in pairs)
    assert [count for _, _, count in pairs] == sorted((c for *_, c in pairs), reverse=True)


def test_wide_characters_stay_aligned() -> None:
    lines = aligned([["가나", "1"], ["ab", "10"], ["e\u0301", "7"]])
    assert len({display_width(line) for line in lines}) == 1
    assert shorten("가나다라마", 5) == "가나…"
    assert shorten("one\ttwo\nthree", 30) == "one two three"


def test_small_and_large_errors_are_legible() -> None:
    targets = np.arange(50.0)
    text = evaluate_logits(REGRESSION, (), targets * 1e-5, targets * 1e-5 + 1e-5).to_text()
    assert "1e-05" in text


def test_probabilities_that_say_nothing_are_told_so() -> None:
    targets = np.arange(120) % 2
    found = evaluate_logits(SINGLE, ("a", "b"), targets, -9.0 * np.eye(2)[targets])
    text = found.to_text()
    assert "the classifier is hardly better than chance" in text
    assert max(map(display_width, text.splitlines())) <= 100


@pytest.mark.parametrize("rows", [1, 30, 31, 500])
def test_bins_of_few_rows_are_merged_and_no_row_is_lost(rows: int) -> None:
    drawn = np.random.default_rng(rows)
    probabilities = 1 - drawn.uniform(0, 1, rows) ** 4 / 2
    hits = drawn.uniform(size=rows) < probabilities
    bins = merged_bins(reliability_bins(probabilities, hits), 30)
    assert len(bins) == 1 or min(each.rows for each in bins) >= 30
    assert sum(each.rows for each in bins) == rows
    assert sum(each.accuracy * each.rows for each in bins) == pytest.approx(hits.sum())
    assert sum(each.probability * each.rows for each in bins) == pytest.approx(probabilities.sum())
    assert all(each.low < each.probability <= each.high for each in bins)
