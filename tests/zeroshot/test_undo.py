"""After undoing the tree is what it was, whatever the moment of a kill; nobody's work is lost."""

from __future__ import annotations

import os
import random
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from footwork.errors import DataError
from footwork.files.placing import How
from tests.zeroshot import trees
from tests.zeroshot.trees import FILES, LABELS, planted, sort, tree
from zeroshot.options import SortingOptions
from zeroshot.sorting.plan import apply_plan, plan_sorting
from zeroshot.sorting.record import UndoRecord
from zeroshot.sorting.undo import undo_sorting


def disks(number: int) -> AbstractContextManager[None]:
    return trees.two_disks("sorted") if number == 2 else nullcontext()


def put_back(root: Path) -> None:
    """Undo if there is anything to undo; a kill before that may leave an empty folder."""
    if (record := root / "sorted" / "footwork-undo.jsonl").exists():
        assert undo_sorting(record).failed == ()
    elif (root / "sorted").exists():
        (root / "sorted").rmdir()


@pytest.mark.parametrize("block", [1, 100])
@pytest.mark.parametrize(("how", "number"), [("copy", 1), ("move", 1), ("move", 2)])
def test_a_kill_at_any_moment_can_be_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: How, number: int, block: int
) -> None:
    monkeypatch.setattr("zeroshot.sorting.plan._BLOCK", block)
    before = tree(planted(tmp_path / "before", FILES))
    moments = 0
    with disks(number):
        for root in trees.after_every_kill(
            tmp_path,
            prepare=lambda root: planted(root, FILES),
            act=lambda root: apply_plan(trees.planned(root, LABELS, how)),
        ):
            put_back(root)
            assert tree(root) == before
            moments += 1
    assert moments > 10


def test_what_came_from_a_drive_does_not_go_back_while_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(planted(tmp_path, FILES))
    mounted, ismount = {str(tmp_path / "a")}, os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in mounted or ismount(path))
    undo_file = sort(tmp_path, LABELS, "move")
    drive = mounted.pop()
    outcome = undo_sorting(undo_file)
    assert f"no drive is mounted at {drive}, where it came from" in outcome.to_text()
    assert not any(Path(drive).iterdir())
    mounted.add(drive)
    assert not undo_sorting(undo_file).failed
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("how", "number"), [("copy", 1), ("move", 1), ("move", 2)])
def test_an_undo_that_is_killed_can_be_done_again(tmp_path: Path, how: How, number: int) -> None:
    before = tree(planted(tmp_path / "before", FILES))
    with disks(number):
        for root in trees.after_every_kill(
            tmp_path,
            prepare=lambda root: sort(planted(root, FILES), LABELS, how),
            act=lambda root: undo_sorting(root / "sorted"),
        ):
            put_back(root)
            assert tree(root) == before


@pytest.mark.parametrize("how", ["copy", "move"])
def test_a_line_that_a_kill_cut_short_is_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    before = tree(planted(tmp_path / "before", FILES))
    monkeypatch.setattr("zeroshot.sorting.plan._BLOCK", 1)
    write = UndoRecord.write

    def torn(record: UndoRecord, steps: object) -> None:
        steps = list(steps)
        if any("b/1.jpg" in file.source for step in steps for file in step.files):
            record._file.write(b"".join(step.to_line(record.key) for step in steps)[:cut])
            raise trees.Killed
        write(record, steps)

    for cut in (0, 1, 40, -1):
        root = planted(tmp_path / str(cut), FILES)
        plan = trees.planned(root, LABELS, how)
        with monkeypatch.context() as patch:
            patch.setattr(UndoRecord, "write", torn)
            with pytest.raises(trees.Killed):
                apply_plan(plan)
        again = {name: label for name, label in LABELS.items() if (root / name).exists()}
        sort(root, again, how)  # what it goes on with is recorded whole
        put_back(root)
        assert tree(root) == before


@pytest.mark.parametrize("how", ["copy", "move"])
def test_several_runs_are_undone_together(tmp_path: Path, how: How) -> None:
    before = tree(planted(tmp_path, FILES))
    for name, label in LABELS.items():
        sort(tmp_path, {name: label}, how)
    put_back(tmp_path)
    assert tree(tmp_path) == before


def test_random_runs_end_where_they_began(tmp_path: Path) -> None:
    rng = random.Random(0)
    names = [f"{folder}/{number}.jpg" for folder in "abc" for number in range(4)]
    for trial in range(10):
        files = {name: str(rng.randrange(3)) for name in names}
        root = planted(tmp_path / str(trial), files)
        before = tree(root)
        for _ in range(3):
            there = [name for name in names if (root / name).exists()]
            labels = {name: rng.choice(["cat", "dog", None]) for name in there}
            sort(root, labels, rng.choice(["copy", "move"])) if labels else None
        put_back(root)
        assert tree(root) == before


