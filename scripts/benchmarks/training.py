"""Speed of training, and whether it learns the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scripts.benchmarks.figure import Figure
from scripts.benchmarks.material import NARROW, SMALL, save_classifier, write_sst2_like
from scripts.benchmarks.options import Options
from scripts.benchmarks.steps import Course, Run, train_with_footwork, train_with_trainer
from textclf.data.loading import LabelledData, load_data

ROWS = 6_920  # SST-2's training split
PEERS = {
    "trainer_padded": "Trainer, padded to 128, float32, random order",
    "trainer_dynamic": "Trainer, dynamic padding, float32, random order",
}
STEPS = {"trainer_padded": 5, "trainer_dynamic": 9, "footwork": 65}  # with a warm-up step
TARGETS = {"trainer_padded": ">= 8", "trainer_dynamic": ">= 2.5"}
LEARNING_STEPS = 120
HEAD_ROWS, HEAD_EPOCHS = 800, 6


def load_table(options: Options, folder: Path) -> LabelledData:
    """The user's table, or one with SST-2's lengths."""
    return load_data(options.data or str(write_sst2_like(folder / "sst2_like.csv", ROWS)))


def measure_training(options: Options, folder: Path) -> Iterator[Figure]:
    """`full` on a DeBERTa-v3-small shape: rows per second beside both peers, in one process."""
    data = load_table(options, folder)
    model = save_classifier(folder / "small", SMALL, list(data.labels), options.tokenizer)
    course = Course(model, data, 2e-5, STEPS["footwork"])
    own = train_with_footwork(course).clock
    for peer, described in PEERS.items():
        other = _peer(replace(course, steps=STEPS[peer]), peer).clock
        yield Figure(
            name=f"train_full_vs_{peer}",
            value=own.rows_per_second,
            unit="rows/s",
            ratio_to_peer=own.rows_per_second / other.rows_per_second,
            peer=f"{described}: {other.rows_per_second:.2f} rows/s",
            target=TARGETS[peer],
            note=f"{own.tokens_a_row:.1f} tokens a row here, {other.tokens_a_row:.1f} in the peer",
        )


def measure_learning(options: Options, folder: Path) -> Iterator[Figure]:
    """A narrow model of the same family, long enough to learn: the loss curves side by side."""
    data = load_table(options, folder)
    model = save_classifier(folder / "narrow", NARROW, list(data.labels), options.tokenizer)
    course = Course(model, data, 1e-3, LEARNING_STEPS)
    runs = {peer: _peer(course, peer) for peer in PEERS}
    own = train_with_footwork(course)
    _print_curves({**runs, "footwork": own})
    for peer, run in runs.items():
        yield Figure(
            name=f"train_full_loss_vs_{peer}",
            value=own.late_loss,
            unit="mean loss, last third",
            ratio_to_peer=own.late_loss / run.late_loss,
            peer=f"{PEERS[peer]}: {run.late_loss:.4f} (from {run.early_loss:.4f})",
        )


def measure_head(options: Options, folder: Path) -> Iterator[Figure]:
    """`head`: what an epoch costs once the features of the first are there."""
    table = str(write_sst2_like(folder / "few.csv", HEAD_ROWS))
    data = load_data(options.data or table)
    model = save_classifier(folder / "small", SMALL, list(data.labels), options.tokenizer)
    course = Course(model, data, 1e-3, epochs=HEAD_EPOCHS)
    run = train_with_footwork(course, "head")
    starts, steps = run.clock.starts, len(run.clock.starts) // HEAD_EPOCHS
    first = starts[steps] - run.began
    later = (starts[steps * (HEAD_EPOCHS - 1)] - starts[steps]) / (HEAD_EPOCHS - 2)
    yield Figure(
        name="head_later_epoch",
        value=later,
        unit="s",
        ratio_to_peer=later / first,
        peer=f"the first epoch, features included: {first:.2f} s",
        target="<= 0.02",
    )


def _peer(course: Course, name: str) -> Run:
    return train_with_trainer(course, "fixed" if name == "trainer_padded" else "dynamic")


def _print_curves(runs: dict[str, Run]) -> None:
    print(f"\nmean loss by tenths of {LEARNING_STEPS} steps", file=sys.stderr)
    for name, run in runs.items():
        tenth = max(len(run.losses) // 10, 1)
        means = (
            sum(run.losses[start : start + tenth]) / tenth
            for start in range(0, len(run.losses) - tenth + 1, tenth)
        )
        print(f"{name:16}" + " ".join(f"{mean:7.4f}" for mean in means), file=sys.stderr)
