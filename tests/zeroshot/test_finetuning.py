"""Towers that are fine-tuned on images, published, and asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from footwork.cli import main
from footwork.errors import ConfigError, DataError, ModelError
from footwork.methods.peft import LORA
from footwork.methods.table import AdaptationConfig
from footwork.models.image_classifiers import load_image_classifier
from footwork.tables.labels import SINGLE_LABEL
from tests.runs import finetune_here
from tests.zeroshot.image_towers import LABELS, QUICK, build_tower, draw_classes
from tests.zeroshot.indexed import run
from zeroshot import CompareOptions, FinetuneConfig, FinetunedRun, finetune
from zeroshot.finetuned import FinetunedClassifier
from zeroshot.options import FinetunedOptions
from zeroshot.task import assess, compare, read_images


@pytest.fixture(scope="module")
def full(vit: str, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetunedRun:
    """Proven by a fresh process; no test changes it."""
    out = tmp_path_factory.mktemp("full") / "out"
    return finetune(examples, out, FinetuneConfig(model_id=vit, method="full", **QUICK))


@pytest.mark.parametrize(
    ("family", "asked", "error", "said"),
    [
        ("resnet", {"lora_variant": "pissa"}, ConfigError, "and ResNetFor.* has convolutions"),
        ("vit", {"features_from": 9}, ConfigError, "`features_from` must be from 1 to 3"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_an_image_is_read(
    family: str, asked: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    base = str(build_tower(tmp_path / "base", family))
    with pytest.raises(error, match=said):
        finetune(tmp_path / "none", tmp_path / "out", FinetuneConfig(model_id=base, **asked))
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("at_once", [True, False])
def test_merged_a_folder_is_plain_and_answers_as_its_adapter(
    vit: str, examples: Path, adapter: Path, at_once: bool, tmp_path: Path
) -> None:
    plain, merge = tmp_path / "plain", ["zeroshot", "merge"]
    if at_once:
        config = FinetuneConfig(model_id=vit, method="lora", merge=True, **QUICK)
        done = finetune_here(examples, plain, config)
        assert done.manifest["reload_difference"] < 1e-4
    else:
        assert main([*merge, str(adapter), str(plain)]) == 0
        assert main([*merge, str(plain), str(tmp_path / "again")]) == 2
    assert not (plain / "adapter_config.json").exists()
    cards = [(folder / "README.md").read_text() for folder in (adapter, plain)]
    assert "library_name: peft" in cards[0]
    assert "footwork zeroshot merge" in cards[0]
    assert "library_name: transformers" in cards[1]
    assert 'pipeline("image-classification"' in cards[1]
    assert not any(str(folder.parent) in card for folder in (adapter, plain) for card in cards)
    pictures = sorted((examples / "navy").iterdir())
    options = FinetunedOptions(precision="float32")
    former, merged = (FinetunedClassifier.load(each, options) for each in (adapter, plain))
    found, expected = (each.predict_proba(pictures) for each in (merged, former))
    np.testing.assert_allclose(found, expected, atol=1e-3 if at_once else 1e-4)
    assert at_once or merged.rule.temperature == 1


def test_a_fresh_process_answers_the_same_and_the_pipeline_reads_the_folder(
    full: FinetunedRun, examples: Path
) -> None:
    from transformers import pipeline

    assert full.manifest["reload_difference"] < 1e-4
    report = full.folder / "report"
    assert {path.name for path in report.iterdir()} >= {"metrics.json", "confusion.png"}
    picture = examples / "navy" / "3.png"
    classifier = FinetunedClassifier.load(full.folder, FinetunedOptions(precision="float32"))
    answer = pipeline("image-classification", str(full.folder), device="cpu")(str(picture))
    logits = classifier.logits([picture])[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    found = {one["label"]: one["score"] for one in answer}
    assert [found[label] for label in classifier.labels] == pytest.approx(expected, abs=1e-5)


def test_files_are_labelled_in_order_and_one_that_is_no_image_is_a_fault(
    full: FinetunedRun, examples: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    paths = [examples / "olive" / "0.png", text, examples / "navy" / "1.png"]
    classifier = FinetunedClassifier.load(full.folder, FinetunedOptions(abstain_below=0))
    answers = list(classifier.label_files(paths))
    assert [answer.path for answer in answers] == paths
    assert answers[1].fault == "it is no picture of a known kind"
    assert [answers[0].label, answers[2].label] == ["olive", "navy"]
    probabilities = classifier.predict_proba([paths[0]])
    assert probabilities.sum() == pytest.approx(1)
    assert answers[0].score == pytest.approx(probabilities.max(), abs=1e-5)
    never = FinetunedClassifier.load(full.folder, FinetunedOptions(abstain_below=1.0))
    assert [answer.label for answer in never.predict([paths[0]])] == [None]


def test_the_statistics_of_batch_norms_stay_as_pretrained(examples: Path, tmp_path: Path) -> None:
    base = build_tower(tmp_path / "base", "resnet")
    out = tmp_path / "out"
    finetune_here(examples, out, FinetuneConfig(model_id=str(base), method="full", **QUICK))
    before, _ = load_image_classifier(str(base), labels=LABELS)
    after, _ = load_image_classifier(str(out), labels=LABELS)
    after.train()
    after(pixel_values=torch.randn(4, 3, 32, 32))
    moved = dict(after.named_buffers())
    for name, buffer in before.named_buffers():
        assert torch.equal(buffer, moved[name]), name
    weight = "resnet.encoder.stages.1.layers.0.layer.0.normalization.weight"
    assert not torch.equal(before.state_dict()[weight], after.state_dict()[weight])


def test_convolutions_are_adapted_too(examples: Path, tmp_path: Path) -> None:
    base, out, plain = (tmp_path / name for name in ("base", "out", "plain"))
    build_tower(base, "resnet")
    config = FinetuneConfig(model_id=str(base), method="lora", lora_variant="dora", **QUICK)
    done = finetune_here(examples, out, config)
    assert done.manifest["reload_difference"] < 1e-4
    adapters = load_file(out / "adapter_model.safetensors")
    moved = [key for key, each in adapters.items() if "lora_B" in key and each.abs().max() > 0]
    assert len(moved) == 5  # of two blocks of two convolutions, and of one shortcut
    assert not any("running" in key or "normalization" in key for key in adapters)
    assert main(["zeroshot", "merge", str(out), str(plain)]) == 0
    images = sorted(examples.rglob("*.png"))
    former, merged = (FinetunedClassifier.load(each).predict_proba(images) for each in (out, plain))
    np.testing.assert_allclose(merged, former, atol=1e-4)


def test_convolutions_in_groups_are_left_as_they_are() -> None:
    from transformers import RegNetConfig, RegNetForImageClassification

    shape = RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], groups_width=8)
    model = LORA.adapt(RegNetForImageClassification(shape), AdaptationConfig(), "base", None)
    adapted = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert len(adapted) > 6
    assert {module.base_layer.groups for module in adapted} == {1}


def test_a_cut_tower_says_so_itself(vit: str, examples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = FinetuneConfig(model_id=vit, method="lora", features_from=2, **QUICK)
    finetune_here(examples, out, config)
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 2
    with pytest.raises(ConfigError, match="`features_from` must be from 1 to 3, got 4"):
        load_image_classifier(vit, labels=LABELS, features_from=4)


def test_a_cut_network_gives_what_its_own_stage_gives(tmp_path: Path) -> None:
    from transformers import AutoModel

    base = str(build_tower(tmp_path / "base", "resnet"))
    cut, _ = load_image_classifier(base, labels=LABELS, features_from=1)
    whole = AutoModel.from_pretrained(base, dtype=torch.float32).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        states = whole(pixels, output_hidden_states=True).hidden_states
        assert torch.equal(cut.eval().resnet(pixels).last_hidden_state, states[1])


def test_splits_are_taken_and_judged_on_test(vit: str, examples: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        shutil.copytree(examples, tmp_path / "data" / split)
    config = FinetuneConfig(model_id=vit, method="head", **QUICK)
    done = finetune_here(tmp_path / "data", tmp_path / "out", config)
    assert done.manifest["evaluated_on"] == "test"
    assert done.manifest["data"]["rows"] == {"train": 30, "validation": 30, "test": 30}
    assert any("among the training images too" in note for note in done.notes)


def test_an_unreadable_file_is_skipped_and_told(vit: str, examples: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(examples, data)
    (data / "navy" / "broken.png").write_bytes(b"\x89PNG")
    config = FinetuneConfig(model_id=vit, method="head", **QUICK)
    done = finetune_here(data, tmp_path / "out", config)
    assert [Path(one.place).name for one in done.skipped] == ["broken.png"]
    assert sum(done.manifest["data"]["rows"].values()) == 30
    for path in (data / "navy").iterdir():
        path.write_text("no picture")
    with pytest.raises(DataError, match=r"'navy' has no image\. "):
        finetune(data, tmp_path / "other", config)


@pytest.mark.parametrize(
    ("application", "said"),
    [
        ("else", "holds no fine-tuned model. Make one: footwork zeroshot finetune"),
        ("textclf", "classifies texts, not images: footwork textclf predict"),
        ("zeroshot teach", r"holds a taught classifier\. Load it by TaughtClassifier\.load"),
    ],
)
def test_another_folder_is_no_finetuned_model(application: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "footwork.json").write_text(json.dumps({"application": application}))
    with pytest.raises(ModelError, match=said):
        FinetunedClassifier.load(tmp_path)
    with pytest.raises(ModelError, match=r"There is no folder .*absent\. Make one: .* finetune"):
        FinetunedClassifier.load(tmp_path / "absent")


@pytest.mark.parametrize(("tells", "expected"), [("side", "none"), ("shade", "crops")])
def test_images_are_not_mirrored_where_left_and_right_tell_them_apart(
    vit: str, tells: str, expected: str, tmp_path: Path
) -> None:
    source = sided(tmp_path / "data", tells)
    config = FinetuneConfig(model_id=vit, method="full", **QUICK | {"max_steps": 1})
    done = finetune_here(source, tmp_path / "out", config)
    said = [note for note in done.notes if note.startswith("Augmentation: ")]
    assert [note.split()[1] for note in said] == [f"{expected}."]


def test_a_comparison_settles_the_augmentation_whatever_ran_first(vit: str, tmp_path: Path) -> None:
    told: list[str] = []
    config = FinetuneConfig(model_id=vit, **QUICK | {"max_steps": 1})
    options = CompareOptions(methods=("head", "full"), seeds=(0,))
    source = sided(tmp_path / "data", "side")
    compare(source, tmp_path / "out", config, options, notify=told.append)
    assert [text.split()[1] for text in told if text.startswith("Augmentation: ")] == ["none."]


def sided(folder: Path, tells: str) -> Path:
    """Forty images that are lighter on the left or on the right, or all over or nowhere."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(80, 100, (40, 40, 3), dtype=np.uint8)
        one, other = (np.s_[:, :20], np.s_[:, 20:]) if tells == "side" else (np.s_[:], np.s_[:0])
        pixels[one if number % 2 else other] += 120
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "ab"[number % 2] / f"{number}.png")
    return folder