def test_nothing_that_a_user_did_meanwhile_is_lost(tmp_path: Path) -> None:
    names = ["edited", "replaced", "deleted", "moved on"]
    files = {f"{how}/{name}.jpg": f"{how} {name}" for how in ("copy", "move") for name in names}
    planted(tmp_path, files)
    for how in ("copy", "move"):
        sort(tmp_path, {f"{how}/{name}.jpg": how for name in names}, how)
    target = tmp_path / "sorted"
    planted(tmp_path, {"sorted/copy/edited.jpg": "mine", "copy/replaced.jpg": "mine too"})
    planted(tmp_path, {"sorted/move/edited.jpg": "mine 3", "move/replaced.jpg": "mine 4"})
    (tmp_path / "copy/deleted.jpg").unlink()
    (target / "move/deleted.jpg").unlink()
    (target / "copy/moved on.jpg").rename(target / "copy/elsewhere.jpg")
    (target / "move/moved on.jpg").rename(target / "move/elsewhere.jpg")

    outcome = undo_sorting(target)

    assert (outcome.moved_back, outcome.deleted) == (0, 0)
    reasons = {fault.path.relative_to(target).as_posix(): fault.reason for fault in outcome.failed}
    changed = r"another file stands at"
    assert changed in reasons["copy/edited.jpg"]
    assert changed in reasons["copy/replaced.jpg"]
    assert changed in reasons["move/replaced.jpg"]
    assert "its original" in reasons["copy/deleted.jpg"]
    assert "it was changed since it was sorted; --trust" in reasons["move/edited.jpg"]
    assert "it is gone" in reasons["move/deleted.jpg"]
    assert "it is gone" in reasons["move/moved on.jpg"]
    assert undo_sorting(target, trust=True).moved_back == 1
    kept = {name: path for name, path in tree(tmp_path).items() if path is not None}
    del kept["sorted/footwork-undo.jsonl"]
    assert kept == {
        "copy/edited.jpg": b"copy edited",
        "copy/moved on.jpg": b"copy moved on",
        "copy/replaced.jpg": b"mine too",
        "move/edited.jpg": b"mine 3",
        "move/replaced.jpg": b"mine 4",
        "sorted/copy/deleted.jpg": b"copy deleted",
        "sorted/copy/edited.jpg": b"mine",
        "sorted/copy/elsewhere.jpg": b"copy moved on",
        "sorted/copy/replaced.jpg": b"copy replaced",
        "sorted/move/elsewhere.jpg": b"move moved on",
        "sorted/move/replaced.jpg": b"move replaced",
    }


def test_what_failed_can_be_undone_once_it_is_mended(tmp_path: Path) -> None:
    before = tree(planted(tmp_path, FILES))
    undo_file = sort(tmp_path, LABELS, "copy")
    planted(tmp_path, {"sorted/cat/1.jpg": "mine"})
    outcome = undo_sorting(undo_file)
    assert "2 copies deleted.\nLeft as they are (1 file):" in outcome.to_text()
    assert (tmp_path / "sorted/cat/1.jpg.xmp").exists()  # of what stays
    assert len(undo_file.read_bytes().splitlines()) == 3
    planted(tmp_path, {"sorted/cat/1.jpg": "one"})
    put_back(tmp_path)
    assert tree(tmp_path) == before


def test_folders_that_others_use_stay(tmp_path: Path) -> None:
    undo_file = sort(planted(tmp_path, FILES), LABELS, "move")
    planted(tmp_path, {"sorted/cat/notes.txt": "mine"})
    assert undo_sorting(undo_file).failed == ()
    assert not undo_file.exists()
    assert (tmp_path / "sorted/cat/notes.txt").exists()
    assert not (tmp_path / "sorted/none of these").exists()


def test_the_target_may_be_moved_before_it_is_undone(tmp_path: Path) -> None:
    before = tree(planted(tmp_path, FILES))
    sort(tmp_path, LABELS, "move")
    (tmp_path / "sorted").rename(tmp_path / "renamed")
    undo_sorting(tmp_path / "renamed")
    assert tree(tmp_path) == before


def test_relative_paths_are_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(planted(tmp_path, FILES))
    monkeypatch.chdir(tmp_path)
    sort(Path(), LABELS, "move")
    monkeypatch.chdir("/")
    put_back(tmp_path)
    assert tree(tmp_path) == before


def test_the_home_folder_may_be_written_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    short = Path("~/sorted")
    assert SortingOptions(copy_to=short).target == sort(planted(tmp_path, FILES), LABELS).parent
    assert not undo_sorting(short).failed
    assert not (tmp_path / "sorted").exists()


def test_names_that_are_no_utf8_and_hold_line_ends_are_sorted_and_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    before = tree(planted(tmp_path, {name: "1"}))
    undo_file = sort(tmp_path, {name: "cat"}, "move")
    assert (tmp_path / "sorted/cat" / name).read_text() == "1"
    assert len(undo_file.read_bytes().splitlines()) == 3
    put_back(tmp_path)
    assert tree(tmp_path) == before


def test_folders_above_the_target_go_if_sorting_made_them(tmp_path: Path) -> None:
    before = tree(planted(tmp_path, FILES))
    target = tmp_path / "x" / "y" / "z"
    apply_plan(plan_sorting(trees.labelled(tmp_path, LABELS), target, "move"))
    undo_sorting(target)
    assert tree(tmp_path) == before


def test_where_there_is_nothing_to_undo_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no undo file"):
        undo_sorting(tmp_path)
