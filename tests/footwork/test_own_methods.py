"""Modules that are put into the layers of a model: bottlenecks and prefixes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

from footwork.cli import main
from footwork.errors import ModelError
from footwork.inference.frozen import frozen_model
from footwork.methods.adaptation import trainable
from footwork.methods.bottleneck import BOTTLENECKS, Bottleneck
from footwork.methods.prefix import PREFIXES, Prefix
from footwork.methods.table import AdaptationConfig, methods_where
from footwork.models.checkpoints import load_adapter, load_classifier, load_shape, save_model
from footwork.models.deberta import accelerate_attention
from footwork.models.image_classifiers import load_image_classifier, load_image_shape
from footwork.models.parts import head_names
from footwork.models.pooling import let_head_read
from footwork.training.memory import frozen_weights_in
from tests.models import FAMILIES, WIDTHS, build_base
from tests.runs import finetune_here, train_here
from tests.tables import sentiment_rows, sentiment_table
from tests.zeroshot.image_towers import QUICK, build_tower, draw_classes
from textclf import TextClassifier, TrainConfig
from textclf.classifier import ClassifierOptions
from zeroshot import FinetuneConfig
from zeroshot.finetuned import FinetunedClassifier

WAYS = {"adapter": BOTTLENECKS, "prefix": PREFIXES}
MODULES = {"adapter": Bottleneck, "prefix": Prefix}
TOWERS = ("vit", "clip", "siglip", "beit")
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}
OTHERS: dict[str, dict[str, Any]] = {
    "electra": WIDTHS | {"embedding_size": 16},
    "albert": WIDTHS | {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "modernbert": WIDTHS | SPECIAL | {"sep_token_id": 2, "local_attention": 8},
    "mpnet": WIDTHS,
    "fnet": WIDTHS | {"tpu_short_seq_length": 16},
}
ARCHITECTURES = (*FAMILIES, "electra", "albert", "distilbert", "modernbert", *TOWERS)
LABELS = ["a", "b", "c"]
LEARNS = {"num_epochs": 10, "batch_size": 16, "max_length": 48}
WEIGHTS = "adapter_model.safetensors"

cases = pytest.mark.parametrize("method", WAYS)
architectures = pytest.mark.parametrize("family", ARCHITECTURES)


def build(folder: Path, family: str) -> Path:
    """A pretrained encoder."""
    if family in (*TOWERS, "resnet"):
        return build_tower(folder, family)
    if family in FAMILIES:
        return build_base(folder, family)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=99, **OTHERS[family])
    config.initializer_range = 0.2
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def classifier(folder: Path, family: str) -> Any:
    """With a head; it answers, and trains nothing."""
    build(folder, family)
    torch.manual_seed(0)
    load: Any = partial(load_classifier, task="single_label_classification")
    model, _ = (load_image_classifier if family in TOWERS else load)(str(folder), labels=LABELS)
    return model.eval()


def adapted(folder: Path, family: str, method: Any, *, moved: bool = True) -> Any:
    """With a method's modules, as a training might leave them."""
    config = AdaptationConfig(method=method)
    model = WAYS[method].adapt(classifier(folder, family), config, str(folder), None)
    if moved:
        with torch.no_grad():
            for _, each in trainable(model):
                each.add_(torch.randn_like(each), alpha=0.2)
    return model


def inputs(model: Any, rows: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(rows, 3, 32, 32)}
    ids = torch.randint(5, 90, (rows, length))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**given).logits.float()


@cases
@architectures
def test_training_begins_with_what_the_base_answers(
    family: str, method: str, tmp_path: Path
) -> None:
    base = classifier(tmp_path, family)
    shape = (load_image_shape if family in TOWERS else load_shape)(str(tmp_path))
    WAYS[method].require(shape, AdaptationConfig(method=method))  # it knows without the weights
    given = inputs(base)
    expected = logits(base, given)
    model = adapted(tmp_path / "again", family, method, moved=False)
    torch.testing.assert_close(logits(model, given), expected, atol=0, rtol=0)
    assert WAYS[method].holds(model)
    assert WAYS[method].merged(model) is model


