"""A task that is not of this house: what fine-tuning asks of an application is a page."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from footwork.finetuning.config import FinetuningConfig
from tests.runs import quick_ending
from tests.tables import write_table
from tests.toy_task import NUMBERS, WIDTH, NumbersClassifier, NumbersConfig, NumberTask


@pytest.fixture
def table(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0).normal(0, 10, (120, WIDTH)).round(3)
    rows = [(*map(str, row), "up" if sum(row) > 0 else "down") for row in numbers.tolist()]
    return write_table(tmp_path / "rows.csv", rows, ("a", "b", "c", "d", "label"))


@pytest.fixture
def base(tmp_path: Path) -> str:
    torch.manual_seed(0)
    NumbersClassifier(NumbersConfig()).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_task_of_a_page_trains_reloads_in_a_fresh_process_and_predicts(
    method: Any, table: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the task is found
    config = FinetuningConfig(model_id=base, method=method, batch_size=16)
    out, task = tmp_path / "out", NumberTask()
    with nullcontext() if method == "full" else quick_ending():
        done = NUMBERS.train(table, out, config)
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
