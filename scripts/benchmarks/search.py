"""The benchmarks of image search: `scripts/bench search [--only NAME]`."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: everything here is made here
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from scripts.benchmarks.indexing import measure_again, measure_index
from scripts.benchmarks.options import read_photo_options
from scripts.benchmarks.querying import measure_hundred_thousand, measure_million
from scripts.benchmarks.suite import Benchmark, run_suite

BENCHMARKS: dict[str, Benchmark] = {
    "index": measure_index,
    "again": measure_again,
    "hundred-thousand": measure_hundred_thousand,
    "million": measure_million,
}


if __name__ == "__main__":
    run_suite(BENCHMARKS, read_photo_options("scripts/bench search", __doc__, BENCHMARKS))
