"""What a caller in Python gives to a training, and gets of it: on texts and on images alike."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

import footwork.finetuning.task as recipes
import footwork.finetuning.train as train_module
import textclf
import zeroshot
from footwork import console
from footwork.accelerator import compute_device, on_device
from footwork.console import Milestone
from footwork.errors import ConfigError, Interrupted, ModelError, TrainingError
from footwork.evaluation.own_metric import Metric
from footwork.finetuning.train import TrainedRun
from footwork.methods.rates import Recipe
from tests.runs import quick_ending
from tests.tables import sentiment_rows, sentiment_table, write_table
from tests.tasks import CASES, Case
from textclf import TextClassifier, TrainConfig, advise, audit_table
from textclf.classifier import ClassifierOptions

LABELS = {"texts": {"negative", "positive"}, "images": {"amber", "navy", "olive"}}
QUICK = {"method": "full", "max_steps": 4, "skip": ("baselines",)}


@dataclass(frozen=True)
class Place:
    """A case, with its base and its rows."""

    case: Case
    name: str
    base: Path
    data: Path

    def train(
        self, out: Path, options: dict[str, Any] | None = None, **settings: Any
    ) -> TrainedRun:
        config = self.case.config(settings.pop("base", self.base), **{**QUICK, **settings})
        return self.case.train_here(self.data, out, config, **options or {})


@pytest.fixture(params=CASES, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("place")
    return Place(case, request.param, case.build(folder / "base", case.family), case.write(folder))


# What knows nothing of a task is tried on one.
texts_alone = pytest.mark.parametrize("place", ["texts"], indirect=True)


@pytest.fixture(scope="module")
def heard() -> list[str]:
    return []


@pytest.fixture(scope="module")
def done(place: Place, heard: list[str], tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    heard.clear()
    out = tmp_path_factory.mktemp("done") / "out"
    return place.train(out, {"notify": heard.append}, skip=(), num_epochs=2, max_steps=None)


class Counting(TrainerCallback):
    """Counts steps, of all that were made of it; and one may end the training."""

    steps: ClassVar[list[int]] = []

    def __init__(self, last: int | None = None) -> None:
        self.last = last

    def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
        self.steps.append(state.global_step)
        control.should_training_stop |= state.global_step == self.last


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    Counting.steps.clear()
    Logger.seen.clear()


# What it returns


def test_history_has_a_row_for_each_step_that_was_logged(done: TrainedRun) -> None:
    steps = [row["step"] for row in done.history]
    assert steps == sorted(set(steps))
    assert steps[-1] == done.manifest["steps"]
    judged = [row for row in done.history if "eval_loss" in row]
    assert judged[-1]["step"] == steps[-1]
    assert {"epoch", "loss", "learning_rate", "eval_accuracy"} <= set(judged[-1])
    frame = done.history.to_pandas()
    assert list(frame.columns[:2]) == ["step", "epoch"]
    assert len(frame) == len(done.history)
    assert frame["loss"].notna().sum() == sum("loss" in row for row in done.history)


def test_the_classifier_is_the_folders(place: Place, done: TrainedRun) -> None:
    answers, rows = place.case.asked(done.folder, place.data, "auto")
    assert done.classifier is done.classifier
    assert set(done.classifier.labels) == LABELS[place.name]
    assert np.array_equal(done.classifier.logits(rows), answers(rows))
    judge, other = textclf.evaluate, zeroshot.evaluate
    judge, other = (judge, other) if place.name == "texts" else (other, judge)
    assert judge(done, place.data).evaluation.metrics.keys() == done.evaluation.metrics.keys()
    with pytest.raises(ConfigError, match=r"must be a classifier of (texts|images), a run"):
        other(done, place.data)


def test_a_run_is_shown_on_a_line_and_as_a_table(done: TrainedRun) -> None:
    accuracy = done.evaluation.metrics["accuracy"].value
    assert f"<TrainedRun: full in {done.folder}, validation: " in repr(done)
    assert f"accuracy {accuracy:.3f}" in repr(done)
    page = done._repr_html_()
    assert page.count("<tr>") == 1 + len(done.evaluation.metrics)
    assert page.count("<td>") == page.count("<tr>") * (2 + len(done.baselines))
    assert f"<td>{accuracy:.3f} (" in page


# What it is told


def test_events_have_fields(done: TrainedRun, heard: list[str]) -> None:
    events = [line for line in heard if isinstance(line, Milestone)]
    steps = [event for event in events if event.loss is not None]
    assert [event.step for event in steps] == [row["step"] for row in done.history if "loss" in row]
    assert {event.total for event in steps} == {done.manifest["steps"]}
    assert steps[0].learning_rate == done.history[0]["learning_rate"]
    assert steps[0].epoch == done.history[0]["epoch"]
    judged = [event for event in events if event.metrics is not None]
    for event, row in zip(judged, [r for r in done.history if "eval_loss" in r], strict=True):
        assert event.metrics is not None
        assert {
            f"eval_{name}": value for name, value in event.metrics.items()
        }.items() <= row.items()
        assert f"accuracy {event.metrics['accuracy']:.4f}" in event


@texts_alone
@pytest.mark.parametrize(
    ("seen", "verbose", "told"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_progress_shows_where_somebody_looks_on_and_wants_to(
    seen: bool,
    verbose: bool,
    told: bool,
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "_in_notebook", lambda: seen)
    place.train(tmp_path / "out", {"verbose": verbose})
    assert ("trained 4 steps in" in capsys.readouterr().err) is told


@texts_alone
def test_callbacks_hear_of_a_training_and_may_end_it(place: Place, tmp_path: Path) -> None:
    ended = place.train(tmp_path / "out", {"callbacks": (Counting, Counting(last=3))})
    assert Counting.steps == [1, 1, 2, 2, 3, 3]
    assert ended.manifest["steps"] == 3
    Counting.steps.clear()
    assert place.train(tmp_path / "lone", {"callbacks": Counting(last=1)}).manifest["steps"] == 1
    for wrong, told in ((print, "<built-in function print>"), ([Counting, int], "<class 'int'>")):
        with pytest.raises(ConfigError, match=f"transformers' TrainerCallback, got {told}"):
            place.train(tmp_path / "wrong", {"callbacks": wrong})
    assert not [*tmp_path.glob("wrong*")]


@texts_alone
def test_what_takes_no_steps_says_that_callbacks_hear_nothing(place: Place, tmp_path: Path) -> None:
    said: list[str] = []
    options = {"callbacks": (Counting,), "notify": said.append}
    place.train(tmp_path / "out", options, method="head", max_steps=None, num_epochs=None)
    assert "head takes no steps: callbacks and `log_to` hear nothing." in said
    assert not Counting.steps


# A loss and a metric


def focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return (1 - torch.exp(-loss)) ** 2 * loss


def share_wrong(probabilities: Any, targets: Any) -> float:
    assert np.allclose(probabilities.sum(axis=1), 1)
    return float((probabilities.argmax(axis=1) != targets).mean())


WRONG = Metric("share_wrong", share_wrong, greater_is_better=False)


WORDS = Metric("words", lambda *_: "much", greater_is_better=True)  # type: ignore[arg-type,return-value]


@texts_alone
def test_a_loss_of_ones_own_is_learned_by_and_named(place: Place, tmp_path: Path) -> None:
    usual = place.train(tmp_path / "usual", max_steps=1)
    own = place.train(tmp_path / "own", max_steps=1, loss=focal)
    assert own.manifest["config"]["loss"] == f"{__name__}.focal"
    [first] = [row["loss"] for row in usual.history if "loss" in row]
    [other] = [row["loss"] for row in own.history if "loss" in row]
    assert 0 < other < first  # each row's is smaller


def test_what_a_loss_is_made_with_is_told_and_nothing_of_it_is_copied() -> None:
    def told(loss: Any) -> str:
        name: str = TrainConfig(loss=loss).told()["loss"]
        return name

    assert told(partial(focal, gamma=2)) == f"{__name__}.focal(gamma=2)"
    assert told(partial(partial(focal, 1), b=3)) == f"{__name__}.focal(1, b=3)"
    first = told(lambda logits, _: logits[:, 0])
    assert first != told(lambda logits, _: logits[:, 1])
    assert told(partial(focal, Lock())).startswith(f"{__name__}.focal(<")  # it cannot be copied


def test_a_metric_of_ones_own_is_measured_and_may_choose(place: Place, tmp_path: Path) -> None:
    run = place.train(tmp_path / "out", metric=WRONG, best_metric="share_wrong")
    for row in run.history:
        if "eval_loss" in row:
            assert row["eval_share_wrong"] == pytest.approx(1 - row["eval_accuracy"])
    found = run.manifest["metrics"]["share_wrong"]
    assert found["value"] == pytest.approx(1 - run.manifest["metrics"]["accuracy"]["value"])
    assert found["low"] <= found["value"] <= found["high"]
    told = f"share_wrong: {__name__}.share_wrong of probabilities, smaller is better"
    assert run.manifest["config"]["metric"] == told
    assert run.manifest["config"]["best_metric"] == "share_wrong"
    assert "`share_wrong`" in (run.folder / "README.md").read_text()


@texts_alone
def test_a_metric_without_a_value_on_the_rows_that_judge_is_left_out(
    place: Place, tmp_path: Path
) -> None:
    asked = iter([0.5])
    metric = Metric("once", lambda *_: next(asked, float("nan")), greater_is_better=True)
    run = place.train(tmp_path / "out", metric=metric, method="head")
    assert "once" not in run.manifest["metrics"]
    assert any("left out: once (The metric once gave nan" in note for note in run.evaluation.notes)


def test_the_interval_of_a_metric_leaves_out_resamples_without_a_value() -> None:
    def of_both_classes(logits: Any, targets: Any) -> float:
        if len(set(targets)) < 2:
            raise ValueError("one class")
        return float(logits.max())

    metric = Metric("highest", of_both_classes, greater_is_better=True, reads="logits")
    logits = np.array([[0.0, 1.0], [2.0, 0.0], [3.0, 0.0]])
    found = metric.interval("single_label_classification", np.array([0, 1, 1]), logits)
    assert (found.value, found.high) == (3.0, 3.0)
    assert found.low < 3


def test_a_metric_is_given_probabilities_of_each_label_and_amounts() -> None:
    given: list[Any] = []
    metric = Metric("m", lambda own, _: float(given.append(own) or 1), greater_is_better=True)
    logits = np.array([[0.0, 0.0]])
    assert metric.measured("multi_label_classification", np.array([[0, 1]]), logits) == 1
    assert metric.measured("regression", np.array([5.0]), np.array([[4.0]])) == 1
    assert np.array_equal(given[0], [[0.5, 0.5]])
    assert np.array_equal(given[1], [4.0])


@texts_alone
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": torch.nn.functional.cross_entropy}, r"a row.*got \(\)\. Losses of torch do with"),
        ({"loss": lambda logits, _: logits}, r"got \(\d+, \d\)\. Take their mean: \.mean\(1\)"),
        ({"loss": "focal"}, "`loss` must be a function or None, got 'focal'"),
        ({"loss": focal, "label_smoothing": 0.1}, "are of the usual loss alone"),
        ({"metric": share_wrong}, "`metric` must be a Metric or None"),
        ({"metric": WORDS}, "The metric words must give a number, got 'much'"),
        ({"metric": WRONG, "best_metric": "wrong"}, "`best_metric` must be one of .*share_wrong"),
        ({"skip": ("tests",)}, "`skip` must be a list of which each is one of baselines, proof"),
        ({"device": "gpu"}, "`device` must be cpu, cuda, cuda:1, mps or the like, got 'gpu'"),
        ({"device": "xpu:99"}, "`device` xpu:99 is not there: this machine has cpu"),
        ({"log_to": ("paper",)}, "`log_to` must be a list of which each is one of clearml"),
        ({"log_to": ("swanlab",)}, "needs a package that is not installed: pip install swanlab"),
    ],
)
def test_what_is_no_hook_is_refused_before_anything_runs(
    settings: dict[str, Any], message: str, place: Place, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        place.train(tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "reads", "message"),
    [
        ("accuracy", "logits", "none of accuracy"),
        ("two words", "logits", "must be one word"),
        ("own", "labels", "`reads` must be one of probabilities, logits"),
    ],
)
def test_a_metric_that_is_none_is_refused(name: str, reads: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Metric(name, share_wrong, greater_is_better=True, reads=reads)
    with pytest.raises(ConfigError, match="must be a function"):
        Metric("own", "share_wrong", greater_is_better=True)  # type: ignore[arg-type]
    undefined = Metric("own", lambda *_: float("nan"), greater_is_better=True)
    with pytest.raises(ModelError, match="The metric own gave nan for 2 rows"):
        undefined.measured("single_label_classification", np.zeros(2, int), np.zeros((2, 2)))


class Failing(TrainerCallback):
    def on_step_end(self, *_: Any, **__: Any) -> None:
        raise OSError("the network is down")


@texts_alone
def test_a_resumed_run_has_the_loss_that_it_began_with(place: Place, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the network is down"):
        place.train(tmp_path / "out", {"callbacks": (Failing,)}, loss=focal)
    with pytest.raises(ConfigError, match=r"loss was '.*focal', is None"):
        place.train(tmp_path / "out", {"existing": "resume"})
    assert place.train(tmp_path / "out", {"existing": "resume"}, loss=focal).manifest["steps"] == 4


# Where it goes, and what is left out


class Logger(TrainerCallback):
    """In the place of one of transformers'."""

    seen: ClassVar[dict[str, Any]] = {}

    def on_train_begin(self, args: Any, *_: Any, **__: Any) -> None:
        self.seen.update(name=args.run_name, folder=os.environ["TENSORBOARD_LOGGING_DIR"])


