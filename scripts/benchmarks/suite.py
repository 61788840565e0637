"""The harness: contenders take turns, round after round; what each of them gave is written down.

A benchmark is a function from a setting to contests. A contest has Footwork and its peers, each a
function that does a piece of work and returns one figure. Others may be working on the machine, so
that ratios are taken within a round, and the one to believe is the least.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

Measure = Callable[[], float]
ROUNDS = 5
LESS_IS_BETTER = frozenset({"s", "ms", "MiB"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a benchmark works, on what, and how much."""

    folder: Path
    photos: Path | None = None
    """Folder of photographs, instead of drawn ones."""
    miniature: bool = False
    """Tiny models and a few rows: to see that it runs, not how fast."""

    def size(self, full: int, miniature: int) -> int:
        """How many, of whatever it is."""
        return miniature if self.miniature else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What one would run otherwise."""

    name: str
    measure: Measure
    target: float | None = None
    """How many times better Footwork should be at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One figure of Footwork's, beside the same of its peers."""

    name: str
    unit: str
    own: Measure
    peers: Sequence[Peer] = ()
    limit: str | None = None
    """What the median of the own figure should be: `<= 0.15`."""
    note: Callable[[], str] = str
    """What else was seen, told after the last round."""
    rounds: int | None = None
    """Where it is not the same number for all: 1 for what no clock has part in."""
    warm_up: bool = True
    """Whether a round before the first fills caches."""


Benchmark = Callable[[Setting], Iterator[Contest]]


def hold(contest: Contest, rounds: int) -> list[dict[str, Any]]:
    """Let all contenders take turns, and return a figure for each peer, or one without any.

    Each round begins with another contender. A ratio is how many times better Footwork was, in the
    same round: above 1 it was faster, or took less.
    """
    contenders = [contest.own, *(peer.measure for peer in contest.peers)]
    for measure in contenders if contest.warm_up else ():
        measure()
    rounds = min(rounds, contest.rounds or rounds)
    values = [[0.0] * rounds for _ in contenders]
    began, before = time.perf_counter(), _busy_elsewhere()
    for turn in range(rounds):
        for place in range(len(contenders)):
            number = (turn + place) % len(contenders)
            values[number][turn] = contenders[number]()
    elsewhere = (_busy_elsewhere() - before) / (time.perf_counter() - began)
    shared = {
        "name": contest.name,
        "unit": contest.unit,
        "value": _spread(values[0]),
        "rounds": rounds,
        "cores_busy_elsewhere": round(elsewhere, 2),
        "machine": describe_machine(),
        "note": contest.note(),
    }
    if not contest.peers:
        return [shared | {"target": contest.limit, "met": _within(contest.limit, values[0])}]
    return [
        shared | _beside(peer, values[0], others, contest.unit in LESS_IS_BETTER)
        for peer, others in zip(contest.peers, values[1:], strict=True)
    ]


def _beside(
    peer: Peer, own: Sequence[float], others: Sequence[float], less: bool
) -> dict[str, Any]:
    ratios = [b / a if less else a / b for a, b in zip(own, others, strict=True)]
    return {
        "peer": peer.name,
        "peer_value": _spread(others),
        "ratio": _spread(ratios),
        "target": peer.target and f">= {peer.target:g}",
        "met": None if peer.target is None else min(ratios) >= peer.target,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def _within(limit: str | None, values: Sequence[float]) -> bool | None:
    if limit is None:
        return None
    sign, bound = limit.split()
    median = statistics.median(values)
    return median >= float(bound) if sign == ">=" else median <= float(bound)


def _busy_elsewhere() -> float:
    """Seconds of CPU that other processes of this machine have had."""
    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return machine.user + machine.nice + machine.system - sum(own[:4])


def describe_machine() -> str:
    """CPU, cores and versions: without them a figure says nothing."""
    import torch
    import transformers

    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(": ")[2] if names else cpu
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{cpu}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, {device}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def run_suite(
    benchmarks: Mapping[str, Benchmark], photos: Path | None = None, rounds: int = ROUNDS
) -> None:
    """Run benchmarks in turn, each in a folder of its own.

    A JSON line a figure goes to stdout as soon as it is known, a table of all to stderr at the end.
    """
    rows = [("figure", "median (least – greatest)", "ratio: least, median", "target", "", "peer")]
    for benchmark in benchmarks.values():
        with tempfile.TemporaryDirectory(prefix="footwork-bench-") as folder:
            for contest in benchmark(Setting(folder=Path(folder), photos=photos)):
                for figure in hold(contest, rounds):
                    print(json.dumps(figure), flush=True)
                    rows.append(_row(figure))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=sys.stderr)
    print(f"on {describe_machine()}", file=sys.stderr)


def _row(figure: Mapping[str, Any]) -> tuple[str, ...]:
    def shown(values: Mapping[str, float]) -> str:
        median, least, greatest = (f"{values[key]:.4g}" for key in ("median", "least", "greatest"))
        return f"{median} ({least} – {greatest}) {figure['unit']}"

    ratio = figure.get("ratio")
    return (
        figure["name"],
        shown(figure["value"]),
        f"{ratio['least']:.3g}, {ratio['median']:.3g}" if ratio else "",
        figure["target"] or "",
        {True: "met", False: "MISSED", None: ""}[figure["met"]],
        f"{figure['peer']}: {shown(figure['peer_value'])}" if ratio else figure["note"],
    )


def seconds(work: Callable[[], object]) -> float:
    """What a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def process_seconds(*command: object) -> float:
    """What a whole process takes."""
    words = [str(word) for word in command]
    return seconds(lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=True))


def footwork_command() -> Path:
    """Of this environment."""
    return Path(sys.executable).with_name("footwork")
