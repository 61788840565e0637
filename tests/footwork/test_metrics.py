from __future__ import annotations

import numpy as np
import pytest

from footwork.evaluation.calibration import (
    GivenCalibration,
    abstention_threshold,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    fit_thresholds,
    judge_calibration,
    reliability_bins,
)
from footwork.evaluation.logits import log_softmax, sigmoid
from footwork.evaluation.metrics import (
    Interval,
    PairedDifference,
    average_precision,
    bootstrap_class_counts,
    centred_moments,
    class_counts,
    confusion_counts,
    paired_difference,
    percentile_interval,
    places_among,
    regression_scores,
    row_weights,
    single_label_scores,
    spearman,
    wilson_interval,
)

reference = pytest.importorskip("sklearn.metrics")
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def labels(generator: np.random.Generator) -> Pair:
    targets = generator.integers(0, 5, 300)
    return targets, np.where(generator.random(300) < 0.7, targets, generator.integers(0, 5, 300))


@pytest.fixture
def logits(generator: np.random.Generator) -> Pair:
    """Logits that are calibrated as they are, and targets drawn from them."""
    scores = 2 * generator.normal(size=(4000, 4))
    return scores, (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)


def test_renaming_the_classes_changes_no_score(labels: Pair) -> None:
    names = np.array([3, 0, 4, 1, 2])
    one, other = (
        single_label_scores(class_counts(confusion_counts(*map(rename, labels), 5)))
        for rename in (lambda v: v, lambda v: names[v])
    )
    for name, value in one.items():
        assert float(value) == pytest.approx(float(other[name]))


def test_a_weight_counts_a_row_as_often(generator: np.random.Generator) -> None:
    from scipy.stats import spearmanr

    x = generator.integers(0, 9, 60).astype(float)
    y = x + np.round(generator.normal(size=60) * 4)
    weights = next(row_weights(60, generator, 1)).T
    rows = np.repeat(np.arange(60), weights[:, 0].astype(int))
    assert len(rows) == 60
    assert spearman(x, y, weights)[0] == pytest.approx(spearmanr(x[rows], y[rows])[0])
    expected = reference.average_precision_score(x[rows] > 5, y[rows])
    assert average_precision(x > 5, places_among(x > 5, y), weights) == pytest.approx(expected)


def test_regression_scores_keep_their_digits_far_from_zero(generator: np.random.Generator) -> None:
    targets = generator.normal(size=200) + 1e6
    predictions = targets + generator.normal(size=200)
    scores = regression_scores(centred_moments(targets, predictions).sum(axis=0), 200)
    assert float(scores["r2"]) == pytest.approx(reference.r2_score(targets, predictions))
    assert float(scores["pearson"]) == pytest.approx(np.corrcoef(targets, predictions)[0, 1])
    assert float(scores["mae"]) == pytest.approx(np.abs(targets - predictions).mean())


def test_resampling_cells_is_resampling_rows(labels: Pair, generator: np.random.Generator) -> None:
    confusion = confusion_counts(*labels, 5)
    cells = single_label_scores(bootstrap_class_counts(confusion, generator))["macro_f1"]
    rows = []
    for _ in range(1000):
        drawn = generator.integers(0, 300, 300)
        counts = class_counts(confusion_counts(labels[0][drawn], labels[1][drawn], 5))
        rows.append(float(single_label_scores(counts)["macro_f1"]))
    assert cells.mean() == pytest.approx(np.mean(rows), abs=0.004)
    assert cells.std() == pytest.approx(np.std(rows), rel=0.15)


def test_an_interval_holds_its_value_and_leaves_out_what_is_undefined() -> None:
    samples = np.array([np.nan, 0.2, 0.3, 0.4])
    assert percentile_interval(0.5, samples).high == 0.5
    assert percentile_interval(np.nan, samples) is None
    assert percentile_interval(0.5, np.array([np.nan])) == Interval(0.5, 0.5, 0.5)


