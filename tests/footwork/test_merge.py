"""Merging an adapter into its base."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from footwork.errors import ConfigError, ModelError
from footwork.finetuning.merge import calibrated, merge_adapter
from footwork.methods.peft import Peft
from footwork.models.checkpoints import load_trained
from tests.models import FAMILIES, build_adapter, build_base, build_classifier
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.task import TextTask

TEXTS = ["the film was very good", "", "what a dull, sad movie"]
TEXTS_TASK = TextTask()
FLOAT32 = ClassifierOptions(precision="float32")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    base = build_base(tmp_path / "base", "bert")
    return build_adapter(tmp_path / "adapter", base, ("low", "mid", "high"))


@pytest.mark.parametrize(
    ("family", "task", "temperature"),
    [
        ("bert", "multi_label_classification", 0.4),
        *((family, "single_label_classification", 2.5) for family in FAMILIES),
    ],
)
def test_a_merged_folder_needs_no_base_and_gives_the_pipeline_calibrated_probabilities(
    family: str, task: str, temperature: float, tmp_path: Path
) -> None:
    from transformers import pipeline

    base = build_base(tmp_path / "base", family)
    adapter = build_adapter(tmp_path / "adapter", base, ("low", "mid", "high"), task)
    manifest = json.loads((adapter / "footwork.json").read_text())
    manifest["calibration"]["temperature"] = temperature
    (adapter / "footwork.json").write_text(json.dumps(manifest))
    before = TextClassifier.load(adapter, FLOAT32).predict_proba(TEXTS)
    assert merge_adapter(TEXTS_TASK, adapter, tmp_path / "plain") <= 1e-4
    base.rename(tmp_path / "gone")
    plain = TextClassifier.load(tmp_path / "plain", FLOAT32)
    assert plain.labels == ("low", "mid", "high")
    np.testing.assert_allclose(plain.predict_proba(TEXTS), before, atol=1e-5)
    model = pipeline("text-classification", model=str(tmp_path / "plain"), device="cpu", top_k=None)
    answers = [{one["label"]: one["score"] for one in row} for row in model(TEXTS)]
    found = [[answer[label] for label in plain.labels] for answer in answers]
    np.testing.assert_allclose(found, before, atol=1e-5)
    calibration = json.loads((tmp_path / "plain" / "footwork.json").read_text())["calibration"]
    assert calibration["temperature"] == 1
    assert calibration["temperature_in_weights"] == temperature


def test_logits_that_are_not_linear_in_any_weights_keep_their_temperature(tmp_path: Path) -> None:
    class Capped(torch.nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return torch.tanh(super().forward(states))

    model, tokenizer = load_trained(build_classifier(tmp_path / "plain"))
    model.classifier.__class__ = Capped
    former = model.classifier.weight.clone()
    manifest = {"calibration": {"temperature": 2.5}}
    assert calibrated(TEXTS_TASK, model, tokenizer, manifest) == (manifest, 1.0)
    assert torch.equal(model.classifier.weight, former)


def test_the_manifest_and_the_report_go_along(adapter: Path, tmp_path: Path) -> None:
    (adapter / "report").mkdir()
    (adapter / "report" / "metrics.json").write_text("{}")
    merge_adapter(TEXTS_TASK, adapter, tmp_path / "plain")
    manifest = json.loads((tmp_path / "plain" / "footwork.json").read_text())
    former = json.loads((adapter / "footwork.json").read_text())
    assert {**former, "merged": True}.items() <= manifest.items()
    assert "model.safetensors" in manifest["files"]
    assert (tmp_path / "plain" / "report" / "metrics.json").exists()
    assert not (tmp_path / "plain" / "adapter_config.json").exists()


def test_the_card_speaks_of_a_plain_folder(adapter: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    from footwork.finetuning.card import merged_card, model_card
    from tests.footwork.test_card import report

    plain = model_card(report(merge=True)).replace("max_length=128", "max_length=64")
    plain = plain.replace("| `merge` | `True` |", "| `merge` | `False` |")
    (adapter / "README.md").write_text(model_card(report()) + "\nMy own words.\n")
    merge_adapter(TEXTS_TASK, adapter, tmp_path / "plain")
    card = (tmp_path / "plain" / "README.md").read_text()
    assert card == plain + "\nMy own words.\n"
    assert ModelCard(card).data.to_dict()["library_name"] == "transformers"
    manifest = {"calibration": {"temperature": 1.0, "temperature_in_weights": 1.6}}
    divided = merged_card(TEXTS_TASK, model_card(report()), manifest)
    assert "not calibrated" not in divided
    assert "The weights of the head are divided by the temperature" in divided
    assert "Footwork divides logits" not in divided


def test_a_plain_folder_needs_no_merging(tmp_path: Path) -> None:
    plain = build_classifier(tmp_path / "plain")
    with pytest.raises(ConfigError, match="is already plain"):
        merge_adapter(TEXTS_TASK, plain, tmp_path / "out")


def test_what_exists_is_not_overwritten_unless_asked(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(ConfigError, match="out exists"):
        merge_adapter(TEXTS_TASK, adapter, tmp_path / "out")
    with pytest.raises(ConfigError, match="out exists and is not replaced"):
        merge_adapter(TEXTS_TASK, adapter, tmp_path / "out", overwrite=True)
    with pytest.raises(ConfigError, match=r"is what is read, .*Name a folder apart from it"):
        merge_adapter(TEXTS_TASK, adapter, adapter, overwrite=True)
    (tmp_path / "out" / "precious").rename(tmp_path / "precious")
    merge_adapter(TEXTS_TASK, adapter, tmp_path / "out")
    merge_adapter(TEXTS_TASK, adapter, tmp_path / "out", overwrite=True)


def test_a_merge_that_changes_answers_is_not_published(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def merge_badly(self: Peft, model: object) -> object:
        plain = merged(self, model)
        with torch.no_grad():
            plain.classifier.bias += 1.0
        return plain

    merged = Peft.merged
    monkeypatch.setattr(Peft, "merged", merge_badly)
    with pytest.raises(ModelError, match=r"logits are off by 1.0e[+]00"):
        merge_adapter(TEXTS_TASK, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