def several(folder: Path, as_columns: bool, each: int = 12) -> Path:
    """A table of pictures that are dark or light and, apart from that, red or blue or neither."""
    from PIL import Image

    random, rows = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(4 * each):
        dark, red = number % 2, number // 2 % 2
        colour = np.array([200, 30, 30] if red else [30, 30, 200]) * (0.35 if dark else 1.0)
        pixels = np.clip(colour + random.normal(0, 12, (40, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        labels = [name for name, holds in (("dark", dark), ("red", red)) if holds]
        bits = {"dark": str(dark), "red": str(red)}
        rows.append({"path": f"{number}.png", **(bits if as_columns else {"labels": labels})})
    table = folder / "labels.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    return table


def test_an_image_may_have_several_labels(vit: str, tmp_path: Path) -> None:
    table = several(tmp_path / "data", as_columns=True)
    settings = QUICK | {"num_epochs": 12, "class_weights": "balanced", "label_column": "Dark, red"}
    config = FinetuneConfig(model_id=vit, method="full", augment="none", **settings)
    lists = several(tmp_path / "lists", as_columns=False)
    read = read_images(table, config), read_images(lists, replace(config, label_column=None))
    for bits, named in zip(*(each.splits.values() for each in read), strict=True):
        np.testing.assert_array_equal(bits.targets, named.targets)
    done = finetune_here(table, tmp_path / "out", config)
    assert done.manifest["task"] == "multi_label_classification"
    assert done.manifest["labels"] == ["dark", "red"]
    assert set(done.manifest["baselines"]) == {"majority", "linear_probe"}
    assert done.manifest["reload_difference"] < 1e-4
    assert done.evaluation.metrics["micro_f1"].value > 0.8
    classifier = FinetunedClassifier.load(tmp_path / "out")
    images = [tmp_path / "data" / f"{number}.png" for number in range(4)]
    answers = classifier.predict(images)
    assert [set(answer.labels) for answer in answers] == [set(), {"dark"}, {"red"}, {"dark", "red"}]
    assert answers[0].label is None
    assert answers[3].label in answers[3].labels
    assert "any of 2 labels, or none" in (tmp_path / "out" / "README.md").read_text()
    judged = assess(table, classifier).evaluation
    assert judged.metrics["micro_f1"].value > 0.9
    assert judged.rows == 48
    assert list(classifier.rule.thresholds) == done.manifest["calibration"]["thresholds"]
    dark = classifier.predict_proba(images)[:, 0]
    bar = float(dark.min() + dark.max()) / 2
    classifier.rule = replace(classifier.rule, thresholds=(bar, 0.5))
    held = ["dark" in answer.labels for answer in classifier.predict(images)]
    assert held == (dark >= bar).tolist()


@pytest.mark.parametrize("written", [list, " ".join])
def test_the_places_of_a_vector_have_names(
    written: Callable[[str], Any], vit: str, examples: Path, tmp_path: Path
) -> None:
    classes = sorted(path.name for path in examples.iterdir())
    rows = [
        {"path": str(path), "label": written("".join("01"[path.parent.name == c] for c in classes))}
        for path in examples.rglob("*.png")
    ]
    config = FinetuneConfig(model_id=vit, method="head", labels=",".join(classes))
    read, plain = read_images(rows, config), read_images(examples, FinetuneConfig(model_id=vit))
    assert (read.labels, read.task) == (plain.labels, plain.task) == (tuple(classes), SINGLE_LABEL)
    every, known = (
        {
            (path, target)
            for s in data.splits.values()
            for path, target in zip(s.inputs, s.targets, strict=True)
        }
        for data in (read, plain)
    )
    assert every == known
    done = finetune_here(rows, tmp_path / "out", config)
    classifier = FinetunedClassifier.load(done.folder)
    by_vector, by_folder = (assess(each, classifier).evaluation for each in (rows, examples))
    np.testing.assert_array_equal(by_vector.confusion, by_folder.confusion)


def test_several_labels_of_a_cell_are_no_class(tmp_path: Path) -> None:
    cells = ["cat;dog", "cat", "dog;bird", "bird", "cat;bird", "dog"] * 8 + [""]
    rows = [{"path": f"{number}.png", "label": cell} for number, cell in enumerate(cells)]
    for row in rows:
        (tmp_path / row["path"]).write_bytes(row["path"].encode())
    table = tmp_path / "rows.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    read = read_images(table, FinetuneConfig())
    assert read.labels == ("bird", "cat", "dog")
    assert any("are several, divided by ';': multi-label" in note for note in read.notes)
    assert any(note.startswith(f"1 row of {table} has no label: no") for note in read.notes)
    whole = read_images(table, FinetuneConfig(task="single"))
    assert {*whole.labels, ""} == set(cells)
    with pytest.raises(ConfigError, match=r"label-separator ';' .* State --task multi"):
        read_images(table, FinetuneConfig(task="single", label_separator=";"))


def test_a_label_column_of_the_training_is_none_of_every_data_that_is_judged(
    vit: str, examples: Path, tmp_path: Path
) -> None:
    rows = [{"path": str(p), "kind": p.parent.name, "label": "x"} for p in examples.rglob("*.png")]
    table = tmp_path / "kinds.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    config = FinetuneConfig(model_id=vit, method="head", label_column="kind")
    done = finetune_here(table, tmp_path / "out", config)
    classifier = FinetunedClassifier.load(done.folder)
    by_column, by_folder = assess(table, classifier), assess(examples, classifier)
    other = [{"path": row["path"], "class": row["kind"]} for row in rows]
    for judged in (by_folder, assess(other, classifier)):
        assert judged.evaluation.rows == by_column.evaluation.rows
        assert "trained on most of these images" in judged.evaluation.remarks[-1]
        accuracy = judged.evaluation.metrics["accuracy"]
        assert accuracy.value == by_column.evaluation.metrics["accuracy"].value
    partly = assess(other[1:], classifier).evaluation
    assert not any("trained on" in said for said in partly.remarks)
    with pytest.raises(ConfigError, match=r"and .* is a folder\. Name a table, or leave them out"):
        finetune_here(examples, tmp_path / "none", config)


def test_images_are_not_told_apart_by_amounts(vit: str, examples: Path, tmp_path: Path) -> None:
    rows = [{"path": f"{n}.png", "labels": f"{n}.5"} for n in range(40)]
    table = tmp_path / "amounts.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    config = FinetuneConfig(model_id=vit, label_column="labels")
    with pytest.raises(DataError, match=r"are amounts\. Images are told apart by classes"):
        finetune(table, tmp_path / "out", config)
    with pytest.raises(ConfigError, match="Only a table says which images have several"):
        finetune(examples, tmp_path / "out", FinetuneConfig(model_id=vit, task="multi"))


def test_a_folder_is_judged_as_texts_are(
    full: FinetunedRun, examples: Path, tmp_path: Path
) -> None:
    out, held_out = full.folder, draw_classes(tmp_path / "more", 4)
    (held_out / "navy" / "broken.png").write_bytes(b"\x89PNG")
    judge = partial(run, "evaluate", "--taught", out)
    done = judge(held_out, "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert "broken.png" in done.stderr
    assert document["rows"] == 12
    figures = {"metrics", "per_class", "confusion", "calibration"}
    assert set(document) == figures | {"task", "labels", "rows", "notes"}
    manifest = json.loads((out / "footwork.json").read_text())
    assert document["calibration"]["temperature"] == manifest["calibration"]["temperature"]
    assert not document["calibration"]["fitted"]
    assert "12 images, 3 classes" in judge(held_out).stdout
    assert judge(held_out, "--report", tmp_path / "report").returncode == 2
    (held_out / "navy").rename(held_out / "teal")
    assert "does not know 'teal'" in judge(held_out).stderr
    assert "It was trained on most of these images" in judge(examples).stdout
