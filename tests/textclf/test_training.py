from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textclf.training as training_module
from runtime.errors import ConfigError, DataError, ModelError
from tests.models import FAMILIES, build_base
from tests.tables import sentiment_rows, sentiment_table, write_table
from textclf import TextClassifier, TrainConfig, train

LEARNS = {"num_epochs": 12, "learning_rate": 3e-3, "batch_size": 16, "max_length": 48}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "full", "head"])
def test_every_method_trains_every_family_and_reloads_exactly(
    family: str, method: Any, tmp_path: Path
) -> None:
    base = build_base(tmp_path / "base", family)
    data = sentiment_table(tmp_path / "data.csv")
    done = train(data, tmp_path / "out", TrainConfig(model_id=str(base), method=method, **LEARNS))
    manifest = json.loads((tmp_path / "out" / "footwork.json").read_text())
    assert manifest == done.manifest
    assert manifest["labels"] == ["negative", "positive"]
    assert manifest["method"] == method
    assert manifest["reload_difference"] < 1e-4
    assert set(manifest["baselines"]) == {"majority", "linear"}
    assert manifest["data"]["rows"] == {"train": 72, "validation": 8, "test": 0}
    assert not (tmp_path / "out.training").exists()
    assert (tmp_path / "out" / "adapter_config.json").exists() == (method == "lora")
    if method != "head":  # a random encoder says little that a head could use
        assert manifest["metrics"]["accuracy"]["value"] >= 0.75


def test_the_base_of_tiny_is_named_so_that_any_machine_finds_it(tmp_path: Path) -> None:
    data = sentiment_table(tmp_path / "data.csv", 40)
    train(data, tmp_path / "out", TrainConfig(model_id="tiny", num_epochs=1))
    adapter = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "tiny"
    written = "".join(p.read_text() for p in (tmp_path / "out").glob("*.json"))
    assert str(Path(training_module.__file__).parents[1]) not in written


def test_pairs_and_amounts_and_several_labels_train(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    config = TrainConfig(model_id=str(base), num_epochs=1, max_length=48)
    rows = sentiment_rows(40)
    pairs = [(text, "a good film", label) for text, label in rows]
    table = write_table(tmp_path / "p.csv", pairs, ("sentence1", "sentence2", "label"))
    assert train(table, tmp_path / "pairs", config).manifest["data"]["text_columns"] == [
        "sentence1",
        "sentence2",
    ]
    amounts = [(text, f"{i * 0.37:.2f}") for i, (text, _) in enumerate(rows)]
    table = write_table(tmp_path / "a.csv", amounts, ("text", "score"))
    done = train(table, tmp_path / "amounts", config)
    assert done.manifest["task"] == "regression"
    assert "mae" in done.manifest["metrics"]
    several = [(text, json.dumps([label, "any"])) for text, label in rows]
    table = tmp_path / "m.jsonl"
    table.write_text(
        "\n".join(json.dumps({"text": t, "labels": json.loads(x)}) for t, x in several)
    )
    done = train(table, tmp_path / "several", config)
    assert done.manifest["task"] == "multi_label_classification"
    assert done.manifest["labels"] == ["any", "negative", "positive"]


def test_a_seed_gives_the_same_classifier_twice(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "roberta")
    data = sentiment_table(tmp_path / "data.csv", 40)
    config = TrainConfig(model_id=str(base), method="full", num_epochs=2, seed=3)
    texts = [text for text, _ in sentiment_rows(10)]
    logits = []
    for name in ("a", "b"):
        train(data, tmp_path / name, config)
        logits.append(TextClassifier.load(tmp_path / name).logits(texts))
    np.testing.assert_array_equal(*logits)


def test_a_model_that_reloads_differently_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_base(tmp_path / "base", "bert")
    data = sentiment_table(tmp_path / "data.csv", 40)
    write = training_module.write_classifier

    def forget_the_head(folder: Path, result: Any, baselines: Any) -> Any:
        with torch.no_grad():
            for parameter in result.model.classifier.parameters():
                parameter.add_(
                    1.0 + torch.arange(parameter.shape[0]).view(-1, *[1] * (parameter.dim() - 1))
                )
        notes = write(folder, result, baselines)
        with torch.no_grad():
            for parameter in result.model.classifier.parameters():
                parameter.sub_(
                    1.0 + torch.arange(parameter.shape[0]).view(-1, *[1] * (parameter.dim() - 1))
                )
        return notes

    monkeypatch.setattr(training_module, "write_classifier", forget_the_head)
    with pytest.raises(ModelError, match=r"logits differ by .* Nothing was published"):
        train(data, tmp_path / "out", TrainConfig(model_id=str(base), method="full", num_epochs=1))
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "out.training").glob("checkpoint-*"))


