"""Sorting plans first, overwrites nothing, and lists what it could not do."""

from __future__ import annotations

import errno
import os
import random
from contextlib import chdir
from itertools import count
from pathlib import Path

import pytest

from footwork.errors import ConfigError, DataError
from footwork.files.placing import How, name_key
from tests.zeroshot import trees
from tests.zeroshot.trees import labelled, planned, planted, sort, tree
from zeroshot.sorting.plan import apply_plan, folder_name, label_folders, plan_sorting
from zeroshot.sorting.record import opened_record

FILES = {"a/1.jpg": "one", "a/2.jpg": "two", "b/1.jpg": "other", "b/3.jpg": "three"}
LABELS = {"a/1.jpg": "cat", "a/2.jpg": "dog", "b/1.jpg": "cat", "b/3.jpg": None}
SORTED = {
    "sorted/cat/1.jpg": b"one",
    "sorted/cat/1-2.jpg": b"other",
    "sorted/dog/2.jpg": b"two",
    "sorted/none of these/3.jpg": b"three",
}


def files(root: Path) -> dict[str, bytes]:
    found = tree(root).items()
    return {name: content for name, content in found if content is not None and "undo" not in name}


def test_copies_stand_in_folders_of_their_labels(tmp_path: Path) -> None:
    before = files(planted(tmp_path, FILES))
    sort(tmp_path, LABELS, "copy")
    assert files(tmp_path) == before | SORTED


def test_moved_files_stand_there_alone(tmp_path: Path) -> None:
    sort(planted(tmp_path, FILES), LABELS, "move")
    assert files(tmp_path) == SORTED


def test_a_plan_changes_nothing_and_says_all(tmp_path: Path) -> None:
    before = tree(planted(tmp_path, FILES | {"a/2.jpg.xmp": "<x/>"}))
    rows = [
        *labelled(tmp_path, LABELS),
        trees.Labelled(tmp_path / "b/4.jpg", None, "it is truncated"),
    ]
    text = plan_sorting(rows, tmp_path / "sorted", "move").to_text()
    assert tree(tmp_path) == before
    assert f"Would move 4 images into {tmp_path}/sorted:" in text
    assert "  cat                  2\n" in text
    assert "and with them 1 sidecar (.xmp)." in text
    assert f"{tmp_path}/b/1.jpg → {tmp_path}/sorted/cat/1-2.jpg" in text
    assert f"Staying where they are (1 file):\n  {tmp_path}/b/4.jpg: it is truncated" in text
    assert text.endswith("Nothing is moved yet: add --yes to do it.")


def test_a_long_plan_is_cut(tmp_path: Path) -> None:
    labels = {f"{number}.jpg": "cat" for number in range(1500)}
    plan = planned(tmp_path, labels)
    assert len(plan.to_text().splitlines()) == 14
    assert "… and 1,490 more" in plan.to_text()


@pytest.mark.parametrize("how", ["copy", "move"])
def test_a_second_run_adds_nothing(tmp_path: Path, how: str) -> None:
    twins = FILES | {"c/1.jpg": "one", "c/1-2.jpg": "another"}
    labels = LABELS | {"c/1.jpg": "cat", "c/1-2.jpg": "cat"}
    sort(planted(tmp_path, twins), labels, "copy")
    done = files(tmp_path)
    assert sum("sorted" in name for name in done) == 6
    again = planned(tmp_path, labels, how)
    assert (again.images, again.there) == ((), 6)
    assert len(again.faults) == (6 if how == "move" else 0)  # they stand in both places
    assert all("the same stands at" in fault.reason for fault in again.faults)
    assert again.to_text().endswith("There is nothing to do.")
    assert apply_plan(again).undo_file is None
    assert files(tmp_path) == done


def test_the_order_of_the_images_does_not_matter_to_a_second_run(tmp_path: Path) -> None:
    names = [f"{number}/1.jpg" for number in range(20)]
    planted(tmp_path, {name: str(int(name.split("/")[0]) % 7) for name in names})
    sort(tmp_path, dict.fromkeys(names, "cat"))
    random.shuffle(names)
    assert not planned(tmp_path, dict.fromkeys(names, "cat")).images