@cases
@architectures
def test_every_layer_is_adapted_and_nothing_else_of_the_base_trains(
    family: str, method: str, tmp_path: Path
) -> None:
    model = adapted(tmp_path, family, method)
    own = [name for name, module in model.named_modules() if isinstance(module, MODULES[method])]
    layers = 3 if family in ("vit", "beit") else 1 if family == "albert" else 2
    assert len(own) == layers * (2 if method == "adapter" else 1)
    norms = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm) and method == "adapter"
    }
    parts = [f"{name}.{part}." for name in own for part in ("down", "up")]
    parts += [f"{name}." for name in own if method == "prefix"]
    allowed = (*parts, *(f"{name}." for name in (*norms, *head_names(model))))
    assert all(name.startswith(allowed) for name, _ in trainable(model))
    model(**inputs(model)).logits.square().sum().backward()
    for name, each in trainable(model):
        if name.startswith(tuple(parts)):
            assert each.grad is not None, name
            assert each.grad.abs().max() > 0, name


@cases
@pytest.mark.parametrize("family", [each for each in ARCHITECTURES if each not in TOWERS])
@pytest.mark.parametrize("packed", [None, False, True])
def test_neither_padding_nor_company_changes_an_answer(
    family: str, method: str, packed: bool | None, tmp_path: Path
) -> None:
    model = adapted(tmp_path, family, method)
    given = inputs(model)
    given["attention_mask"][1, 5:] = 0
    alone = logits(model, {name: each[1:2, :5] for name, each in given.items()})
    if packed is not None:
        model = frozen_model(model, torch.float32, packed=packed)
    torch.testing.assert_close(logits(model, given)[1:2], alone, atol=2e-5, rtol=0)


@cases
@architectures
def test_a_published_folder_answers_the_same_over_its_base(
    family: str, method: str, tmp_path: Path
) -> None:
    base, folder = tmp_path / "base", tmp_path / "out"
    model = adapted(base, family, method)
    folder.mkdir()
    save_model(folder, model)
    stored = load_file(folder / WEIGHTS)
    assert stored.keys() == {name for name, _ in trainable(model)}
    told = json.loads((folder / WAYS[method].file).read_text())
    assert told["base_model_name_or_path"] == str(base)
    kind = AutoModelForImageClassification if family in TOWERS else None
    again = load_adapter(folder, kind or AutoModelForSequenceClassification)
    accelerate_attention(again)
    given = inputs(model)
    torch.testing.assert_close(logits(again, given), logits(model, given), atol=1e-5, rtol=0)
    assert not any(each.is_meta for each in again.parameters())


@cases
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "vit"])
def test_in_bf16_it_answers_nearly_the_same(family: str, method: str, tmp_path: Path) -> None:
    model = adapted(tmp_path, family, method)
    given = inputs(model)
    expected = logits(model, given)
    with frozen_weights_in(model, torch.bfloat16) as cast:
        assert cast > 0
        with torch.autocast("cpu", torch.bfloat16):
            training = logits(model, given)
    torch.testing.assert_close(training, expected, atol=0.2, rtol=0.1)
    frozen = frozen_model(model, torch.bfloat16, packed=True)
    torch.testing.assert_close(logits(frozen, given), expected, atol=0.2, rtol=0.1)


@cases
def test_a_head_that_reads_the_mean_still_does(method: str, tmp_path: Path) -> None:
    base = classifier(tmp_path, "bert")
    assert let_head_read(base, "mean")
    given = inputs(base)
    expected = logits(base, given)
    model = WAYS[method].adapt(base, AdaptationConfig(method=method), "base", None)
    own = [name for name, module in model.named_modules() if isinstance(module, MODULES[method])]
    assert not any(".layer.2." in name for name in own)
    torch.testing.assert_close(logits(model, given), expected, atol=0, rtol=0)
    saved = {name for name, _ in trainable(model)}
    assert "bert.encoder.layer.2.attention.self.value.weight" in saved


