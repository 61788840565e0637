"""What `audit` costs, beside tokenizing every text whole, and beside the size of its table."""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from footwork.models.checkpoints import load_tokenizer
from scripts.benchmarks.figure import Figure
from scripts.benchmarks.material import SEED, make_texts
from scripts.benchmarks.options import Options

ROWS, FEW = 300_000, 2_000
WORDS = (20, 61)
MEBI = 2**20


def measure_audit(options: Options, folder: Path) -> Iterator[Figure]:
    """Whole processes; what one needs for a few rows of the table is not counted."""
    table = Path(options.data) if options.data else write_table(folder / "table.csv", ROWS)
    with table.open(encoding="utf-8") as file:
        (folder / "few.csv").write_text("".join(islice(file, FEW)), encoding="utf-8")
    few, whole = (audit_usage(path) for path in (folder / "few.csv", table))
    seconds = whole.ru_utime + whole.ru_stime - few.ru_utime - few.ru_stime
    with table.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    tokenizer = load_tokenizer("tiny")
    start = time.process_time()
    for first in range(0, len(texts), 1000):
        tokenizer(texts[first : first + 1000], truncation=False, verbose=False)
    peer = time.process_time() - start
    yield Figure(
        name="audit_cpu",
        value=seconds,
        unit="s",
        ratio_to_peer=seconds / peer,
        peer=f"tokenizing every text alone: {peer:.1f} s; {len(texts):,} rows",
        target="<= 0.6",
    )
    held, size = (whole.ru_maxrss - few.ru_maxrss) / 1024, table.stat().st_size / MEBI
    yield Figure(
        name="audit_peak_memory",
        value=held,
        unit="MiB",
        ratio_to_peer=held / size,
        peer=f"the table: {size:.0f} MiB; {FEW:,} rows took {few.ru_maxrss / 1024:.0f} MiB",
        target="<= 3",
    )


def write_table(path: Path, rows: int) -> Path:
    """A table of `text` and `label`, two classes, 20 to 60 words a text."""
    random = np.random.default_rng(SEED)
    labels = random.integers(2, size=rows)
    texts = make_texts(random.integers(*WORDS, size=rows), labels, random)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ("text", "label"),
                *zip(texts, np.array(["negative", "positive"])[labels], strict=True),
            ]
        )
    return path


def audit_usage(table: Path) -> resource.struct_rusage:
    """CPU and peak memory of one `audit`."""
    command = [sys.executable, "-m", "textclf", "audit", str(table), "--model", "tiny", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage
