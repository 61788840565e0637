"""Each test has a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "footwork-home"
    monkeypatch.setenv("FOOTWORK_HOME", str(home))
    return home


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits until it is on the disk: no test cuts the power."""
    monkeypatch.setattr("os.fsync", lambda _: None)
