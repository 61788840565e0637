"""An index is kept up to date while its folders change."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from search.index_folder import IndexFolder
from search.update import watching
from search.update.indexing import Indexer
from search.update.watching import watched_updates
from tests.search.collections import save_pictures
from tests.search.places import holdings, index_of


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[IndexFolder, Path]:
    """An index within the folder that it is of, and its only picture; copies need no model."""
    monkeypatch.setattr(watching, "QUIET", 20)
    monkeypatch.setattr(watching, "AGAIN", 100)
    [picture] = save_pictures(tmp_path / "photos", 1)
    return index_of(tmp_path / "photos" / "index", tmp_path / "photos"), picture


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


def test_what_an_update_writes_calls_for_no_other(watched: tuple[IndexFolder, Path]) -> None:
    place, picture = watched
    written = place.path / "generation-1" / "catalog.sqlite-wal"
    ignored = watching._own_files(place)
    assert any(str(written).startswith(str(path)) for path in ignored)
    assert not any(str(picture).startswith(str(path)) for path in ignored)