def test_wilson_has_width_where_the_bootstrap_has_none() -> None:
    bound = wilson_interval(20, 20)
    assert (bound.value, bound.high) == (1.0, 1.0)
    assert 0.8 < bound.low < 0.9


def test_intervals_overlap_when_they_share_a_point() -> None:
    low, high = Interval(0.2, 0.1, 0.3), Interval(0.4, 0.3, 0.5)
    assert low.overlaps(high)
    assert high.overlaps(low)
    assert not low.overlaps(Interval(0.6, 0.5, 0.7))


def test_probabilities_survive_extreme_logits() -> None:
    extreme = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=np.float32)
    assert np.exp(log_softmax(extreme)).tolist() == [[1, 0], [0, 1]]
    assert sigmoid(extreme).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_undoes_a_scale(logits: Pair, scale: float) -> None:
    scores, targets = logits
    assert fit_temperature(scores * scale, targets) == pytest.approx(scale, rel=0.06)
    one_hot = drawn_labels(scores)
    assert fit_temperature(scores * scale, one_hot) == pytest.approx(scale, rel=0.06)


def drawn_labels(scores: np.ndarray) -> np.ndarray:
    return (np.random.default_rng(1).random(scores.shape) < sigmoid(scores)).astype(np.float32)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (np.eye(2)[[0, 1, 0]] * 9, np.array([0, 1, 0])),  # perfectly separable
        (np.eye(2)[[0, 1, 0]] * 9, np.array([1, 0, 1])),  # perfectly wrong
        (np.array([[3.0, 1.0]] * 4), np.zeros(4, dtype=int)),  # one class
        (np.array([[3.0, 1.0]]), np.array([1])),  # one row
        (np.full((3, 2), 2.0), np.ones((3, 2))),  # sigmoid, one class
    ],
)
def test_the_temperature_is_bounded_on_degenerate_rows(
    logits: np.ndarray, targets: np.ndarray
) -> None:
    assert 0.01 <= fit_temperature(logits, targets) <= 100


def test_without_evidence_the_temperature_is_one() -> None:
    assert fit_temperature(np.zeros((5, 3)), np.arange(5) % 3) == 1.0
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)) == 1.0


def test_calibration_repairs_overconfidence(logits: Pair) -> None:
    scores, targets = logits
    calibration = calibrate(4 * scores, targets)
    assert calibration.ece_before > 0.15
    assert calibration.ece_after is not None
    assert calibration.ece_after < 0.04


def test_a_temperature_at_the_end_of_its_search_is_told() -> None:
    targets = np.arange(40) % 2
    right = np.eye(2)[targets]
    wrong, faint, usual = (calibrate(s * right, targets) for s in (-9.0, 1e-4, 1.0))
    assert wrong.temperature == 100
    assert wrong.note is not None
    assert wrong.note.endswith("the classifier is hardly better than chance")
    assert wrong.to_dict()["note"] == wrong.note
    assert faint.temperature == 0.01
    assert "the logits hardly differ" in (faint.note or "")
    assert usual.note is None


def test_bins_hold_every_row_once(generator: np.random.Generator) -> None:
    probabilities = np.append(generator.random(98), (0.0, 1.0))
    bins = reliability_bins(probabilities, probabilities > 0.5)
    assert sum(each.rows for each in bins) == 100
    assert all(each.low <= each.probability <= each.high for each in bins)


def test_the_calibration_error_is_the_gap() -> None:
    bins = reliability_bins(np.full(10, 0.9), np.arange(10) < 6)
    assert expected_calibration_error(bins) == pytest.approx(0.3)


def test_one_row_has_no_cross_fitted_error() -> None:
    calibration = calibrate(np.array([[2.0, 0.0]]), np.array([0]))
    assert calibration.ece_after is None
    assert calibration.bins_after == ()
    assert calibration.abstain_below is None


