"""The reload proof of a text classifier.

`python -m textclf.reload FOLDER TEXTS.json LOGITS.json` is its fresh process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from footwork.files.folders import write_json
from footwork.finetuning.reload import ask_fresh_process, require_same_logits
from textclf.data.loading import Examples


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
    return require_same_logits(folder, _logits_in_fresh_process(folder, sample), expected)


def _logits_in_fresh_process(folder: Path, sample: Examples) -> NDArray[np.float32]:
    question = {"texts": sample.texts, "pairs": sample.pairs}
    return ask_fresh_process("textclf.reload", folder, question)


def main(folder: str, asked: str, answered: str) -> None:
    """Answer the texts of one file into another."""
    from textclf.classifier import ClassifierOptions, TextClassifier

    texts = json.loads(Path(asked).read_text(encoding="utf-8"))
    classifier = TextClassifier.load(Path(folder), ClassifierOptions(precision="float32"))
    write_json(Path(answered), classifier.logits(texts["texts"], texts["pairs"]).tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