@texts_alone
def test_a_logger_is_given_the_name_of_the_run_and_a_folder_beside_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Logger)
    monkeypatch.setattr("footwork.options.find_spec", lambda _: True)
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    place.train(tmp_path / "ticket.v2", max_steps=1)
    assert not Logger.seen
    place.train(tmp_path / "ticket.v3", max_steps=1, log_to=("tensorboard",))
    assert Logger.seen == {"name": "ticket.v3", "folder": str(tmp_path / "ticket.v3.logs")}
    assert (tmp_path / "ticket.v3.logs").is_dir()
    (tmp_path / "ticket.v4.logs").write_text("of the user")
    with pytest.raises(
        ConfigError, match=r"would write into .*ticket\.v4\.logs: File exists\. Move"
    ):
        place.train(tmp_path / "ticket.v4", max_steps=1, log_to=("tensorboard",))
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


@texts_alone
def test_a_run_of_wandb_ends_with_its_training_and_one_of_the_user_s_goes_on(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    wandb = SimpleNamespace(run=None, finish=partial(done.append, "finished"))
    wandb.teardown = partial(done.append, "put away")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    begins = {"on_train_begin": lambda *_, **__: setattr(wandb, "run", "ours")}
    monkeypatch.setitem(
        INTEGRATION_TO_CALLBACK, "wandb", type("Begins", (TrainerCallback,), begins)
    )
    monkeypatch.setattr("footwork.options.find_spec", lambda _: True)
    place.train(tmp_path / "first", log_to=("wandb",))
    assert done == ["finished", "put away"]  # or the next one would write into its folder
    place.train(tmp_path / "second", log_to=("wandb",))
    assert len(done) == 2


@texts_alone
def test_a_logger_that_fails_is_named_and_training_goes_on_without_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb: dict[str, Any] = {"__name__": "wandb.sdk"}
    exec("def init(*_, **__): raise ValueError('No API key.')", wandb)
    without_login = type("WithoutLogin", (TrainerCallback,), {"on_train_begin": wandb["init"]})
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "wandb", without_login)
    monkeypatch.setattr("footwork.options.find_spec", lambda _: True)
    with pytest.raises(TrainingError, match=r"^wandb failed: No API key\. .* leave out --log-to"):
        place.train(tmp_path / "out", log_to=("wandb",))
    run = place.train(tmp_path / "out", {"existing": "resume"})
    assert run.manifest["steps"] == 4


