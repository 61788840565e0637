"""The laws of fine-tuning, on texts and on images alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import footwork.finetuning.head as head_module
import footwork.finetuning.train as train_module
from footwork import accelerator
from footwork.errors import ConfigError, ModelError
from footwork.files.folders import MANIFEST, sealed, write_json
from footwork.finetuning.config import FinetuningConfig
from footwork.methods.rates import Recipe
from footwork.methods.table import METHODS, adapter_in, method_of
from tests.models import FAMILIES
from tests.tasks import CASES, Case, kill_early, stopped_before_writing

TRIED = {
    "deberta-v2": ("lora", "adalora", "p-tuning"),
    "bert": ("prompt", "prototypes"),
    "roberta": ("top-k",),
    "clip": ("gradual",),
    "siglip": ("full",),
    "vit": ("head", "bitfit"),
    "resnet": ("scratch", "ia3"),
}
"""Each kind of encoder and each kind of method; `test_adaptation.py` has every pair of the two,
which meet in nothing else that a run does."""
one_case = pytest.mark.parametrize("case", ["texts"], indirect=True)
"""Of what happens around a training, whatever its rows are."""
FRESH = ("deberta-v2", "lora")  # plain folders: tests/test_toy_task.py, tests/zeroshot
BASELINES = {"texts": {"majority", "linear"}, "images": {"majority", "linear_probe"}}
ROWS = {
    "texts": {"train": 72, "validation": 8, "test": 0},
    "images": {"train": 24, "validation": 6, "test": 0},
}


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of contrastive learning has three pairs a row."""
    monkeypatch.setitem(METHODS, "contrastive", replace(METHODS["contrastive"], pairs=3))


@pytest.mark.parametrize(
    ("family", "method"), [(family, method) for family in TRIED for method in TRIED[family]]
)
def test_every_method_trains_every_family_and_reloads_exactly(
    family: str, method: str, tmp_path: Path
) -> None:
    name, out = "texts" if family in FAMILIES else "images", tmp_path / "out"
    case = CASES[name]
    config = case.config(case.build(tmp_path / "base", family), method=method)
    prove = case.train if (family, method) == FRESH else case.train_here
    done = prove(case.write(tmp_path), out, config)
    manifest = json.loads((out / "footwork.json").read_text())
    assert manifest == done.manifest
    assert manifest["method"] == method
    assert manifest["labels"] == sorted(manifest["labels"])
    assert manifest["reload_difference"] < 1e-4
    assert set(manifest["baselines"]) - {"zero_shot"} == BASELINES[name]
    assert ("zero_shot" in manifest["baselines"]) == (family in ("clip", "siglip"))
    assert manifest["data"]["rows"] == ROWS[name]
    assert not (tmp_path / "out.training").exists()
    assert (adapter_in(out) is not None) == (method_of(method).adapter is not None)
    # A random encoder says little that these could use.
    if not method_of(method).features_once and method != "bitfit":
        assert manifest["metrics"]["accuracy"]["value"] >= 0.5
    words = f"{len(manifest['labels'])} classes"
    assert words in done.to_text()
    assert words in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "said", "sources"),
    [
        ({}, "full: rate 0.001, 30 epochs of 9 rows (a paper)", {"learning_rate": "a paper"}),
        (
            {"learning_rate": 0.5},
            "full: rate 0.5 (given), 30 epochs of 9 rows (a paper)",
            {"learning_rate": "given", "num_epochs": "a paper"},
        ),
        (
            {"learning_rate": 0.5, "num_epochs": 1.0},
            "full: rate 0.5, 1 epoch of 9 rows (given)",
            {"learning_rate": "given", "num_epochs": "given"},
        ),
        (
            {"max_steps": 1},
            "full: rate 0.001 (a paper), 1 step (given)",
            {"max_steps": "given", "num_epochs": "not used: max_steps counts"},
        ),
    ],
)
def test_what_the_user_chose_is_not_told_as_the_recipes(
    given: dict[str, Any], said: str, sources: dict[str, str]
) -> None:
    config = FinetuningConfig(method="full", **given)
    own = {"mixed_precision": "float32"}
    settled, whence, told = config.settled(
        "single_label_classification", Recipe(1e-3, 30, "a paper"), "9 rows", own
    )
    assert told == f"{said}; fewer if 5 evaluations bring nothing better"
    settled.require_settled()
    everything = {"method": "given", "best_metric": "the labels"} | sources
    assert {name: whence[name] for name in everything} == everything
    assert whence["mixed_precision"] == "the model and this machine"
    assert "weight_decay" not in whence


