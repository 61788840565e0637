"""An index is kept up to date while its folders change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from search.place import IndexFolder
from search.update import indexing
from search.update.indexing import Indexer, own_files, watched_updates
from search.update.update import summary_text
from tests.search.collections import save_pictures
from tests.search.places import holdings, index_of


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[IndexFolder, Path]:
    """An index within the folder that it is of, and its only picture; copies need no model."""
    monkeypatch.setattr(indexing, "QUIET", 20)
    monkeypatch.setattr(indexing, "AGAIN", 100)
    [picture] = save_pictures(tmp_path / "photos", 1)
    return index_of(tmp_path / "photos" / "index", tmp_path / "photos"), picture


@pytest.fixture
def elsewhere(tmp_path: Path, watched: tuple[IndexFolder, Path]) -> tuple[IndexFolder, Path]:
    """The same, the index beside its folder."""
    _, picture = watched
    shutil.rmtree(picture.parent / "index")
    return index_of(tmp_path / "index", picture.parent), picture


def test_what_changed_before_and_since_watching_began_is_indexed(
    watched: tuple[IndexFolder, Path],
) -> None:
    place, picture = watched
    early, late = picture.with_name("early.png"), picture.with_name("late.png")
    shutil.copy(picture, early)
    with closing(watched_updates(Indexer(place), [str(picture.parent)])) as updates:
        assert next(updates).added == 1
        shutil.copy(picture, late)
        assert next(updates).added == 1
    assert set(holdings(place)) == {str(picture), str(early), str(late)}


def test_an_index_that_another_writes_is_updated_after_it(
    watched: tuple[IndexFolder, Path],
) -> None:
    place, picture = watched
    shutil.copy(picture, picture.with_name("copy.png"))
    with closing(watched_updates(Indexer(place), [str(picture.parent)])) as updates:
        with place.writing():
            assert "is being written" in next(updates).notes[0]
        assert next(updates).added == 1


@pytest.fixture
def kept(tmp_path: Path, elsewhere: tuple[IndexFolder, Path]) -> Path:
    """A copy of the root as it was indexed."""
    return Path(shutil.copytree(elsewhere[1].parent, tmp_path / "kept"))


def test_a_root_that_is_deleted_and_made_again_is_watched_again(
    elsewhere: tuple[IndexFolder, Path], kept: Path
) -> None:
    place, picture = elsewhere
    root = picture.parent
    with closing(watched_updates(Indexer(place), [str(root)])) as updates:
        shutil.copy(picture, picture.with_name("early.png"))
        assert next(updates).added == 1
        shutil.rmtree(root)
        away = next(updates)
        assert away.is_put_off
        assert "Cannot find" in away.notes[0]
        shutil.copytree(kept, root)
        back = next(updates)
        assert (back.is_put_off, back.removed) == (False, 1)
        shutil.copy(picture, picture.with_name("later.png"))
        assert next(updates).moved == 1  # the index knows what it shows
    assert set(holdings(place)) == {str(picture), str(picture.with_name("later.png"))}


def test_a_missing_root_does_not_hold_up_the_others(
    elsewhere: tuple[IndexFolder, Path], tmp_path: Path
) -> None:
    _, picture = elsewhere
    other = shutil.copytree(picture.parent, tmp_path / "other")
    shutil.rmtree(tmp_path / "index")
    place = index_of(tmp_path / "index", picture.parent, other)
    other.rename(tmp_path / "unmounted")
    with closing(watched_updates(Indexer(place), [str(picture.parent), str(other)])) as updates:
        shutil.copy(picture, picture.with_name("new.png"))
        summary = next(updates)
        assert (summary.added, summary.missing_roots) == (1, [str(other)])
        (tmp_path / "unmounted").rename(other)
        shutil.copy(picture, other / "there.png")
        assert next(updates).added == 1
    assert len(holdings(place)) == 4


def _made_anew(root: Path, kept: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(kept, root)


def _moved_over(root: Path, kept: Path) -> None:
    root.rename(root.with_name("old"))
    shutil.copytree(kept, root)


@pytest.mark.parametrize("replaced", [_made_anew, _moved_over])
def test_a_root_that_is_replaced_at_once_is_watched_again(
    elsewhere: tuple[IndexFolder, Path],
    kept: Path,
    replaced: Callable[[Path, Path], None],
) -> None:
    place, picture = elsewhere
    root = picture.parent
    with closing(watched_updates(Indexer(place), [str(root)])) as updates:
        shutil.copy(picture, picture.with_name("before.png"))
        assert next(updates).added == 1
        replaced(root, kept)
        assert next(updates).removed == 1
        shutil.copy(picture, picture.with_name("since.png"))
        assert next(updates).moved == 1  # the index knows what it shows
    assert set(holdings(place)) == {str(picture), str(picture.with_name("since.png"))}


def test_what_was_away_and_comes_back_as_it_was_is_told(
    elsewhere: tuple[IndexFolder, Path],
) -> None:
    place, picture = elsewhere
    root, away = picture.parent, picture.parent.with_name("away")
    root.rename(away)
    with closing(watched_updates(Indexer(place), [str(root)])) as updates:
        summary = next(updates)
        text = summary_text(summary, "photos/index")
        assert text == "Put off; tried again every 5 s\nThe index is in photos/index"
        away.rename(root)
        assert next(updates).unchanged == 1


def test_what_an_update_writes_calls_for_no_other(watched: tuple[IndexFolder, Path]) -> None:
    place, picture = watched
    written = place.path / "generation-1" / "catalog.sqlite-wal"
    ignored = own_files(place)
    assert any(str(written).startswith(str(path)) for path in ignored)
    assert not any(str(picture).startswith(str(path)) for path in ignored)
