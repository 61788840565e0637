"""Where Footwork keeps what it makes for itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from footwork.home import cache_folder, data_folder


def test_footwork_home_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cache"
    assert not cache_folder().exists()
    monkeypatch.setenv("FOOTWORK_HOME", "~/place")
    assert cache_folder() == Path.home() / "place" / "cache"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "stated/footwork"),
        ("win32", "LOCALAPPDATA", "stated/footwork/cache"),
        ("linux", None, ".cache/footwork"),
        ("darwin", None, "Library/Caches/footwork"),
        ("win32", None, "AppData/Local/footwork/cache"),
    ],
)
def test_without_it_the_platforms_own_place_is_taken(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    platform: str,
    variable: str | None,
    expected: str,
) -> None:
    for name in ("FOOTWORK_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "stated"))
    assert cache_folder() == tmp_path / expected


def test_data_lie_apart_from_what_may_be_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "data"
    monkeypatch.delenv("FOOTWORK_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "stated"))
    assert data_folder() == tmp_path / "stated" / "footwork"
