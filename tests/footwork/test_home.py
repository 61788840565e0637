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
    ("variable", "expected"),
    [("XDG_CACHE_HOME", "stated/footwork"), (None, ".cache/footwork")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="platformdirs knows the other platforms")
def test_without_it_the_platforms_own_place_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, expected: str
) -> None:
    for name in ("FOOTWORK_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "stated"))
    assert cache_folder() == tmp_path / expected


def test_data_lie_apart_from_what_may_be_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "data"
    monkeypatch.delenv("FOOTWORK_HOME")
    assert data_folder() not in (cache_folder(), *cache_folder().parents)
