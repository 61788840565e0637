"""Trainings and commands inside the test's own process, where no process border is tested."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from footwork.cli import main
from textclf import TextClassifier, TrainConfig, train
from textclf.classifier import ClassifierOptions
from textclf.data.loading import Examples
from textclf.training import TrainedRun


def train_here(data: Any, out: Path, config: TrainConfig, **options: Any) -> TrainedRun:
    """As `train`, in a quarter of the time: see `quick_ending`."""
    with quick_ending():
        return train(data, out, config, **options)


def run_here(*words: object) -> CompletedProcess[str]:
    """As `footwork textclf …` in a process of its own, with the quick ending of trainings."""
    command = ["textclf", *map(str, words)]
    shown, said = io.StringIO(), io.StringIO()
    with quick_ending(), redirect_stdout(shown), redirect_stderr(said):
        code = main(command)
    return CompletedProcess(command, code, shown.getvalue(), said.getvalue())


@contextmanager
def quick_ending() -> Iterator[None]:
    """No pictures, and the saved folder is loaded here: a fresh process imports for 5 seconds."""
    with (
        patch("textclf.reload._logits_in_fresh_process", _logits_in_this_process),
        patch("textclf.report.report._drawings", return_value={}),
    ):
        yield


def _logits_in_this_process(folder: Path, sample: Examples) -> NDArray[np.float32]:
    classifier = TextClassifier.load(folder, ClassifierOptions(precision="float32"))
    return classifier.logits(sample.texts, sample.pairs)