def test_names_that_differ_in_case_alone_are_kept_apart(tmp_path: Path) -> None:
    alike = ["a/IMG.jpg", "b/img.JPG", "c/e\u0301.jpg", "d/\xe9.jpg"]
    planted(tmp_path, {name: name for name in alike})
    plan = planned(tmp_path, dict.fromkeys(alike, "x"))
    keys = {name_key(image.target.name) for image in plan.images}
    assert len(keys) == 4


def test_what_comes_between_plan_and_deed_is_not_overwritten(tmp_path: Path) -> None:
    plan = planned(planted(tmp_path, FILES), LABELS, "move")
    planted(tmp_path, {"sorted/dog/2.jpg": "mine"})
    outcome = apply_plan(plan)
    assert outcome.done == 3
    faults = {fault.path: fault.reason for fault in outcome.failed}
    assert faults == {tmp_path / "a/2.jpg": "file exists"}
    assert files(tmp_path)["sorted/dog/2.jpg"] == b"mine"
    assert files(tmp_path)["a/2.jpg"] == b"two"


def test_a_target_among_the_images_is_not_sorted_into_itself(tmp_path: Path) -> None:
    sort(planted(tmp_path, FILES), LABELS)
    everything = {str(p.relative_to(tmp_path)): "cat" for p in sorted(tmp_path.rglob("*.jpg"))}
    plan = planned(tmp_path, {**everything, **LABELS})
    assert (len(plan.images), plan.there, plan.inside) == (0, 4, 4)
    assert "4 images in sub-folders of" in plan.to_text()


def test_copies_of_an_earlier_run_are_not_sorted_into_another_folder(tmp_path: Path) -> None:
    sort(planted(tmp_path, FILES), LABELS)
    everything = {str(p.relative_to(tmp_path)): "cat" for p in sorted(tmp_path.rglob("*.jpg"))}
    plan = plan_sorting(labelled(tmp_path, everything), tmp_path / "second", "copy")
    assert {image.source for image in plan.images} == {tmp_path / name for name in FILES}
    assert "4 images stay: copies that an earlier run made." in plan.to_text()
    apply_plan(plan_sorting(labelled(tmp_path, LABELS), tmp_path / "moved", "move"))
    moved = {str(p.relative_to(tmp_path)): "cat" for p in (tmp_path / "moved").rglob("*.jpg")}
    with chdir(tmp_path / "sorted/cat"):
        assert plan_sorting([trees.Labelled(Path("1.jpg"), "cat")], Path("c"), "copy").copies == 1
    again = plan_sorting(labelled(tmp_path, moved), tmp_path / "second", "copy")
    assert (len(again.images), again.copies) == (4, 0)  # they are the only ones


def test_a_folder_can_be_sorted_in_place(tmp_path: Path) -> None:
    rows = labelled(planted(tmp_path, {"1.jpg": "one"}), {"1.jpg": "cat"})
    apply_plan(plan_sorting(rows, tmp_path, "move"))
    assert files(tmp_path) == {"cat/1.jpg": b"one"}


def test_times_and_permissions_come_along(tmp_path: Path) -> None:
    planted(tmp_path, FILES)
    os.utime(tmp_path / "a/1.jpg", (1e9, 1e9))
    (tmp_path / "a/1.jpg").chmod(0o440)
    with trees.two_disks("sorted"):
        sort(tmp_path, {"a/1.jpg": "cat"}, "copy")
        sort(tmp_path, {"a/1.jpg": "dog"}, "move")
    for name in ("cat", "dog"):
        found = (tmp_path / "sorted" / name / "1.jpg").stat()
        assert (found.st_mtime, found.st_mode & 0o777) == (1e9, 0o440)


def test_sidecars_go_where_their_images_go(tmp_path: Path) -> None:
    beside = {"a/1.jpg.xmp": "full", "b/1.xmp": "short", "b/3.xmp": "raw", "b/3.raw": "raw"}
    sort(planted(tmp_path, FILES | beside), LABELS, "move")
    assert files(tmp_path) == SORTED | {
        "sorted/cat/1.jpg.xmp": b"full",
        "sorted/cat/1-2.xmp": b"short",
        "b/3.raw": b"raw",  # shares its sidecar with the image: it stays with what it is made for
        "b/3.xmp": b"raw",
    }


