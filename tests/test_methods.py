"""The table of methods is the only place that knows them: a row and its code are a new one."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from footwork.cli import main
from footwork.errors import ConfigError, ModelError
from footwork.finetuning.merge import merge_adapter
from footwork.finetuning.upload import push_folder
from footwork.methods.adaptation import Adaptation
from footwork.methods.rates import recipe_for
from footwork.methods.table import (
    AUTO,
    AUTO_TAKES,
    METHODS,
    OF_PEFT,
    OTHERS_TRAIN,
    PEFT,
    USUAL,
    AdaptationConfig,
    method_names,
    method_of,
)
from footwork.settings import kinds_of
from tests.models import build_base
from tests.runs import finetune_here, run_here, train_here
from tests.tables import sentiment_rows, sentiment_table
from tests.toy_method import FILE, ROWS, WEIGHTS
from tests.zeroshot.image_towers import LABELS, QUICK, build_tower, draw_classes
from textclf import TextClassifier, TrainConfig, train
from textclf.audit.audit import audit_table
from textclf.task import TextTask
from zeroshot.finetuned import FinetunedClassifier
from zeroshot.options import FinetuneConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PACKAGES = ("footwork", "textclf", "zeroshot")
COMMON = {"method", "layer_decay"}
TRAINED = {name: method for name, method in METHODS.items() if method.has_model}
ALSO = {"linear", "prototypes", "adapter"}
"""Methods whose names schedules of the rate, baselines, ways to teach and the Hub's model relations
have, too."""
LEARNS = {"num_epochs": 12, "learning_rate": 3e-3, "batch_size": 16, "max_length": 48}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, row in ROWS.items():
        monkeypatch.setitem(METHODS, name, row)
    for config in (TrainConfig, FinetuneConfig):
        monkeypatch.setitem(kinds_of(config), "method", Literal[method_names()])


def test_no_other_file_knows_a_method_by_its_name() -> None:
    naming = []
    for path in [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
        # Manifests have a key `head`: where the output layer began.
        keys = {id(key) for node in nodes if isinstance(node, ast.Dict) for key in node.keys}
        keys |= {id(node.slice) for node in nodes if isinstance(node, ast.Subscript)}
        words = [n.value for n in nodes if isinstance(n, ast.Constant) and id(n) not in keys]
        named = [
            name
            for name in METHODS
            for word in filter(lambda word: isinstance(word, str), words)
            if (word == name and name not in ALSO) or re.search(rf"--method {name}|`{name}`", word)
        ]
        naming += [f"{path.relative_to(ROOT)}: {name}" for name in named]
    assert {line.partition(":")[0] for line in naming} == {"footwork/methods/table.py"}, naming


@pytest.mark.parametrize(
    ("rows", "encoder", "settings", "contrasts", "taken"),
    [
        (999, 86e6, {}, True, "full"),
        (1000, 86e6, {}, True, "lora"),
        (9999, 10e6, {}, True, "full"),
        (10_000, 10e6, {}, True, "lora"),
        (100, 86e6, {}, True, "full"),
        (99, 86e6, {}, True, "contrastive"),
        (99, 86e6, {}, False, "full"),
        (99, 3e6, {}, True, "full"),
        (50, 10e6, {"lora_rank": 4}, True, "lora"),
        (50, 10e6, {"method": "ia3"}, True, "ia3"),
    ],
)
def test_the_method_follows_from_the_rows_and_the_size_of_the_encoder(
    rows: int, encoder: float, settings: dict[str, Any], contrasts: bool, taken: str
) -> None:
    config = AdaptationConfig(**settings)
    chosen, why = config.chosen(rows, int(encoder), contrasts=contrasts)
    assert chosen.method == taken
    assert [f"Method: {taken}, for " in sentence for sentence in why] == (
        [] if "method" in settings else [True]
    )


def test_a_target_or_a_loss_of_ones_own_is_learned_in_steps() -> None:
    for settings in ({"target": "rows.csv"}, {"loss": lambda logits, _: logits.sum(1)}):
        chosen, _ = TrainConfig(**settings).chosen(50, int(86e6), contrasts=True)  # type: ignore[arg-type]
        assert chosen.method == "full"


def test_the_readme_names_every_method_and_what_it_trains() -> None:
    names = r"\|".join((AUTO, *METHODS, f"{PEFT}NAME"))
    row = next(line for line in README.splitlines() if line.startswith("| method |"))
    told = [f"`{AUTO}` (default): {AUTO_TAKES}"]
    told += [f"`{name}`: {method.trains}" for name, method in METHODS.items()]
    told += [f"`{PEFT}NAME`: {OTHERS_TRAIN}"]
    assert f"`--method {names}`" in row
    assert row.endswith(f"| {'; '.join(told)} |")


@pytest.mark.parametrize("command", [("textclf", "train"), ("zeroshot", "finetune")])
def test_help_names_every_method_and_what_it_trains(
    command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, method in METHODS.items():
        assert f"{name}: {method.trains}" in shown
    assert f"{PEFT}NAME: {OTHERS_TRAIN}." in shown
    assert main([*command, "a", "b", "--method", "magic"]) == 2
    said = capsys.readouterr().err
    assert all(f'"{name}"' in said for name in (AUTO, *METHODS, *OF_PEFT))


def test_the_table_is_read_without_torch() -> None:
    heavy = "torch", "transformers", "peft"
    code = f"import sys, footwork.methods.table; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [*TRAINED, *OF_PEFT])
def test_a_row_has_code_and_rates_for_every_size(name: str) -> None:
    method = method_of(name)
    assert isinstance(method.adaptation, Adaptation)
    kinds = {"text"} if method.texts_alone else {"text", "image"}
    assert set(method.rates) == (set() if method.features_once else kinds)
    for rates in method.rates.values():
        bounds = [bound for bound, _ in rates]
        assert bounds == sorted(bounds)
        assert recipe_for(rates, 10**12, 100_000, 32) is rates[-1][1]
        assert all(recipe.source for _, recipe in rates)


def test_a_rate_at_which_no_head_begins_solved_has_the_steps_of_a_random_one() -> None:
    rates = method_of("full").rates["text"]
    steps = [
        recipe_for(rates, 21_000_000, 96, 32, rate=rate).num_epochs * 3
        for rate in (None, 2e-5, 1e-4)
    ]
    assert steps == [120, 120, 300]


def test_a_setting_of_one_method_is_refused_by_the_others() -> None:
    owned = {name for method in METHODS.values() for name in method.settings}
    assert owned == {field.name for field in fields(AdaptationConfig)} - COMMON
    other: dict[str, Any] = {
        "lora_rank": 4,
        "lora_alpha": 4.0,
        "lora_dropout": 0.1,
        "lora_variant": "dora",
        "top_layers": 2,
        "prompt_length": 5,
        "adapter_size": 8,
        "prefix_length": 8,
    }
    assert set(other) == owned
    for setting, owner in (("top_layers", "top-k"), ("adapter_size", "adapter")):
        assert [n for n, method in METHODS.items() if setting in method.settings] == [owner]
    assert METHODS["prefix"].settings == ("prefix_length",)
    for setting, value in other.items():
        owners = [name for name, method in METHODS.items() if setting in method.settings]
        ways = {AUTO: METHODS[USUAL], **METHODS, **OF_PEFT}
        for name, method in ways.items():
            stated = {"method": name, setting: value}
            if setting in method.settings:
                assert AdaptationConfig(**stated).stated_settings == [setting]
                continue
            said = f"`{setting}` is a setting of --method {' or '.join(owners)}, not of {name}, got"
            with pytest.raises(ConfigError, match=f"{said} {value}"):
                AdaptationConfig(**stated)


@pytest.mark.usefixtures("toys")
def test_a_row_more_is_a_method_more_for_texts(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "deberta-v2")
    data, out = sentiment_table(tmp_path / "data.csv"), tmp_path / "out"
    config = TrainConfig(model_id=str(base), method="bottleneck", **LEARNS)
    costs = [audit_table(data, replace(config, method=name)).cost for name in ("full", *ROWS)]
    memory = [cost.memory_bytes for cost in costs if cost]
    assert memory == sorted(memory, reverse=True)
    assert len(set(memory)) == 3
    done = train_here(data, out, config)
    assert done.manifest["method"] == "bottleneck"
    assert done.manifest["reload_difference"] < 1e-4
    assert done.manifest["metrics"]["accuracy"]["value"] >= 0.75
    assert json.loads((out / FILE).read_text())["base_model_name_or_path"] == str(base)
    assert (out / WEIGHTS).stat().st_size < (base / "model.safetensors").stat().st_size / 2
    assert not (out / "model.safetensors").exists()
    texts, labels = zip(*sentiment_rows(40), strict=True)
    answers = TextClassifier.load(out).predict(texts)
    right = [answer.label == label for answer, label in zip(answers, labels, strict=True)]
    assert sum(right) >= 30
    card = (out / "README.md").read_text()
    assert "This is a bottleneck adapter on `base` (method `bottleneck`)" in card
    assert "library_name: footwork" in card
    assert "merge" not in card.partition("## Training")[0]
    with pytest.raises(ConfigError, match="A bottleneck adapter has no weights to merge"):
        merge_adapter(TextTask(), out, tmp_path / "plain")
    with pytest.raises(ModelError, match="of a kind that cannot be merged into its base"):
        train(data, tmp_path / "again", TrainConfig(model_id=str(out)))
    with pytest.raises(ConfigError, match=r"only on this machine.*Name a base of the Hub"):
        push_folder(out, "owner/name")


@pytest.mark.usefixtures("toys")
def test_what_cannot_be_merged_is_refused_merging_before_all_work() -> None:
    for config in (TrainConfig, FinetuneConfig):
        with pytest.raises(ConfigError, match="`merge` is impossible with --method bottleneck"):
            config(method="bottleneck", merge=True)


@pytest.mark.usefixtures("toys")
def test_a_plain_folder_of_a_new_method_has_nothing_to_merge(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    data = sentiment_table(tmp_path / "data.csv")
    config = TrainConfig(model_id=str(base), method="biases", merge=True, **LEARNS)
    said: list[str] = []
    done = train_here(data, tmp_path / "out", config, notify=said.append)
    assert "--merge has no adapter to merge: biases gives a plain folder." in said
    assert done.manifest["reload_difference"] < 1e-4
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert "library_name: transformers" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.usefixtures("toys")
def test_a_row_more_is_a_method_more_for_images(tmp_path: Path) -> None:
    base, examples = build_tower(tmp_path / "base", "vit"), draw_classes(tmp_path / "examples")
    config = FinetuneConfig(**{"model_id": str(base), "method": "bottleneck", **QUICK})
    out = tmp_path / "out"
    done = finetune_here(examples, out, config)
    assert done.manifest["method"] == "bottleneck"
    assert done.manifest["reload_difference"] < 1e-4
    assert (out / FILE).exists()
    images = sorted((examples / "navy").iterdir())
    answers = FinetunedClassifier.load(out).predict(images)
    assert {answer.label for answer in answers} <= {*LABELS, None}
    assert "library_name: footwork" in (out / "README.md").read_text()


@pytest.mark.parametrize(("method", "merges"), [("peft:lokr", True), ("prompt", False)])
def test_commands_train_by_a_method_of_peft_and_merge_what_it_publishes(
    method: str, merges: bool, tmp_path: Path
) -> None:
    base, data = build_base(tmp_path / "base", "bert"), sentiment_table(tmp_path / "data.csv")
    out, plain = tmp_path / "out", tmp_path / "plain"
    settings = ("--model", base, "--method", method, "--max-steps", 4, "--max-length", 48)
    assert run_here("train", data, out, *settings).returncode == 0
    adapter = json.loads((out / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(base)
    done = run_here("merge", out, plain)
    assert (done.returncode, plain.exists()) == ((0, True) if merges else (2, False))
    assert merges or "A PROMPT_TUNING adapter has no weights to merge" in done.stderr
    answers = [run_here("predict", each, data, "--json").stdout for each in (out, plain)]
    assert answers[0]
    assert json.loads(answers[0].splitlines()[0])["label"] in ("negative", "positive")
