"""The reload proof: a fresh process loads a folder and must answer as the trained model did.

`python -m footwork.finetuning.reload MODULE:TASK FOLDER ASKED.json ANSWERED.json` is that process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from footwork.arrays import FloatArray
from footwork.errors import ModelError
from footwork.files.folders import MANIFEST, read_json, write_json
from footwork.finetuning.task import Task

TOLERANCE = 1e-3
"""Largest difference of a logit: other padding costs 1e-5, a lost weight 1e-2 and more."""


def prove_reload(
    task: Task, folder: Path, question: Any, expected: FloatArray, unit: float = 1.0
) -> float:
    """Compare a fresh process with the trained model: the largest difference of a logit.

    Args:
        task: Of the model.
        folder: The saved model; its manifest gets `reload_difference`.
        question: N rows, in what JSON can hold.
        expected: Logits of the model in memory, in float32, (N, C).
        unit: What a logit is measured in: of amounts their spread.

    Raises:
        ModelError: The folder cannot be loaded, or its answers differ.
    """
    logits = _answer_of_fresh_process(task, folder, question)
    alike = logits.shape == expected.shape
    difference = float(np.abs(logits - expected).max()) if alike else np.inf
    if not difference <= TOLERANCE * unit:
        raise ModelError(
            f"The saved model does not answer as the trained one did: logits differ by "
            f"{difference:.2g} (at most {TOLERANCE * unit:g} is allowed). Nothing was published; "
            "the checkpoints are kept."
        )
    write_json(folder / MANIFEST, {**read_json(folder / MANIFEST), "reload_difference": difference})
    return difference


def _answer_of_fresh_process(task: Task, folder: Path, question: Any) -> FloatArray:
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
        command += [str(folder.absolute()), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise ModelError(
                f"A fresh process cannot load the saved model: {reason[0]}. "
                "Nothing was published; the checkpoints are kept."
            )
        return np.array(read_json(answered, None), dtype=np.float32)


def main(named: str, folder: str, asked: str, answered: str) -> None:
    """Answer the question of one file into another."""
    task: Task = resolve_name(named)()
    logits = task.answer(Path(folder), read_json(Path(asked), None))
    write_json(Path(answered), logits.tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
