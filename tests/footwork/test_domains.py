"""The laws of domain adaptation, on texts and on images alike."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors import safe_open

import zeroshot.pixels
from footwork.errors import ConfigError, DataError, ModelError
from footwork.finetuning.data import Inputs, LabelledData
from footwork.finetuning.domains import (
    TARGET,
    Domains,
    known_targets,
    proxy_distance,
    require_domains,
    target_halves,
)
from footwork.finetuning.task import EncodedRows
from footwork.inference.tokens import TokenizedTexts
from footwork.training.domains import (
    DomainOutput,
    adversarial,
    reversal_strength,
    reversed_gradient,
)
from footwork.training.job import FILLER
from tests.models import build_base
from tests.runs import run_here, train_here
from tests.tables import sentiment_rows, write_table
from tests.tasks import CASES, Case, kill_early, stopped_before_writing
from tests.toy_task import NumberTask
from tests.toy_training import ROWS, build_toy_model, toy_job
from tests.zeroshot.image_towers import CLASSES, draw_classes
from textclf import TrainConfig, audit_table
from textclf.data import load_data
from textclf.target import with_target
from zeroshot import FinetuneConfig


def texts_of_another_kind(path: Path, *, labels: bool = True, rows: int = 60) -> Path:
    cells = [(f"about my trip: {text}", label) for text, label in sentiment_rows(rows)]
    header = ("text", "label") if labels else ("text",)
    return write_table(path, [row[: len(header)] for row in cells], header)


def images_of_another_kind(folder: Path, *, labels: bool = True) -> Path:
    drawn = draw_classes(folder, seed=1)
    if not labels:
        for name in CLASSES:
            for path in (drawn / name).iterdir():
                path.rename(drawn / f"{name}-{path.name}")
            (drawn / name).rmdir()
    return drawn


def target_of(case: Case, folder: Path) -> Path:
    if case is CASES["texts"]:
        return texts_of_another_kind(folder / "target.csv")
    return images_of_another_kind(folder / "target")


def weights_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


# The layer, the strength and the losses


def test_a_gradient_comes_back_reversed_and_scaled_and_features_pass_unchanged() -> None:
    features = torch.randn(3, 4, requires_grad=True)
    same = reversed_gradient(features, torch.tensor(0.25))
    assert torch.equal(same, features)
    (same * torch.arange(4.0)).sum().backward()
    assert torch.equal(features.grad, -0.25 * torch.arange(4.0).expand(3, 4))


def test_the_strength_grows_from_nothing_to_one_as_in_the_paper() -> None:
    strengths = [reversal_strength(done / 10) for done in range(11)]
    assert strengths[0] == 0
    assert strengths == sorted(strengths)
    assert strengths[1] == pytest.approx(np.tanh(0.5))  # 2 / (1 + exp(-x)) - 1 is tanh(x / 2)
    assert strengths[10] == pytest.approx(0.9999, abs=1e-4)


def test_only_in_training_an_output_layer_tells_the_domain_and_only_the_encoder_is_misled() -> None:
    linear = torch.nn.Linear(4, 2)
    layer, features = DomainOutput(linear), torch.randn(3, 4, requires_grad=True)
    assert torch.equal(layer.eval()(features), linear(features))
    gradients = []
    for strength in (0.0, 0.5, 1.0):
        layer.train().running_strength.fill_(strength)
        layer.zero_grad()
        features.grad = None
        told = layer(features)
        assert told.shape == (3, 3)
        assert torch.equal(told[:, :2], linear(features))
        told[:, 2].sum().backward()
        gradients.append((features.grad, layer.hidden.weight.grad))
    (none, own), (half, same), (whole, again) = gradients
    assert not none.any()
    assert whole.any()
    torch.testing.assert_close(2 * half, whole)
    assert torch.equal(own, same)
    assert torch.equal(own, again)


def test_each_of_the_three_mean_losses_counts_the_same_however_many_rows_it_is_of() -> None:
    model, more = build_toy_model(), 15
    job = toy_job(model, "deberta-v2")
    job = replace(job, lengths=[1] * (ROWS + more))
    layer = model.classifier
    with adversarial(job, (model, "classifier"), steps=10, seed=0) as both:
        assert isinstance(model.classifier, DomainOutput)
        assert both.numbers[-more:] == (FILLER,) * more
        assert both.judged_rows == 0
        logits = torch.randn(ROWS + more, 3)
        found = both.loss(logits, both.targets).mean()
        both.stepped(4)
        strength = float(model.classifier.running_strength)
    assert model.classifier is layer
    assert strength == pytest.approx(reversal_strength(0.5))
    sigmoid = torch.nn.functional.logsigmoid
    wanted = job.loss(logits[:ROWS, :2], job.targets).mean()
    wanted += -sigmoid(-logits[:ROWS, 2]).mean() - sigmoid(logits[ROWS:, 2]).mean()
    torch.testing.assert_close(found, wanted)


class _TextRows(EncodedRows):
    """Rows of ids; the first of the target is one token long, all others are two."""

    texts = TokenizedTexts(
        {"input_ids": [[0, 0], [1, 1], [2, 2], [10], [11, 11]]}, {"input_ids": -1}, False
    )

    def inputs(self, split: str, rows: Any) -> dict[str, torch.Tensor]:
        return self.texts.batch(self.numbers(split, rows))

    def question(self, split: str, rows: range) -> Any:
        raise NotImplementedError


def test_rows_in_other_splits_are_those_that_were_encoded_in_their_order() -> None:
    parts = {"train": Inputs((0, 1, 2), np.zeros(3)), "target": Inputs((3, 4), np.zeros(2))}
    data: Any = SimpleNamespace(splits=parts)
    rows = _TextRows(data)
    rows.solution = object()
    mixed = rows.rearranged(data, {"mixed": [*rows.numbers("target", [1]), 0, 3, 2]})
    batch = mixed.training_batch("mixed", [0, 1, 2, 3], 0)
    assert batch["input_ids"].tolist() == [[11, 11], [0, 0], [10, -1], [2, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 1], [1, 0], [1, 1]]
    assert mixed.inputs("mixed", [2])["input_ids"].tolist() == [[10]]
    assert len(mixed.lengths("mixed")) == 4
    assert mixed.solution is None
    assert rows.inputs("target", [0])["input_ids"].tolist() == [[10]]


def test_a_target_is_halved_by_the_seed_whatever_its_labels_are() -> None:
    halves = []
    for labels in (["a", "b"] * 5, [None] * 10):
        named = [label and [label] for label in labels]
        targets = known_targets(named, ("a", "b"), "single_label_classification")
        parts = {"train": np.zeros(20), "target": targets}
        data = LabelledData(
            task="single_label_classification",
            labels=("a", "b"),
            splits={n: Inputs(tuple(range(len(each))), each) for n, each in parts.items()},
            held_out=True,
            sha256="",
        )
        halves.append(target_halves(data, seed=3))
    assert halves[0] == halves[1]
    learned, held = halves[0]
    assert sorted(learned + held) == list(range(10))
    assert len(learned) == len(held)


def test_domains_are_as_far_apart_as_a_linear_classifier_tells_them() -> None:
    features = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    is_target = np.repeat([False, True], 200)
    assert proxy_distance(features, is_target) < 0.4
    assert proxy_distance(features + 20 * is_target[:, None], is_target) == 2


# A run

one_case = pytest.mark.parametrize("case", ["texts"], indirect=True)
"""Where the kind of the rows plays no part; the first law and that of decoding are on images."""


def test_a_run_with_a_target_publishes_a_plain_folder_and_tells_what_it_was_worth(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    target, notes = target_of(case, tmp_path), []
    settings = {"method": "full", "num_epochs": 2}
    plain = case.train_here(data, tmp_path / "plain", case.config(base, **settings))
    config = case.config(base, target=str(target), **settings)
    done = case.train_here(data, tmp_path / "out", config, notify=notes.append)
    manifest = json.loads((tmp_path / "out" / "footwork.json").read_text())
    assert manifest["reload_difference"] < 1e-4
    names = []
    for name in ("plain", "out"):
        with safe_open(tmp_path / name / "model.safetensors", "pt") as file:
            names.append(set(file.keys()))
    assert names[0] == names[1]
    assert weights_of(tmp_path / "out") != weights_of(tmp_path / "plain")
    found = manifest["domains"]
    models = found["models"]
    assert set(models) == {"adapted", "source_only", "ceiling"}
    assert found["learned_rows"] + found["held_out_rows"] <= 2 * manifest["data"]["rows"]["train"]
    assert found["judged_rows"] == found["held_out_rows"] > 5
    # What it is compared with is the same command without the target.
    exact = {n: each["value"] for n, each in plain.manifest["metrics"].items()}
    source = {n: each["value"] for n, each in models["source_only"]["source"].items()}
    assert source == exact
    assert models["ceiling"]["source"] is None
    card = (tmp_path / "out" / "README.md").read_text()
    for told in (done.to_text(), card):
        assert "took part in the training, without labels" in told
        assert "adapted (this model)" in told
        assert "the same command without" in told
    report = json.loads((tmp_path / "out" / "report" / "metrics.json").read_text())
    assert report["domains"] == found
    assert any("is not learned from but judges" in note for note in done.notes)
    assert "## Domains" in card
    assert not (tmp_path / "out.training").exists()


@one_case
def test_labels_of_the_target_never_reach_the_weights(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    folders, runs = [], []
    for labels in (True, False):
        folder = tmp_path / str(labels)
        folder.mkdir()
        target = texts_of_another_kind(folder / "target.csv", labels=labels)
        config = case.config(base, target=str(target), method="full", num_epochs=1)
        runs.append(case.train_here(data, folder / "out", config))
        folders.append(folder / "out")
    assert weights_of(folders[0]) == weights_of(folders[1])
    known, unknown = (run.manifest["domains"] for run in runs)
    assert "ceiling" not in unknown["models"]
    assert unknown["judged_rows"] == 0
    assert unknown["models"]["adapted"]["target"] is None
    assert (
        known["models"]["adapted"]["source"]["accuracy"]
        == unknown["models"]["adapted"]["source"]["accuracy"]
    )
    assert "was not measured: no row held out has a label" in runs[1].to_text()


@one_case
def test_a_run_with_a_target_is_resumed_with_that_alone_and_to_the_undisturbed_one(
    case: Case, base: Path, data: Path, tmp_path: Path
) -> None:
    target = target_of(case, tmp_path)
    config = case.config(base, target=str(target), method="lora", num_epochs=2)
    whole = case.train_here(data, tmp_path / "whole", config)
    run = tmp_path / "cut.training"
    with stopped_before_writing():
        case.train(data, tmp_path / "cut", config)
    assert {path.name for path in run.glob("again-*")} == {"again-source_only", "again-ceiling"}
    kill_early(run)
    shutil.rmtree(run / "again-ceiling")
    texts_of_another_kind(target, rows=50)
    with pytest.raises(ConfigError, match=r"target_data was '\w+', is '\w+'"):
        case.train(data, tmp_path / "cut", config, existing="resume")
    target_of(case, tmp_path)
    cut = case.train_here(data, tmp_path / "cut", config, existing="resume")
    answers = (case.logits(tmp_path / name, data) for name in ("whole", "cut"))
    np.testing.assert_array_equal(*answers)
    assert cut.manifest["domains"] == whole.manifest["domains"]


@pytest.mark.parametrize(("family", "method"), [("roberta", "lora"), ("deberta-v2", "gradual")])
def test_domains_are_told_wherever_a_method_puts_the_output_layer(
    family: str, method: Any, tmp_path: Path
) -> None:
    case = CASES["texts"]
    target = texts_of_another_kind(tmp_path / "target.csv", labels=False)
    config = case.config(
        case.build(tmp_path / "base", family), target=str(target), method=method, num_epochs=1
    )
    with patch.object(
        DomainOutput, "forward", autospec=True, side_effect=DomainOutput.forward
    ) as told:
        done = case.train_here(case.write(tmp_path), tmp_path / "out", config)
    assert told.called
    assert done.manifest["domains"]["models"]["adapted"]["source"]["accuracy"]["value"] >= 0


@pytest.mark.parametrize("task", ["regression", "multi"])
def test_amounts_and_several_labels_are_adapted_and_judged_in_their_unit(
    task: Any, tmp_path: Path
) -> None:
    def label(place: int) -> str:
        good = place % 2
        return str(100.5 + 10 * good) if task == "regression" else ("up;new" if good else "new")

    rows = [(text, label(place)) for place, (text, _) in enumerate(sentiment_rows(160))]
    data = write_table(tmp_path / "data.csv", rows, ("text", "label"))
    other = [(f"about my trip: {text}", own) for text, own in rows[:60]]
    target = write_table(tmp_path / "target.csv", other, ("text", "label"))
    config = CASES["texts"].config(
        build_base(tmp_path / "base", "bert"),
        target=str(target), task=task, num_epochs=2, method="full",
        **({"label_separator": ";"} if task == "multi" else {}),
    )  # fmt: skip
    done = train_here(data, tmp_path / "out", config)
    models = done.manifest["domains"]["models"]
    assert models["ceiling"]["target"]
    assert 0 <= models["adapted"]["proxy_a_distance"] <= 2
    if task == "regression":
        assert models["ceiling"]["target"]["mae"]["value"] < 20  # and not some hundred


def test_every_image_of_a_target_is_decoded_once(tmp_path: Path) -> None:
    case = CASES["images"]
    base, data = case.build(tmp_path / "base", "vit"), case.write(tmp_path)
    target, seen = images_of_another_kind(tmp_path / "target", labels=False), Counter[Path]()
    prepare = zeroshot.pixels.prepare_picture

    def counted(preprocessing: Any, path: Path) -> Any:
        seen[path] += 1
        return prepare(preprocessing, path)

    config = case.config(base, target=str(target), num_epochs=1)
    with patch.object(zeroshot.pixels, "prepare_picture", counted):
        done = case.train_here(data, tmp_path / "out", config)
    assert "ceiling" not in done.manifest["domains"]["models"]  # below no class
    of_target = [count for path, count in seen.items() if target in path.parents]
    assert len(of_target) == 30
    assert set(of_target) == {1}


# Refusals


@pytest.mark.parametrize("method", ["head", "contrastive", "linear"])
def test_a_method_that_takes_no_steps_has_nothing_to_learn_of_a_target(method: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"--method (head|contrastive|linear) trains no head.*Use --method lora"
    ):
        TrainConfig(method=method, target="other.csv")
    if method != "linear":
        with pytest.raises(ConfigError, match=r"`target` is learned from in steps"):
            FinetuneConfig(method=method, target="other")


def test_rows_to_train_on_and_repetitions_are_no_target(tmp_path: Path) -> None:
    config = TrainConfig(model_id="tiny")
    data = load_data(str(CASES["texts"].write(tmp_path)), config)
    new = ["far away", "a long way off", "further on"]
    rows = [(text,) for text in (*data.train.texts, *new, new[0])]
    target = write_table(tmp_path / "target.csv", rows, ("text",))
    found = with_target(data, str(target), config)
    assert found.splits[TARGET].texts == new
    count = len(rows) - len(new)
    said = f"{count} rows of it, repeated or among those to train on, stay out."
    assert found.notes[-1].endswith(said)


def test_a_target_that_is_no_such_table_is_refused_before_anything_runs(tmp_path: Path) -> None:
    data, out = CASES["texts"].write(tmp_path), tmp_path / "out"
    (tmp_path / "folder").mkdir()
    write_table(tmp_path / "other.csv", [("x", "y")] * 3, ("subject", "body"))
    write_table(tmp_path / "empty.csv", [], ("text",))
    write_table(tmp_path / "one.csv", [("a text",)], ("text",))
    (tmp_path / "gap.jsonl").write_text('{"text": "a text"}\n{"text": null}\n{"text": "more"}\n')
    for name, message in {
        "nothing.csv": r"nothing\.csv cannot be read|no file",
        "folder": r"folder has no file named after a split",
        "other.csv": r"no column 'text'; it has the columns 'subject', 'body'.*same names",
        "empty.csv": r"empty\.csv",
        "one.csv": r"The target has 1 row that can be read, but for those to train on; it takes",
        "gap.jsonl": r"gap\.jsonl, row 2: there is no text in 'text'",
    }.items():
        command = ("train", data, out, "--model", "tiny", "--target", tmp_path / name)
        done = run_here(*command)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        config = TrainConfig(model_id="tiny", target=str(tmp_path / name))
        for ask in (audit_table, lambda *told: CASES["texts"].train(told[0], out, told[1])):
            with pytest.raises(DataError, match=message):
                ask(data, config)
    assert not list(tmp_path.glob("out*"))


def test_a_target_that_is_no_folder_of_images_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    case = CASES["images"]
    data = case.write(tmp_path)
    (tmp_path / "empty").mkdir()
    table = write_table(tmp_path / "table.csv", [("a", "b")], ("path", "label"))
    for name, message in {
        str(table): r"`target` must be a folder of images, and .*table\.csv is a file",
        str(tmp_path / "none"): r"must be a folder of images, and .*none does not exist",
        str(tmp_path / "empty"): r"empty",
    }.items():
        config = FinetuneConfig(model_id="tiny", target=name)
        with pytest.raises(DataError, match=message):
            case.train(data, tmp_path / "out", config)
    assert not list(tmp_path.glob("out*"))


def test_a_model_without_one_output_layer_and_a_task_without_targets_are_refused() -> None:
    model, task = build_toy_model(), NumberTask()
    splits = {"target": Inputs((1, 2), np.zeros(2))}
    data = LabelledData(task="", labels=(), splits=splits, held_out=True, sha256="")
    require_domains(task, data, model)
    model.classifier = torch.nn.Linear(model.classifier.in_features, 2, bias=False)
    with pytest.raises(ModelError, match=r"no single linear output layer .* Leave out --target"):
        require_domains(task, data, model)
    with pytest.raises(ConfigError, match=r"numbers reads no `target`"):
        require_domains(task, replace(data, splits={}), model)


def test_what_the_target_would_lose_is_not_overwritten(tmp_path: Path) -> None:
    case = CASES["images"]
    target = images_of_another_kind(tmp_path / "target")
    config = FinetuneConfig(model_id="tiny", target=str(target))
    with pytest.raises(ConfigError):
        case.train(case.write(tmp_path), target, config, existing="overwrite")
    assert sum(1 for _ in target.rglob("*.png")) == 30


def test_an_adaptation_that_gained_nothing_says_so() -> None:
    from footwork.evaluation.calibration import GivenCalibration
    from footwork.evaluation.result import evaluate_logits

    targets = np.arange(200) % 2

    def wrong(rows: int) -> Any:
        logits = np.eye(2)[np.where(np.arange(200) < rows, 1 - targets, targets)] * 4.0
        task = "single_label_classification"
        return evaluate_logits(task, ("a", "b"), targets, logits, given=GivenCalibration())

    def said(source_only: int, adapted: int) -> str:
        found = {"adapted": wrong(adapted), "source_only": wrong(source_only)}
        distances = {"adapted": 0.5, "source_only": 1.5}
        domains = Domains(
            learned=200, held_out=200, noun="row",
            source=found, target=found, distances=distances,
        )  # fmt: skip
        return " ".join(domains.sentences())

    assert "**It does not beat the same command without `--target`**" in said(20, 30)
    assert "**It does not clearly beat" in said(30, 25)
    assert "It beats the same command without `--target`" in said(80, 10)
    assert "is 0.500; of the source alone 1.500" in said(80, 10)