@texts_alone
def test_what_was_skipped_is_recorded_and_said(place: Place, tmp_path: Path) -> None:
    with patch.object(train_module, "prove_reload", side_effect=AssertionError):
        run = place.train(tmp_path / "out", max_steps=1, skip=("baselines", "proof", "report"))
    assert run.manifest["config"]["skip"] == ["baselines", "proof", "report"]
    assert (run.manifest["baselines"], run.manifest["reload_difference"]) == ({}, None)
    assert [path.name for path in (run.folder / "report").iterdir()] == ["metrics.json"]
    for said in (run.to_text(), (run.folder / "README.md").read_text().replace("*", "")):
        assert "It was compared with no baseline" in said
        assert "answers as the trained model was not proven" in said
    assert run.classifier.labels


@texts_alone
def test_a_device_is_that_of_the_block_alone(place: Place, tmp_path: Path) -> None:
    usual = compute_device()
    run = place.train(tmp_path / "out", max_steps=1, device="cpu")
    assert run.manifest["cost"]["device"] == "cpu"
    assert run.classifier.origin[1].device == "cpu"
    assert compute_device() == usual
    with on_device("cpu"):
        assert compute_device() == torch.device("cpu")
    with pytest.raises(ConfigError, match="`device` must be cpu"):
        ClassifierOptions(device="cpu:0")


