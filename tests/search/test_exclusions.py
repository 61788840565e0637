"""What is left out of an index stays out of it until it is asked for."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from footwork.cli import main
from footwork.errors import ConfigError, StoreError
from search.exclusions import Exclusions
from search.place import IndexFolder
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Changes
from search.update.indexing import Indexer, remove_images
from tests.search.collections import save_picture
from tests.search.commands import Command
from tests.search.places import catalog, execute, holdings, index_of
from tests.search.store_contract import Engine, fault, found_paths, paths_of, write_images

SHARED = 7
"""Number of a picture of which one copy is always indexed: others need no model."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("kept.png", "a.png", "private/b.png", "private/deep/c.png", "2019/x/raw/d.png"):
        save_picture(tmp_path / "photos" / name, SHARED)
    return tmp_path / "photos"


@pytest.fixture
def place(photos: Path) -> IndexFolder:
    return index_of(photos.parent / "index", photos)


def names(place: IndexFolder, photos: Path) -> set[str]:
    return {str(Path(path).relative_to(photos)) for path in holdings(place)}


HOSTILE = ('/p/" or path != ".jpg', "/p/new\nline.jpg", "/p/" + os.fsdecode(b"\xff\xfe.jpg"))
FILES = ("a.png", "B.PNG", "x/c.png", "x/y/b.jpg", "z/x/a.png", "x/y/raw/d.jpg", "z/x.jpg")


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("*.png", ["a.png", "B.PNG", "x/c.png", "z/x/a.png"]),
        ("a.*", ["a.png", "z/x/a.png"]),
        ("/a.png", ["a.png"]),
        ("x", ["x/c.png", "x/y/b.jpg", "z/x/a.png", "x/y/raw/d.jpg"]),
        ("z/x.jpg/", []),
        ("x.jpg", ["z/x.jpg"]),
        ("y/", ["x/y/b.jpg", "x/y/raw/d.jpg"]),
        ("x/*.png", ["x/c.png"]),
        ("x/**/raw", ["x/y/raw/d.jpg"]),
        ("**/x", ["x/c.png", "x/y/b.jpg", "z/x/a.png", "x/y/raw/d.jpg"]),
        ("x/y/**", ["x/y/b.jpg", "x/y/raw/d.jpg"]),
        ("[ab].png", ["a.png", "z/x/a.png"]),
    ],
)
@pytest.mark.parametrize("root", ["/", "/some root"])
def test_a_pattern_means_a_name_or_a_path_below_the_root(
    root: str, pattern: str, left_out: list[str]
) -> None:
    is_excluded = Exclusions((pattern,)).below(root)
    assert [f for f in FILES if is_excluded(str(Path(root) / f), False)] == left_out
    assert not is_excluded(root, True)


def test_a_pattern_means_a_name_in_either_spelling() -> None:
    for pattern, name in (("\u00e9t\u00e9/", "e\u0301te\u0301"), ("e\u0301*", "\u00e9t\u00e9")):
        assert Exclusions((pattern,)).below("/r")(f"/r/{name}", True)
    kept = Exclusions(("e\u0301te\u0301/", "*.tif"), ("/r/e\u0301",))
    assert kept.without(["\u00e9t\u00e9/", "/r/\u00e9"]) == Exclusions(("*.tif",))


def test_what_an_exclusion_covers_leaves_the_index_and_stays_away(
    place: IndexFolder, photos: Path
) -> None:
    summary = Indexer(place).index(exclude=["private/", "2019/**/raw"])
    assert (summary.excluded, summary.unchanged) == (3, 2)
    assert names(place, photos) == {"kept.png", "a.png"}
    save_picture(photos / "private" / "new.png", SHARED)
    assert Indexer(place).index([photos]).added == 0
    assert Indexer(place).index(include=["private/"]).added == 3
    assert names(place, photos) == {
        *("kept.png", "a.png", "private/b.png", "private/deep/c.png", "private/new.png")
    }


def test_a_part_of_a_root_is_left_out_as_the_whole_is(place: IndexFolder, photos: Path) -> None:
    Indexer(place).index(exclude=["2019/x/raw"])
    save_picture(photos / "2019" / "x" / "e.png", SHARED)
    assert Indexer(place).index([photos / "2019" / "x"]).added == 1


def test_patterns_that_mean_another_path_below_a_new_root_are_told(
    place: IndexFolder, photos: Path
) -> None:
    Indexer(place).index(exclude=["/private", "*.tif"])
    [note] = Indexer(place).index([photos.parent]).notes
    assert f"relative to {photos.parent} from now on, no longer to {photos}: /private. W" in note