@cases
def test_what_a_model_cannot_take_is_refused_with_what_is_possible(
    method: str, tmp_path: Path
) -> None:
    way, config = WAYS[method], AdaptationConfig(method=method)
    possible = f"Use --method {methods_where(lambda each: each.adapter is None)}"
    resnet = load_image_shape(str(build(tmp_path / "resnet", "resnet")))
    with pytest.raises(ModelError, match=f"^ResNetForImageClassification has no .*{possible}"):
        way.require(resnet, config)
    for family in ("mpnet", "fnet"):
        shape = load_shape(str(build(tmp_path / family, family)))
        if method == "adapter":
            way.require(shape, config)
        else:
            with pytest.raises(ModelError, match=f"has no attention by the inter.*{possible}"):
                way.require(shape, config)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing": (lambda weights: weights.pop("classifier.weight"), r"lacks classifier\.weight"),
    "foreign": (
        lambda weights: weights.update(other=torch.zeros(2)),
        "holds, and should not, other",
    ),
    "of the base": (
        lambda w: w.update({"bert.embeddings.word_embeddings.weight": torch.zeros(2)}),
        "should not, bert.embeddings",
    ),
    "shape": (
        lambda weights: weights.update({"classifier.bias": torch.zeros(7)}),
        r"has classifier\.bias as \(7,\) of torch.float32, not as \(3,\)",
    ),
    "numbers": (
        lambda weights: weights.update({"classifier.bias": torch.zeros(3, dtype=torch.int64)}),
        r"has classifier\.bias as \(3,\) of torch.int64",
    ),
}


@cases
def test_whatever_the_files_hold_is_checked(method: str, tmp_path: Path) -> None:
    folder, way = tmp_path / "out", WAYS[method]
    model = adapted(tmp_path / "base", "bert", method)
    folder.mkdir()
    save_model(folder, model)
    load = partial(load_adapter, folder, AutoModelForSequenceClassification)
    weights, told = load_file(folder / WEIGHTS), json.loads((folder / way.file).read_text())
    for spoil, said in FAULTS.values():
        save_file((spoil(spoilt := dict(weights)), spoilt)[1], folder / WEIGHTS)
        with pytest.raises(ModelError, match=rf"^Cannot load the adapter in .*{said}"):
            load()
    save_file(weights, folder / WEIGHTS)
    for size in (0, True, "64", None, 5, 10**7, 10**30):
        (folder / way.file).write_text(json.dumps(told | {way.setting: size}))
        with pytest.raises(ModelError, match=r"^Cannot load the adapter in"):
            load()
    (folder / way.file).write_text(json.dumps(told))
    (folder / WEIGHTS).write_bytes(b"spoilt")
    with pytest.raises(ModelError, match=r"^Cannot load the adapter in .*Check its files"):
        load()


@pytest.mark.parametrize(
    ("method", "setting"), [("adapter", "adapter_size"), ("prefix", "prefix_length")]
)
def test_texts_are_learned_published_and_answered(
    method: str, setting: str, tmp_path: Path
) -> None:
    data, out = sentiment_table(tmp_path / "data.csv"), tmp_path / "out"
    config: Any = TrainConfig(**{"model_id": "tiny", "method": method, setting: 8, **LEARNS})
    done = train_here(data, out, config)
    assert done.manifest["reload_difference"] < 1e-4
    assert done.manifest["metrics"]["accuracy"]["value"] >= 0.75
    assert done.manifest["cost"]["trainable_parameters"] < 0.5 * done.manifest["cost"]["parameters"]
    assert not (out / "model.safetensors").exists()
    texts, labels = zip(*sentiment_rows(40), strict=True)
    answers = TextClassifier.load(out).predict(texts)
    assert sum(one.label == label for one, label in zip(answers, labels, strict=True)) >= 30
    windows = ClassifierOptions(max_length=16, long="windows", precision="float32")
    long = " ".join(texts[:6])
    together, alone = (
        TextClassifier.load(out, windows).predict_proba(asked) for asked in ([long, "good"], [long])
    )
    np.testing.assert_array_equal(together[:1], alone)
    assert "library_name: footwork" in (out / "README.md").read_text()


@pytest.mark.parametrize(("method", "family"), [("adapter", "clip"), ("prefix", "vit")])
def test_images_are_learned_published_and_labelled(
    method: str, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, examples = build_tower(tmp_path / "base", family), draw_classes(tmp_path / "examples")
    config: Any = FinetuneConfig(**{"model_id": str(base), "method": method, **QUICK})
    done = finetune_here(examples, tmp_path / "out", config)
    assert done.manifest["reload_difference"] < 1e-4
    assert done.manifest["metrics"]["accuracy"]["value"] >= 0.75
    images = sorted((examples / "navy").iterdir())
    answers = FinetunedClassifier.load(tmp_path / "out").predict(images)
    assert sum(answer.label == "navy" for answer in answers) >= 8
    asked = ["zeroshot", "label", *map(str, images[:2]), "--taught", str(tmp_path / "out")]
    assert main([*asked, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2
