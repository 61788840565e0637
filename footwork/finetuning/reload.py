"""The reload proof: a fresh process loads a folder and must answer as the trained model did.

`python -m footwork.finetuning.reload MODULE:TASK FOLDER ASKED.json ANSWERED.json DEVICE` is it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from footwork.accelerator import compute_device, on_device
from footwork.arrays import FloatArray
from footwork.errors import FootworkError, ModelError
from footwork.evaluation.decision import DecisionRule
from footwork.files.folders import MANIFEST, read_json, write_json
from footwork.finetuning.task import Task
from footwork.inference.rounding import measured_error

TOLERANCE = 1e-3
"""Largest difference of a logit: other padding costs 1e-5, a lost weight 1e-2 and more."""


def prove_reload(
    task: Task,
    folder: Path,
    question: Any,
    expected: FloatArray,
    rule: DecisionRule,
    unit: float = 1.0,
) -> float:
    """Compare a fresh process with the trained model: the largest difference of a logit.

    Args:
        task: Of the model.
        folder: The saved model; its manifest gets `reload_difference`, and as `rounding` what bf16
            adds to its answers, in log odds.
        question: N rows, in what JSON can hold.
        expected: Logits of the model in memory, in float32, (N, C).
        rule: What its logits mean.
        unit: What a logit is measured in: of amounts their spread.

    Raises:
        ModelError: The folder cannot be loaded, or its answers differ.
    """
    answers = _answers_of_fresh_process(task, folder, question)
    logits = np.array(answers["float32"], np.float32)
    alike = logits.shape == expected.shape
    difference = float(np.abs(logits - expected).max()) if alike else np.inf
    if not difference <= TOLERANCE * unit:
        raise ModelError(
            f"The saved model does not answer as the trained one did: logits differ by "
            f"{difference:.2g} (at most {TOLERANCE * unit:g} is allowed). Nothing was published; "
            "the checkpoints are kept."
        )
    bf16 = answers.get("bf16")
    error = bf16 and measured_error(rule, np.array(bf16, np.float32), logits)
    rounding = error.scaled(1 / rule.temperature).to_dict() if error else None
    found = {"reload_difference": difference, "rounding": rounding}
    write_json(folder / MANIFEST, {**read_json(folder / MANIFEST), **found})
    return difference


def _answers_of_fresh_process(task: Task, folder: Path, question: Any) -> dict[str, Any]:
    """What a model that is loaded anew answers."""
    # Without what makes a process one of several.
    several = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_")
    alone = {name: value for name, value in os.environ.items() if not name.startswith(several)}
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name) / "asked.json", Path(name) / "answered.json"
        write_json(asked, question)
        # -P: a folder of the user's called `footwork` must not be taken for ours.
        command = [sys.executable, "-P", "-m", __name__]
        command += [f"{type(task).__module__}:{type(task).__qualname__}"]
        command += [str(folder.absolute()), str(asked), str(answered), str(compute_device())]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise ModelError(
                f"A fresh process cannot load the saved model: {reason[0]}. "
                "Nothing was published; the checkpoints are kept."
            )
        answers: dict[str, Any] = read_json(answered, None)
        return answers


def main(named: str, folder: str, asked: str, answered: str, device: str) -> None:
    """Answer the question of one file into another."""
    task: Task = resolve_name(named)()
    with on_device(device):
        answers = answers_of(task, Path(folder), read_json(Path(asked), None))
    write_json(Path(answered), answers)


def answers_of(task: Task, folder: Path, question: Any) -> dict[str, Any]:
    """Logits by precision; without those of bf16 where the model's code or numbers fail in it."""
    answers = {"float32": task.answer(folder, question, "float32").tolist()}
    with suppress(FootworkError, RuntimeError):  # it answers in float32 then, and is published
        bf16 = task.answer(folder, question, "bf16")
        if np.isfinite(bf16).all():
            answers["bf16"] = bf16.tolist()
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:])