def test_the_threshold_keeps_its_promise_on_new_rows(generator: np.random.Generator) -> None:
    broken = 0
    for _ in range(60):
        probabilities = generator.beta(3, 1, 800)
        found = abstention_threshold(probabilities, generator.random(800) < probabilities)
        if found is not None:
            fresh = generator.beta(3, 1, 20_000)
            broken += fresh[fresh >= found.threshold].mean() < 0.95
    assert broken <= 9


def test_too_few_rows_prove_nothing() -> None:
    sure, right = np.full(58, 0.99), np.ones(58, dtype=bool)
    assert abstention_threshold(sure, right) is None
    found = abstention_threshold(np.append(sure, 0.98), np.append(right, True))
    assert found is not None
    assert (found.coverage, found.accuracy) == (1.0, 1.0)


def test_the_threshold_admits_its_own_row_in_float32(generator: np.random.Generator) -> None:
    probabilities = 0.6 + 0.4 * generator.random(500)
    found = abstention_threshold(probabilities, np.ones(500, dtype=bool))
    assert found is not None
    assert (probabilities.astype(np.float32) >= found.threshold).mean() == found.coverage


def rare_labels(rows: int, share: float, seed: int) -> Pair:
    """Calibrated probabilities of two rare labels, one easier to tell than the other, and both."""
    generator = np.random.default_rng(seed)
    odds = np.log(share / (1 - share)) + generator.normal(size=(rows, 2)) * (1.0, 2.5)
    probabilities = 1 / (1 + np.exp(-odds))
    return probabilities, (generator.random((rows, 2)) < probabilities).astype(float)


def f1_of(probabilities: np.ndarray, targets: np.ndarray, bars: object) -> np.ndarray:
    given, holds = probabilities >= np.asarray(bars), targets > 0.5
    return 2 * (given & holds).sum(axis=0) / (given.sum(axis=0) + holds.sum(axis=0))


def test_the_threshold_of_a_label_is_where_its_f1_is_largest() -> None:
    chosen = fit_thresholds(*rare_labels(20_000, 0.05, 0))
    fresh, targets = rare_labels(20_000, 0.05, 1)
    best = np.max([f1_of(fresh, targets, bar / 100) for bar in range(1, 100)], axis=0)
    assert (f1_of(fresh, targets, chosen) > best - 0.02).all()
    assert (f1_of(fresh, targets, chosen) > f1_of(fresh, targets, 0.5) + 0.04).all()
    assert chosen[0] != chosen[1]


def test_labels_of_few_rows_share_a_threshold_by_and_by() -> None:
    probabilities, targets = rare_labels(4000, 0.05, 0)
    shared = fit_thresholds(probabilities.reshape(-1, 1), targets.reshape(-1, 1))[0]
    own = fit_thresholds(probabilities[:, :1], targets[:, :1])[0]
    assert own < shared - 0.02
    few = targets.copy()
    few[:, 0] = 0
    assert fit_thresholds(probabilities, few)[0] > own
    # What one positive row at 0.9 asks for is not believed.
    probabilities = np.concatenate((probabilities, np.full((4000, 1), 0.02)), axis=1)
    probabilities[0, 2] = 0.9
    targets = np.concatenate((targets, np.eye(4000, 1)), axis=1)
    assert fit_thresholds(probabilities, targets)[2] < 0.5
    assert fit_thresholds(probabilities[:, 2:], targets[:, 2:] * 0) == (0.5,)


