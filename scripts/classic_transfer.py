"""The classic experiment on transfer: does it help with triangles to know circles from squares?

    python -m scripts.classic_transfer OUT.png [SEEDS]

A network of 64-16-8-1 units learns circle against square, on a grid of 8 x 8. Its hidden layers,
frozen, then serve to tell triangle from diamond by 64 pictures; beside it the same network learns
that from scratch. At a rate of 0.05 what was learned is a head start, and in the end what is frozen
is a limit. At 0.5 most of the units have died over the first task, they fire at nothing any more:
a dead start.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from footwork.arrays import DoubleArray
from footwork.evaluation.plots import plot_lines
from footwork.methods.adaptation import parameter_groups
from footwork.methods.table import METHODS, AdaptationConfig
from footwork.tables.labels import MULTI_LABEL
from footwork.training.job import row_loss

SIDE, NOISE, LINE = 8, 0.3, 0.6
FIRST, SECOND = ("circle", "square"), ("triangle", "diamond")
SOURCE_ROWS, ROWS, ASKED = 400, 64, 1000
SOURCE_EPOCHS, EPOCHS, BATCH, MOMENTUM = 40, 30, 16, 0.9
HEAD_START, DEAD_START, OTHER = 0.05, 0.5, 1000
TRANSFERRED, FRESH = "transferred and frozen", "from scratch"
ACCURACY, SILENT = "accuracy", "share of units that never fire"

# From a point, seen from the middle, to an outline of about that radius.
DISTANCES: dict[str, Callable[[DoubleArray, DoubleArray, float], DoubleArray]] = {
    "circle": lambda x, y, r: np.hypot(x, y) - r,
    "square": lambda x, y, r: np.maximum(abs(x), abs(y)) - 0.9 * r,
    "diamond": lambda x, y, r: (abs(x) + abs(y) - 1.3 * r) / 2**0.5,
    "triangle": lambda x, y, r: np.maximum(y - 0.8 * r, (2 * abs(x) - y - r) / 5**0.5),
}
Rows = tuple[torch.Tensor, torch.Tensor]
Course = dict[str, list[float]]


def drawn(shapes: Sequence[str], count: int, random: np.random.Generator) -> Rows:
    """Outlines of some size, somewhere near the middle, in noise: (N, 64), and which, (N, 1)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    pictures, which = np.empty((count, SIDE, SIDE)), np.arange(count) % 2
    for row, number in enumerate(which):
        across, down = random.uniform(-0.6, 0.6, 2)
        away = DISTANCES[shapes[number]](x - across, y - down, random.uniform(2.2, 3.2))
        pictures[row] = (abs(away) < LINE) + random.normal(0, NOISE, (SIDE, SIDE))
    return torch.tensor(pictures).flatten(1).float(), torch.tensor(which)[:, None].float()


class ShapeNet(PreTrainedModel):
    """64-16-8-1: an encoder of two hidden layers, and a head."""

    config_class = PreTrainedConfig
    base_model_prefix = "encoder"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(SIDE**2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8), torch.nn.ReLU()
        )
        self.classifier = torch.nn.Linear(8, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits of the second shape, (N, 1)."""
        return self.classifier(self.encoder(rows))


def built(seed: int, method: str, source: ShapeNet | None = None) -> ShapeNet:
    """A new network, or one with the hidden layers of another, as a method of the table has it."""
    torch.manual_seed(seed)
    model = ShapeNet(PreTrainedConfig())
    if source is not None:
        model.encoder.load_state_dict(source.encoder.state_dict())
    return METHODS[method].adaptation.adapt(model, AdaptationConfig(method=method), "", None)


def trained(model: ShapeNet, known: Rows, asked: Rows, rate: float, epochs: int) -> Course:
    """How a network does on rows it is not trained on, before its training and after each epoch."""
    optimizer = torch.optim.SGD(parameter_groups(model, rate, 0.0, 1.0), momentum=MOMENTUM)
    loss_of, (rows, targets) = row_loss(MULTI_LABEL), known
    course: Course = {ACCURACY: [], SILENT: []}
    for epoch in range(epochs + 1):
        for part in torch.randperm(len(rows)).split(BATCH) if epoch else ():
            optimizer.zero_grad()
            loss_of(model(rows[part]), targets[part]).mean().backward()
            optimizer.step()
        with torch.inference_mode():
            right = (model(asked[0]) > 0) == (asked[1] > 0)
            hidden = [model.encoder[: place + 1](rows) for place in (1, 3)]
        course[ACCURACY].append(float(right.float().mean()))
        silent = torch.cat([(states <= 0).all(0) for states in hidden])
        course[SILENT].append(float(silent.float().mean()))
    return course


def compared(rate: float, seed: int) -> dict[str, Course]:
    """Both ways to learn the second task at a rate, on the same rows."""
    random = np.random.default_rng(seed)
    first = drawn(FIRST, SOURCE_ROWS, random)
    known, asked = (drawn(SECOND, count, random) for count in (ROWS, ASKED))
    source = built(seed, "full")
    trained(source, first, first, rate, SOURCE_EPOCHS)
    other = OTHER + seed  # or the new head would be the one that the first task began with
    ways = {TRANSFERRED: built(other, "head", source), FRESH: built(other, "full")}
    return {name: trained(model, known, asked, rate, EPOCHS) for name, model in ways.items()}


def experiment(rate: float, seeds: int) -> dict[str, Course]:
    """The mean course of each way, over so many seeds."""
    runs = [compared(rate, seed) for seed in range(seeds)]
    return {
        way: {
            what: np.mean([run[way][what] for run in runs], axis=0).tolist()
            for what in (ACCURACY, SILENT)
        }
        for way in (TRANSFERRED, FRESH)
    }


def main() -> None:
    target, seeds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    panels = {}
    for rate in (HEAD_START, DEAD_START):
        found = experiment(rate, seeds)
        for what in (ACCURACY, SILENT) if rate == DEAD_START else (ACCURACY,):
            lines = {way: course[what] for way, course in found.items()}
            panels[f"{what}\nat a rate of {rate}"] = lines
            for way, values in lines.items():
                shown = ", ".join(f"{values[epoch]:.2f}" for epoch in (0, 1, 2, 3, 5, 10, 30))
                print(f"{rate:<5}{what:<32}{way:<24}{shown}")
    print(f"means of {seeds} seeds, before the training and after 1, 2, 3, 5, 10 and 30 epochs")
    plot_lines(panels, target, "epochs of triangle against diamond")


if __name__ == "__main__":
    main()
