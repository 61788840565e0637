from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file

from footwork.errors import ConfigError, ModelError
from footwork.files.folders import (
    MANIFEST,
    plain_name,
    published_file,
    published_folder,
    read_json,
    read_manifest,
    remove_staging,
    require_free,
    write_json,
)
from footwork.files.locks import exclusive_lock
from footwork.files.placing import part_name, place_file
from footwork.models.hub import resolve_model_id, trained_folder

MADE = {"application": "textclf"}


def test_what_another_thread_makes_meanwhile_is_never_open_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(os, "umask", lambda mask: set_to.append(mask) or 0o022)
    write_json(tmp_path / "a.json", {})
    assert min(set_to) == 0o022


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_appears_or_is_filled_only_when_the_block_succeeds(
    is_there: bool, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    with pytest.raises(FileNotFoundError), published_folder(target) as staging:
        (staging / "half" / "way").write_text("written")
    assert list(tmp_path.iterdir()) == []
    if is_there:
        target.mkdir()  # empty, it is no obstacle
    with published_folder(target) as staging:
        (staging / "whole").write_text("written")
        assert not (target / "whole").exists()
    assert (target / "whole").read_text() == "written"
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_was_half_written_of_this_folder_is_removed(tmp_path: Path) -> None:
    own, other = tmp_path / ".out[1]*.footwork-a", tmp_path / ".out1x.footwork-a"
    own.mkdir()
    other.mkdir()
    remove_staging(tmp_path / "out[1]*")
    assert list(tmp_path.iterdir()) == [other]


def test_an_existing_folder_is_kept_until_the_new_one_stands(tmp_path: Path) -> None:
    target = tmp_path / ("o" * 250)  # 255 are the most
    target.mkdir()
    (target / "old.json").write_text("old")
    write_json(target / MANIFEST, MADE)
    with (
        pytest.raises(ConfigError, match=r"exists.*--overwrite to replace it.\n.*overwrite=True"),
        published_folder(target),
    ):
        pass
    with pytest.raises(FileNotFoundError), published_folder(target, overwrite=True) as staging:
        (staging / "half" / "way").write_text("new")
    assert (target / "old.json").exists()
    with published_folder(target, overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]


def test_ctrl_c_between_two_renames_puts_the_former_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(target := tmp_path / "out")
    rename = Path.rename

    def interrupted(path: Path, other: Path) -> Path:
        rename(path, other)
        if path == target:
            raise KeyboardInterrupt
        return other

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(target, overwrite=True)
    assert (list(tmp_path.iterdir()), (target / MANIFEST).exists()) == ([target], True)


def test_what_a_kill_left_beside_a_folder_that_it_replaced_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(target := tmp_path / "out[1]")
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda one, to: rename(one, to) if one == target else kill()
    )
    with pytest.raises(KeyboardInterrupt):
        publish(target, overwrite=True)
    monkeypatch.undo()
    for use in (publish, trained_folder, lambda path: resolve_model_id(str(path))):
        with pytest.raises(ConfigError, match=r"out\[1\] is missing.*\(mv (.*)\), or") as caught:
            use(target)
    subprocess.run(shlex.split(str(caught.value).split("(")[1].split(")")[0]), check=True)
    assert read_manifest(trained_folder(target))["application"] == "textclf"


