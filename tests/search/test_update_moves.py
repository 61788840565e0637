"""Files that move, copy themselves, go and come back keep their vectors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from footwork.errors import DataError
from search.store.embedded import EmbeddedStore
from search.update.update import update
from tests.search.collections import (
    finds_itself,
    held,
    indexed,
    no_encoder,
    save_picture,
    save_pictures,
)


def test_moved_and_renamed_files_keep_their_vectors(store: EmbeddedStore, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos / "a", 6)
    indexed(store, photos)
    before = sorted(held(store).values())
    (photos / "a").rename(photos / "b")
    (photos / "b" / "0000.png").rename(photos / "renamed.png")
    summary = update(store, [str(photos)], no_encoder())
    assert (summary.moved, summary.added, summary.removed) == (6, 0, 0)
    assert sorted(held(store).values()) == before
    assert str(photos / "renamed.png") in held(store)


def test_a_touched_file_is_not_decoded_again(store: EmbeddedStore, tmp_path: Path) -> None:
    [path] = save_pictures(tmp_path / "photos", 1)
    indexed(store, tmp_path / "photos")
    os.utime(path, ns=(1, 10**18))
    assert update(store, [str(tmp_path / "photos")], no_encoder()).moved == 1
    assert update(store, [str(tmp_path / "photos")], no_encoder()).unchanged == 1


def test_a_copy_takes_the_vector_of_its_original(store: EmbeddedStore, tmp_path: Path) -> None:
    [path] = save_pictures(tmp_path / "photos", 1)
    indexed(store, tmp_path / "photos")
    shutil.copy2(path, path.with_name("copy.png"))
    summary = update(store, [str(tmp_path / "photos")], no_encoder())
    assert (summary.added, summary.embedded) == (1, 0)
    assert len(set(held(store).values())) == 1
    assert len(held(store)) == 2


def test_deleted_files_leave_and_are_found_again_when_they_come_back(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    first, second = save_pictures(photos, 2)
    indexed(store, photos)
    before = held(store)
    first.rename(tmp_path / "away.png")
    assert update(store, [str(photos)], no_encoder()).removed == 1
    assert set(held(store)) == {str(second)}
    (tmp_path / "away.png").rename(first)
    assert update(store, [str(photos)], no_encoder()).returned == 1
    assert held(store) == before


def test_a_file_that_comes_back_elsewhere_is_found_again(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    [path] = save_pictures(photos, 1)
    save_picture(photos / "stays.png", 7)
    indexed(store, photos)
    path.rename(tmp_path / "away.png")
    update(store, [str(photos)], no_encoder())
    (tmp_path / "away.png").rename(photos / "elsewhere.png")
    assert update(store, [str(photos)], no_encoder()).moved == 1
    assert set(held(store)) == {str(photos / "elsewhere.png"), str(photos / "stays.png")}


def test_an_unmounted_drive_is_found_again(store: EmbeddedStore, tmp_path: Path) -> None:
    photos = tmp_path / "drive"
    save_pictures(photos, 3)
    indexed(store, photos)
    before = held(store)
    photos.rename(tmp_path / "unmounted")
    with pytest.raises(DataError, match=r"keeps its images as they are.*Mount the drive"):
        update(store, [str(photos)], no_encoder())
    assert held(store) == before
    photos.mkdir()
    summary = update(store, [str(photos)], no_encoder())
    assert summary.removed == 3
    assert "Is a drive missing?" in summary.notes[0]
    assert not held(store)
    photos.rmdir()
    (tmp_path / "unmounted").rename(photos)
    assert update(store, [str(photos)], no_encoder()).returned == 3
    assert held(store) == before


def test_files_that_change_names_in_a_ring_keep_the_right_vectors(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.update.update._MOVED_AT_ONCE", 1)
    photos = tmp_path / "photos"
    photos.mkdir()
    paths = [photos / f"{n}.bmp" for n in range(5)]  # all of one size
    for number, path in enumerate(paths):
        save_picture(path, number)
    indexed(store, photos)
    vectors = [held(store)[str(path)] for path in paths]
    paths[0].rename(photos / "held.tmp")
    for before, after in zip(paths[1:], paths, strict=False):
        before.rename(after)
    (photos / "held.tmp").rename(paths[-1])
    summary = indexed(store, photos)
    assert [held(store)[str(path)] for path in paths] == [*vectors[1:], vectors[0]]
    assert summary.changed == 5
    assert finds_itself(store)


def test_two_copies_of_what_is_gone_share_its_vector(store: EmbeddedStore, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    [path] = save_pictures(photos, 1)
    indexed(store, photos)
    shutil.copy2(path, photos / "a.png")
    path.rename(photos / "b.png")
    summary = update(store, [str(photos)], no_encoder())
    assert (summary.moved, summary.added) == (1, 1)
    assert set(held(store)) == {str(photos / "a.png"), str(photos / "b.png")}


def test_a_place_taken_by_another_file_does_not_mix_up_vectors(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    one, other, third = (photos / f"{n}.bmp" for n in "abc")
    save_picture(one, 1)
    save_picture(other, 2)
    indexed(store, photos)
    first, second = held(store)[str(one)], held(store)[str(other)]
    one.rename(tmp_path / "away.bmp")
    indexed(store, photos)
    other.rename(one)  # takes the place of what is away
    (tmp_path / "away.bmp").rename(third)  # which comes back elsewhere
    indexed(store, photos)
    indexed(store, photos)
    assert held(store) == {str(one): second, str(third): first}
