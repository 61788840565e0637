from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import ConfigError, ModelError
from runtime.folders import (
    published_file,
    published_folder,
    read_json,
    read_manifest,
    require_free,
    write_json,
)


def test_a_folder_appears_only_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(FileNotFoundError), published_folder(target) as staging:
        (staging / "half" / "way").write_text("written")
    assert list(tmp_path.iterdir()) == []
    with published_folder(target) as staging:
        (staging / "whole").write_text("written")
        assert not target.exists()
    assert (target / "whole").read_text() == "written"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_folder_is_kept_until_the_new_one_stands(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(ConfigError, match=r"exists.*--overwrite"), published_folder(target):
        pass
    with pytest.raises(FileNotFoundError), published_folder(target, overwrite=True) as staging:
        (staging / "half" / "way").write_text("new")
    assert (target / "old").exists()
    with published_folder(target, overwrite=True) as staging:
        (staging / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]


def test_an_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with published_folder(tmp_path / "out") as staging:
        (staging / "file").touch()
    assert (tmp_path / "out" / "file").exists()


@pytest.mark.parametrize("there", ["missing", "empty", "filled"])
def test_a_link_is_followed_and_stays(there: str, tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    if there != "missing":
        (disk / "out").mkdir()
    if there == "filled":
        (disk / "out" / "old").touch()
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


def test_a_file_is_written_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    with published_file(tmp_path / "link.html") as sibling:
        sibling.write_text("written")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text() == "written"