def test_a_folder_of_sidecars_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.{ending}" for number in range(20) for ending in ("jpg", "xmp", "mov")]
    planted(tmp_path, dict.fromkeys(names, ""))
    listed, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or real(path))
    plan = planned(tmp_path, {f"{number}.jpg": "cat" for number in range(20)})
    assert [len(image.companions) for image in plan.images] == [2] * 20
    assert listed.count(tmp_path) == 1


def test_an_image_without_an_ending_takes_its_sidecar_along_once(tmp_path: Path) -> None:
    sort(planted(tmp_path, {"a/photo": "one", "a/photo.xmp": "<x/>"}), {"a/photo": "cat"}, "move")
    assert files(tmp_path) == {"sorted/cat/photo": b"one", "sorted/cat/photo.xmp": b"<x/>"}


def test_a_sidecar_that_came_after_the_copy_is_told(tmp_path: Path) -> None:
    sort(planted(tmp_path, FILES), LABELS)
    planted(tmp_path, {"b/1.jpg.xmp": "<x/>"})
    plan = planned(tmp_path, LABELS)
    reason = f"its sidecar 1.jpg.xmp is not beside the copy: copy it to {tmp_path}/sorted/cat/1-2"
    assert [fault.reason for fault in plan.faults] == [f"{reason}.jpg.xmp"]
    planted(tmp_path, {"sorted/cat/1-2.jpg.xmp": "<x/>"})
    assert (planned(tmp_path, LABELS).there, planned(tmp_path, LABELS).faults) == (4, ())


@pytest.mark.parametrize("how", ["copy", "move"])
def test_what_is_called_like_an_image_and_stays_is_named(tmp_path: Path, how: How) -> None:
    beside = ("a/1.MOV", "a/1.aae", "a/1.cr2", "a/1.jpg.json", "a/10.mov", "a/1.5.mov", "a/1.png")
    planted(tmp_path, FILES | dict.fromkeys(beside, "x") | {"a/1.jpg.xmp": "<x/>"})
    plan = planned(tmp_path, LABELS, how)
    names = ("1.MOV", "1.aae", "1.cr2", "1.jpg.json")
    said = ", ".join(str(tmp_path / "a" / name) for name in names)
    assert f"4 files of the same names stay: {said}." in plan.to_text()
    assert f"4 files of the same names stay: {said}." in apply_plan(plan).to_text()
    assert all((tmp_path / name).exists() for name in beside)


def test_an_image_takes_no_name_whose_sidecar_belongs_to_another(tmp_path: Path) -> None:
    planted(tmp_path, {"a/1.jpg": "one", "sorted/cat/1.jpg.xmp": "of one that is gone"})
    plan = planned(tmp_path, {"a/1.jpg": "cat"})
    assert plan.images[0].target.name == "1-2.jpg"


def test_links_are_copied_as_what_they_lead_to_and_not_moved(tmp_path: Path) -> None:
    (planted(tmp_path, FILES) / "a/link.jpg").symlink_to("1.jpg")
    plan = planned(tmp_path, {"a/link.jpg": "cat"}, "move")
    assert not plan.images
    assert "it is a link" in plan.faults[0].reason
    sort(tmp_path, {"a/link.jpg": "cat"}, "copy")
    assert not (tmp_path / "sorted/cat/link.jpg").is_symlink()
    assert files(tmp_path)["sorted/cat/link.jpg"] == b"one"


def test_a_file_that_vanished_is_listed_and_the_others_go_on(tmp_path: Path) -> None:
    plan = planned(planted(tmp_path, FILES), LABELS, "move")
    (tmp_path / "a/1.jpg").unlink()
    outcome = apply_plan(plan)
    assert outcome.done == 3
    assert "a/1.jpg: no such file or directory" in outcome.to_text()
    assert "footwork zeroshot undo " in outcome.to_text()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("how", ["copy", "move"])
