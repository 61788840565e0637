from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import ConfigError
from footwork.evaluation.calibration import calibrate
from footwork.evaluation.plots import plot_confusion, plot_curves, plot_reliability

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


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        plot_curves(HISTORY, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("rows", [1, 200])
def test_reliability_is_drawn_with_and_without_a_second_curve(rows: int, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(rows, 3))
    calibration = calibrate(logits, np.arange(rows) % 3)
    path = tmp_path / "reliability.png"
    plot_reliability(calibration.bins_before, calibration.bins_after, path)
    assert png_size(path)


def test_nothing_but_the_picture_is_left(tmp_path: Path) -> None:
    plot_curves(HISTORY, tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    plot_curves(HISTORY, tmp_path / "curves.png")
    pyplot = sys.modules.get("matplotlib.pyplot")  # another test may have brought it in
    assert pyplot is None or not pyplot.get_fignums()


def test_without_matplotlib_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'footwork\[plots\]'"):
        plot_curves(HISTORY, tmp_path / "curves.png")
