"""What was done to a picture is told, the picture is kept, and stale files are not judged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image, ImageFilter, ImageOps

from footwork.cli import main
from search.duplicates.duplicates import find_duplicates
from search.duplicates.rows import duplicates_lines
from search.paths import NO_ANSWER
from search.place import IndexFolder
from tests.search.places import index_of
from tests.search.test_duplicates import found_in, groups_of, save, scene

Alter = Callable[[Image.Image], Image.Image]
TURN = Image.Transpose


@pytest.mark.parametrize(
    ("alter", "changes"),
    [
        (lambda one: one.transpose(TURN.ROTATE_180), ("rotated 180°",)),
        (lambda one: one.transpose(TURN.ROTATE_270), ("rotated 90° clockwise",)),
        (lambda one: one.transpose(TURN.ROTATE_90), ("rotated 90° counter-clockwise",)),
        (lambda one: one.transpose(TURN.FLIP_LEFT_RIGHT), ("mirrored",)),
        (lambda one: one.transpose(TURN.FLIP_TOP_BOTTOM), ("mirrored upside down",)),
        (lambda one: one.transpose(TURN.TRANSPOSE), ("mirrored and rotated 90°",)),
        (lambda one: one.crop((20, 10, 300, 220)), ("cropped",)),
        (lambda one: ImageOps.expand(one, 16, "white"), ("bordered",)),
        (lambda one: one.convert("L"), ("grey",)),
        (lambda one: ImageOps.colorize(one.convert("L"), "#301000", "#fff0c0"), ("tinted",)),
        (lambda one: one.point(lambda value: int(value * 0.8)), ("darkened",)),
        (lambda one: one.resize((160, 120)), ("smaller",)),
        (lambda one: one, ("re-encoded",)),
    ],
)
def test_the_picture_is_kept_and_what_was_done_to_the_other_is_told(
    photos: Path, alter: Alter, changes: tuple[str, ...]
) -> None:
    # The name and the time of the altered one speak for it.
    original = save(scene(3), photos / "the-original.jpg", quality=95)
    save(alter(Image.open(original)), photos / "a.jpg", quality=80)
    if changes == ("darkened",):  # of which nothing but the time tells that it was not brightened
        os.utime(original, (1_000_000_000, 1_000_000_000))
    found = found_in(photos, 0.3)
    (group,) = found.groups
    assert Path(group.kept.path).name == "the-original.jpg"
    (one,) = group.duplicates
    assert (one.kind, one.changes, one.verified) == ("near", changes, True)
    assert any(f"; {', '.join(changes)})" in line for line in duplicates_lines(found))


def test_a_picture_that_was_only_enlarged_goes_and_its_half_does_as_well(photos: Path) -> None:
    grain = Image.effect_noise((320, 240), 60).convert("RGB")
    picture = Image.blend(scene(3), grain, 0.3)
    original = save(picture, photos / "the-original.png")
    os.utime(original, (1_000_000_000, 1_000_000_000))  # its grain is too fine to tell it by
    save(picture.resize((640, 480)), photos / "a.jpg", quality=90)
    save(picture.resize((160, 120)), photos / "b.jpg", quality=90)
    (group,) = found_in(photos, 0.5).groups
    assert Path(group.kept.path).name == "the-original.png"
    assert {Path(one.record.path).name: one.changes for one in group.duplicates} == {
        "a.jpg": ("enlarged", "re-encoded"),
        "b.jpg": ("smaller", "re-encoded"),
    }


def test_a_picture_saved_again_at_a_higher_quality_goes(photos: Path) -> None:
    first = save(scene(3), photos / "the-first.jpg", quality=70)
    save(Image.open(first), photos / "a.jpg", quality=98)
    assert groups_of(found_in(photos)) == {"the-first.jpg": [("a.jpg", "near")]}


def test_of_equal_pictures_the_one_that_tells_its_camera_is_kept(photos: Path) -> None:
    save(scene(3), photos / "a.png")
    exif = Image.Exif()
    exif[0x0110] = "Canon EOS 5D"
    save(scene(3), photos / "with-camera.png", exif=exif)
    assert groups_of(found_in(photos)) == {"with-camera.png": [("a.png", "near")]}


def test_a_picture_with_something_else_in_it_is_only_similar(photos: Path) -> None:
    save(scene(3), photos / "a.png")
    other = scene(3)
    other.paste((250, 250, 250), (150, 100, 175, 125))
    save(other, photos / "b.png")
    found = found_in(photos)
    assert [group.duplicates[0].kind for group in found.groups] == ["similar"]
    assert not any(group.spare for group in found.groups)
    assert list(duplicates_lines(found))[-1] == (
        "1 only similar or not looked at among 2 images. Nothing was deleted."
    )


def test_a_plain_drawing_turned_or_in_another_colour_is_no_duplicate(photos: Path) -> None:
    for name, colour, box in (
        ("a", (255, 0, 0), (20, 90, 220, 110)),
        ("b", (255, 0, 0), (90, 20, 110, 220)),
        ("c", (0, 130, 0), (20, 90, 220, 110)),
    ):
        picture = Image.new("RGB", (240, 240), "white")
        picture.paste(colour, box)
        save(picture, photos / f"{name}.png")
    assert not any(group.spare for group in found_in(photos, 0.3).groups)


def test_all_that_go_were_compared_with_the_one_that_is_kept(photos: Path) -> None:
    wide = scene(5).resize((480, 240))
    save(wide.crop((0, 0, 300, 240)), photos / "left.png")
    save(wide.crop((90, 0, 390, 240)), photos / "middle.png")
    save(wide.crop((180, 0, 480, 240)), photos / "right.png")
    assert not any(group.spare for group in found_in(photos, 0.1).groups)


@pytest.fixture
def copied(photos: Path) -> tuple[Path, IndexFolder]:
    """A picture, and an index of it and two copies."""
    first = save(scene(0), photos / "a.png")
    for name in ("bb.png", "ccc.png"):
        shutil.copy2(first, photos / name)
    return first, index_of(photos.parent / "index", photos)


@pytest.mark.parametrize("fate", ["deleted", "overwritten", "touched", "a folder"])
def test_what_changed_since_it_was_indexed_is_neither_kept_nor_to_go(
    photos: Path, fate: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    first = save(scene(0), photos / "a.png")
    shutil.copy2(first, photos / "bb.png")
    place = index_of(photos.parent / "index", photos)
    command = ["search", "duplicates", "--index", str(place)]
    assert main([*command, "--paths"]) == 0
    assert capfdbinary.readouterr().out == os.fsencode(photos / "bb.png") + b"\n"
    if fate in ("deleted", "a folder"):
        first.unlink()
    if fate == "a folder":
        first.mkdir()
    if fate == "overwritten":
        save(scene(1), first)
    if fate == "touched":
        os.utime(first, (1, 1))
    assert main([*command, "-0"]) == 3
    told = capfdbinary.readouterr()
    assert told.out == b""
    said = b"opened: 1 image that" if fate == "deleted" else b"stands there: 1 file."
    assert said in told.err
    assert fate == "deleted" or b"Run `footwork search index` again" in told.err


def rewrite(path: Path) -> None:
    """Another byte, behind the time of the file."""
    state, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize(("fate", "changed"), [(Path.unlink, 0), (rewrite, 1)])
def test_of_three_copies_those_that_are_there_still_are_duplicates(
    copied: tuple[Path, IndexFolder], fate: Callable[[Path], None], changed: int
) -> None:
    first, place = copied
    fate(first)
    with closing(place.open()) as store:
        found = find_duplicates(store, 1.0)
    assert groups_of(found) == {"bb.png": [("ccc.png", "exact")]}
    assert (found.changed, found.unseen) == (changed, 1 - changed)


def test_a_link_is_never_named_to_go(tmp_path: Path) -> None:
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    first = save(scene(0), photos / "a.png")
    elsewhere.mkdir()
    shutil.copy2(first, elsewhere / "x.png")
    (photos / "link.png").symlink_to(elsewhere / "x.png")
    assert not found_in(photos).groups


def test_a_drive_that_does_not_answer_is_not_waited_for(
    copied: tuple[Path, IndexFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, place = copied
    monkeypatch.setattr(
        "search.duplicates.duplicates.missing_files",
        lambda paths, _: dict.fromkeys(paths, NO_ANSWER),
    )
    monkeypatch.setattr("search.duplicates.duplicates.state_of", pytest.fail)
    with closing(place.open()) as store:
        found = find_duplicates(store)
    assert (found.groups, found.unseen) == ([], 3)


def blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(2)).resize((640, 480))


@pytest.mark.parametrize(
    ("alter", "original_time", "time"),
    [
        (lambda one: one.point(lambda value: int(value * 0.8)), 1_600_000_000, 1_600_000_000),
        (blurred, 1_600_000_000, 1_600_000_000),
        (lambda one: ImageOps.expand(one.resize((640, 480)), 40, "white"), 16 * 10**8, 16 * 10**8),
        (blurred, 1_000_000_000, 1_600_000_000),  # an older file never goes for a larger one
    ],
)
def test_an_original_stays_where_no_time_tells_that_it_is_the_later_one(
    photos: Path, alter: Alter, original_time: int, time: int
) -> None:
    grain = Image.effect_noise((320, 240), 60).convert("RGB")
    picture = Image.blend(scene(3), grain, 0.3)
    original = save(picture, photos / "the-original.png")
    os.utime(original, (original_time, original_time))
    os.utime(save(alter(picture), photos / "a.png"), (time, time))
    found = found_in(photos, 0.1)
    assert str(original) not in {one.record.path for group in found.groups for one in group.spare}
