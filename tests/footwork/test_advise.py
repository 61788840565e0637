from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.errors import ConfigError, DataError
from footwork.evaluation.metrics import Interval
from footwork.finetuning.advise import _reasons
from footwork.finetuning.plan import plan
from footwork.methods import table as methods_table
from tests.models import build_base, build_classifier
from tests.runs import run_here
from tests.tables import sentiment_rows, sentiment_table, write_table
from textclf import TrainConfig, advise, audit_table
from textclf.task import TextTask

SETTLED = TrainConfig(method="lora", learning_rate=1e-4, num_epochs=3)
GROWING = ((100, 0.6), (200, 0.7))


def around(value: float, spread: float = 0.02) -> Interval:
    return Interval(value, value - spread, value + spread)


def chance_table(path: Path, count: int) -> Path:
    """Of texts that say nothing of their labels, 0 and 1."""
    drawn = np.random.default_rng(0).integers(0, (900, 900, 2), (count, 3)).tolist()
    rows = [(f"{first} {second}", str(label)) for first, second, label in drawn]
    return write_table(path, rows, ("text", "label"))


@pytest.mark.parametrize(
    ("scores", "method", "why"),
    [
        ({"frozen": 0.995, "unpretrained": 0.9, "random": 0.5}, "head", "less than a point"),
        ({"frozen": 0.9, "unpretrained": 0.995, "random": 0.5}, "linear", "less than a point"),
        ({"frozen": 0.6, "unpretrained": 0.8, "random": 0.6}, "linear", "does not help here"),
        ({"frozen": 0.66, "unpretrained": 0.69, "random": 0.64}, "lora", "rate 0.0001, 3 epochs"),
        ({"frozen": 0.6, "unpretrained": 0.8, "random": 0.5}, "lora", "rate 0.0001, 3 epochs"),
        ({"frozen": 0.8, "unpretrained": 0.7, "random": 0.5}, "lora", "rate 0.0001, 3 epochs"),
        ({"frozen": 0.8, "random": 0.5}, "lora", "docs/methods.md"),
    ],
)
def test_the_choice_follows_from_what_was_measured(
    scores: dict[str, float], method: str, why: str
) -> None:
    intervals = {name: around(value) for name, value in scores.items()}
    chosen, (_, likeness, choice) = _reasons(intervals, GROWING, "accuracy", SETTLED, 250)
    assert chosen == method
    assert choice.startswith(f"Choice: {method}, because ")
    assert why in choice
    sure = all(
        scores["frozen"] - other > 0.05 for name, other in scores.items() if name != "frozen"
    )
    assert ("is near these rows" in likeness) == sure


@pytest.mark.parametrize(
    ("metric", "curve", "helps"),
    [
        ("accuracy", GROWING, True),
        ("accuracy", ((100, 0.7), (200, 0.705)), False),
        ("mae", ((100, 3.0), (200, 2.0)), True),
        ("mae", ((100, 2.0), (200, 3.0)), False),
        ("mae", ((100, 4004.0), (200, 4000.0)), False),
        ("mae", ((100, 3e-4), (200, 2e-4)), True),
    ],
)
def test_more_rows_help_where_twice_as_many_did(
    metric: str, curve: tuple[tuple[int, float], ...], helps: bool
) -> None:
    scores = {"frozen": around(0.7), "random": around(0.5)}
    _, (size, _, _) = _reasons(scores, curve, metric, SETTLED, 3000)
    assert size.endswith("help; there are 3,000.")
    assert ("would help" in size) == helps
    assert ("would hardly help" in size) != helps