# Ended


class Pressing(TrainerCallback):
    """Ctrl-C, after the first step."""

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)


@texts_alone
def test_ctrl_c_ends_a_loop_that_goes_on_after_failures(place: Place, tmp_path: Path) -> None:
    begun = []

    def sweep() -> None:
        for seed in range(3):
            begun.append(seed)
            try:
                place.train(tmp_path / str(seed), {"callbacks": (Pressing,)}, seed=seed)
            except Exception:  # noqa: BLE001 - what such loops do
                continue

    with pytest.raises(KeyboardInterrupt, match=r"after step \d: the state is saved") as ended:
        sweep()
    assert begun == [0]
    again = pickle.loads(pickle.dumps(ended.value))
    assert isinstance(again, Interrupted)
    assert (str(again), again.exit_code) == (str(ended.value), 130)


# A second round


@pytest.mark.parametrize(
    ("method", "place"), [("lora", "images"), ("prefix", "texts")], indirect=["place"]
)
def test_an_adapter_goes_on_where_it_stood(method: str, place: Place, tmp_path: Path) -> None:
    said: list[str] = []
    first = place.train(tmp_path / "first", method=method, max_steps=6)
    still = {"max_steps": 1, "learning_rate": 1e-12, "continue_adapter": True, "method": "auto"}
    second = place.train(tmp_path / "second", {"notify": said.append}, base=first.folder, **still)
    before, after = (place.case.logits(run.folder, place.data) for run in (first, second))
    assert np.abs(before - after).max() < 1e-5
    assert second.manifest["method"] == method
    assert second.manifest["model"]["id"] == str(place.base)  # and not the first round
    assert second.manifest["head"]["kept"]
    goes_on = f"The adapter in {first.folder} goes on ({method}), over {place.base}."
    assert goes_on in said
    moved = place.train(
        tmp_path / "third", base=first.folder, **{**still, "learning_rate": 1e-2, "max_steps": 3}
    )
    assert np.abs(place.case.logits(moved.folder, place.data) - before).max() > 1e-3


