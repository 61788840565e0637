"""One measured figure: a JSON line on stdout for programs, a table on stderr for people."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


def describe_machine() -> str:
    """Processor, cores and versions: without them a figure says nothing."""
    import torch
    import transformers

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(": ")[2] if names else cpu
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value beside the peer that was measured in the same run."""

    name: str
    value: float
    unit: str
    ratio_to_peer: float | None = None
    peer: str | None = None
    target: str | None = None
    """What `ratio_to_peer`, or without a peer `value`, should be: `>= 8`, `<= 0.5`."""
    note: str = ""
    machine: str = field(default_factory=describe_machine)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        sign, bound = self.target.split()
        reached = self.value if self.ratio_to_peer is None else self.ratio_to_peer
        return reached >= float(bound) if sign == ">=" else reached <= float(bound)


def emit(figure: Figure) -> None:
    print(json.dumps(asdict(figure)), flush=True)


def print_table(figures: Iterable[Figure]) -> None:
    header = ("figure", "value", "ratio", "target", "", "peer")
    rows = [header, *(_row(figure) for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=sys.stderr)
    print(f"on {describe_machine()}", file=sys.stderr)


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio_to_peer is None else f"{figure.ratio_to_peer:.3g}"
    met = {True: "met", False: "MISSED", None: ""}[figure.met]
    value = f"{figure.value:.4g} {figure.unit}"
    return (figure.name, value, ratio, figure.target or "", met, figure.peer or figure.note)
