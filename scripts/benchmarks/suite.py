"""Run a suite of named benchmarks, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from scripts.benchmarks.figure import Figure, emit, print_table
from scripts.benchmarks.options import Options

Benchmark = Callable[[Options, Path], Iterator[Figure]]


def run_suite(benchmarks: Mapping[str, Benchmark], options: Options) -> None:
    """Run all, or the one that is chosen, each in a folder of its own."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    figures = []
    for name in [options.only] if options.only else list(benchmarks):
        with tempfile.TemporaryDirectory(prefix="footwork-bench-") as folder:
            for figure in benchmarks[name](options, Path(folder)):
                figures.append(figure)
                emit(figure)
    print_table(figures)
