"""What was found is copied under its own name, and nothing is ever overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from footwork.errors import ConfigError, DataError
from search.answers import copies
from search.answers.copies import CopyOutcome, copy_hits
from tests.search.found import hit


def grey(pixels: bytes) -> bytes:
    """An image of one row."""
    return b"P5 %d 1 255\n" % len(pixels) + pixels


def write(path: Path, pixels: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(grey(pixels))
    return path


def copy(folder: Path, *paths: Path) -> CopyOutcome:
    return copy_hits([hit(path) for path in paths], folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_images_are_copied_with_their_times_into_a_folder_that_is_made(tmp_path: Path) -> None:
    source = write(tmp_path / "a" / os.fsdecode(b"caf\xe9.jpg"))
    os.utime(source, ns=(10**18, 10**18))
    target = tmp_path / "deep" / "found" / source.name
    assert copy(target.parent, source, source).copied == ((source, target),)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 10**18
    assert names(target.parent) == [source.name]


def test_images_of_one_name_are_numbered(tmp_path: Path) -> None:
    sources = [write(tmp_path / name / "x.jpg", name.encode()) for name in "abc"]
    found = tmp_path / "found"
    write(found / "X.JPG", b"another")
    targets = [target for _, target in copy(found, *sources).copied]
    assert [target.name for target in targets] == ["x-2.jpg", "x-3.jpg", "x-4.jpg"]
    assert [target.read_bytes() for target in targets] == [grey(b"a"), grey(b"b"), grey(b"c")]
    assert (found / "X.JPG").read_bytes() == grey(b"another")


def test_a_second_run_has_nothing_to_do_nor_are_its_own_copies_copied(tmp_path: Path) -> None:
    sources = [write(tmp_path / name / "x.jpg", name.encode()) for name in "ab"]
    found = tmp_path / "found"
    copied = [target for _, target in copy(found, *sources).copied]
    outcome = copy(found, *sources)
    assert outcome.to_text() == f"0 images copied to {found}; 2 stood there already."
    outcome = copy(found, *sources, *copied)  # once the index knows them
    assert (outcome.copied, outcome.there, outcome.failed) == ((), 4, ())
    assert sorted(found.iterdir()) == sorted(copied)


def test_what_cannot_be_copied_is_told_and_the_others_are(tmp_path: Path) -> None:
    gone, source = tmp_path / "gone.jpg", write(tmp_path / "x.jpg")
    outcome = copy(tmp_path / "found", gone, source)
    assert outcome.to_text().splitlines() == [
        f"1 image copied to {tmp_path}/found.",
        "Not copied (1 file):",
        f"  {gone}: it does not exist",
    ]
    assert names(tmp_path / "found") == ["x.jpg"]


def test_only_what_decodes_as_an_image_is_copied(tmp_path: Path) -> None:
    secret, pipe, cut = tmp_path / "shadow", tmp_path / "pipe.jpg", tmp_path / "cut.pgm"
    secret.write_bytes(b"root:$6$salt$hash:19000:0:99999:7:::\n")
    os.mkfifo(pipe)
    cut.write_bytes(grey(bytes(99))[:50])
    outcome = copy(tmp_path / "found", secret, pipe, cut, Path("/dev/zero"))
    assert (outcome.copied, names(tmp_path / "found")) == ((), [])
    reasons = [fault.reason for fault in outcome.failed]
    assert reasons[:2] == ["it is no picture of a known kind", "it is no regular file"]
    assert reasons[2:] == ["it is truncated", "it is no regular file"]


def test_a_file_that_comes_in_between_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, target = copies.place_file, tmp_path / "found" / "x.jpg"

    def come_in_between(*arguments: object) -> None:
        target.write_bytes(b"another's")
        place(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(copies, "place_file", come_in_between)
    outcome = copy(target.parent, write(tmp_path / "x.jpg"))
    assert [fault.reason for fault in outcome.failed] == ["file exists"]
    assert target.read_bytes() == b"another's"
    assert names(target.parent) == [target.name]


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "file")
    with pytest.raises(ConfigError, match=r"Cannot put files into .*/file: not a directory\. Name"):
        copy(file, file)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"Cannot put files into .*/link: file exists\. Name"):
        copy(tmp_path / "link", file)