@pytest.mark.parametrize("removed", ["a.png", "private"])
def test_what_was_removed_stays_away_until_it_is_named(
    place: IndexFolder, photos: Path, removed: str
) -> None:
    before = names(place, photos)
    count = remove_images(place, [photos / removed], gone=False)
    assert Indexer(place).index([photos]).added == 0
    assert {name for name in before if name.startswith(removed)} == before - names(place, photos)
    assert Indexer(place).index([photos / removed]).added == count
    assert names(place, photos) == before
    assert Indexer(place).index().unchanged == len(before)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_removal_that_was_killed_is_completed_by_the_next_update(
    place: IndexFolder, photos: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    write, left = EmbeddedStore.write, names(place, photos) - {"a.png"}

    def killed(store: EmbeddedStore, changes: Changes) -> None:
        if is_written:
            write(store, changes)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedStore, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_images(place, [photos / "a.png"], gone=False)
    assert Indexer(place).index().added == 0
    assert names(place, photos) == left


def test_what_was_removed_is_taken_back_by_its_path_or_goes_with_its_root(
    place: IndexFolder, photos: Path
) -> None:
    remove_images(place, [photos / "a.png"], gone=False)
    assert Indexer(place).index(include=[str(photos / "a.png")]).added == 1
    save_picture(photos / "e\u0301t" / "a.png", SHARED)
    assert Indexer(place).index([photos]).added == 1
    assert remove_images(place, [photos / "\u00e9t"], gone=False) == 1  # in another spelling
    assert Indexer(place).index([photos]).added == 0
    remove_images(place, [photos], gone=False)
    with closing(place.open()) as store:
        assert store.exclusions() == Exclusions()


def test_what_is_left_out_cannot_be_named(place: IndexFolder, photos: Path) -> None:
    remove_images(place, [photos / "private"], gone=False)
    with pytest.raises(ConfigError, match=r"b.png is left out of the index.*--include"):
        Indexer(place).index([photos / "private" / "b.png"])


def test_a_query_in_a_folder_that_was_removed_does_not_take_it_back(
    place: IndexFolder, photos: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_images(place, [photos / "private"], gone=False)
    before = names(place, photos)
    monkeypatch.chdir(photos / "private")
    command("a dog", "--index", place.path, code=2)
    assert f"To take it back: footwork search index {photos}/private --index" in command.err
    assert names(place, photos) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--exclude", "/"], "--exclude '/' names nothing"),
        (["--exclude", "*"], "--exclude '*' names everything"),
        (["--exclude", "**/*"], "--exclude '**/*' names everything"),
        (["--include", "*.tif"], "--include *.tif: that is not left out. Left out: nothing."),
        (["--exclude", "*.tif", "--from", "x.parquet"], "--from copies an index as it is"),
    ],
)
def test_what_cannot_be_left_out_is_told(
    place: IndexFolder, command: Command, words: list[str], message: str
) -> None:
    command("index", "--index", place, *words, code=2)
    assert message in command.err


def test_status_lists_what_is_left_out(place: IndexFolder, photos: Path, command: Command) -> None:
    Indexer(place).index(exclude=["*.tif"])
    told = command("remove", photos / "a.png", "--index", place)
    assert "1 forgotten. They stay away until they are named: footwork search index PATH" in told
    assert told.endswith(f" --index {place.path}\n")
    shown = command("status", "--index", place)
    assert "left out     *.tif\n" in shown
    assert f"removed      {photos / 'a.png'}\n" in shown


@pytest.mark.parametrize(
    "told", ["[]", "{", '{"patterns": 1, "removed": []}', "null", "[" * 100_000]
)
def test_a_list_that_cannot_be_read_is_told_and_mended(place: IndexFolder, told: str) -> None:
    execute(catalog(place), "INSERT INTO facts VALUES ('exclusions', ?)", told)
    with closing(place.open()) as store, pytest.raises(StoreError, match=r"exclusions|no list of"):
        store.exclusions()
    assert main(["search", "doctor", "--index", str(place), "--no-model"]) == 3
    assert main(["search", "doctor", "--repair", "--index", str(place), "--no-model"]) == 3
    with closing(place.open()) as store:
        assert store.exclusions() == Exclusions()


def test_a_pattern_of_many_stars_is_matched_at_once() -> None:
    path = "/root/" + "/".join("abcdefghijklmnopqrst")
    deep = Exclusions(("**/" * 30 + "x", "a/**/b/**/**/t")).below("/root")
    assert deep(path, False)
    assert not deep(path[:-1] + "u", False)


def test_what_is_left_out_is_replaced_as_a_whole(engine: Engine) -> None:
    with closing(engine.make()) as store:
        write_images(store, "/p/a.jpg")
        assert store.exclusions() == Exclusions()
        left_out = Exclusions(("*.tif", 'a "quoted" % name/', "日本/**"), tuple(HOSTILE))
        store.set_exclusions(left_out)
        kept = store.exclusions()
        assert sorted(kept.patterns) == sorted(left_out.patterns)
        assert sorted(kept.removed) == sorted(left_out.removed)
        assert paths_of(store.files()) == found_paths(store) == ["/p/a.jpg"]
        store.set_exclusions(Exclusions(("*.png",)))
        assert store.exclusions() == Exclusions(("*.png",))
        assert list(store.roots()) == []


def test_files_are_counted_below_a_folder(engine: Engine) -> None:
    with closing(engine.make()) as store:
        write_images(store, "/p/a.jpg", "/p/q/b.jpg", "/p2/c.jpg")
        store.write(Changes(unreadable=[fault("/p/no.jpg")], absent=["/p/q/b.jpg"]))
        for folder, kinds in (
            *(("/p", (1, 1, 1)), ("/p/q/b.jpg", (0, 1, 0))),
            *(("/", (2, 1, 1)), (None, (2, 1, 1))),
        ):
            counts = store.counts(folder)
            assert (counts.present, counts.absent, counts.unreadable) == kinds


def test_a_place_on_this_machine_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    for pattern in (str(tmp_path / "private"), "./private", "../private", "~/private"):
        with pytest.raises(ConfigError, match="must be relative to the indexed folder"):
            Exclusions().with_patterns([pattern])
