from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import footwork.finetuning.train as train_module
from footwork import accelerator
from footwork.errors import ConfigError, DataError, ModelError
from footwork.finetuning.fit import fit
from footwork.finetuning.merge import merge_adapter
from footwork.finetuning.plan import plan
from footwork.models.pooling import let_head_read
from scripts.benchmarks.training import Course, train_with_footwork
from tests.models import build_base, build_classifier, build_tokenizer
from tests.runs import quick_ending, train_here
from tests.tables import sentiment_rows, sentiment_table, write_table
from tests.tasks import stopped_before_writing
from textclf import TextClassifier, TrainConfig, train
from textclf.audit.audit import audit_data, audit_table
from textclf.audit.model import AuditedModel
from textclf.data import load_data
from textclf.task import TextTask

LEARNS = {"num_epochs": 12, "learning_rate": 3e-3, "batch_size": 16, "max_length": 48}


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(build_base(tmp_path / "base", "bert"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return sentiment_table(tmp_path / "data.csv", 40)


def logits_of(*folders: Path, rows: int = 8) -> list[np.ndarray]:
    texts = [text for text, _ in sentiment_rows(rows)]
    return [TextClassifier.load(folder).logits(texts) for folder in folders]


def test_nothing_is_announced_that_too_few_rows_decide(
    data: Path, base: str, tmp_path: Path
) -> None:
    said: list[str] = []
    config = TrainConfig(model_id=base, method="full", max_steps=2, early_stopping=3)
    done = train_here(data, tmp_path / "out", config, notify=said.append)
    assert not [text for text in said if "bring nothing better" in text or "at most" in text]
    assert done.manifest["config"]["early_stopping"] == 0
    assert done.manifest["config_sources"]["early_stopping"] == "too few validation rows"
    assert any("too few to choose by" in note for note in done.notes)


def test_the_base_of_tiny_is_named_so_that_any_machine_finds_it(data: Path, tmp_path: Path) -> None:
    train_here(data, tmp_path / "out", TrainConfig(model_id="tiny", method="lora", num_epochs=1))
    adapter = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "tiny"
    written = "".join(p.read_text() for p in (tmp_path / "out").glob("*.json"))
    assert str(Path(train_module.__file__).parents[2]) not in written


def test_what_a_model_cannot_do_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2Tokenizer

    tokenizer = build_tokenizer("roberta")
    GPT2Tokenizer(tokenizer.get_vocab(), []).save_pretrained(tmp_path / "gpt2")
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    GPT2ForSequenceClassification(shape).save_pretrained(tmp_path / "gpt2")
    config = TrainConfig(model_id=str(tmp_path / "gpt2"), method="lora")
    with pytest.raises(ModelError, match="no layers that peft can adapt here, linear"):
        train(tmp_path / "none.csv", tmp_path / "out", config)
    assert not list(tmp_path.glob("*out*"))


def test_a_new_head_of_several_labels_begins_with_their_frequencies(base: str) -> None:
    labelled = enumerate(sentiment_rows(60))
    rows = [{"text": text, "label": ["any", label][: 1 + i % 2]} for i, (text, label) in labelled]
    config = TrainConfig(model_id=base)
    learner = plan(TextTask(), rows, config, lambda _: None)
    targets = learner.data.splits["train"].targets
    ones = targets.sum(axis=0)
    expected = np.log((ones + 1) / (len(targets) - ones + 1))
    bias = learner.model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(bias, expected, rtol=1e-5)
    balanced = replace(config, class_weights="balanced")
    learner = plan(TextTask(), rows, balanced, lambda _: None)
    assert not learner.model.classifier.bias.any()


def test_rare_labels_are_given_by_thresholds_of_their_own(base: str, tmp_path: Path) -> None:
    rows = [
        {"text": text, "labels": ["good"] * ("good" in text) + ["love"] * ("love" in text)}
        for text, _ in sentiment_rows(360)
    ]
    data = {"train": rows[:180], "validation": rows[180:270], "test": rows[270:]}
    config = TrainConfig(model_id=base, method="full", **LEARNS)
    done = train_here(data, tmp_path / "out", config)
    calibration = done.evaluation.calibration
    assert calibration is not None
    assert done.manifest["calibration"]["thresholds"] == list(calibration.thresholds)
    assert len(calibration.thresholds) == 2
    assert done.evaluation.metrics["micro_f1"].value > 0.8
    shown = rows[349], rows[343], rows[350]  # of each label one, and of none
    classifier = TextClassifier.load(tmp_path / "out")
    given = [answer.label for answer in classifier.predict([str(row["text"]) for row in shown])]
    assert given == [row["labels"] for row in shown] == [["good"], ["love"], []]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| threshold |" in card
    assert "`calibration.thresholds`" in card


def amounts_table(path: Path, rows: int = 60) -> Path:
    """Years: some ten below or above 1990."""
    years = [
        (text, str(1990 + (10 if label == "positive" else -10) + i % 3))
        for i, (text, label) in enumerate(sentiment_rows(rows))
    ]
    return write_table(path, years, ("text", "score"))


@pytest.mark.parametrize(
    "settings",
    [*({"method": name} for name in ("full", "head", "lora", "scratch")), {"merge": True}],
)
def test_amounts_are_learned_and_given_in_their_unit(
    settings: dict[str, Any], base: str, tmp_path: Path
) -> None:
    from transformers import pipeline

    config = TrainConfig(model_id=base, task="regression", **settings, **LEARNS)
    done = train_here(amounts_table(tmp_path / "a.csv"), tmp_path / "out", config)
    learned = settings == {"method": "full"}
    assert done.evaluation.metrics["mae"].value < (5 if learned else 11)
    figures = json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())
    logged = [log for log in figures["history"] if "eval_mae" in log]
    assert all(log["eval_mae"] < 15 for log in logged)
    for last in logged[-1:]:
        assert last["eval_loss"] == pytest.approx((last["eval_rmse"] / 10) ** 2, rel=0.1)
    texts = [text for text, _ in sentiment_rows(6)]
    own = [answer.label for answer in TextClassifier.load(tmp_path / "out").predict(texts)]
    assert own == pytest.approx([1981, 2001] * 3, abs=5 if learned else 12)
    plain = tmp_path / "out"
    if (plain / "adapter_config.json").exists():
        plain = tmp_path / "plain"
        assert merge_adapter(TextTask(), tmp_path / "out", plain) < 0.01
    given = pipeline("text-classification", str(plain), device="cpu")(texts)
    assert [one["score"] for one in given] == pytest.approx(own, abs=0.01)


def test_a_regression_is_resumed_in_its_own_scale(base: str, tmp_path: Path) -> None:
    table = amounts_table(tmp_path / "a.csv")
    config = TrainConfig(model_id=base, task="regression", **LEARNS | {"num_epochs": 2})
    train_here(table, tmp_path / "whole", config)
    with stopped_before_writing():
        train(table, tmp_path / "cut", config)
    settings = json.loads((tmp_path / "cut.training" / "run.json").read_text())
    train_here(table, tmp_path / "cut", config, existing="resume")
    np.testing.assert_array_equal(*logits_of(tmp_path / "whole", tmp_path / "cut"))
    # An older version's run was in the unit of the amounts.
    (tmp_path / "old.training").mkdir()
    del settings["scale"]
    (tmp_path / "old.training" / "run.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="other settings: scale was None"):
        train(table, tmp_path / "old", config, existing="resume")


def test_a_regression_that_is_trained_on_keeps_its_answers(tmp_path: Path) -> None:
    first = build_classifier(tmp_path / "first", labels=(), task="regression")
    config = TrainConfig(model_id=str(first), task="regression", method="full", **STANDS_STILL)
    train_here(amounts_table(tmp_path / "a.csv"), tmp_path / "out", config)
    np.testing.assert_allclose(*logits_of(tmp_path / "out", first), atol=1e-3)


STANDS_STILL = {"max_steps": 1, "learning_rate": 1e-9, "max_length": 48}


def test_a_run_over_labels_in_another_order_is_resumed(data: Path, tmp_path: Path) -> None:
    base = build_classifier(tmp_path / "base", labels=("positive", "negative"))
    config = TrainConfig(model_id=str(base), method="full", **LEARNS | {"num_epochs": 2})
    train_here(data, tmp_path / "whole", config)
    with stopped_before_writing():
        train(data, tmp_path / "cut", config)
    train_here(data, tmp_path / "cut", config, existing="resume")
    np.testing.assert_array_equal(*logits_of(tmp_path / "whole", tmp_path / "cut"))


def test_a_resumed_run_reads_what_it_read_when_it_began(
    data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from footwork.finetuning import head

    few = {"learning_rate": 5e-5, "num_epochs": 2}
    config = TrainConfig(model_id=base, method="full", **LEARNS | few)
    monkeypatch.setattr(head, "choose_reading", _reads_the_mean)
    whole = train_here(data, tmp_path / "whole", config)
    with stopped_before_writing():
        train(data, tmp_path / "cut", config)
    monkeypatch.setattr(head, "choose_reading", None)  # chosen anew it might fall otherwise
    cut = train_here(data, tmp_path / "cut", config, existing="resume")
    assert [note for note in whole.notes if "the mean over the tokens" in note]
    assert cut.notes == whole.notes
    np.testing.assert_array_equal(*logits_of(tmp_path / "whole", tmp_path / "cut"))


def _reads_the_mean(learner: Any, _: Any) -> str:
    assert let_head_read(learner.model, "mean")
    return "mean"


def test_a_setting_without_sense_is_refused_before(base: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`max_length` must be at least 5, got 4"):
        train(data, tmp_path / "out", TrainConfig(model_id=base, max_length=4))
    amounts = [(text, f"{i * 0.37:.2f}") for i, (text, _) in enumerate(sentiment_rows(40))]
    table = write_table(tmp_path / "a.csv", amounts, ("text", "score"))
    with pytest.raises(ConfigError, match="a regression has none"):
        train(table, tmp_path / "out", TrainConfig(model_id=base, class_weights="balanced"))


def test_the_audit_alone_speaks_of_the_run_that_would_follow(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "roberta")  # learned positions for 128 tokens
    rows = enumerate(sentiment_rows(40))
    longer = [(f"{text} {'good ' * (i * 4)}", label) for i, (text, label) in rows]
    table = write_table(tmp_path / "t.csv", longer, ("text", "label"))
    config = TrainConfig(model_id=str(base), max_steps=7, batch_size=16, mixed_precision="float32")
    said: list[str] = []
    labelled = load_data(str(table), config)
    learner = plan(TextTask(), str(table), config, said.append)
    model = AuditedModel.of(learner.model, learner.preparation)
    before = audit_data(labelled, model.vocabulary, 128, (model.size, learner.config))
    alone = audit_table(table, config)
    assert alone.max_length == before.max_length == 128
    assert alone.splits["train"].lost_tokens > 0
    assert (alone.splits, alone.findings) == (before.splits, before.findings)
    assert set(said) <= set(alone.notes)
    assert "7 steps" in said[1]
    # Three epochs of 36 rows are nine steps; the device's rate is measured each time.
    longer = audit_table(table, replace(config, max_steps=None, num_epochs=3))
    work = [one.cost.minutes * one.cost.device_flops for one in (alone, before, longer) if one.cost]
    assert work[0] == pytest.approx(work[1])
    assert work[0] < work[2]


def test_what_is_not_settled_reaches_no_training(base: str, data: Path, tmp_path: Path) -> None:
    task, config = TextTask(), TrainConfig(model_id=base, learning_rate=1e-3, max_steps=1)
    learner = plan(task, str(data), config, lambda _: None)
    assert learner.config.mixed_precision in ("bf16", "float32")
    learner.config.require_settled()
    rows = task.encode(learner, tmp_path, lambda _: None)
    with pytest.raises(ValueError, match="`num_epochs`, `best_metric`, `mixed_precision` must be"):
        fit(replace(learner, config=config), rows, tmp_path, None, lambda _: None)


def test_what_the_audit_warns_of_stays_with_the_run_and_its_errors_are_told(
    tmp_path: Path,
) -> None:
    rows = [{"text": text, "label": label} for text, label in sentiment_rows(60)]
    config = TrainConfig(method="linear", skip=("baselines", "report"))
    done = train_here({"train": rows[:50], "test": rows[40:]}, tmp_path / "out", config)
    warning = "10 rows of test stand in train too: its scores will be too good."
    assert warning in done.notes
    assert warning in (tmp_path / "out" / "README.md").read_text()
    alike = [row | {"label": "same"} for row in rows]
    with pytest.raises(DataError, match=r"impossible\. There is only the class 'same'"):
        train_here(alike, tmp_path / "alike", config)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_benchmark_trains_where_bf16_is_quick(
    method: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_classifier(tmp_path / "base", "deberta-v2")
    monkeypatch.setattr(accelerator, "has_bf16", lambda _: True)
    course = Course(model=base, table=data, learning_rate=1e-3, steps=3)
    with quick_ending():
        run = train_with_footwork(course, method)
    assert len(run.starts) == 3  # a loss that is not finite ends a training with an error


def test_a_head_begins_alike_though_the_labels_stand_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("footwork.finetuning.head._BEGIN", 40)
    monkeypatch.setattr("footwork.finetuning.head._SAMPLE", 40)
    words = ("bad poor sad", "good fine nice")
    rows = [{"text": f"it was {words[i % 2]}, {i}", "label": "ab"[i % 2]} for i in range(160)]
    splits = {"train": rows, "validation": rows[:60]}
    config = TrainConfig(model_id="tiny", method="full", **STANDS_STILL)
    done = train_here(splits, tmp_path / "out", config)
    assert done.evaluation.metrics["accuracy"].value > 0.9
