"""A task that is not of this house: what fine-tuning asks of an application is a page."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from cyclopts import App

from footwork.finetuning.cli import add_commands
from footwork.finetuning.config import FinetuningConfig
from footwork.methods.table import PROBE
from tests.runs import quick_ending
from tests.toy_task import NUMBERS, NumberTask, draw_numbers


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_task_of_a_page_trains_reloads_in_a_fresh_process_and_predicts(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, base = draw_numbers(tmp_path, 120)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the task is found
    config = FinetuningConfig(model_id=base, method=method, batch_size=16)
    out, task = tmp_path / "out", NumberTask()
    drawn = random.getstate(), torch.get_rng_state().tolist()
    with nullcontext() if method == "full" else quick_ending(), torch.no_grad():
        done = NUMBERS.train(table, out, config)
    assert drawn == (random.getstate(), torch.get_rng_state().tolist())
    assert done.manifest["application"] == "numbers"
    assert done.manifest["labels"] == ["down", "up"]
    assert done.manifest["reload_difference"] < 1e-5
    assert done.manifest["data"]["rows"] == {"train": 90, "validation": 30, "test": 0}
    assert done.evaluation.metrics["accuracy"].value > 0.8
    assert "It beats the commonest class" in done.to_text()
    assert task.answer(out, [[9, 9, 9, 9], [-9, -9, -9, -9]], "float32").argmax(
        axis=1
    ).tolist() == [1, 0]
    card = (out / "README.md").read_text()
    assert "It gives a row of numbers one of 2 classes: `down`, `up`." in card
    assert {path.name for path in out.iterdir()} >= {"divisor.json", "report", "footwork.json"}


def test_its_commands_are_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, base = draw_numbers(tmp_path, 60)
    app = App(name="numbers", help_format="plaintext", result_action="return_value")
    add_commands(app, FinetuningConfig, "tests.toy_task:NUMBERS", "learn", "Rows of numbers.")
    words = ["--model-id", base, "--method", PROBE, "--seed", "1", "--json"]
    with quick_ending():
        assert app(["learn", str(table), str(tmp_path / "out"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["down", "up"]
    app(["advise", "--help"])
    assert "What `learn` takes." in capsys.readouterr().out
