from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from runtime.checkpoints import load_classifier, load_tokenizer, load_trained, resolve_model_id
from runtime.errors import ModelError
from tests.models import FAMILIES, build_adapter, build_base, build_classifier

TASK = "single_label_classification"


def test_tiny_is_a_useful_size_and_loads_without_the_hub() -> None:
    model = load_classifier("tiny", labels=["a", "b"], task=TASK)
    parameters = sum(p.numel() for p in model.base_model.parameters())
    assert 1_900_000 < parameters < 4_000_000
    assert sum(f.stat().st_size for f in Path(resolve_model_id("tiny")).iterdir()) < 4_400_000
    assert load_tokenizer("tiny").tokenize("A question") == ["▁a", "▁question"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_gets_a_new_head_with_the_given_labels(family: str, tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", family)
    model = load_classifier(str(base), labels=["no", "yes", "maybe"], task=TASK)
    assert model.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert model.dtype == torch.float32


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    weights = base / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    model = load_classifier(str(base), labels=["a", "b"], task=TASK)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_an_encoder_without_its_weights_is_refused(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    weights = base / "model.safetensors"
    kept = {k: v for k, v in load_file(weights).items() if "layer.1." not in k}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks \d+ weights of the encoder"):
        load_classifier(str(base), labels=["a", "b"], task=TASK)


@pytest.mark.parametrize(
    ("model_id", "message"),
    [
        ("./nowhere", r"no model folder \./nowhere.*`tiny`"),
        (
            "someone/unreachable",
            r"Cannot load the model 'someone/unreachable'.*local folder.*`tiny`",
        ),
        ("not a name!", r"Cannot load the model 'not a name!'"),
    ],
)
def test_a_model_that_cannot_be_reached_says_what_to_do(model_id: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_tokenizer(model_id)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without config\.json"):
        resolve_model_id(str(tmp_path))
    with pytest.raises(ModelError, match="holds no trained classifier"):
        load_trained(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_and_plain_folders_load_alike(family: str, tmp_path: Path) -> None:
    plain = build_classifier(tmp_path / "plain", family)
    adapter = build_adapter(tmp_path / "adapter", build_base(tmp_path / "base", family))
    for folder in (plain, adapter):
        model, tokenizer = load_trained(folder)
        encoded = tokenizer("a good film", return_tensors="pt")
        assert model(**encoded).logits.shape == (1, 2)
        assert not model.training


def test_a_plain_folder_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = build_classifier(tmp_path / "plain", "bert")
    weights = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights, classifier\.bias"):
        load_trained(folder)
