"""The benchmarks of image labelling: `scripts/bench zeroshot [--only NAME]`."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: everything here is made here
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from scripts.benchmarks.labelling import (
    measure_draft,
    measure_labels,
    measure_many_labels,
    measure_photos,
)
from scripts.benchmarks.options import read_photo_options
from scripts.benchmarks.suite import Benchmark, run_suite

BENCHMARKS: dict[str, Benchmark] = {
    "labels": measure_labels,
    "many-labels": measure_many_labels,
    "photos": measure_photos,
    "draft": measure_draft,
}


if __name__ == "__main__":
    run_suite(BENCHMARKS, read_photo_options("scripts/bench zeroshot", __doc__, BENCHMARKS))
