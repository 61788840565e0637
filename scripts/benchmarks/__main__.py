"""Run named benchmarks: `scripts/bench text|zeroshot|search [--only NAME]`."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: everything here is made here
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from scripts.benchmarks.suite import ROUNDS, run_suite


def main() -> None:
    from transformers.utils import logging

    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("suite", choices=["text", "zeroshot", "search"])
    parser.add_argument("--only", metavar="NAME", help="run one of them")
    parser.add_argument("--photos", type=Path, help="folder, instead of drawn ones")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    given = parser.parse_args()
    benchmarks = importlib.import_module(f"scripts.benchmarks.{given.suite}").BENCHMARKS
    if given.only is not None and given.only not in benchmarks:
        parser.error(f"no benchmark {given.only!r} in {given.suite}: {', '.join(benchmarks)}")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    chosen = {given.only: benchmarks[given.only]} if given.only else benchmarks
    run_suite(chosen, given.photos, given.rounds)


if __name__ == "__main__":
    main()
