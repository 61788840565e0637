"""The benchmarks of image labelling: `scripts/bench zeroshot [--only NAME]`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: everything here is made here
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from scripts.benchmarks.labelling import measure_draft, measure_labels, measure_photos
from scripts.benchmarks.options import Options
from scripts.benchmarks.suite import Benchmark, run_suite

BENCHMARKS: dict[str, Benchmark] = {
    "labels": measure_labels,
    "photos": measure_photos,
    "draft": measure_draft,
}


def read_options() -> Options:
    parser = argparse.ArgumentParser(prog="scripts/bench zeroshot", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="run one of them")
    parser.add_argument("--photos", type=Path, help="folder, instead of drawn ones")
    given = parser.parse_args()
    return Options(only=given.only, photos=given.photos)


if __name__ == "__main__":
    run_suite(BENCHMARKS, read_options())
