from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import numpy as np
import pytest

from footwork.errors import ConfigError
from footwork.evaluation.calibration import calibrate
from footwork.evaluation.metrics import Interval
from footwork.evaluation.plots import (
    draw_costs,
    draw_learning,
    draw_rates,
    plot_confusion,
    plot_curves,
    plot_reliability,
    styles,
)

HISTORY = [
    *({"loss": 1 / step, "learning_rate": 1e-4 / step, "step": step} for step in range(1, 60)),
    {"loss": float("nan"), "step": 60},
    {"eval_loss": 0.3, "eval_accuracy": 0.8, "eval_runtime": 2.0, "step": 60},
    {"train_runtime": 3.0, "step": 60},
]


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], []])
def test_curves_of_any_length_are_drawn(history: list[dict[str, float]], tmp_path: Path) -> None:
    plot_curves(history, tmp_path / "curves.png")
    assert min(png_size(tmp_path / "curves.png")) > 100


@pytest.mark.parametrize("num_classes", [2, 31, 101])
def test_a_matrix_of_any_size_stays_readable(num_classes: int, tmp_path: Path) -> None:
    labels = [f"class number {index} of many with a long name" for index in range(num_classes)]
    plot_confusion(np.eye(num_classes, dtype=np.int64), labels, tmp_path / "confusion.png")
    assert 400 < max(png_size(tmp_path / "confusion.png")) < 2600


def test_labels_are_drawn_as_they_are(tmp_path: Path) -> None:
    labels = ["$a_b$", "line\nbreak", "한국어", "_hidden"]
    plot_confusion(np.eye(4, dtype=np.int64), labels, tmp_path / "confusion.png")
    assert png_size(tmp_path / "confusion.png")


def test_the_same_figures_give_the_same_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        plot_curves(HISTORY, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]
    pyplot = sys.modules.get("matplotlib.pyplot")  # another test may have brought it in
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize("rows", [1, 200])
def test_reliability_is_drawn_with_and_without_a_second_curve(rows: int, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(rows, 3))
    calibration = calibrate(logits, np.arange(rows) % 3)
    path = tmp_path / "reliability.png"
    plot_reliability(calibration.bins_before, calibration.bins_after, path)
    assert png_size(path)


def test_without_matplotlib_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'footwork\[plots\]'"):
        plot_curves(HISTORY, tmp_path / "curves.png")


NAMES = ["one", "<two> & $x_y$", *map(str, range(3, 12))]
LOOKS = styles(NAMES)
DRAWN = {
    "learning": lambda: draw_learning(
        {name: [[(1, 0.5), (2, 0.7)], [(1, 0.4)]] for name in NAMES[:4]},
        {NAMES[4]: 0.6},
        "accuracy",
        LOOKS,
    ),
    "no epochs": lambda: draw_learning({}, {"one": 0.6}, "accuracy", LOOKS),
    "costs": lambda: draw_costs(
        {name: (10.0**place, Interval(0.8, 0.7, 0.9)) for place, name in enumerate(NAMES)},
        {"a baseline": 0.75, "far below": 0.01},
        ("seconds", "accuracy"),
        LOOKS,
    ),
    "rates": lambda: draw_rates(
        {"one": [(1e-4, 0.5, 1.0), (1e-3, 0.7, 0.4)]}, {"one": (1e-4, 1e-3)}, "accuracy", LOOKS
    ),
}


@pytest.mark.parametrize("what", DRAWN)
def test_a_figure_of_a_comparison_takes_the_colours_of_its_page(what: str) -> None:
    drawn = DRAWN[what]()
    assert drawn == DRAWN[what]()
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert "currentColor" in drawn
    assert "var(--line)" in drawn
    assert "#000000" not in drawn  # unreadable on a dark page
    assert "<image" not in drawn


def test_of_errors_the_baseline_that_is_better_is_drawn() -> None:
    found, bars = {"one": (1.0, Interval(12, 11, 13))}, {"better": 10.0, "far worse": 25.0}
    with patch("matplotlib.axes.Axes.axhline") as line:
        draw_costs(found, bars, ("seconds", "mae"), LOOKS, perfect=0.0)
    assert [call.kwargs["label"] for call in line.mock_calls] == ["better"]


def test_every_method_has_a_look_of_its_own() -> None:
    assert len(set(LOOKS.values())) == len(NAMES)
