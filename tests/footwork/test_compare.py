"""Methods against each other: the same rows, nothing done twice or lost, and all of it told."""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

import footwork.comparison.compare as compare_module
from footwork.cli import main
from footwork.comparison.compare import _learned_more
from footwork.comparison.plan import CompareOptions, ComparisonPlan
from footwork.comparison.report import table_of
from footwork.comparison.result import Comparison, Pools, _beside
from footwork.errors import ConfigError, DataError, TrainingError
from footwork.evaluation.metrics import PooledMetric
from footwork.evaluation.splits import FEW_ROWS
from footwork.evaluation.text import number
from footwork.files.folders import write_json
from footwork.finetuning.config import FinetuningConfig
from tests.models import build_base
from tests.runs import quick_ending
from tests.tables import sentiment_rows, sentiment_table, write_table
from tests.toy_task import NUMBERS, NumberTask, draw_numbers
from tests.zeroshot.image_towers import build_tower, draw_classes
from textclf import TrainConfig, train
from textclf import compare as compare_texts
from zeroshot import FinetuneConfig


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return draw_numbers(tmp_path_factory.mktemp("numbers"), 240)


_OPTIONS = ("existing", "notify", "callbacks")


def compare_numbers(
    numbers: tuple[Path, str], out: Path, *methods: str, seeds: Any = (0,), **settings: Any
) -> Comparison:
    table, base = numbers
    options = CompareOptions(methods=methods, seeds=seeds, rates=settings.pop("rates", ()))
    how = {name: settings.pop(name) for name in _OPTIONS if name in settings}
    with nullcontext() if settings.pop("drawn", False) else quick_ending():
        config = FinetuningConfig(model_id=base, **{"num_epochs": 4, "batch_size": 16, **settings})
        return NUMBERS.compare(table, out, config, options, **how)


def counted_fits() -> Any:
    return patch.object(compare_module, "fit", side_effect=compare_module.fit)


