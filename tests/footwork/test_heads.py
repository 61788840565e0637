from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from footwork.models.checkpoints import load_classifier, load_trained
from footwork.models.heads import HeadOrigin, scale_output, start_output, target_scale
from footwork.models.image_classifiers import load_image_classifier
from tests.models import build_adapter, build_base

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 60}
TEXTS: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 64},
    "roberta": {"intermediate_size": 64},
    "deberta-v2": {"intermediate_size": 64},
    "modernbert": {"intermediate_size": 64, "pad_token_id": 0, "cls_token_id": 1},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
}
IMAGES: dict[str, dict[str, Any]] = {
    "vit": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "efficientnet": {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128},
}
TOKENS = torch.arange(5, 29).view(3, 8)
PIXELS = torch.linspace(-1, 1, 3 * 3 * 32 * 32).view(3, 3, 32, 32)


def build(folder: Path, family: str, names: list[str], task: str | None = None) -> PreTrainedModel:
    """Save a classifier whose rows all differ."""
    own = SMALL | TEXTS[family] if family in TEXTS else IMAGES[family]
    kinds: Any = AutoModelForSequenceClassification, AutoModelForImageClassification
    config = AutoConfig.for_model(family, id2label=dict(enumerate(names)), **own)
    config.problem_type = task
    model: PreTrainedModel = kinds[family in IMAGES].from_config(config).eval()
    for parameter in model.parameters():
        if parameter.shape[0] == len(names):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    return model


def answers(model: PreTrainedModel) -> torch.Tensor:
    inputs = TOKENS if model.main_input_name == "input_ids" else PIXELS
    with torch.inference_mode():
        return model.eval()(inputs).logits


def load(folder: Path, labels: list[str], task: str = SINGLE) -> tuple[PreTrainedModel, HeadOrigin]:
    return load_classifier(str(folder), labels=labels, task=task)


@pytest.mark.parametrize("family", TEXTS)
def test_labels_of_the_same_names_keep_their_rows_in_whatever_order(
    family: str, tmp_path: Path
) -> None:
    base = build(tmp_path / "base", family, ["pos", "mixed", "neg"])
    model, head = load(tmp_path / "base", ["mixed", "neg", "pos"])
    assert torch.allclose(answers(model), answers(base)[:, [1, 2, 0]], atol=1e-5)
    assert model.config.id2label == {0: "mixed", 1: "neg", 2: "pos"}
    assert head.kept
    assert "its labels are the same, its rows put into the order of ours" in str(head.note)
    again, head = load(tmp_path / "base", ["pos", "mixed", "neg"])
    assert torch.allclose(answers(again), answers(base), atol=1e-5)
    assert str(head.note).endswith("its labels are the same.")


@pytest.mark.parametrize("family", IMAGES)
def test_images_of_the_same_classes_keep_their_rows(family: str, tmp_path: Path) -> None:
    names = ["olive", "amber", "navy"]
    base = build(tmp_path / "base", family, names)
    model, head = load_image_classifier(str(tmp_path / "base"), labels=sorted(names))
    assert torch.allclose(answers(model), answers(base)[:, [1, 2, 0]], atol=1e-4)
    assert head.kept
    other, head = load_image_classifier(str(tmp_path / "base"), labels=["a", "b", "c"])
    assert not torch.allclose(answers(other), answers(base)[:, [1, 2, 0]], atol=1e-2)
    assert not head.kept


def test_a_cut_tower_does_not_keep_the_layer_that_read_its_end(tmp_path: Path) -> None:
    names = ["amber", "navy"]
    build(tmp_path / "base", "vit", names)
    assert load_image_classifier(str(tmp_path / "base"), labels=names, features_from=3)[1].kept
    _, head = load_image_classifier(str(tmp_path / "base"), labels=names, features_from=2)
    assert "it reads an earlier layer" in str(head.note)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (["ham", "spam"], ["neg", "pos"], r"others \('ham', 'spam', not 'neg', 'pos'\)"),
        (["LABEL_0", "LABEL_1"], ["neg", "pos"], "the 2 labels of the base have no names"),
        (["LABEL_0", "LABEL_1"], ["LABEL_0", "LABEL_1"], "have no names"),
        (["neg", "pos"], ["Neg", "Pos"], "are others"),
        (["a", "b", "c", "d", "e"], ["b", "c"], "'a', 'b', 'c' and 2 more, not 'b', 'c'"),
        (["x", "x"], ["x", "y"], "are others"),
    ],
)
def test_labels_of_other_names_get_a_new_layer_and_it_is_said(
    family: str, theirs: list[str], ours: list[str], said: str, tmp_path: Path
) -> None:
    base = build(tmp_path / "base", family, theirs)
    model, head = load(tmp_path / "base", ours)
    assert not head.kept
    assert re.search(said, str(head.note))
    layer = [p.detach() for p in model.parameters() if p.shape[0] == len(ours) and p.dim() > 1][-1]
    assert 0.01 < float(layer.std()) < 0.04  # as transformers begins: of deviation 0.02
    encoder = dict(model.base_model.named_parameters())
    assert all(torch.equal(p, encoder[n]) for n, p in base.base_model.named_parameters())


