"""Files are called the same however they are named."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from footwork.errors import ConfigError, StoreError
from search import ImageIndex
from search.options import FilterOptions
from search.paths import absolute_path
from search.query.terms import parse_query
from search.store.embedded.store import EmbeddedStore
from search.update.differences import absolute_roots
from search.update.indexing import remove_images
from tests.search.collections import held, indexed, save_pictures
from tests.search.commands import Command
from tests.search.places import holdings, index_of


def test_a_path_goes_up_without_following_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert absolute_path("../link/./a.jpg") == str(tmp_path / "link" / "a.jpg")


def test_a_path_begins_with_one_slash_or_the_users_home_and_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute_path("~/photos") == f"{tmp_path}/photos" == absolute_path(f"/{tmp_path}/photos")
    assert absolute_path("//") == "/"
    with pytest.raises(ConfigError, match=r"must be a path, got an empty text.*is `.`"):
        absolute_path("")


@pytest.mark.parametrize("words", [["remove", ""], ["index", ""], ["status", "--index="]])
def test_an_empty_path_is_not_the_folder_where_one_is(command: Command, words: list[str]) -> None:
    command(*words, code=2)
    assert "must be a path, got an empty text" in command.err


def test_the_index_may_be_in_the_users_home(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    index_of(Path("~/q.index"), *save_pictures(tmp_path / "home", 1))
    command("status", "--index=~/q.index")
    with ImageIndex.open("~/q.index") as found:
        assert found.place.path == tmp_path / "home" / "q.index"
    assert [one.name for one in tmp_path.iterdir()] == ["home"]


def test_of_folders_in_one_another_the_outermost_is_a_root() -> None:
    assert absolute_roots(["/a/b/c", "/a/b", "/a-b", "/a", "/a/b/..", "/a-b/c"]) == ["/a", "/a-b"]
    assert absolute_roots(["/a", "/"]) == ["/"]


def test_a_folder_within_one_that_is_indexed_is_not_counted_twice(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos / "deep", 2)
    indexed(store, photos)
    indexed(store, photos / "deep")
    assert store.roots() == [str(photos)]
    assert len(held(store)) == 2


def test_filters_pictures_and_removed_images_are_named_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = save_pictures(tmp_path / "photos", 2)
    place = index_of(tmp_path / "index", tmp_path / "photos")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert FilterOptions(in_=(Path("../x"),)).filter().folders == (str(tmp_path / "x"),)
    (term,) = parse_query((), ["../x/a.jpg"]).terms
    assert term.text == str(tmp_path / "x" / "a.jpg")
    assert remove_images(place, [Path("..") / "photos" / first.name], gone=False) == 1
    assert set(holdings(place)) == {str(second)}


def test_a_removed_folder_is_followed_no_more_nor_what_lies_in_it(tmp_path: Path) -> None:
    folders = [tmp_path / "photos" / name for name in ("one", "two")]
    for folder in folders:
        save_pictures(folder, 1)
    place = index_of(tmp_path / "index", *folders)
    assert remove_images(place, [tmp_path / "photos"], gone=False) == 2
    with closing(place.open()) as store:
        assert store.roots() == []
    with pytest.raises(StoreError, match=r"knows nothing of /nowhere\. .*search status"):
        remove_images(place, ["/nowhere"], gone=False)
    with pytest.raises(ConfigError, match="Name files or folders, or --gone"):
        remove_images(place, [], gone=False)
