"""The reload proof: a fresh process loads the folder and must answer as the trained model did.

`python -m textclf.reload FOLDER TEXTS.json LOGITS.json` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ModelError
from runtime.folders import MANIFEST, read_json, write_json
from textclf.data.loading import Examples

TOLERANCE = 1e-3
"""Largest difference of a logit: other padding costs 1e-5, a lost weight 1e-2 and more."""


def prove_reload(folder: Path, sample: Examples, expected: NDArray[np.float32]) -> float:
    """Compare the logits of a fresh process with the trained model's, and note the difference.

    Args:
        folder: The saved classifier; its manifest gets `reload_difference`.
        sample: N texts.
        expected: Logits of the model in memory, in float32, (N, C).

    Returns:
        The largest difference of a logit.

    Raises:
        ModelError: The folder cannot be loaded, or its answers differ.
    """
    found = _logits_in_fresh_process(folder, sample)
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not difference <= TOLERANCE:
        message = (
            f"The saved model does not answer as the trained one did: logits differ by "
            f"{difference:.2g} (at most {TOLERANCE} is allowed). Nothing was published; "
            "the checkpoints are kept."
        )
        raise ModelError(message)
    write_json(folder / MANIFEST, {**read_json(folder / MANIFEST), "reload_difference": difference})
    return difference


def _logits_in_fresh_process(folder: Path, sample: Examples) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name) / "texts.json", Path(name) / "logits.json"
        write_json(asked, {"texts": sample.texts, "pairs": sample.pairs})
        # -P: a folder of the user's called `runtime` must not be taken for ours.
        command = [sys.executable, "-P", "-m", "textclf.reload"]
        command += [str(folder.absolute()), str(asked), str(answered)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_alone(os.environ)
        )
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            message = (
                f"A fresh process cannot load the saved model: {reason[0]}. "
                "Nothing was published; the checkpoints are kept."
            )
            raise ModelError(message)
        return np.array(read_json(answered), dtype=np.float32)


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what makes a process one of several."""
    several = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_")
    return {name: value for name, value in environment.items() if not name.startswith(several)}


def main(folder: str, asked: str, answered: str) -> None:
    """Answer the texts of one file into another."""
    from textclf.classifier import ClassifierOptions, TextClassifier

    texts = json.loads(Path(asked).read_text(encoding="utf-8"))
    classifier = TextClassifier.load(Path(folder), ClassifierOptions(precision="float32"))
    write_json(Path(answered), classifier.logits(texts["texts"], texts["pairs"]).tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
