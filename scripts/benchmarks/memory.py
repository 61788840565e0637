"""Peak memory of training, each method in a process of its own.

A figure is the most anonymous memory that the process held while the model was loaded and trained,
less what it held just before: interpreter, libraries and table, which are the same for all. Pages
of the checkpoint's file that are merely mapped are not counted, for any method: the system takes
them back at will. On a GPU it is the highest allocation there.

    python -m scripts.benchmarks.memory MODEL TABLE lora|full|trainer    prints mebibytes
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks.figure import Figure
from scripts.benchmarks.material import SMALL, save_classifier, write_sst2_like
from scripts.benchmarks.options import Options
from textclf.data.loading import load_data

ROWS, STEPS = 6_920, 6
MEBI = 2**20
INTERVAL = 0.002  # seconds between two looks


def measure_memory(options: Options, folder: Path) -> Iterator[Figure]:
    """LoRA beside `full`, and `full` beside Trainer, on the same steps of a small shape."""
    table = options.data or str(write_sst2_like(folder / "sst2_like.csv", ROWS))
    labels = list(load_data(table).labels)
    model = save_classifier(folder / "small", SMALL, labels, options.tokenizer)
    peak = {method: _in_process(model, table, method) for method in ("lora", "full", "trainer")}
    yield Figure(
        name="lora_peak_memory",
        value=peak["lora"],
        unit="MiB",
        ratio_to_peer=peak["lora"] / peak["full"],
        peer=f"full: {peak['full']:.0f} MiB",
        target="<= 0.5",
    )
    yield Figure(
        name="full_peak_memory",
        value=peak["full"],
        unit="MiB",
        ratio_to_peer=peak["full"] / peak["trainer"],
        peer=f"Trainer, dynamic padding, float32: {peak['trainer']:.0f} MiB",
    )


def _in_process(model: Path, table: str, method: str) -> float:
    command = [sys.executable, "-m", "scripts.benchmarks.memory", str(model), table, method]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    from scripts.benchmarks.steps import Course, train_with_footwork, train_with_trainer

    model, table, method = sys.argv[1:]
    course = Course(Path(model), load_data(table), 2e-5, STEPS)
    with PeakMemory() as peak:
        if method == "trainer":
            train_with_trainer(course, "dynamic")
        else:
            train_with_footwork(course, method)
    print(peak.mebibytes)


class PeakMemory:
    """The most memory that this process held within the block, beyond what it held before."""

    def __enter__(self) -> PeakMemory:
        self.before = self.highest = _held()
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()

    @property
    def mebibytes(self) -> float:
        """Beyond what was held before."""
        return (self.highest - self.before) / MEBI

    def _look(self) -> None:
        while not self._done.wait(INTERVAL):
            self.highest = max(self.highest, _held())


def _held() -> int:
    """Bytes: allocated on the GPU, else anonymous in this process."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return int(psutil.Process().memory_info().rss)
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