@texts_alone
def test_without_continuing_an_adapter_is_merged_and_that_is_said(
    place: Place, tmp_path: Path
) -> None:
    said: list[str] = []
    first = place.train(tmp_path / "first", method="lora", max_steps=6)
    still = {"max_steps": 1, "learning_rate": 1e-12}
    second = place.train(tmp_path / "second", {"notify": said.append}, base=first.folder, **still)
    before, after = (place.case.logits(run.folder, place.data) for run in (first, second))
    assert np.abs(before - after).max() < 1e-5
    assert f"The adapter in {first.folder} is merged into its base, and trained on so." in said
    assert "The output layer of the base is kept: its labels are the same." in said


@texts_alone
def test_an_adapter_answers_with_the_base_that_it_learned_on_alone(
    place: Place, tmp_path: Path
) -> None:
    anew = {"method": "head", "max_steps": 1}
    base = place.train(tmp_path / "base", **anew).folder
    over = place.train(tmp_path / "over", base=base, method="lora", max_steps=1).folder
    place.case.logits(over, place.data)
    with pytest.raises(ConfigError, match=r"base is what is read, .*base\. Name"):
        place.train(base, {"existing": "overwrite"}, base=over, max_steps=1)
    with pytest.raises(ConfigError, match="base is what is read"):
        textclf.merge(over, base, overwrite=True)
    with pytest.raises(ConfigError, match="base is what is read"):
        TextClassifier.load(over).save(base, overwrite=True)
    place.train(base, {"existing": "overwrite"}, **anew, seed=1)
    with pytest.raises(ModelError, match=r"over .*base, which is another model"):
        place.case.logits(over, place.data)