def test_a_run_tells_what_it_took(case: Case, base: Path, data: Path, tmp_path: Path) -> None:
    config = case.config(base, method="lora", num_epochs=1)
    done = case.train_here(data, tmp_path / "out", config)
    cost, sources = done.manifest["cost"], done.manifest["config_sources"]
    assert 0 < cost["trainable_parameters"] < cost["parameters"]
    assert 2**26 < cost["peak_memory_bytes"] < 2**35
    assert (cost["threads"], cost["device"], cost["resumed"]) == (1, "cpu", False)
    assert done.manifest["calibration"]["measured_on"] == "validation"
    assert sources["num_epochs"] == sources["model_id"] == "given"
    took = f"{cost['trainable_parameters']:,} of {cost['parameters']:,} parameters were trained, in"
    assert took in done.to_text()
    assert took in (tmp_path / "out" / "README.md").read_text()


@one_case
def test_a_refusal_within_a_run_leaves_no_folder(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    refusal = ModelError("not with this one")
    with patch.object(train_module, "fit", side_effect=refusal), pytest.raises(ModelError):
        case.train(data, tmp_path / "out", case.config(base))
    assert not list(tmp_path.glob("out*"))


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("texts", method) for method in ("gradual", "lora", "contrastive")),
        ("images", "full"),
    ],
)
def test_a_seed_gives_the_same_bits_though_the_run_was_cut_and_resumed(
    name: str, method: str, tmp_path: Path
) -> None:
    case = CASES[name]
    base, data = case.build(tmp_path / "base", case.family), case.write(tmp_path)
    config = case.config(base, method=method, num_epochs=2, seed=3)
    case.train_here(data, tmp_path / "whole", config)
    with stopped_before_writing():
        case.train(data, tmp_path / "cut", config)
    kill_early(tmp_path / "cut.training")
    case.train_here(data, tmp_path / "cut", config, existing="resume")
    whole, cut = (case.logits(tmp_path / name, data) for name in ("whole", "cut"))
    np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize(
    ("family", "method", "rates", "solved"),
    [
        ("bert", "full", (1e-4, 2e-5), False),
        ("bert", "full", (2e-5, 1e-4), True),
        ("modernbert", "full", (2e-5, 1e-4), True),
        ("bert", "lora", (5e-4, 5e-5), True),
    ],
)
def test_a_run_goes_on_at_another_rate_with_the_head_that_it_began_with(
    family: str, method: str, rates: tuple[float, float], solved: bool, tmp_path: Path
) -> None:
    case = CASES["texts"]
    base, data = case.build(tmp_path / "base", family), case.write(tmp_path)
    config = case.config(base, method=method, num_epochs=2, learning_rate=rates[0])
    with stopped_before_writing():
        case.train(data, tmp_path / "out", config)
    kill_early(tmp_path / "out.training")
    other = replace(config, learning_rate=rates[1])
    done = case.train_here(data, tmp_path / "out", other, existing="resume")
    assert done.manifest["config"]["learning_rate"] == rates[1]
    assert any(note.startswith("The head begins solved") for note in done.notes) == solved


def test_a_run_does_not_go_on_over_a_base_that_was_trained_anew(tmp_path: Path) -> None:
    case = CASES["texts"]
    base, data = case.build(tmp_path / "base", case.family), case.write(tmp_path)
    config = case.config(base, method="lora", num_epochs=2)
    with stopped_before_writing():
        case.train(data, tmp_path / "out", config)
    write_json(base / MANIFEST, sealed({"footwork": "1"}))
    with pytest.raises(ConfigError, match=r"base_sha256 was None, is .* published anew"):
        case.train(data, tmp_path / "out", config, existing="resume")