def test_a_given_temperature_is_judged_and_nothing_is_fitted(logits: Pair) -> None:
    scores, targets = logits
    judged = judge_calibration(4 * scores, targets, GivenCalibration(4.0, 0.7))
    assert (judged.temperature, judged.abstain_below, judged.fitted) == (4.0, 0.7, False)
    assert judged.given == GivenCalibration(4.0, 0.7)
    assert judged.ece_before == calibrate(4 * scores, targets).ece_before
    assert judged.bins_after == judge_calibration(scores, targets, GivenCalibration()).bins_before
    probabilities = np.exp(log_softmax(scores))
    kept = probabilities.max(axis=1) >= 0.7
    assert judged.abstention is not None
    assert judged.abstention.coverage == pytest.approx(kept.mean())
    right = probabilities.argmax(axis=1) == targets
    assert judged.abstention.accuracy == pytest.approx(right[kept].mean())
    wrong = judge_calibration(scores, targets, GivenCalibration(20.0))
    assert wrong.ece_after is not None
    assert wrong.ece_after > wrong.ece_before


def test_a_threshold_that_no_row_reaches_covers_none() -> None:
    judged = judge_calibration(np.zeros((3, 2)), np.array([0, 1, 1]), GivenCalibration(1.0, 0.9))
    assert judged.abstention is not None
    assert (judged.abstention.coverage, judged.abstention.accuracy) == (0.0, None)


def test_of_several_labels_a_row_is_right_as_a_whole() -> None:
    logits = np.array([[3.0, -3.0], [3.0, 3.0], [0.1, -0.1]])
    targets = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    judged = judge_calibration(logits, targets, GivenCalibration(1.0, 0.9))
    assert judged.abstention is not None
    assert judged.abstention.coverage == pytest.approx(2 / 3)
    assert judged.abstention.accuracy == 0.5
    strict = judge_calibration(logits, targets, GivenCalibration(1.0, 0.9, (0.5, 0.96)))
    assert strict.abstention is not None
    assert strict.abstention.accuracy == 1.0
    assert strict.given == GivenCalibration(1.0, 0.9, (0.5, 0.96))


def compared(won: int, lost: int, alike: int, comparisons: int = 1) -> PairedDifference:
    one = np.repeat([True, False, True], [won, lost, alike])
    other = np.repeat([False, True, True], [won, lost, alike])
    return paired_difference(one, other, np.random.default_rng(0), comparisons)


def test_the_difference_is_the_one_of_the_accuracies() -> None:
    found = compared(30, 10, 160)
    assert found.interval.value == pytest.approx(0.1)
    assert (found.won, found.lost) == (30, 10)
    assert found.interval.low < 0.1 < found.interval.high


def test_exchanging_the_two_turns_the_sign() -> None:
    forth, back = compared(30, 10, 160).interval, compared(10, 30, 160).interval
    assert back.value == -forth.value
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.01)


def test_the_interval_is_as_wide_as_the_normal_one_where_rows_are_many() -> None:
    found = compared(300, 200, 1500).interval
    spread = np.sqrt((500 / 2000 - 0.05**2) / 2000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * spread, rel=0.03)


def test_rows_on_which_both_do_alike_prove_nothing() -> None:
    few, many = compared(0, 0, 10), compared(0, 0, 1000)
    assert not few.clear
    assert few.interval.value == many.interval.value == 0
    assert few.interval.low == -few.interval.high < many.interval.low == -many.interval.high < 0


def test_one_sided_rows_are_clear_and_even_ones_are_luck() -> None:
    assert compared(20, 0, 80).clear
    assert compared(0, 20, 80).clear
    assert not compared(11, 9, 80).clear
    assert not compared(2, 0, 98).clear


def test_many_comparisons_ask_for_more() -> None:
    one, among_ten = compared(23, 10, 167), compared(23, 10, 167, comparisons=10)
    assert one.clear
    assert not among_ten.clear
    assert among_ten.interval.low < one.interval.low < one.interval.high < among_ten.interval.high


def test_equally_good_classifiers_are_rarely_told_apart() -> None:
    generator = np.random.default_rng(0)
    draws = generator.multinomial(150, [0.05, 0.05, 0.9], 200)
    assert np.mean([compared(*map(int, draw)).clear for draw in draws]) <= 0.08