def test_an_easy_table_needs_no_pretrained_model(tmp_path: Path) -> None:
    table, base = sentiment_table(tmp_path / "easy.csv"), build_base(tmp_path / "base", "bert")
    held = [{"text": text, "label": label} for text, label in sentiment_rows(80)]
    found = advise(held, TrainConfig(model_id=str(base)), test=table)
    assert found.rows < 80
    assert found.method == "linear"
    assert found.command == "footwork textclf train DATA OUT --method linear"
    assert repr(found) == f"<Advice: linear for {found.rows} rows>"
    assert found.scores["unpretrained"].value > 0.99
    assert set(found.scores) == {"frozen", "unpretrained", "random"}
    assert [rows for rows, _ in found.curve] == sorted(rows for rows, _ in found.curve)
    assert len(found.curve) == 4
    again = run_here("advise", table, "--model", base, "--json")
    assert again.returncode == 0
    told = json.loads(again.stdout)
    assert told["command"] == f"footwork textclf train {table} OUT --method linear"
    assert told["scores"]["unpretrained"]["value"] == found.scores["unpretrained"].value
    assert not list(tmp_path.glob("*training*"))


@pytest.mark.parametrize("times", [1, 9])
def test_labels_by_chance_are_helped_by_nothing(times: int, tmp_path: Path) -> None:
    data, base = chance_table(tmp_path / "noise.csv", 120), build_base(tmp_path / "base", "bert")
    header, *rows = data.read_text().splitlines()
    data.write_text("\n".join([header, *rows * times]))
    said: list[str] = []
    config = TrainConfig(model_id=str(base), label_column="label")
    found = advise(data, config, notify=said.append)
    counted = [re.findall(r"about ([\d,]+)", line) for line in said if " about " in line]
    assert counted[0] == counted[1]  # what is compared has learned from as many
    assert "near these rows" not in found.reasons[1]
    assert all(score.value < 0.65 for score in found.scores.values())
    (_, before), (_, after) = found.curve[-2:]
    assert ("loses" if after < before else "gains") in found.reasons[0]
    assert "-" not in found.reasons[0]


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"labels": ("0", "1")}, "full"),
        ({"labels": ("yes", "no")}, "contrastive"),
        ({"labels": ("0", "1"), "task": "multi_label_classification"}, "contrastive"),
    ],
)
def test_audit_advice_and_training_take_one_method_for_few_rows(
    settings: dict[str, Any], method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods_table, "TINY", 0)
    config = TrainConfig(model_id=str(build_classifier(tmp_path / "base", **settings)))
    data = chance_table(tmp_path / "few.csv", 60)
    said: list[str] = []
    assert plan(TextTask(), str(data), config, said.append).config.method == method
    assert advise(data, config).method == method
    [sentence] = [note for note in said if note.startswith("Method: ")]
    assert sentence in audit_table(data, config).notes


def test_what_is_wrong_with_the_rows_is_told(tmp_path: Path) -> None:
    table = sentiment_table(tmp_path / "data.csv", 40)
    table.write_text(f"{table.read_text()}no label,\n{'long ' * 400},positive\n")
    told = run_here("advise", table, "--model", "tiny", "--skip-bad-rows", "--json")
    assert told.returncode == 3
    assert json.loads(told.stdout)["skipped"][0]["row"] == 42
    assert "row 42" in told.stderr
    assert "longer than 256 tokens" in told.stderr
    alike = [{"text": text, "amount": 1.5} for text, _ in sentiment_rows(40)]
    with pytest.raises(DataError, match="makes training impossible"):
        advise(alike, TrainConfig(model_id="tiny", task="regression", label_column="amount"))


def test_what_cannot_be_advised_on_is_refused(tmp_path: Path) -> None:
    table = sentiment_table(tmp_path / "data.csv", 16)
    with pytest.raises(ConfigError, match="`method` is what is to be found out, got full"):
        advise(table, TrainConfig(model_id="tiny", method="full"))
    with pytest.raises(ConfigError, match=r"`target` has no part in the advice, .* got more\.csv"):
        advise(table, TrainConfig(model_id="tiny", target="more.csv"))
    with pytest.raises(DataError, match=r"rows to train on are too few .* at least 20"):
        advise(table, TrainConfig(model_id="tiny"))
