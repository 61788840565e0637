"""Files that are not there are told, and no dead drive holds up the others."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from footwork.errors import DataError
from search import paths as missing
from search.answers.answer import answer_document, answer_lines, looked_for
from search.paths import NO_ANSWER, missing_files
from search.place import IndexFolder
from search.update.indexing import Indexer
from tests.search.collections import save_pictures
from tests.search.commands import Command
from tests.search.found import answer, hit
from tests.search.places import holdings, index_of


@pytest.fixture
def away(tmp_path: Path) -> tuple[IndexFolder, Path, Path]:
    """An index, a folder of it, and another one that is no longer there."""
    here, gone = tmp_path / "here", tmp_path / "gone"
    save_pictures(here, 2)
    save_pictures(gone, 3, first=2)
    place = index_of(tmp_path / "index", here, gone)
    gone.rename(tmp_path / "unmounted")
    return place, here, gone


def test_a_missing_root_keeps_its_images_while_others_are_updated(
    away: tuple[IndexFolder, Path, Path],
) -> None:
    place, here, gone = away
    before = holdings(place)
    shutil.copy(here / "0000.png", here / "copy.png")
    summary = Indexer(place).index()
    assert (summary.added, summary.removed, summary.missing_roots) == (1, 0, [str(gone)])
    assert set(holdings(place)) == {*before, str(here / "copy.png")}
    (gone.parent / "unmounted").rename(gone)
    assert Indexer(place).index().unchanged == 6


def test_what_was_below_a_missing_root_moves_with_its_labels_to_where_it_turns_up(
    away: tuple[IndexFolder, Path, Path],
) -> None:
    place, here, gone = away
    before, now = holdings(place), gone.parent / "unmounted"
    with closing(place.open()) as store:
        store.write_labels((str(path), {"cat": 0.5}) for path in (gone / "0002.png", here))
    summary = Indexer(place).index([now])
    assert (summary.moved, summary.added, summary.removed) == (3, 0, 0)
    moved = {path.replace(f"{gone}/", f"{now}/"): row for path, row in before.items()}
    assert holdings(place) == moved
    shutil.copytree(now, gone)
    assert Indexer(place).index().added == 3
    assert holdings(place) == before | moved
    labelled = [str(folder / "0002.png") for folder in (gone, now)]
    with closing(place.open()) as store:
        assert [store.records(labelled)[path].labels for path in labelled] == [{"cat": 0.5}] * 2


def test_where_no_root_is_there_nothing_can_be_done(away: tuple[IndexFolder, Path, Path]) -> None:
    place, here, gone = away
    shutil.rmtree(here)
    with pytest.raises(DataError, match=f"(?s){gone}: no such.*{here}: no such"):
        Indexer(place).index()


def test_a_command_that_misses_a_root_says_so_and_ends_with_3(
    away: tuple[IndexFolder, Path, Path], command: Command
) -> None:
    place, _, gone = away
    told = command.document("index", "--index", place, code=3)
    assert told["missing_roots"] == [str(gone)]
    reason = "no such file or directory. The index keeps its images"
    assert f"Cannot find {gone}: {reason}" in command.err


@pytest.mark.parametrize("closed", ["here/kids", "here"])
def test_a_folder_that_cannot_be_listed_keeps_its_images(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pictures(tmp_path / "here" / "kids", 2)
    (tmp_path / "here" / "kids" / "no.png").write_bytes(b"no picture")
    place, scandir = index_of(tmp_path / "index", tmp_path / "here"), os.scandir
    before = holdings(place)

    def guarded(folder: Path) -> object:
        if Path(folder) == tmp_path / closed:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", guarded)  # root may read every folder
        summary = Indexer(place).index()
    assert (summary.removed, summary.is_whole) == (0, False)
    assert summary.notes[0].startswith(f"Cannot read {tmp_path / closed}: permission denied")
    assert holdings(place) == before
    assert len(Indexer(place).index().unreadable) == 1


def test_status_counts_what_is_not_there_by_root(
    away: tuple[IndexFolder, Path, Path], command: Command
) -> None:
    place, here, gone = away
    (here / "0000.png").unlink()
    Indexer(place).index()
    shown = command("status", "--index", place)
    assert f"folder       {here}: 1 image, 1 not there\n" in shown
    assert f"{gone}: not there (no such file or directory); its 3 images stay as they are" in shown
    assert "\nimages       1\nnot there    4\n" in shown
    folders = command.document("status", "--index", place)["folders"]
    assert [(one["images"], one["absent"]) for one in folders] == [(0, 3), (1, 1)]
    assert [one["missing"] for one in folders] == ["no such file or directory", None]


def test_a_drive_that_does_not_answer_holds_up_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, dead = tmp_path / "here.jpg", tmp_path / "drive" / "a.jpg"
    here.touch()
    forever = Event()

    def look(path: Path) -> str | None:
        if path == dead:
            forever.wait()
        return None if path.exists() else "no such file"

    monkeypatch.setattr(missing, "why_missing", look)
    monkeypatch.setattr(missing, "_PATIENCE", 0.2)
    begin = time.monotonic()
    paths = [str(dead), str(here), str(tmp_path / "gone.jpg")]
    found = missing_files(paths, [str(dead.parent)])
    forever.set()
    assert found == {str(dead): NO_ANSWER, str(tmp_path / "gone.jpg"): "no such file"}
    assert time.monotonic() - begin < 5


def test_what_a_slow_drive_was_not_asked_for_in_time_is_not_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(missing, "why_missing", lambda path: time.sleep(0.02) or path.name)
    paths = [f"/drive/{number}" for number in range(50)]
    found = missing_files(paths, longest=0.1)
    assert 0 < len(found) < 50
    assert NO_ANSWER not in found.values()
    assert len(missing_files(paths)) == 50


def test_an_answer_marks_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    [found] = looked_for([answer(hit(tmp_path / "a.jpg"), hit(tmp_path / "b.jpg"))], [])
    assert [one["missing"] for one in answer_document(found)["hits"]] == [False, True]
    _, first, second = answer_lines(found)
    assert first.endswith("a.jpg")
    assert second.endswith("b.jpg  (not there)")
    [nothing] = looked_for([answer(nothing_matches=True, nearest=hit(tmp_path / "b.jpg"))], [])
    assert "b.jpg, (not there), with relevance 0.90." in next(answer_lines(nothing))
