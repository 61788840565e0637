"""The classic experiment: a head start at one rate, a dead start at another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts import classic_transfer
from scripts.classic_transfer import (
    ACCURACY,
    DEAD_START,
    FRESH,
    HEAD_START,
    SECOND,
    SILENT,
    TRANSFERRED,
    built,
    drawn,
    experiment,
    trained,
)

SEEDS = 4


def test_what_is_transferred_is_frozen_and_has_a_new_head() -> None:
    source = built(1, "full")
    model = built(2, "head", source)
    rows = drawn(SECOND, 64, np.random.default_rng(0))
    trained(model, rows, rows, HEAD_START, 2)
    for name, weight in source.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], weight)
    assert not torch.equal(model.classifier.weight, built(2, "full").classifier.weight)


def test_at_a_small_rate_what_was_learned_is_a_head_start_and_then_a_limit() -> None:
    found = experiment(HEAD_START, SEEDS)
    old, new = found[TRANSFERRED][ACCURACY], found[FRESH][ACCURACY]
    assert old[1] > new[1] + 0.15
    assert old[1] > 0.8
    assert 0.9 < old[-1] < new[-1]
    assert max(found[TRANSFERRED][SILENT]) < 0.15


def test_at_a_large_rate_most_units_have_died_and_what_is_transferred_learns_nothing() -> None:
    found = experiment(DEAD_START, SEEDS)
    assert found[TRANSFERRED][SILENT][0] > 0.5
    assert found[TRANSFERRED][SILENT][-1] == pytest.approx(found[TRANSFERRED][SILENT][0], abs=0.1)
    assert max(found[TRANSFERRED][ACCURACY]) < 0.75
    assert found[FRESH][ACCURACY][-1] > 0.9


def test_the_figures_are_told_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["classic_transfer", str(tmp_path / "out.png"), "1"])
    classic_transfer.main()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count(TRANSFERRED) == 3
