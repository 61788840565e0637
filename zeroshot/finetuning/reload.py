"""The reload proof of a fine-tuned classifier.

`python -m zeroshot.finetuning.reload FOLDER PATHS.json LOGITS.json` is its fresh process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from footwork.files.folders import write_json
from footwork.finetuning.reload import ask_fresh_process, require_same_logits


def prove_reload(folder: Path, paths: Sequence[Path], expected: NDArray[np.float32]) -> float:
    """Compare the logits of a fresh process with the trained model's, and note the difference.

    Args:
        folder: The saved classifier; its manifest gets `reload_difference`.
        paths: N images, decoded anew.
        expected: Logits of the model in memory, in float32, (N, C).

    Returns:
        The largest difference of a logit.

    Raises:
        ModelError: The folder cannot be loaded, or its answers differ.
    """
    return require_same_logits(folder, _logits_in_fresh_process(folder, paths), expected)


def _logits_in_fresh_process(folder: Path, paths: Sequence[Path]) -> NDArray[np.float32]:
    # Bytes of a name that are no UTF-8 cannot stand in JSON.
    names = [os.fsencode(path.absolute()).hex() for path in paths]
    return ask_fresh_process("zeroshot.finetuning.reload", folder, names)


def main(folder: str, asked: str, answered: str) -> None:
    """Answer the images of one file into another."""
    from zeroshot.finetuning.classifier import FinetunedClassifier, FinetunedOptions

    names = json.loads(Path(asked).read_text(encoding="utf-8"))
    paths = [Path(os.fsdecode(bytes.fromhex(name))) for name in names]
    classifier = FinetunedClassifier.load(folder, FinetunedOptions(precision="float32"))
    write_json(Path(answered), classifier.logits(paths).tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
