"""Trainings and commands inside the test's own process, where no process border is tested."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

from footwork.cli import main
from footwork.finetuning.reload import answers_of
from footwork.finetuning.train import TrainedRun
from textclf import TrainConfig, train
from zeroshot import FinetuneConfig, finetune


def train_here(data: Any, out: Path, config: TrainConfig, **options: Any) -> TrainedRun:
    """As `train`, in a quarter of the time: see `quick_ending`."""
    with quick_ending():
        return train(data, out, config, **options)


def finetune_here(examples: Path, out: Path, config: FinetuneConfig, **options: Any) -> TrainedRun:
    """As `finetune`, in a quarter of the time: see `quick_ending`."""
    with quick_ending():
        return finetune(examples, out, config, **options)


def run_here(*words: object, app: str = "textclf", given: str = "") -> CompletedProcess[str]:
    """As `footwork textclf …` in a process of its own, with the quick ending of trainings."""
    command = [app, *map(str, words)]
    shown, said = io.StringIO(), io.StringIO()
    stdin = patch("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    with quick_ending(), stdin, redirect_stdout(shown), redirect_stderr(said):
        code = main(command)
    return CompletedProcess(command, code, shown.getvalue(), said.getvalue())


@contextmanager
def quick_ending() -> Iterator[None]:
    """No pictures, and the saved folder is loaded here: a fresh process imports for 5 seconds.

    The processor is of a known speed, or to measure it takes longer than to train.
    """
    with (
        patch("footwork.accelerator.matrix_rate", return_value=1e11),
        patch("footwork.finetuning.reload._answers_of_fresh_process", answers_of),
        patch("footwork.finetuning.report._drawings", return_value={}),
        patch("footwork.comparison.report._drawn", return_value={}),
    ):
        yield