def test_what_is_trained_from_scratch_has_nothing_of_the_weights_of_its_base(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: -each for name, each in weights.items()}, other / "model.safetensors")
    answers = []
    for folder in (base, other):
        config = case.config(folder, method="scratch", num_epochs=1)
        out = tmp_path / f"out-{folder.name}"
        said = case.train_here(data, out, config).to_text()
        assert "What the pretraining is worth" not in said
        answers.append(case.logits(out, data))
    np.testing.assert_array_equal(*answers)
    card = (out / "README.md").read_text()
    assert f"This is trained from random weights, in the architecture of `{other.name}`" in card
    assert "base_model" not in card


@pytest.mark.parametrize(
    ("name", "family", "settings"),
    [
        ("texts", "roberta", {"method": "full"}),
        ("texts", "roberta", {"merge": True}),
        ("texts", "deberta-v2", {"method": "lora"}),
        *(
            ("images", family, {"method": method, "augment": "none"})
            for family, method in (("vit", "lora"), ("resnet", "full"), ("clip", "full"))
        ),
    ],
)
def test_a_classifier_that_is_trained_on_keeps_what_its_labels_mean(
    name: str, family: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    case, out, said = CASES[name], tmp_path / "out", list[str]()
    data, encoder = case.write(tmp_path), case.build(tmp_path / "base", family)
    config = case.config(encoder, method="full", num_epochs=1)
    first = case.train_here(data, tmp_path / "first", config)
    before = case.logits(first.folder, data)
    turn_around(first.folder)
    still = {"learning_rate": 1e-9, "num_epochs": None, "max_steps": 1}
    config = case.config(first.folder, **still, **settings)
    done = case.train_here(data, out, config, notify=said.append)
    assert done.manifest["labels"] == first.manifest["labels"]
    np.testing.assert_allclose(case.logits(out, data), before, atol=1e-3)
    head = done.manifest["head"]
    assert head["kept"]
    assert "its rows put into the order of ours" in head["note"]
    assert head["note"] in said
    assert head["note"] in (out / "README.md").read_text()


def turn_around(folder: Path) -> None:
    """Turn the order of a classifier's labels around, in its weights and in its configuration."""
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    found = load_file(weights)
    names = [name for _, name in sorted(config["id2label"].items())]
    for key, each in found.items():
        if "classifier" in key and len(each) == len(names):
            found[key] = each.flip(0).contiguous()
    save_file(found, weights, {"format": "pt"})
    config["id2label"] = {str(number): name for number, name in enumerate(reversed(names))}
    (folder / "config.json").write_text(json.dumps(config))


@one_case
def test_a_model_that_reloads_differently_is_not_published(
    case: Case, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = train_module.save_model

    def save_another(folder: Path, model: Any, *, merge: bool) -> None:
        with torch.no_grad():
            model.classifier.bias += torch.arange(float(len(model.classifier.bias)))
        save(folder, model, merge=merge)

    monkeypatch.setattr(train_module, "save_model", save_another)
    config = case.config(base, method="full", num_epochs=1)
    with pytest.raises(ModelError, match=r"logits differ by .* Nothing was published"):
        case.train_here(data, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "out.training").glob("checkpoint-*"))


@one_case
def test_what_exists_is_not_overwritten_unasked(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    config, out = case.config(base, num_epochs=1), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for existing in ("refuse", "overwrite"):
        with pytest.raises(ConfigError, match=r"out exists and is not replaced"):
            case.train(data, out, config, existing=existing)
    assert (out / "thesis.txt").read_text() == "years of work"
    (out / "thesis.txt").unlink()
    (tmp_path / "out.training").mkdir()
    (tmp_path / "out.training" / "mine").touch()
    with pytest.raises(ConfigError, match=r"work in .*out\.training, which holds something else"):
        case.train(data, out, config, existing="overwrite")
    (tmp_path / "out.training" / "mine").rename(tmp_path / "mine")
    case.train_here(data, out, config)
    with pytest.raises(ConfigError, match=r"out exists.*--overwrite to") as refused:
        case.train(data, out, config)
    assert 'existing="overwrite"' in refused.value.__notes__[0]
    case.train_here(data, out, config, existing="overwrite")
    with pytest.raises(ConfigError, match=r"finished: there is nothing to resume"):
        case.train(data, out, config, existing="resume")
    with pytest.raises(ConfigError, match=r"No unfinished run"):
        case.train(data, tmp_path / "new", config, existing="resume")


@one_case
def test_a_run_is_resumed_only_with_its_own_settings(
    case: Case, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    config = case.config(base, num_epochs=2, batch_size=8, mixed_precision="auto")
    with stopped_before_writing():
        case.train(data, out, config)
    with pytest.raises(ConfigError, match=r"unfinished run.*--resume to") as refused:
        case.train(data, out, config)
    assert 'existing="resume" for --resume' in refused.value.__notes__[0]
    other = case.config(base, num_epochs=2, batch_size=4, mixed_precision="auto")
    with pytest.raises(ConfigError, match=r"`?batch_size`? was 8, is 4"):
        case.train(data, out, other, existing="resume")
    here = accelerator.has_bf16(accelerator.compute_device())
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(accelerator, "has_bf16", lambda _: not here)
        with pytest.raises(ConfigError, match=r"mixed_precision was '(\w+)', is '(?!\1)"):
            case.train(data, out, config, existing="resume")
    notes: list[str] = []
    case.train_here(data, out, config, existing="resume", notify=notes.append)
    assert not any(note.startswith("step ") for note in notes)  # all steps were done before


@one_case
def test_an_overwriting_run_that_was_stopped_is_resumed(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    out, config = tmp_path / "out", case.config(base, num_epochs=1)
    case.train_here(data, out, config)
    other = case.config(base, num_epochs=1, seed=1)
    with stopped_before_writing():
        case.train(data, out, other, existing="overwrite")
    assert json.loads((out / "footwork.json").read_text())["seed"] == 0
    assert case.train_here(data, out, other, existing="resume").manifest["seed"] == 1


@one_case
def test_every_training_setting_is_taken(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    weighed: list[Any] = []

    def noted(task: str, smoothing: float, weights: Any) -> Any:
        weighed.append(weights)
        return row_loss(task, smoothing, weights)

    row_loss = head_module.row_loss
    settings = {
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "schedule": "cosine",
        "layer_decay": 0.8,
        "best_metric": "macro_f1",
    }
    config = case.config(base, method="full", **settings)
    with patch.object(head_module, "row_loss", noted):
        kept = case.train_here(data, tmp_path / "out", config).manifest["config"]
    assert {name: kept[name] for name in settings} == settings
    assert weighed[0].sum() == pytest.approx(len(weighed[0]), rel=0.1)


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize(
    ("method", "case"),
    [("full", "texts"), ("top-k", "texts"), ("contrastive", "images")],
    indirect=["case"],
)
def test_activation_checkpointing_changes_nothing_but_memory(
    method: str, case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    losses = []
    for name, checkpointing in (("a", False), ("b", True)):
        settings = {"num_epochs": 1, "activation_checkpointing": checkpointing}
        config = case.config(base, method=method, learning_rate=1e-3, **settings)
        done = case.train_here(data, tmp_path / name, config)
        losses.append(done.manifest["metrics"]["log_loss"]["value"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@one_case
def test_a_metric_that_is_none_of_the_task_is_refused(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    config = case.config(base, best_metric="micro_f1")
    with pytest.raises(ConfigError, match="`best_metric` must be one of accuracy, macro_f1"):
        case.train(data, tmp_path / "out", config)
    assert not list(tmp_path.glob("out*"))


def test_what_bf16_adds_is_published_and_an_answer_depends_on_its_row_alone(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    config = case.config(base, method="lora", num_epochs=1)
    assert case.train_here(data, tmp_path / "few", config).manifest["rounding"] is None
    with patch("footwork.inference.rounding.FEWEST", 4):
        done = case.train_here(data, tmp_path / "out", config)
    rounding = done.manifest["rounding"]
    assert len(rounding["bias"]) == len(done.manifest["labels"])
    assert 0 < rounding["deviation"] < 0.5
    for precision in ("float32", "bf16", "auto"):
        with patch("footwork.accelerator.has_bf16", return_value=True):
            logits, asked = case.asked(tmp_path / "out", data, precision)
        together = logits(asked)
        np.testing.assert_array_equal(np.concatenate([logits([one]) for one in asked]), together)
        twice = logits([*reversed(asked), *asked])
        np.testing.assert_array_equal(twice, [*together[::-1], *together])
