"""Measure what fine-tuning gains from the embedded text encoder over random weights.

    python -m scripts.tiny.measure_text TABLE OUT [OPTION...]

Trains on TABLE twice, from `tiny` and from the same architecture with random weights, with the
options of `footwork textclf train`, and prints both accuracies as one JSON line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from footwork.models.hub import resolve_model_id


def write_random_weights(folder: Path) -> None:
    """The architecture and the tokenizer of `tiny`, as if it had never read anything."""
    tiny = resolve_model_id("tiny")
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(tiny)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)


def accuracy(table: str, model: str, out: Path, options: list[str]) -> float:
    """Of the classifier trained from `model`, on the test split where there is one."""
    command = [sys.executable, "-m", "textclf", "train", table, str(out), "--model", model]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    manifest = json.loads((out / "footwork.json").read_text(encoding="utf-8"))
    return float(manifest["metrics"]["accuracy"]["value"])


def main(table: str, out: Path, options: list[str]) -> None:
    write_random_weights(out / "weights")
    found = {
        name: accuracy(table, model, out / name, options)
        for name, model in (("tiny", "tiny"), ("random", str(out / "weights")))
    }
    print(json.dumps({"table": table, "options": options} | found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
