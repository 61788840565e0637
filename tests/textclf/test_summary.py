"""What the terminal says of a finished training."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.cli import main
from footwork.evaluation.result import evaluate_logits
from footwork.finetuning.card import verdict
from footwork.finetuning.train import TrainedRun
from footwork.tables.held import Rows
from textclf.task import INTERFACE, TextTask

NOTES = ("Texts are taken from 'text', labels from 'label'.", "No pictures in report/.")
COST = {
    "seconds": 2.0,
    "resumed": False,
    "device": "cpu",
    "threads": 1,
    "peak_memory_bytes": 2**30,
    "parameters": 20,
    "trainable_parameters": 10,
}


def done(split: str) -> TrainedRun:
    targets = np.arange(200) % 2
    model, linear = (
        evaluate_logits("single_label_classification", ("a", "b"), targets, np.eye(2)[answers])
        for answers in (targets, targets * 0)
    )
    return TrainedRun(
        task=TextTask(),
        folder=Path("out"),
        manifest={"evaluated_on": split, "config": {}, "method": "lora", "cost": COST},
        evaluation=model,
        history=Rows(),
        baselines={"linear": linear},
        notes=NOTES,
        skipped=(),
    )


@pytest.fixture
def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[TrainedRun], tuple[str, str]]:
    """What the command says of a run, on both outputs."""

    def tell(run: TrainedRun) -> tuple[str, str]:
        def train(*_: object, notify: Any, **__: object) -> TrainedRun:
            notify("How it was read\n  Texts are taken from 'text',\n  labels from 'label'.")
            return run

        monkeypatch.setattr(INTERFACE, "train", train)
        assert main(["textclf", "train", "d.csv", "out"]) == 0
        captured = capsys.readouterr()
        return captured.out, captured.err

    return tell


def test_figures_of_validation_rows_are_called_optimistic(told: Any) -> None:
    out, _ = told(done("validation"))
    assert out.startswith("On the validation rows")
    assert out.index("It beats the linear baseline") < out.index("These figures are optimistic")
    out, _ = told(done("test"))
    assert out.startswith("On the test rows")
    assert "optimistic" not in out


def test_the_verdict_is_the_cards(told: Any) -> None:
    run = done("test")
    said = verdict(run.evaluation, run.evaluation, "the linear baseline")
    out, _ = told(replace(run, baselines={"linear": run.evaluation}))
    assert said.replace("**", "").replace("`", "") in out


def test_notes_reach_the_terminal_once(told: Any) -> None:
    _, err = told(done("test"))
    assert err.count("Texts are taken") == 1
    assert err.splitlines()[-1] == "No pictures in report/."


def test_the_next_command_takes_a_folder_of_any_name(told: Any) -> None:
    out, _ = told(replace(done("test"), folder=Path("my model; it's")))
    command = out.splitlines()[-1].strip()
    assert shlex.split(command)[:4] == ["footwork", "textclf", "predict", "my model; it's"]