def failing_fit(fails: Callable[[Any], bool], error: Exception) -> Any:
    fit = compare_module.fit

    def failing(learner: Any, *rest: Any) -> Any:
        if fails(learner.config):
            raise error
        return fit(learner, *rest)

    return patch.object(compare_module, "fit", failing)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A comparison of texts that have a test part, and what was said meanwhile."""
    folder, said = tmp_path_factory.mktemp("texts"), []
    (folder / "data").mkdir()
    sentiment_table(folder / "data" / "train.csv")
    rows = [(f"{text} at last", label) for text, label in sentiment_rows(60)]
    write_table(folder / "data" / "test.csv", rows, ("text", "label"))
    config = TrainConfig(
        model_id=str(build_base(folder / "base", "bert")),
        num_epochs=2,
        learning_rate=3e-3,
        batch_size=16,
        max_length=48,
    )
    options = CompareOptions(methods=("linear", "full", "lora", "scratch"), seeds=(0, 1))
    with patch("footwork.accelerator.matrix_rate", return_value=1e11):  # which it is told by
        done = compare_texts(folder / "data", folder / "out", config, options, notify=said.append)
    records = {path.stem: json.loads(path.read_text()) for path in (folder / "out/runs").iterdir()}
    return {"done": done, "folder": folder, "config": config, "said": said, "records": records}


def test_all_methods_are_judged_on_the_same_rows(texts: dict[str, Any]) -> None:
    records = texts["records"]
    baselines = records.pop("baselines")
    assert sorted(records) == sorted(
        f"{method}-{seed}" for method in ("linear", "full", "lora", "scratch") for seed in (0, 1)
    )
    assert {len(each["summands"]) for each in (*records.values(), *baselines.values())} == {60}
    for record in records.values():
        right = np.array(record["summands"])
        assert right[:, 0].sum() / right[:, 1].sum() == record["metrics"]["accuracy"]["value"]
    manifest = texts["done"].manifest
    assert manifest["data"]["rows"] == {"train": 72, "validation": 8, "test": 60}
    assert manifest["evaluated_on"] == "test"


def test_a_run_of_a_comparison_is_the_run_that_train_makes(
    texts: dict[str, Any], tmp_path: Path
) -> None:
    config = texts["config"].for_method("lora")
    with quick_ending():
        alone = train(texts["folder"] / "data", tmp_path / "out", config)
    metrics = {name: each.value for name, each in alone.evaluation.metrics.items()}
    compared = texts["records"]["lora-0"]["metrics"]
    assert {name: each["value"] for name, each in compared.items()} == metrics


def test_table_page_and_document_agree(texts: dict[str, Any]) -> None:
    done, out = texts["done"], texts["folder"] / "out"
    assert json.loads((out / "comparison.json").read_text()) == done.manifest
    assert repr(done) == f"<Comparison: {' '.join(done.manifest['verdict'])}>"
    page, text = html.unescape((out / "report.html").read_text()), done.to_text()
    rows = table_of(done.manifest)
    assert [row[0] for row in rows[1:]] == [
        *(each["method"] for each in done.manifest["methods"]),
        "commonest answer",  # the linear baseline stands among the methods
    ]
    for cell in (cell for row in rows for cell in row):
        assert f">{cell}</t" in page or f"</i>{cell}</t" in page
        assert cell in text
    for sentence in done.manifest["verdict"]:
        assert sentence in page
        assert sentence in " ".join(text.split())
    assert page.count("<svg") == 3
    assert "http-equiv" in page
    assert "<script" not in page
    assert not [word for word in ('src="', "url(http", "@import") if word in page]
    for entry in done.manifest["methods"]:
        runs = [texts["records"][f"{entry['method']}-{seed}"] for seed in (0, 1)]
        values = [run["metrics"]["accuracy"]["value"] for run in runs]
        assert entry["value"] == pytest.approx(np.mean(values))
        assert entry["spread"] == pytest.approx(np.std(values, ddof=1))
        assert entry["low"] <= entry["value"] <= entry["high"]


def test_a_comparison_has_a_row_a_run(texts: dict[str, Any]) -> None:
    done, records = texts["done"], texts["records"]
    assert len(done.runs) == 8
    for row in done.runs:
        record = records[f"{row['method']}-{row['seed']}"]
        assert row["accuracy"] == record["metrics"]["accuracy"]["value"]
        assert (row["steps"], row["failure"]) == (record["steps"], None)
        assert row["learning_rate"] == record["config"].get("learning_rate")
    assert list(done.runs.to_pandas().groupby("method")["accuracy"].count()) == [2, 2, 2, 2]


def test_callbacks_hear_of_every_run(numbers: tuple[Path, str], tmp_path: Path) -> None:
    begun = []

    class Noting(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            begun.append(id(self))

    compare_numbers(numbers, tmp_path / "out", "full", seeds=(0, 1), callbacks=(Noting,))
    assert len(begun) == 2


def test_progress_says_which_run_it_is_and_how_long_all_take(texts: dict[str, Any]) -> None:
    said = [line for line in texts["said"] if line.startswith("run ")]
    assert said[0] == "run 1 of 8: linear, seed 0"
    assert said[1].startswith("run 2 of 8: full, seed 0; some ")
    assert said[-1].startswith("run 8 of 8: scratch, seed 1; some ")
    assert said[-1].endswith(" left for 1 run")
    assert sum("read" in line and "columns" in line for line in texts["said"]) <= 1


def test_what_is_published_is_no_model(texts: dict[str, Any]) -> None:
    out = texts["folder"] / "out"
    assert {path.name for path in out.iterdir()} == {
        "comparison.json",
        "footwork.json",
        "report.html",
        "runs",
    }
    assert not (texts["folder"] / "out.training").exists()


def test_a_comparison_that_was_ended_does_only_what_is_missing(
    numbers: tuple[Path, str], tmp_path: Path
) -> None:
    whole = compare_numbers(numbers, tmp_path / "whole", "full", "head", seeds=(0, 1))
    cut = tmp_path / "cut"
    killed = failing_fit(lambda config: config.seed == 1, ValueError("killed"))
    with killed, pytest.raises(ValueError, match="killed"):
        compare_numbers(numbers, cut, "full", "head", seeds=(0, 1))
    kept = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "cut.training/runs").iterdir()
    }
    assert {"full-0.json", "head-0.json"} <= set(kept)
    with pytest.raises(ConfigError, match=r"unfinished run.*--resume"):
        compare_numbers(numbers, cut, "full", "head", seeds=(0, 1))
    with pytest.raises(ConfigError, match="batch_size was 16, is 8"):
        compare_numbers(numbers, cut, "full", "head", existing="resume", batch_size=8)
    said: list[str] = []
    how: dict[str, Any] = {"existing": "resume", "notify": said.append}
    with counted_fits() as fits:
        done = compare_numbers(numbers, cut, "full", "head", seeds=(0, 1), save_minutes=1.0, **how)
    assert [call.args[0].config.seed for call in fits.mock_calls] == [1, 1]
    assert "2 of 4 runs done before" in said
    values = [[each["value"] for each in one.manifest["methods"]] for one in (whole, done)]
    assert values[0] == values[1]
    with pytest.raises(ConfigError, match=r"finished: there is nothing to resume"):
        compare_numbers(numbers, cut, "full", "head", **how)


def test_an_unfinished_training_is_not_gone_on_with_as_a_comparison(
    numbers: tuple[Path, str], tmp_path: Path
) -> None:
    (tmp_path / "out.training").mkdir()
    write_json(tmp_path / "out.training" / "run.json", {"replaces": False})
    with pytest.raises(ConfigError, match="kind was 'training', is 'comparison'"):
        compare_numbers(numbers, tmp_path / "out", "full", existing="resume")
    assert list((tmp_path / "out.training").iterdir())


def test_a_resumed_comparison_may_have_more_methods_and_seeds(
    numbers: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    killed = patch.object(compare_module, "write_comparison", side_effect=ValueError("killed"))
    with killed, pytest.raises(ValueError, match="killed"):
        compare_numbers(numbers, out, "head")
    with counted_fits() as fits:
        done = compare_numbers(numbers, out, "head", "full", seeds=(0, 3), existing="resume")
    made = [(call.args[0].config.method, call.args[0].config.seed) for call in fits.mock_calls]
    assert made == [("full", 0), ("head", 3), ("full", 3)]
    assert done.manifest["seeds"] == [0, 3]


def test_a_comparison_of_which_only_the_page_was_missing_tells_all_of_its_rows(
    numbers: tuple[Path, str], tmp_path: Path
) -> None:
    killed = patch.object(compare_module, "write_comparison", side_effect=ValueError("killed"))
    with patch.object(NumberTask, "audit", lambda *_: ("Two rows are odd.",)):
        with killed, pytest.raises(ValueError, match="killed"):
            compare_numbers(numbers, tmp_path / "out", "head")
        done = compare_numbers(numbers, tmp_path / "out", "head", existing="resume")
    assert "Two rows are odd." in done.notes
    assert "Two rows are odd." in done.manifest["notes"]


def test_what_the_pretraining_is_worth_has_the_sign_and_the_ends_that_are_known() -> None:
    ones = np.ones(200)
    right, wrong = np.arange(200) < 160, np.arange(200) < 100
    for metric, better, worse in (("accuracy", right, wrong), ("mae", wrong, right)):
        pools = Pools(metric)
        for name, summands in (("begun", better), ("random", worse)):
            pools.add(name, [np.stack([summands, ones], axis=1)] * 2, [0.5, 0.5])
        gain = pools.gain("begun", "random")
        assert gain["value"] == pytest.approx(0.3)
        # Of pairs that differ in 60 of 200 rows, all in one direction.
        error = (0.3 * 0.7 / 200) ** 0.5
        assert gain["low"] == pytest.approx(0.3 - 1.96 * error, abs=0.01)
        assert gain["high"] == pytest.approx(0.3 + 1.96 * error, abs=0.01)
        assert gain["clear"]
        assert pools.gain("random", "begun")["value"] == pytest.approx(-0.3)
        assert not pools.gain("begun", "begun")["clear"]
        for take, name, verb in (
            ("begun", "random", "beats it (0.500)."),
            ("random", "begun", "is behind it (0.500): it is the better choice."),
            ("begun", "begun", "does not clearly beat it (0.500)."),
        ):
            known = {"name": name, "value": 0.5, "spread": None}
            others = {"methods": [], "transfer_gap": [], "evaluated_on": "test", "metric": metric}
            said = _beside({**others, "baselines": [known]}, pools, take, {name: "it"})
            assert said == [f"{take} {verb}"]


@pytest.mark.parametrize(("rows", "optimistic"), [(FEW_ROWS - 1, False), (FEW_ROWS, True)])
def test_figures_of_validation_rows_are_optimistic_where_these_chose(
    rows: int, optimistic: bool
) -> None:
    manifest = {
        "methods": [{"method": "full", "curves": [[(1, 0.5)]]}],
        "data": {"rows": {"validation": rows}},
        "evaluated_on": "validation",
        "metric": "accuracy",
        "baselines": [],
        "transfer_gap": [],
    }
    assert bool(_beside(manifest, Pools("accuracy"), "full", {})) == optimistic


def test_of_equal_methods_one_seldom_comes_out_clearly_worse_though_the_best_is_picked() -> None:
    generator, ones, wrong = np.random.default_rng(0), np.ones(100), 0
    for _ in range(100):
        pools = Pools("accuracy")
        for name in "abcdefgh":
            pools.add(name, [np.stack([generator.random(100) < 0.8, ones], axis=1)])
        ordered = sorted(pools.figures, key=lambda name: -pools.figures[name].value)
        wrong += any(gain["clear"] for gain in pools.gains(ordered))
    assert wrong <= 8


def test_a_difference_below_the_spread_of_the_seeds_is_noise() -> None:
    pools, ones = Pools("accuracy"), np.ones(1000)
    for name, right in (("one", 900), ("other", 850)):
        summands = np.stack([np.arange(1000) < right, ones], axis=1)
        pools.add(name, [summands] * 2, [right / 1000 - 0.05, right / 1000 + 0.05])
    gain = pools.gain("one", "other")
    assert gain["low"] > 0
    assert not gain["clear"]


def test_resamples_are_of_the_same_rows_for_all_that_are_compared() -> None:
    hits = np.random.default_rng(0).random(300) < 0.8
    figure = PooledMetric.of([np.stack([hits, np.ones(300)], axis=1)])
    again = PooledMetric.of([np.stack([hits, np.ones(300)], axis=1)] * 3)
    np.testing.assert_allclose(figure.samples, again.samples)
    difference = figure.minus(again)
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((0, 0))
    interval = figure.interval(is_share=True)
    assert interval is not None
    assert interval.low < figure.value == hits.mean() < interval.high
    sure = PooledMetric.of([np.ones((10, 2))]).interval(is_share=True)
    assert sure is not None
    assert sure.low < sure.high == 1.0


def test_rates_show_which_one_suggests_itself(numbers: tuple[Path, str], tmp_path: Path) -> None:
    rates = (1e-6, 1e-2, 3e-2)
    how: dict[str, Any] = {"rates": rates, "num_epochs": 12, "drawn": True}
    with counted_fits() as fits:
        done = compare_numbers(numbers, tmp_path / "out", "scratch", **how)
    assert len(fits.mock_calls) == 3  # the recipe has one of these rates
    [found] = done.manifest["rates"]
    assert found["recipe"] == 3e-2
    assert [point["rate"] for point in found["points"]] == list(rates)
    slow, *others = found["points"]
    assert slow["score"] < min(point["score"] for point in others)
    assert slow["training_loss"] > max(point["training_loss"] for point in others)
    assert found["suggested"] in (1e-2, 3e-2)
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert found["said"] in page
    assert found["said"] in " ".join(done.to_text().split())
    assert "the recipe's" in found["said"]
    assert page.count("<svg") == 4


def test_a_rate_that_diverges_is_told_and_not_suggested(
    numbers: tuple[Path, str], tmp_path: Path
) -> None:
    error = TrainingError("The loss is nan at step 2; the update was not made. Rows: 1, 2")
    with failing_fit(lambda config: config.learning_rate == 9.0, error):
        done = compare_numbers(numbers, tmp_path / "out", "full", rates=(9.0, 1e-2))
    [found] = done.manifest["rates"]
    worst = found["points"][-1]
    assert (worst["rate"], worst["score"]) == (9.0, None)
    assert worst["failures"] == ["The loss is nan at step 2"]
    assert found["suggested"] != 9.0
    assert "full, rate 9, seed 0 failed: The loss is nan at step 2" in done.to_text()


def test_a_run_that_fails_is_its_own_fault_alone(numbers: tuple[Path, str], tmp_path: Path) -> None:
    first = TrainingError("Out of memory at step 1 with a single row: 9 GiB.")
    second = torch.OutOfMemoryError("CUDA out of memory. Tried")
    with (
        failing_fit(lambda config: (config.method, config.seed) == ("full", 1), first),
        failing_fit(lambda config: (config.method, config.seed) == ("full", 2), second),
    ):
        done = compare_numbers(numbers, tmp_path / "out", "full", "head", seeds=(0, 1, 2))
    figures = {each["method"]: each["seeds"] for each in done.manifest["methods"]}
    assert figures == {"full": [0], "head": [0, 1, 2]}
    told = {each["run"]: each["reason"] for each in done.manifest["failures"]}
    assert told["full, seed 1"].startswith("Out of memory")
    assert told["full, seed 2"].startswith("CUDA out of memory")
    assert "(1 of 3 runs)" in done.to_text()


def test_where_all_runs_fail_it_says_so(numbers: tuple[Path, str], tmp_path: Path) -> None:
    with failing_fit(lambda _: True, TrainingError("No room.")):
        done = compare_numbers(numbers, tmp_path / "out", "full")
    assert done.to_text().startswith("No run came to an end")
    assert "<h1>" in (tmp_path / "out" / "report.html").read_text()


def test_without_matplotlib_there_is_a_page_without_figures(
    numbers: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = compare_numbers(numbers, tmp_path / "out", "head", drawn=True)
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert "<svg" not in page
    [note] = [note for note in done.notes if "pip install 'footwork[plots]'" in note]
    assert note in page


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "full"}, "`method` has no place in this comparison: `methods` names them"),
        ({"learning_rate": 1e-3}, "`learning_rate` has no place .* `rates` names them"),
        ({"merge": True}, "`merge` has no place .* it publishes no model"),
        ({"push_to_hub": "owner/name"}, "`push_to_hub` has no place"),
        ({"lora_rank": 4}, "`lora_rank` has no place .* it means nothing to full.*got 4"),
    ],
)
def test_a_setting_that_has_no_place_is_refused(settings: dict[str, Any], message: str) -> None:
    options = CompareOptions(methods=("full",), rates=(1e-2,))
    with pytest.raises(ConfigError, match=message):
        ComparisonPlan(FinetuningConfig(**settings), options)


def test_a_setting_goes_to_the_methods_that_know_it() -> None:
    options = CompareOptions(methods=("lora", "full", "linear", "peft:loha"), seeds=(5,))
    plan = ComparisonPlan(TrainConfig(lora_rank=4, num_epochs=2, model_id="tiny"), options)
    lora, full, linear, loha = plan.runs.values()
    assert loha.method == "peft:loha"
    assert (lora.lora_rank, full.lora_rank) == (4, 8)
    assert (lora.num_epochs, full.num_epochs, linear.num_epochs) == (2, 2, None)
    assert {config.seed for config in plan.runs.values()} == {5}
    with pytest.raises(ConfigError, match="images have none"):
        ComparisonPlan(FinetuneConfig(model_id="tiny"), options)


@pytest.mark.parametrize(
    ("methods", "reported", "held_out", "said"),
    [
        (("full", "head", "contrastive"), "test", True, "by head and contrastive as well"),
        (("full", "head"), "validation", True, ""),
        (("full", "head"), "test", False, ""),
        (("full", "lora"), "test", True, ""),
    ],
)
def test_it_says_which_methods_learn_the_rows_held_out_before_the_test(
    methods: tuple[str, ...], reported: str, held_out: bool, said: str
) -> None:
    shared: Any = SimpleNamespace(
        configs=[FinetuningConfig(method=method) for method in methods],
        reported=reported,
        data=SimpleNamespace(held_out=held_out, splits={"validation": range(60)}),
        task=SimpleNamespace(noun="rows"),
    )
    notes = _learned_more(shared)
    assert [said in note and "(60)" in note for note in notes] == ([True] if said else [])


def test_where_no_methods_are_named_those_that_can_learn_the_rows_are_compared() -> None:
    config = TrainConfig(model_id="tiny")
    usual = ComparisonPlan(config, CompareOptions())
    assert usual.methods == ("lora", "full", "head", "prototypes")
    usual.require_task("multi_label_classification")
    assert usual.methods == ("lora", "full", "head")
    assert ComparisonPlan(config, CompareOptions(rates=(1e-3,))).methods == ("lora", "full")
    named = ComparisonPlan(config, CompareOptions(methods=("full", "prototypes")))
    with pytest.raises(ConfigError, match="takes rows of one class each, and this is multi label"):
        named.require_task("multi_label_classification")


def test_a_method_that_the_model_cannot_take_is_refused_before_anything_runs(
    numbers: tuple[Path, str], tmp_path: Path
) -> None:
    refusal = ConfigError("lora finds nothing to adapt. Use full.")
    open_task = NumberTask.open

    def refusing(task: NumberTask, config: FinetuningConfig) -> Any:
        if config.method == "lora":
            raise refusal
        return open_task(task, config)

    refused = pytest.raises(ConfigError, match="nothing to adapt")
    with patch.object(NumberTask, "open", refusing), counted_fits() as fits, refused:
        compare_numbers(numbers, tmp_path / "out", "full", "lora")
    assert not fits.mock_calls
    assert not list(tmp_path.iterdir())


def test_a_class_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    rows = [*sentiment_rows(40), ("neither here nor there", "odd")]
    table = write_table(tmp_path / "data.csv", rows, ("text", "label"))
    with pytest.raises(DataError, match=r"class 'odd' has 1 row to train on.* needs 2 of each"):
        compare_texts(table, tmp_path / "out", TrainConfig(model_id="tiny"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv"]


def test_what_is_not_trained_in_steps_takes_no_last_step(tmp_path: Path) -> None:
    table = sentiment_table(tmp_path / "data.csv", 40)
    options = CompareOptions(methods=("linear",))
    found = compare_texts(table, tmp_path / "out", TrainConfig(), options)
    [few] = [note for note in found.notes if "too few to choose by" in note]
    assert few.endswith("too few to choose by: no temperature is fitted.")


def test_each_method_reads_as_many_tokens_as_its_settings_say_and_the_cut_is_told(
    tmp_path: Path,
) -> None:
    rows = [
        (f"{text}{' and on' * 70 * (text[-1] == '7')}", label) for text, label in sentiment_rows(40)
    ]
    table = write_table(tmp_path / "data.csv", rows, ("text", "label"))
    config = TrainConfig(model_id=str(build_base(tmp_path / "base", "bert")), max_steps=1)
    options = CompareOptions(methods=("linear", "prompt", "full"), seeds=(0,))
    with counted_fits() as fits:
        found = compare_texts(table, tmp_path / "out", config, options)
    read = [call.args for call in fits.call_args_list if call.args[0].config.method != "linear"]
    lengths = [max(encoded.lengths("train")) for _, encoded, *_ in read]
    assert lengths == [learner.config.max_length for learner, *_ in read] == [108, 128]
    assert any("are longer than" in note for note in found.notes)


def test_validation_rows_on_which_the_metric_is_undefined_cost_no_run_its_figures(
    tmp_path: Path,
) -> None:
    rows = [{"text": f"{i} {name}", "label": [name]} for i in range(20) for name in ("bad", "odd")]
    none = [{"text": f"{i} neither", "label": []} for i in range(10)]
    options = CompareOptions(methods=("linear",), seeds=(0,))
    config = TrainConfig(task="multi_label_classification")
    found = compare_texts(rows, tmp_path / "out", config, options, validation=none, test=rows)
    [linear] = found.manifest["methods"]
    assert (linear["validation"], linear["value"]) == (None, 1.0)


def test_where_a_class_is_rare_the_verdict_tells_macro_f1(tmp_path: Path) -> None:
    rows = [{"text": f"{i} {'bad' if i % 20 else 'odd'}", "label": i % 20 > 0} for i in range(200)]
    options = CompareOptions(methods=("linear",))
    found = compare_texts(rows, tmp_path / "out", TrainConfig(), options)
    [told] = [each for each in found.manifest["verdict"] if "rare" in each]
    assert told.endswith(f"macro F1: linear {number(found.manifest['methods'][0]['macro_f1'])}.")


def test_both_applications_compare_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = sentiment_table(tmp_path / "data.csv", 40)
    base = str(build_base(tmp_path / "base", "bert"))
    words = ["compare", str(table), str(tmp_path / "texts"), "--model", base, "--max-steps", "2"]
    words += ["--methods", "linear,full", "--seeds", "0,1", "--batch-size", "8"]
    error = TrainingError("The loss is nan at step 1. Rows: 1")
    with failing_fit(lambda config: config.method == "full" and config.seed == 1, error):
        assert main(["textclf", *words]) == 3
    said = capsys.readouterr()
    assert said.out.startswith("Take ")
    assert "2 steps each, as --max-steps says" in (tmp_path / "texts/report.html").read_text()
    assert "full, seed 1 failed: The loss is nan at step 1" in said.out
    assert main(["textclf", *words]) == 2
    assert "exists. Name another folder, or add --overwrite" in capsys.readouterr().err
    images = str(draw_classes(tmp_path / "images", each=6))
    tower = str(build_tower(tmp_path / "tower", "vit"))
    words = ["compare", images, str(tmp_path / "pictures"), "--model", tower, "--json"]
    words += ["--methods", "head,full", "--seeds", "0", "--num-epochs", "2", "--batch-size", "8"]
    assert main(["zeroshot", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "pictures" / "comparison.json").read_text())
    assert {each["method"] for each in document["methods"]} == {"head", "full"}
    assert {each["name"] for each in document["baselines"]} == {"majority", "linear_probe"}
    assert document["evaluated_on"] == "validation"
    assert "the figures are optimistic" not in " ".join(document["verdict"])
    assert main(["zeroshot", "compare", images, str(tmp_path / "new"), "--methods", "linear"]) == 2
    assert "images have none" in capsys.readouterr().err