def test_what_exists_is_not_overwritten_unasked(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    data = sentiment_table(tmp_path / "data.csv", 40)
    config = TrainConfig(model_id=str(base), num_epochs=1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"exists.*--overwrite"):
        train(data, out, config)
    assert (out / "thesis.txt").read_text() == "years of work"
    train(data, out, config, existing="overwrite")
    with pytest.raises(ConfigError, match=r"finished: there is nothing to resume"):
        train(data, out, config, existing="resume")
    with pytest.raises(ConfigError, match=r"No unfinished run"):
        train(data, tmp_path / "new", config, existing="resume")


def test_a_run_is_resumed_only_with_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_base(tmp_path / "base", "bert")
    data = sentiment_table(tmp_path / "data.csv", 40)
    out = tmp_path / "out"
    config = TrainConfig(model_id=str(base), num_epochs=2, batch_size=8)

    def fail(*_: Any, **__: Any) -> None:
        raise ModelError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(training_module, "write_classifier", fail)
        with pytest.raises(ModelError, match=r"stopped here"):
            train(data, out, config)
    with pytest.raises(ConfigError, match=r"unfinished run.*--resume"):
        train(data, out, config)
    other = TrainConfig(model_id=str(base), num_epochs=2, batch_size=4)
    with pytest.raises(ConfigError, match=r"`?batch_size`? was 8, is 4"):
        train(data, out, other, existing="resume")
    notes: list[str] = []
    train(data, out, config, existing="resume", notify=notes.append)
    assert not any(note.startswith("step ") for note in notes)  # all steps were done before


def test_an_overwriting_run_that_was_stopped_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_base(tmp_path / "base", "bert")
    data = sentiment_table(tmp_path / "data.csv", 40)
    out = tmp_path / "out"
    config = TrainConfig(model_id=str(base), num_epochs=1, max_length=48)
    train(data, out, config)
    other = TrainConfig(model_id=str(base), num_epochs=1, max_length=48, seed=1)

    def fail(*_: Any, **__: Any) -> None:
        raise ModelError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(training_module, "write_classifier", fail)
        with pytest.raises(ModelError, match="stopped here"):
            train(data, out, other, existing="overwrite")
    assert json.loads((out / "footwork.json").read_text())["seed"] == 0
    assert train(data, out, other, existing="resume").manifest["seed"] == 1


def test_a_setting_without_sense_is_refused_before_training(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    data = sentiment_table(tmp_path / "data.csv", 40)
    with pytest.raises(ConfigError, match="`max_length` must be at least 5 here, got 4"):
        train(data, tmp_path / "out", TrainConfig(model_id=str(base), max_length=4))
    amounts = [(text, f"{i * 0.37:.2f}") for i, (text, _) in enumerate(sentiment_rows(40))]
    table = write_table(tmp_path / "a.csv", amounts, ("text", "score"))
    with pytest.raises(ConfigError, match="a regression has none"):
        train(table, tmp_path / "out", TrainConfig(model_id=str(base), class_weights="balanced"))


def test_a_table_of_one_class_cannot_be_learned(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    rows = [(text, "same") for text, _ in sentiment_rows(20)]
    table = write_table(tmp_path / "one.csv", rows, ("text", "label"))
    with pytest.raises(DataError, match=r"audit"):
        train(table, tmp_path / "out", TrainConfig(model_id=str(base)))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == []


@pytest.mark.parametrize("setting", ["class_weights", "label_smoothing", "schedule", "layer_decay"])
def test_every_training_setting_is_taken(setting: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "schedule": "cosine",
        "layer_decay": 0.8,
    }
    base = build_base(tmp_path / "base", "deberta-v2")
    data = sentiment_table(tmp_path / "data.csv", 40)
    config = TrainConfig(
        model_id=str(base), method="full", num_epochs=1, **{setting: values[setting]}
    )
    assert train(data, tmp_path / "out", config).manifest["config"][setting] == values[setting]


def test_activation_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "deberta-v2")
    data = sentiment_table(tmp_path / "data.csv", 40)
    losses = []
    for name, checkpointing in (("a", False), ("b", True)):
        config = TrainConfig(
            model_id=str(base), method="full", num_epochs=2, activation_checkpointing=checkpointing
        )
        losses.append(train(data, tmp_path / name, config).manifest["metrics"]["log_loss"]["value"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_merged_classifier_is_what_the_pipeline_loads(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "deberta-v2")
    data = sentiment_table(tmp_path / "data.csv", 40)
    out = tmp_path / "out"
    train(data, out, TrainConfig(model_id=str(base), num_epochs=4, merge=True, learning_rate=3e-3))
    script = (
        "import sys, json; from transformers import pipeline; "
        "p = pipeline('text-classification', sys.argv[1], top_k=None); "
        "print(json.dumps(p(['the film was very good'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)], capture_output=True, text=True, check=True
    )
    found = {one["label"]: one["score"] for one in json.loads(done.stdout)[0]}
    classifier = TextClassifier.load(out)
    logits = classifier.logits(["the film was very good"])[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert [found[label] for label in classifier.labels] == pytest.approx(expected, abs=1e-5)
