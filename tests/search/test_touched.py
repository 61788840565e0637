"""What is seen of files that change but keep their size and time, and where dates come from."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from search.duplicates.duplicates import state_of
from search.records import ImageRecord, date_text, file_date, file_state
from search.store.protocol import Changes, Move, Store
from search.update.summary import Summary
from tests.search.collections import (
    ThumbEncoder,
    again,
    held,
    indexed,
    save_pictures,
    update_with,
)
from tests.search.places import examined, faults, index_of

TAKEN, TAKEN_SECONDS = "2015:06:07 08:09:10", 1_433_664_550


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos."""
    save_pictures(tmp_path / "photos", 3)
    return tmp_path / "photos"


@pytest.fixture
def three(store: Store, photos: Path) -> Store:
    """They are indexed."""
    indexed(store, photos)
    return store


def rechecked(store: Store, photos: Path) -> Summary:
    return update_with(store, ThumbEncoder(), photos, recheck=True)


def known(store: Store, path: Path) -> ImageRecord:
    return store.records([str(path)])[str(path)]


def overwrite(path: Path, content: bytes) -> None:
    """Other content of the same length, and the time put back, as `exiftool -P` does."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def hide_change(store: Store, path: Path) -> None:
    """Have a store know the change time that a file has now: as if it had none."""
    record = replace(known(store, path), ctime_ns=path.stat().st_ctime_ns)
    changes = (
        Changes(unreadable=[record]) if record.fault else Changes(moved=[Move(record.path, record)])
    )
    store.write(changes)


def jpeg(path: Path, taken: str | None = TAKEN) -> Path:
    """A photo that tells when it was taken, if it does."""
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 9, 9)).save(path, exif=exif)
    return path


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path, store: Store) -> None:
    photo = jpeg(tmp_path / "photos" / "a.jpg")
    indexed(store, photo.parent)
    overwrite(photo, photo.read_bytes().replace(TAKEN.encode(), b"2016:06:07 08:09:10"))
    assert state_of(known(store, photo)) == "changed"
    summary = indexed(store, photo.parent)
    assert (summary.changed, summary.embedded) == (1, 1)
    assert known(store, photo).date == TAKEN_SECONDS + 366 * 86_400
    assert state_of(known(store, photo)) == "as known"
    assert again(store, photo.parent).unchanged == 1


def test_doctor_tells_of_an_edit_that_keeps_size_and_time(tmp_path: Path, photos: Path) -> None:
    place = index_of(tmp_path / "index", photos)
    assert not faults(examined(place))
    path = photos / "0000.png"
    overwrite(path, path.read_bytes()[::-1])
    assert faults(examined(place)) == {"changed files": 1}


@pytest.mark.parametrize("touch", ["chmod", "link", "rename and back", "restore"])
def test_what_changes_no_content_is_read_once_and_embeds_nothing(
    three: Store, photos: Path, touch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, path = held(three), photos / "0000.png"
    if touch == "chmod":
        path.chmod(0o600)
    elif touch == "link":
        os.link(path, photos.parent / "linked.png")
    elif touch == "rename and back":
        path.rename(photos.parent / "away.png")
        (photos.parent / "away.png").rename(path)
    else:  # another file of the same size, time and content, as a backup brings it
        content, state = path.read_bytes(), path.stat()
        path.unlink()
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    summary = again(three, photos)
    assert summary.unchanged == 3
    assert summary.is_whole
    assert not summary.has_changes
    assert held(three) == before
    monkeypatch.setattr("search.update.differences.content_hash", None)  # nothing is read any more
    assert again(three, photos).unchanged == 3


def test_an_image_that_cannot_be_read_for_a_while_keeps_its_vector(
    three: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, path = held(three), photos / "0000.png"
    path.chmod(0o600)

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("search.update.differences.content_hash", refuse)
        summary = again(three, photos)
    assert [(one.path, one.fault) for one in summary.unreadable] == [
        (str(path), "permission denied")
    ]
    assert held(three) == before
    assert again(three, photos).is_whole


def test_recheck_finds_what_no_time_tells(three: Store, photos: Path) -> None:
    changed, same, _ = sorted(photos.iterdir())
    readable_by_now = photos / "x.png"
    readable_by_now.write_bytes(bytes(same.stat().st_size))
    indexed(three, photos)
    overwrite(changed, changed.read_bytes()[::-1])
    overwrite(readable_by_now, same.read_bytes())
    for path in (changed, readable_by_now):
        hide_change(three, path)
    assert again(three, photos).unchanged == 3
    summary = rechecked(three, photos)
    assert (summary.unchanged, summary.changed) == (2, 1)
    assert [one.path for one in summary.unreadable] == [str(changed)]
    assert set(held(three)) == {str(path) for path in photos.iterdir() if path != changed}
    summary = rechecked(three, photos)
    assert (summary.unchanged, summary.has_changes) == (3, False)


def test_the_date_of_a_picture_stays_when_its_file_is_touched(tmp_path: Path, store: Store) -> None:
    """Though the time of the file was the same, as many tools set it."""
    photo = jpeg(tmp_path / "photos" / "a.jpg")
    of_file = TAKEN_SECONDS - time.localtime(TAKEN_SECONDS).tm_gmtoff
    os.utime(photo, (of_file, of_file))
    indexed(store, photo.parent)
    assert (known(store, photo).date, known(store, photo).date_from) == (TAKEN_SECONDS, "picture")
    os.utime(photo, (1.7e9, 1.7e9))
    assert again(store, photo.parent).moved == 1
    assert (known(store, photo).date, known(store, photo).date_from) == (TAKEN_SECONDS, "picture")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_date_of_a_file_follows_it_in_every_zone(
    tmp_path: Path, store: Store, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = jpeg(tmp_path / "photos" / "a.jpg", taken=None)
    os.utime(photo, (1e9, 1e9))
    indexed(store, photo.parent)
    assert (known(store, photo).date, known(store, photo).date_from) == (file_date(10**18), "file")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        os.utime(photo, (1.7e9, 1.7e9))
        assert again(store, photo.parent).moved == 1
        ahead = {"UTC": 0, "Asia/Tokyo": 9, "America/Los_Angeles": -8}[zone]
        assert known(store, photo).date == 1_700_000_000 + ahead * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("seconds", "year"),
    [
        (2**62, None),
        (253_402_300_799 + 2 * 86_400, None),  # of the year 10000
        (4_102_531_200, 2100),
        (-86_401, 1969),
        (-7_000_000_000, 1748),
        (-(10**11), None),  # before the year 1
    ],
)
def test_no_time_of_a_file_keeps_it_from_being_indexed(
    tmp_path: Path, store: Store, seconds: int, year: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = save_pictures(tmp_path / "photos", 3)
    odd = paths[1].stat().st_ino

    def stated(found: os.stat_result) -> dict[str, int]:
        times = {"st_mtime_ns": seconds * 10**9, "st_ctime_ns": seconds * 10**9}
        return file_state(os.stat_result(found, times) if found.st_ino == odd else found)

    for room in ("differences", "reading"):
        monkeypatch.setattr(f"search.update.{room}.file_state", stated)
    summary = indexed(store, tmp_path / "photos")
    assert (summary.added, summary.is_whole) == (3, True)
    assert again(store, tmp_path / "photos").unchanged == 3
    date = known(store, paths[1]).date
    assert (None if date is None else int(str(date_text(date))[:4])) == year