@texts_alone
def test_what_cannot_go_on_is_refused_with_a_word(place: Place, tmp_path: Path) -> None:
    lora = place.train(tmp_path / "lora", method="lora", max_steps=1).folder
    plain = place.train(tmp_path / "plain", max_steps=1).folder
    pruned = place.train(tmp_path / "pruned", method="adalora", max_steps=2).folder
    prefix = place.train(tmp_path / "prefix", method="prefix", max_steps=1).folder
    on = {"continue_adapter": True}
    for base, settings, message in (
        (plain, {"method": "auto", **on}, "and .*plain holds none"),
        (lora, {"method": "full", **on}, "`method` of the adapter in .* is lora, and stays so"),
        (lora, {"method": "lora", "lora_rank": 4, **on}, "`lora_rank` of .* is 8, .* got 4"),
        (pruned, {"method": "auto", **on}, "adalora does not publish all that it trained"),
        (prefix, {"method": "auto"}, "cannot be merged into its base. Train it on with --continue"),
    ):
        with pytest.raises((ConfigError, ModelError), match=message):
            place.train(tmp_path / "out", base=base, **settings)


def test_an_adapter_goes_on_with_its_own_labels_alone(tmp_path: Path) -> None:
    case, rows = (
        CASES["texts"],
        [(text, "ac"[number % 2]) for number, (text, _) in enumerate(sentiment_rows(80))],
    )
    place = Place(case, "texts", case.build(tmp_path / "base", "bert"), case.write(tmp_path))
    lora = place.train(tmp_path / "lora", method="lora", max_steps=1).folder
    others = replace(place, data=write_table(tmp_path / "b.csv", rows, ("text", "label")))
    with pytest.raises(ConfigError, match=r"the labels of the adapter\. The output layer is new"):
        others.train(tmp_path / "out", base=lora, method="auto", continue_adapter=True)
    on = TrainConfig(model_id=str(lora), label_column="label", continue_adapter=True)
    few = sentiment_table(tmp_path / "few.csv", 30)
    assert advise(few, on, verbose=False).method  # of what would begin anew
    assert any(note.startswith("lora: rate") for note in audit_table(place.data, on).notes)


# The page


def test_what_the_page_says_of_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
    section = page.partition("## Sweeps, callbacks, second rounds\n")[2].partition("\n## ")[0]
    monkeypatch.chdir(tmp_path)
    sentiment_table(Path("reviews.csv"), 40)
    sentiment_table(Path("more.csv"), 30)
    monkeypatch.setattr(recipes, "recipe_for", lambda *_, **__: Recipe(1e-3, 1, "few"))
    with quick_ending():
        for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            exec(block, {"__name__": "page"})
    assert capsys.readouterr().out.splitlines()[-1] == "tiny"
    assert {path.name for path in tmp_path.iterdir()} == {
        *("reviews.csv", "more.csv", "sweep", "watched", "round-1", "round-2", "round-2b"),
    }
