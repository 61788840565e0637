"""The benchmarks of text classification: `scripts/bench text [--only NAME]`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: everything here is made here
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from scripts.benchmarks.auditing import measure_audit
from scripts.benchmarks.memory import measure_memory
from scripts.benchmarks.options import Options
from scripts.benchmarks.prediction import measure_prediction
from scripts.benchmarks.startup import measure_help
from scripts.benchmarks.suite import Benchmark, run_suite
from scripts.benchmarks.training import measure_head, measure_learning, measure_training

BENCHMARKS: dict[str, Benchmark] = {
    "help": measure_help,
    "audit": measure_audit,
    "predict": measure_prediction,
    "head": measure_head,
    "memory": measure_memory,
    "learning": measure_learning,
    "train": measure_training,
}


def read_options() -> Options:
    parser = argparse.ArgumentParser(prog="scripts/bench text", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="run one of them")
    parser.add_argument("--data", help="table to train on, instead of one with SST-2's lengths")
    parser.add_argument("--tokenizer", type=Path, help="folder, instead of one entry a word")
    given = parser.parse_args()
    return Options(only=given.only, data=given.data, tokenizer=given.tokenizer)


if __name__ == "__main__":
    run_suite(BENCHMARKS, read_options())