def test_a_new_layer_is_the_seeds(tmp_path: Path) -> None:
    build(tmp_path / "base", "bert", ["ham", "spam"])
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(answers(load(tmp_path / "base", ["neg", "pos"])[0]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("theirs", "ours", "kept"),
    [(SINGLE, MULTI, False), (None, MULTI, False), (MULTI, MULTI, True), (None, SINGLE, True)],
)
def test_a_layer_of_another_task_is_not_kept(
    theirs: str | None, ours: str, kept: bool, tmp_path: Path
) -> None:
    build(tmp_path / "base", "bert", ["joy", "fear"], theirs)
    _, head = load(tmp_path / "base", ["fear", "joy"], ours)
    assert head.kept == kept
    assert kept or "trained for single label classification, this is multi label" in str(head.note)


def test_a_regression_goes_on_as_one(tmp_path: Path) -> None:
    base = build(tmp_path / "base", "bert", ["LABEL_0"])
    model, head = load(tmp_path / "base", [], "regression")
    assert head == HeadOrigin(True, "The output layer of the base, a regression, is kept.")
    torch.testing.assert_close(answers(model), answers(base))


@pytest.mark.parametrize("family", [*TEXTS, *IMAGES])
def test_the_output_layer_of_any_family_is_started_and_scaled(family: str, tmp_path: Path) -> None:
    model = build(tmp_path / "base", family, ["a", "b", "c"])
    before, biased = answers(model), family != "gpt2"
    scale_output(model, 3.0, -2.0)
    torch.testing.assert_close(answers(model), 3 * before - 2 * biased, atol=1e-4, rtol=1e-4)
    scale_output(model, 0.0)
    start_output(model, np.array([1.0, 0.0, -1.0]))
    known = torch.tensor([[1.0, 0.0, -1.0]]).expand(3, 3)
    torch.testing.assert_close(answers(model), known * biased)


def test_amounts_are_learned_without_their_unit(tmp_path: Path) -> None:
    amounts = np.array([1000.0, 1010.0, 1020.0], np.float32)
    for family, mean, spread in (("bert", 1010.0, 66.667**0.5), ("gpt2", 0.0, 1020100.0**0.5)):
        build(tmp_path / family, family, ["LABEL_0"])
        model, _ = load(tmp_path / family, [], "regression")
        assert target_scale(model, amounts) == pytest.approx((mean, spread), rel=1e-4)
        assert target_scale(model, amounts * 0)[1] == 1.0


def test_composed_and_decomposed_names_are_the_same(tmp_path: Path) -> None:
    build(tmp_path / "base", "bert", ["the\u0301", "cafe\u0301 "])
    assert load(tmp_path / "base", ["caf\u00e9", "th\u00e9"])[1].kept


def test_an_encoder_without_a_head_says_nothing(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "deberta-v2")
    assert load(base, ["neg", "pos"])[1] == HeadOrigin(kept=False)


@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_an_adapter_is_trained_on_as_the_model_that_it_makes(family: str, tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", family)
    folder = build_adapter(tmp_path / "adapter", base, labels=("pos", "neg"))
    trained, _ = load_trained(folder)
    model, head = load(folder, ["neg", "pos"])
    assert torch.allclose(answers(model), answers(trained)[:, [1, 0]], atol=1e-5)
    assert head.kept
    wider, head = load(folder, ["a", "b", "c"])
    assert answers(wider).shape == (3, 3)
    assert "others ('pos', 'neg', not 'a', 'b', 'c')" in str(head.note)
