"""What `footwork --help` costs beside an interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks.figure import Figure
from scripts.benchmarks.options import Options

REPEATS = 10


def measure_help(options: Options, folder: Path) -> Iterator[Figure]:
    """Median over whole processes."""
    del options, folder
    footwork = Path(sys.executable).with_name("footwork")
    bare = median_seconds([sys.executable, "-c", "pass"])
    own = median_seconds([str(footwork), "--help"])
    yield Figure(
        name="help_seconds",
        value=own,
        unit="s",
        target="<= 0.15",
        note=f"median of {REPEATS} processes; `python -c pass` {bare:.3f} s",
    )


def median_seconds(command: list[str]) -> float:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # fills the file cache
    return statistics.median(_seconds(command) for _ in range(REPEATS))


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start
