"""Files that move, copy themselves, go and come back keep their vectors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from footwork.errors import DataError
from search.store.embedded import EmbeddedStore
from tests.search.collections import (
    again,
    finds_itself,
    held,
    indexed,
    save_picture,
    save_pictures,
)


@pytest.fixture
def photos(store: EmbeddedStore, tmp_path: Path) -> Path:
    """A folder of three photos, which are indexed."""
    save_pictures(tmp_path / "photos" / "a", 3)
    indexed(store, tmp_path / "photos")
    return tmp_path / "photos"


def move(folder: Path) -> None:
    folder.rename(folder.with_name("b"))
    (folder.with_name("b") / "0000.png").rename(folder.with_name("renamed.png"))


def share(folder: Path) -> None:
    """Two copies of a file that is gone."""
    shutil.copy2(folder / "0000.png", folder / "x.png")
    (folder / "0000.png").rename(folder / "y.png")


@pytest.mark.parametrize(
    ("change", "counts", "names"),
    [
        (move, {"moved": 3}, {"renamed.png", "b/0001.png", "b/0002.png"}),
        (lambda folder: os.utime(folder / "0000.png", ns=(1, 10**18)), {"moved": 1}, None),
        (
            lambda folder: shutil.copy2(folder / "0000.png", folder / "x.png"),
            {"added": 1},
            {"a/0000.png", "a/0001.png", "a/0002.png", "a/x.png"},
        ),
        (share, {"moved": 1, "added": 1}, {"a/x.png", "a/y.png", "a/0001.png", "a/0002.png"}),
    ],
    ids=["moved and renamed", "touched", "copied", "moved and copied"],
)
def test_known_content_keeps_its_vector_whatever_its_file_is_called(
    store: EmbeddedStore,
    photos: Path,
    change: Callable[[Path], object],
    counts: dict[str, int],
    names: set[str] | None,
) -> None:
    before = held(store)
    change(photos / "a")
    summary = again(store, photos)
    expected = {"moved": 0, "added": 0, "removed": 0, "embedded": 0} | counts
    assert {name: getattr(summary, name) for name in expected} == expected
    assert set(held(store).values()) == set(before.values())
    wanted = set(before) if names is None else {str(photos / name) for name in names}
    assert set(held(store)) == wanted
    assert again(store, photos).unchanged == len(wanted)


@pytest.mark.parametrize(("name", "count"), [("a/0000.png", "returned"), ("b.png", "moved")])
def test_a_file_that_comes_back_is_found_again_as_it_was(
    store: EmbeddedStore, photos: Path, tmp_path: Path, name: str, count: str
) -> None:
    before = held(store)
    (photos / "a" / "0000.png").rename(tmp_path / "away.png")
    assert again(store, photos).removed == 1
    assert set(held(store)) == set(before) - {str(photos / "a" / "0000.png")}
    (tmp_path / "away.png").rename(photos / name)
    assert getattr(again(store, photos), count) == 1
    assert set(held(store).values()) == set(before.values())
    assert str(photos / name) in held(store)


def test_an_unmounted_drive_is_found_again(
    store: EmbeddedStore, photos: Path, tmp_path: Path
) -> None:
    before = held(store)
    photos.rename(tmp_path / "unmounted")
    with pytest.raises(DataError, match=r"keeps its images as they are.*Mount the drive"):
        again(store, photos)
    assert held(store) == before
    photos.mkdir()
    summary = again(store, photos)
    assert summary.removed == 3
    assert "Is a drive missing?" in summary.notes[0]
    assert not held(store)
    photos.rmdir()
    (tmp_path / "unmounted").rename(photos)
    assert again(store, photos).returned == 3
    assert held(store) == before


def test_files_that_change_names_in_a_ring_keep_the_right_vectors(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.update.update._MOVED_AT_ONCE", 1)
    photos = tmp_path / "photos"
    paths = [save_picture(photos / f"{n}.bmp", n) for n in range(5)]  # all of one size
    indexed(store, photos)
    vectors = [held(store)[str(path)] for path in paths]
    paths[0].rename(photos / "held.tmp")
    for before, after in zip(paths[1:], paths, strict=False):
        before.rename(after)
    (photos / "held.tmp").rename(paths[-1])
    assert indexed(store, photos).changed == 5
    assert [held(store)[str(path)] for path in paths] == [*vectors[1:], vectors[0]]
    assert finds_itself(store)


def test_a_place_taken_by_another_file_does_not_mix_up_vectors(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    one, other = (save_picture(photos / f"{name}.bmp", n) for n, name in enumerate("ab"))
    indexed(store, photos)
    first, second = held(store)[str(one)], held(store)[str(other)]
    one.rename(tmp_path / "away.bmp")
    indexed(store, photos)
    other.rename(one)  # takes the place of what is away
    (tmp_path / "away.bmp").rename(photos / "c.bmp")  # which comes back elsewhere
    indexed(store, photos)
    indexed(store, photos)
    assert held(store) == {str(one): second, str(photos / "c.bmp"): first}
