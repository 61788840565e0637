"""Undoing deletes no only copy, and does nothing that this user has not signed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from footwork.errors import ConfigError, DataError
from footwork.files.placing import How, place_file
from footwork.home import data_folder
from tests.zeroshot.trees import FILES, LABELS, planned, planted, sort, tree, two_disks
from zeroshot.sorting.plan import apply_plan
from zeroshot.sorting.record import SortedFile, Step, own_key
from zeroshot.sorting.undo import undo_sorting

PART, KEY = ".footwork-0123456789abcdef.part", b"k" * 32


def signed_line(source: str, target: str, part: str = PART, key: bytes = KEY) -> str:
    """A line that moves `target` to `source`, as sorting writes it."""
    file = SortedFile(source, target, hashlib.sha256(b"planted").hexdigest(), part)
    return Step("move", files=(file,)).to_line(key).decode().rstrip()


@pytest.mark.parametrize("how", ["copy", "move"])
def test_the_only_copy_stays_where_the_original_path_leads_to_it(tmp_path: Path, how: How) -> None:
    undo_file = sort(planted(tmp_path, {"photos/1.jpg": "one"}), {"photos/1.jpg": "cat"}, how)
    shutil.rmtree(tmp_path / "photos")
    (tmp_path / "photos").symlink_to(tmp_path / "sorted" / "cat")
    outcome = undo_sorting(undo_file)
    assert (outcome.moved_back, outcome.deleted) == (0, 0)
    assert "photos/1.jpg leads to this very file" in outcome.to_text()
    assert (tmp_path / "sorted/cat/1.jpg").read_text() == "one"


def test_a_line_that_the_user_has_not_signed_moves_nothing(tmp_path: Path) -> None:
    undo_file = sort(planted(tmp_path, FILES), LABELS, "move")
    planted(tmp_path, {"sorted/cat/new": "planted"})
    foreign = b"another key of thirty-two bytes."
    line = signed_line(str(tmp_path / "autostart"), "cat/new", key=foreign)
    with undo_file.open("a") as file:
        file.write(line + "\n")
    [fault] = undo_sorting(undo_file).failed
    assert "you have not signed its line" in fault.reason
    assert (tmp_path / "sorted/cat/new").read_text() == "planted"
    assert undo_sorting(undo_file, trust=True).moved_back == 1  # as the user says
    assert (tmp_path / "autostart").read_text() == "planted"
    assert own_key() != b""
    assert stat.S_IMODE((data_folder() / "undo.key").stat().st_mode) == 0o600


def test_what_a_link_leads_to_is_not_moved(tmp_path: Path) -> None:
    planted(tmp_path, {"private/1.jpg": "planted", "sorted/x": ""})
    (tmp_path / "sorted" / "cat").symlink_to(tmp_path / "private")
    line = signed_line(str(tmp_path / "out.jpg"), "cat/1.jpg", key=own_key())
    (undo_file := tmp_path / "sorted" / "footwork-undo.jsonl").write_text(line + "\n")
    [fault] = undo_sorting(undo_file).failed
    assert "a link leads to it" in fault.reason
    with pytest.raises(ConfigError, match=r"cat is a link, .* Remove the link, or name another"):
        planned(planted(tmp_path, FILES), LABELS)


def test_names_are_told_on_one_line_each(tmp_path: Path) -> None:
    name = "a\x1b[31m\n.jpg"
    undo_file = sort(planted(tmp_path, {name: "1"}), {name: "cat"}, "move")
    planted(tmp_path, {name: "mine"})
    told = undo_sorting(undo_file).to_text()
    assert "\x1b" not in told
    assert told.count("\\x1b[31m\\n.jpg") == 2


def test_another_photo_at_the_old_place_keeps_image_and_sidecar_together(tmp_path: Path) -> None:
    undo_file = sort(planted(tmp_path, FILES), LABELS, "move")
    planted(tmp_path, {"a/1.jpg": "another photo"})
    outcome = undo_sorting(undo_file)
    assert "another file stands at" in outcome.to_text()
    assert not (tmp_path / "a/1.jpg.xmp").exists()
    assert (tmp_path / "sorted/cat/1.jpg.xmp").read_text() == "of one"
    (tmp_path / "a/1.jpg").rename(tmp_path / "a/other.jpg")
    assert undo_sorting(undo_file).moved_back == 2
    assert (tmp_path / "a/1.jpg.xmp").read_text() == "of one"


def test_a_sidecar_that_was_changed_is_named_itself(tmp_path: Path) -> None:
    undo_file = sort(planted(tmp_path, FILES), LABELS, "move")
    planted(tmp_path, {"sorted/cat/1.jpg.xmp": "changed"})
    [fault] = undo_sorting(undo_file).failed
    assert fault.path == tmp_path / "sorted/cat/1.jpg"
    assert fault.reason.startswith(f"{fault.path}.xmp: it was changed since it was sorted")


def test_a_sidecar_of_later_goes_along_or_keeps_its_image(tmp_path: Path) -> None:
    for how, stays in (("move", False), ("copy", True)):
        root = planted(tmp_path / how, {"1.jpg": "one"})
        undo_file = sort(root, {"1.jpg": "cat"}, how)
        planted(root, {"sorted/cat/1.jpg.xmp": "of later"})
        assert bool(undo_sorting(undo_file).failed) is stays
        assert (root / "sorted/cat/1.jpg").exists() is stays
        assert (root / "sorted/cat/1.jpg.xmp").exists() is stays
    assert (tmp_path / "move/1.jpg.xmp").read_text() == "of later"
    root = planted(tmp_path / "taken", {"1.jpg": "one"})
    undo_file = sort(root, {"1.jpg": "cat"}, "move")
    planted(root, {"1.jpg.xmp": "of another"})
    assert "1.jpg.xmp is of another image" in undo_sorting(undo_file).to_text()


@pytest.mark.parametrize("how", ["copy", "move"])
def test_an_image_whose_sidecar_cannot_go_stays(tmp_path: Path, how: How) -> None:
    before = planted(tmp_path, FILES)
    plan = planned(before, LABELS, how)
    planted(tmp_path, {"sorted/cat/1.jpg.xmp": "mine"})  # came in between
    outcome = apply_plan(plan)
    assert [fault.path.name for fault in outcome.failed] == ["1.jpg.xmp"]
    assert outcome.done == 2
    assert not (tmp_path / "sorted/cat/1.jpg").exists()
    assert (tmp_path / "a/1.jpg").read_text() == "one"


def test_a_file_of_the_user_is_no_undo_file(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("first line\nlast line without an end")
    (empty := tmp_path / "empty").touch()
    (link := tmp_path / "footwork-undo.jsonl").symlink_to(notes)
    for path in (notes, empty, link, tmp_path):
        with pytest.raises(DataError, match="There is no undo file"):
            undo_sorting(path)
    planted(tmp_path, {"sorted/x": ""} | FILES)
    link.rename(tmp_path / "sorted" / link.name)
    plan = planned(tmp_path, LABELS)
    with pytest.raises(DataError, match=r"Cannot write .*undo\.jsonl: too many levels of symbolic"):
        apply_plan(plan)
    assert notes.read_text() == "first line\nlast line without an end"
    assert empty.exists()


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        json.dumps({"step": "burn", "source": "/a", "target": "b"}),
        pytest.param("[" * 100_000 + "]" * 100_000, id="deep"),
        signed_line("/a", "../a/1.jpg"),
        signed_line("/a", "/etc/hosts"),
        signed_line("a", "a/1.jpg"),
        signed_line("/a\0", "a/1.jpg"),
        signed_line("/a", "a/1.jpg", part="precious.jpg"),
    ],
)
def test_a_damaged_line_is_told_and_the_others_are_undone(tmp_path: Path, line: str) -> None:
    undo_file = sort(planted(tmp_path, FILES), LABELS, "move")
    with undo_file.open("a") as file:
        file.write(line + "\n")
    outcome = undo_sorting(undo_file)
    assert len(outcome.failed) == 1
    assert "cannot be read" in outcome.to_text()
    assert (tmp_path / "a/1.jpg").read_text() == "one"
    assert undo_file.read_text().splitlines()[-1] == line


def test_a_part_that_holds_the_only_copy_after_a_power_cut_moves_back(tmp_path: Path) -> None:
    before = tree(planted(tmp_path, FILES))
    undo_file = sort(tmp_path, LABELS, "move")
    for line in undo_file.read_text().splitlines():
        for file in json.loads(line).get("files", ()):
            target = tmp_path / "sorted" / file["target"]
            target.rename(target.with_name(file["part"]))
    assert undo_sorting(undo_file).failed == ()
    assert tree(tmp_path) == before


def test_a_move_to_another_disk_deletes_nothing_whose_new_name_is_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(tmp_path, {"here/1.jpg": "one", "sorted/2.jpg": "two"})
    source, target = (tmp_path / name / "1.jpg" for name in ("here", "sorted"))

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            assert (source.exists(), target.exists()) == (True, True)
            raise OSError(code, "refused")

    monkeypatch.setattr(os, "fsync", refused)
    with two_disks("sorted"):
        code = errno.EIO
        with pytest.raises(OSError, match="refused"):
            place_file(source, target, "move")
        assert (source.exists(), target.exists()) == (True, False)
        code = errno.EINVAL  # there is no flushing of folders
        place_file(source, target, "move")
    assert (source.exists(), target.read_text()) == (False, "one")


def test_a_pair_of_copies_that_name_each_other_is_not_deleted(tmp_path: Path) -> None:
    root = planted(tmp_path / "sorted", {"A.jpg": "one", "B.jpg": "one"})
    names = ("A.jpg", "B.jpg"), ("B.jpg", "A.jpg")
    pair = tuple(SortedFile(str(root / source), target, "0", PART) for target, source in names)
    (root / "footwork-undo.jsonl").write_bytes(Step("copy", files=pair).to_line(KEY))
    undo_sorting(root, trust=True)
    assert [path.read_text() for path in root.glob("*.jpg")] == ["one"]


def test_a_last_line_without_an_end_is_a_step(tmp_path: Path) -> None:
    before = tree(planted(tmp_path, FILES))
    undo_file = sort(tmp_path, LABELS, "move")
    undo_file.write_bytes(undo_file.read_bytes().rstrip())
    assert undo_sorting(undo_file).failed == ()
    assert tree(tmp_path) == before


def test_a_file_of_that_name_that_is_none_is_not_cut(tmp_path: Path) -> None:
    planted(tmp_path, {"sorted/footwork-undo.jsonl": "my precious last line"} | FILES)
    with pytest.raises(DataError, match=r"undo\.jsonl: it is no undo file"):
        apply_plan(planned(tmp_path, LABELS))
    assert (tmp_path / "sorted/footwork-undo.jsonl").read_text() == "my precious last line"


def test_nothing_moves_back_along_a_link(tmp_path: Path) -> None:
    undo_file = sort(planted(tmp_path, FILES), {"b/2.jpg": "cat"}, "move")
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "elsewhere")
    assert "a link stands in the way" in undo_sorting(undo_file).to_text()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert undo_sorting(undo_file, trust=True).moved_back == 1


@pytest.mark.parametrize("folder", ["a\0b", "\ud800", "../elsewhere"])
def test_a_folder_that_sorting_did_not_make_stays(tmp_path: Path, folder: str) -> None:
    undo_file = sort(planted(tmp_path, FILES), LABELS, "move")
    (tmp_path / "elsewhere").mkdir()
    with undo_file.open("ab") as file:
        file.write(Step("folder", folder).to_line(KEY))
    assert len(undo_sorting(undo_file, trust=True).failed) == 1
    assert (tmp_path / "elsewhere").is_dir()
    assert (tmp_path / "a/1.jpg").read_text() == "one"