def kill() -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"notes.txt": "mine"}, "no manifest says that Footwork trained"),
        ({MANIFEST: '{"kind": "index"}', "catalog.sqlite": ""}, "no manifest says that Footwork"),
        ({MANIFEST: "[]"}, "no manifest says that Footwork"),
        ({MANIFEST: '{"application": "textclf"}', "thesis.txt": ""}, "it holds 'thesis.txt'"),
        ({MANIFEST: "[" * 100_000}, "no manifest says that Footwork"),
        (None, "it holds 'mine/notes.txt', which Footwork did not put there"),
    ],
)
def test_a_folder_that_is_not_all_footworks_is_never_replaced(
    files: dict[str, str] | None, reason: str, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    if files is None:
        publish(target)
        publish(target, overwrite=True)
        (target / ".DS_Store").touch()  # of a desktop, which is nobody's work
        publish(target, overwrite=True)
        (target / "mine").mkdir()
        files = {"mine/notes.txt": "mine"}
    target.mkdir(exist_ok=True)
    for name, text in files.items():
        (target / name).write_text(text)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=f"is not replaced: {reason}.*Name another folder"):
        publish(target, overwrite=True)
    assert before == {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not replaced: it is a file"):
        publish(tmp_path / "notes.txt", overwrite=True)


def test_what_appears_during_the_work_is_not_replaced(tmp_path: Path) -> None:
    def publish_slowly() -> None:
        with published_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine").touch()

    with pytest.raises(ConfigError, match="exists"):
        publish_slowly()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(
    ("out", "read", "how"),
    [
        ("in", "in", "is"),
        ("in/out", "in", "lies in"),
        (".", "in", "holds"),
        ("link", "in", "is"),
        ("link/out", "in", "lies in"),
        ("in/table.csv/out", "in/table.csv", "lies in"),
    ],
)
def test_an_output_lies_apart_from_what_is_read(
    out: str, read: str, how: str, overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "table.csv").touch()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(ConfigError, match=f"{how} what is read, .*{read}. Name a folder apart"):
        require_free(tmp_path / out, overwrite, [tmp_path / read])
    require_free(tmp_path / "out", overwrite, [tmp_path / read, "owner/name", "tiny"])


def test_a_folder_from_the_home_is_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    publish(tmp_path / "in")
    for out, read in (("~/in", tmp_path / "in"), (tmp_path / "in", "~/in")):
        with pytest.raises(ConfigError, match="is what is read"):
            require_free(Path(out), True, [read])
    publish(Path("~/out"))
    assert (tmp_path / "out").is_dir()


def test_a_file_that_answers_come_from_is_known_by_its_hash(tmp_path: Path) -> None:
    publish(target := tmp_path / "out")
    assert read_manifest(target)["files"].keys() == {"new", "README.md"}
    (target / "README.md").write_text("edited")
    read_manifest(target)
    for spoil in (lambda path: path.write_text("nEw"), lambda path: path.unlink()):
        spoil(target / "new")
        with pytest.raises(ModelError, match=r"new is not as it was published: .* remove `files`"):
            read_manifest(target)
    for name in ("/etc/hosts", "../new", "a\\b", "", 5):
        write_json(target / MANIFEST, MADE | {"files": {name: "0"}})
        with pytest.raises(ModelError, match=r"is not as it was|only a file beside it may"):
            read_manifest(target)


def test_a_name_within_a_file_is_that_of_a_file_beside_it(tmp_path: Path) -> None:
    assert plain_name("vectors-1.f32", tmp_path / "x") == "vectors-1.f32"
    for name in ("/etc/hosts", "../x", "a/b", "..", ".", "", "a\0", "a\\b", 5, None, ["a"]):
        with pytest.raises(ModelError, match=r"names .* where only a file beside it may be named"):
            plain_name(name, tmp_path / "x")


def publish(target: Path, overwrite: bool = False) -> None:
    with published_folder(target, overwrite) as staging:
        (staging / "new").write_text("new")
        (staging / "README.md").write_text("new")
        write_json(staging / MANIFEST, MADE)


@pytest.mark.parametrize("there", ["missing", "empty", "filled"])
def test_a_link_is_followed_and_stays(there: str, tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    if there != "missing":
        (disk / "out").mkdir()
    if there == "filled":
        write_json(disk / "out" / MANIFEST, MADE)
    (link := tmp_path / "out").symlink_to(disk / "out")
    with published_folder(link, overwrite=there == "filled") as staging:
        assert staging.parent == disk
        (staging / "new").touch()
    assert link.is_symlink()
    assert [path.name for path in (disk / "out").iterdir()] == ["new"]
    assert [path.name for path in disk.iterdir()] == ["out"]


def test_a_mounted_folder_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, link = tmp_path / "volume", tmp_path / "link"
    link.symlink_to(volume)
    monkeypatch.setattr("os.path.ismount", lambda path: path == volume)
    for target in (volume, link):
        expected = rf"^{target} is where a disk .* such as {target}/new\.$"
        with pytest.raises(ConfigError, match=expected):
            require_free(target)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match=r"nan"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_manifest_may_name_a_path_that_is_no_text(tmp_path: Path) -> None:
    made = MADE | {"source": os.fsdecode(b"caf\xe9 \xf0\x9f\x90\xb1.csv")}
    with published_folder(tmp_path / "out") as staging:
        write_json(staging / MANIFEST, made)
    assert read_manifest(tmp_path / "out").items() >= made.items()


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == {}
    (tmp_path / "footwork.json").write_text("{")
    with pytest.raises(ModelError, match=r"Cannot read .*footwork\.json"):
        read_manifest(tmp_path)


def test_a_file_appears_only_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("before")
    with pytest.raises(FileNotFoundError), published_file(target) as sibling:
        (sibling.parent / "half" / "way").write_text("written")
    assert target.read_text() == "before"
    with published_file(target) as sibling:
        sibling.write_text("after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert list(tmp_path.iterdir()) == [target]
    other = tmp_path / "plain"
    other.touch()
    assert target.stat().st_mode == other.stat().st_mode


def test_a_published_folder_is_as_open_as_any_other_of_the_user(tmp_path: Path) -> None:
    with published_folder(tmp_path / "new") as staging:
        (staging / "report").mkdir(mode=0o700)
        save_file({"weight": torch.zeros(1)}, staging / "report" / "model.safetensors")
        (staging / "secret").touch(mode=0o600)
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual" / "file").touch()
    for path in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        like = tmp_path / "usual" if path.is_dir() else tmp_path / "usual" / "file"
        assert path.stat().st_mode == like.stat().st_mode, path


def test_a_file_is_written_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    with published_file(tmp_path / "link.html") as sibling:
        sibling.write_text("written")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text() == "written"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_text("mine")
    (source := tmp_path / "source").write_text("new")
    (tmp_path / (part := part_name())).symlink_to(victim)
    with pytest.raises(FileExistsError):
        place_file(source, tmp_path / "target", "copy", part)
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="is a link"), exclusive_lock(tmp_path / "lock"):
        pass
    assert victim.read_text() == "mine"
    place_file(source, tmp_path / "target", "copy")
    assert (tmp_path / "target").read_text() == "new"


def test_what_may_never_end_is_not_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", Path("/dev/zero")):
        for how in ("copy", "move"):
            with pytest.raises(OSError, match="it is no regular file"):
                place_file(source, tmp_path / "target", how)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