def test_a_disk_that_fails_loses_nothing(tmp_path: Path, how: str, code: int) -> None:
    plan = planned(planted(tmp_path, FILES), LABELS, how)
    with trees.failing("link", "dog", code), trees.failing("rename", "dog", code):
        outcome = apply_plan(plan)
    assert [fault.reason for fault in outcome.failed] == [os.strerror(code).lower()]
    assert files(tmp_path)["a/2.jpg"] == b"two"
    assert len(files(tmp_path)) == (4 if how == "move" else 7)


def test_a_source_that_cannot_be_deleted_is_not_doubled(tmp_path: Path) -> None:
    plan = planned(planted(tmp_path, FILES), LABELS, "move")
    with trees.failing("unlink", "a/2.jpg", errno.EACCES):
        outcome = apply_plan(plan)
    assert outcome.failed[0].reason == "permission denied"
    expected = SORTED | {"a/2.jpg": b"two"}
    del expected["sorted/dog/2.jpg"]
    assert files(tmp_path) == expected


def test_what_is_not_recorded_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        if next(calls) >= works:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(planted(tmp_path, FILES))
    plan = planned(tmp_path, LABELS, "move")
    monkeypatch.setattr(os, "fsync", fsync)
    calls, works = count(), 0
    with pytest.raises(DataError, match=r"Cannot write .*undo.jsonl: no space left on device"):
        apply_plan(plan)
    assert files(tmp_path) == before
    calls, works = count(), 1
    outcome = apply_plan(plan)
    assert outcome.done == 0
    assert "the undo file cannot be written: no space left" in outcome.failed[3].reason
    assert files(tmp_path) == before


def test_a_disk_without_hard_links_will_do(tmp_path: Path) -> None:
    plan = planned(planted(tmp_path, FILES), LABELS, "move")
    planted(tmp_path, {"sorted/dog/2.jpg": "mine"})
    with trees.failing("link", "", errno.EPERM):
        outcome = apply_plan(plan)
    assert [fault.reason for fault in outcome.failed] == ["file exists"]
    assert files(tmp_path) == SORTED | {"a/2.jpg": b"two", "sorted/dog/2.jpg": b"mine"}


def test_two_commands_do_not_sort_into_one_folder(tmp_path: Path) -> None:
    undo_file = sort(planted(tmp_path, FILES), {"a/1.jpg": "cat"})
    plan = planned(tmp_path, LABELS)
    with opened_record(undo_file), pytest.raises(ConfigError, match="Another command sorts into"):
        apply_plan(plan)


def test_where_files_cannot_go_is_said_before(tmp_path: Path) -> None:
    planted(tmp_path, FILES | {"file": ""})
    rows = labelled(tmp_path, LABELS)
    with pytest.raises(ConfigError, match=r"file is a file\. Name a folder"):
        plan_sorting(rows, tmp_path / "file", "copy")
    planted(tmp_path, {"sorted/cat": "no folder"})
    with pytest.raises(ConfigError, match=r"Cannot put files into .*sorted/cat: not a directory"):
        plan_sorting(rows, tmp_path / "sorted", "copy")
    with pytest.raises(ValueError, match="without a path"):
        plan_sorting([trees.Labelled(None, "cat")], tmp_path / "new", "copy")


def test_labels_make_names_that_every_system_takes() -> None:
    assert folder_name("red bicycle") == "red bicycle"
    assert folder_name('a/b\\c:d*e?f"g<h>i|j') == "a_b_c_d_e_f_g_h_i_j"
    for label, name in {"..": "_", ".net": "_.net", "etc.": "etc", "x\ty": "x_y"}.items():
        assert folder_name(label) == name
    for label in ("CON", "nul.txt", "Com1"):
        assert folder_name(label) == f"_{label}"
    assert folder_name("console") == "console"
    assert len(folder_name("é" * 200).encode()) == 100


def test_two_labels_in_one_folder_are_told_before_anything_is_done() -> None:
    assert label_folders(["cat", "dog"]) == {None: "none of these", "cat": "cat", "dog": "dog"}
    with pytest.raises(ConfigError, match=r"'a/b' and The label 'a:b' would share .*'a_b'"):
        label_folders(["a/b", "a:b"])
    with pytest.raises(ConfigError, match="'Cat'"):
        label_folders(["cat", "Cat"])
    with pytest.raises(ConfigError, match="images of no label"):
        label_folders(["None of these"])
