"""An index follows the disk, whatever moves, goes and comes back, and whenever it is killed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from footwork.errors import DataError, StoreError
from search.records import ImageRecord
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Store
from search.update.differences import Differences, recognise
from search.update.reading import FileReading, read_whole
from tests.pictures import encoded, quarters
from tests.search.collections import (
    ThumbEncoder,
    again,
    finds_itself,
    held,
    indexed,
    new_store,
    save_picture,
    save_pictures,
    update_with,
)
from tests.search.commands import process


def test_every_image_is_found_by_itself_and_a_second_update_embeds_nothing(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    paths = save_pictures(tmp_path / "photos", 30)
    summary = indexed(store, tmp_path / "photos")
    assert (summary.added, summary.embedded) == (30, 30)
    assert set(held(store)) == set(map(str, paths))
    assert finds_itself(store)
    summary = again(store, tmp_path / "photos")
    assert (summary.unchanged, summary.has_changes) == (30, False)


def test_what_is_known_of_a_file_is_kept(store: EmbeddedStore, tmp_path: Path) -> None:
    [path] = save_pictures(tmp_path / "photos", 1)
    indexed(store, tmp_path / "photos")
    record = store.records([str(path)])[str(path)]
    assert (record.format, record.width, record.height) == ("png", 64, 48)
    assert (record.size, record.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert len(record.content) == 64
    assert record.date is not None


def test_of_many_copies_of_one_content_each_is_looked_at_a_few_times(tmp_path: Path) -> None:
    class Counted(ImageRecord):
        reads = 0

        def __getattribute__(self, name: str) -> object:
            Counted.reads += name == "content"
            return super().__getattribute__(name)

    content = hashlib.sha256(b"same").hexdigest()
    gone = [Counted(path=f"/gone/{n}", size=4, mtime_ns=0, content=content) for n in range(100)]
    added = [ImageRecord(path=str(tmp_path / f"{n}"), size=4, mtime_ns=0) for n in range(101)]
    for record in added:
        Path(record.path).write_bytes(b"same")
    found = Differences(added=added, missing=[*gone])
    recognise(cast(Store, SimpleNamespace(same_size=lambda _: gone)), found)
    assert [move.old_path for move in found.moves] == [record.path for record in gone]
    assert [(new.path, old) for new, old in found.copied] == [(added[-1].path, "/gone/0")]
    assert Counted.reads < 10 * len(gone)


def test_a_changed_file_is_embedded_again(store: EmbeddedStore, tmp_path: Path) -> None:
    first, second = save_pictures(tmp_path / "photos", 2)
    indexed(store, tmp_path / "photos")
    before = held(store)
    save_picture(first, 99)
    encoder = ThumbEncoder()
    summary = update_with(store, encoder, tmp_path / "photos")
    assert summary.changed == 1
    assert encoder.seen == [str(first)]
    assert held(store)[str(first)] != before[str(first)]
    assert held(store)[str(second)] == before[str(second)]
    assert finds_itself(store)


def test_unreadable_files_are_named_and_not_tried_again_until_they_change(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos, 2)
    bad = photos / "bad.jpg"
    bad.write_bytes(b"no picture")
    summary = indexed(store, photos)
    assert summary.added == 2
    assert [(r.path, r.fault) for r in summary.unreadable] == [
        (str(bad), "it is no picture of a known kind")
    ]
    known = again(store, photos).unreadable
    assert [record.path for record in known] == [str(bad)]
    save_picture(bad, 5)
    mended = indexed(store, photos)
    assert (mended.changed, mended.unreadable) == (1, [])
    bad.write_bytes(b"spoilt again")
    assert len(indexed(store, photos).unreadable) == 1
    assert str(bad) not in held(store)
    bad.unlink()
    assert indexed(store, photos).unreadable == []
    assert store.counts().unreadable == 0


def test_a_file_is_tried_again_once_the_package_that_it_needs_is_installed(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photos" / "a.heic"
    path.parent.mkdir()
    path.write_bytes(encoded(quarters(), "HEIF"))
    with monkeypatch.context() as lacking:
        lacking.setitem(sys.modules, "pillow_heif", None)
        assert len(indexed(store, path.parent).unreadable) == 1
        assert len(again(store, path.parent).unreadable) == 1
    assert indexed(store, path.parent).embedded == 1


def test_roots_are_independent(store: EmbeddedStore, tmp_path: Path) -> None:
    save_pictures(tmp_path / "a", 2)
    save_pictures(tmp_path / "ab", 2, first=10)
    indexed(store, tmp_path / "a")
    indexed(store, tmp_path / "ab")
    assert len(held(store)) == 4
    shutil.rmtree(tmp_path / "ab")
    again(store, tmp_path / "a")
    assert len(held(store)) == 4
    assert list(store.roots()) == [str(tmp_path / "a"), str(tmp_path / "ab")]


def test_names_that_are_not_utf_8(store: EmbeddedStore, tmp_path: Path) -> None:
    path = tmp_path / "photos" / os.fsdecode(b"na\xefve \xff.png")
    save_picture(path, 1)
    indexed(store, tmp_path / "photos")
    assert set(held(store)) == {str(path)}
    assert again(store, tmp_path / "photos").unchanged == 1
    assert Path(next(iter(held(store)))).exists()


def test_a_file_that_changes_while_it_is_read_is_told_and_tried_again(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = save_pictures(tmp_path / "photos", 1)
    real, moments = os.fstat, iter(range(10**6))

    def restless(descriptor: int) -> os.stat_result:
        state = list(real(descriptor))
        os.utime(path, ns=(1, next(moments) * 10**9))
        return os.stat_result(state, {"st_mtime_ns": next(moments), "st_ctime_ns": 0})

    with monkeypatch.context() as patched:
        patched.setattr("search.update.reading.os.fstat", restless)
        summary = indexed(store, tmp_path / "photos")
    assert [r.fault for r in summary.unreadable] == ["it changes while it is read"]
    assert indexed(store, tmp_path / "photos").changed == 1
    assert len(held(store)) == 1


def test_what_is_recorded_is_what_was_decoded(store: EmbeddedStore, tmp_path: Path) -> None:
    [path] = save_pictures(tmp_path / "photos", 1)

    class Late(ThumbEncoder):
        def encode_sources(self, sources):  # type: ignore[no-untyped-def]
            for source in sources:
                save_picture(path, 50)  # between the look and the leap
                yield from super().encode_sources([source])

    update_with(store, Late(), tmp_path / "photos")
    record = store.records([str(path)])[str(path)]
    assert record.size == path.stat().st_size
    assert again(store, tmp_path / "photos").unchanged == 1


def test_a_folder_that_goes_while_it_is_read_is_told_and_read_when_it_is_back(
    store: EmbeddedStore,
    tmp_path: Path,
) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos, 5)

    class Leaving(ThumbEncoder):
        def encode_sources(self, sources):  # type: ignore[no-untyped-def]
            for number, source in enumerate(sources):
                if number == 2:
                    photos.rename(tmp_path / "away")
                yield from super().encode_sources([source])

    summary = update_with(store, Leaving(), photos)
    assert (summary.added, summary.unreadable, summary.vanished) == (2, [], 3)
    assert summary.notes == ["3 files vanished before being read. Index again when they are back."]
    assert "2 added, 3 vanished" in summary.to_text("index")
    assert summary.to_dict("index")["vanished"] == 3
    (tmp_path / "away").rename(photos)
    assert indexed(store, photos).added == 3


def test_a_device_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="it is no regular file"):
        read_whole(tmp_path / "pipe.jpg")


def test_a_full_disk_loses_nothing_that_was_written(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pictures(tmp_path / "photos", 4)
    indexed(store, tmp_path / "photos")
    before = held(store)
    save_pictures(tmp_path / "photos", 4, first=100)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("search.store.embedded.vectors.os.pwrite", full)
        with pytest.raises(StoreError, match=r"No space left.*what was written before is kept"):
            indexed(store, tmp_path / "photos")
    assert held(store) == before
    assert indexed(store, tmp_path / "photos").added == 4
    assert finds_itself(store)


def test_what_others_read_of_a_file_stays_while_a_thread_decodes_it(tmp_path: Path) -> None:
    [path] = save_pictures(tmp_path, 1)
    found = ImageRecord(path=str(path), size=0, mtime_ns=0)
    reading = FileReading(found)
    with ThreadPoolExecutor(1) as pool:
        assert np.asarray(pool.submit(reading.decode, 4).result()).shape == (48, 64, 3)
    assert reading.found is found
    assert reading.decoded is not None
    assert (reading.decoded.path, reading.decoded.size) == (str(path), path.stat().st_size)


def test_a_file_too_large_to_be_held_is_read_by_parts(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = save_pictures(tmp_path / "photos", 2)
    (tmp_path / "photos" / "bad.png").write_bytes(bytes(100_000))
    indexed(store, tmp_path / "photos")
    monkeypatch.setattr("search.update.reading.HELD_BYTES", 0)
    monkeypatch.setattr("search.update.reading.read_whole", None)
    with closing(new_store(tmp_path / "parts")) as parts:
        summary = indexed(parts, tmp_path / "photos")
        assert [r.fault for r in summary.unreadable] == ["it is no picture of a known kind"]
        assert held(parts) == held(store)
        assert parts.records(list(map(str, paths))) == store.records(list(map(str, paths)))


@pytest.fixture
def three(store: EmbeddedStore, tmp_path: Path) -> Path:
    """A folder of three photos, which are indexed."""
    save_pictures(tmp_path / "photos" / "a", 3)
    indexed(store, tmp_path / "photos")
    return tmp_path / "photos"


def move(folder: Path) -> None:
    folder.rename(folder.with_name("b"))
    (folder.with_name("b") / "0000.png").rename(folder.with_name("renamed.png"))


def share(folder: Path) -> None:
    """Two copies of a file that is gone."""
    shutil.copy2(folder / "0000.png", folder / "x.png")
    (folder / "0000.png").rename(folder / "y.png")


@pytest.mark.parametrize(
    ("change", "counts", "names"),
    [
        (move, {"moved": 3}, {"renamed.png", "b/0001.png", "b/0002.png"}),
        (lambda folder: os.utime(folder / "0000.png", ns=(1, 10**18)), {"moved": 1}, None),
        (
            lambda folder: shutil.copy2(folder / "0000.png", folder / "x.png"),
            {"added": 1},
            {"a/0000.png", "a/0001.png", "a/0002.png", "a/x.png"},
        ),
        (share, {"moved": 1, "added": 1}, {"a/x.png", "a/y.png", "a/0001.png", "a/0002.png"}),
    ],
    ids=["moved and renamed", "touched", "copied", "moved and copied"],
)
def test_known_content_keeps_its_vector_whatever_its_file_is_called(
    store: EmbeddedStore,
    three: Path,
    change: Callable[[Path], object],
    counts: dict[str, int],
    names: set[str] | None,
) -> None:
    before = held(store)
    change(three / "a")
    summary = again(store, three)
    expected = {"moved": 0, "added": 0, "removed": 0, "embedded": 0} | counts
    assert {name: getattr(summary, name) for name in expected} == expected
    assert set(held(store).values()) == set(before.values())
    wanted = set(before) if names is None else {str(three / name) for name in names}
    assert set(held(store)) == wanted
    assert again(store, three).unchanged == len(wanted)


def test_a_copy_comes_with_its_labels_whenever_an_update_ends(
    store: EmbeddedStore, three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, copy = str(three / "a" / "0000.png"), str(three / "copy.png")
    store.write_labels([(original, {"cat": 0.5})])
    shutil.copy(original, copy)
    monkeypatch.delattr(EmbeddedStore, "write_labels")  # nothing is left for later
    assert again(store, three).added == 1
    assert store.records([copy])[copy].labels == {"cat": 0.5}


@pytest.mark.parametrize(("name", "count"), [("a/0000.png", "returned"), ("b.png", "moved")])
def test_a_file_that_comes_back_is_found_again_as_it_was(
    store: EmbeddedStore, three: Path, tmp_path: Path, name: str, count: str
) -> None:
    before = held(store)
    (three / "a" / "0000.png").rename(tmp_path / "away.png")
    assert again(store, three).removed == 1
    assert set(held(store)) == set(before) - {str(three / "a" / "0000.png")}
    (tmp_path / "away.png").rename(three / name)
    assert getattr(again(store, three), count) == 1
    assert set(held(store).values()) == set(before.values())
    assert str(three / name) in held(store)


@pytest.mark.parametrize("is_touched", [False, True])
def test_files_that_come_back_beside_copies_of_them_are_all_found(
    store: EmbeddedStore, three: Path, tmp_path: Path, is_touched: bool
) -> None:
    before = held(store)
    (three / "a").rename(tmp_path / "away")
    assert again(store, three).removed == 3
    shutil.copytree(tmp_path / "away", three / "copies")
    (tmp_path / "away").rename(three / "a")
    if is_touched:
        os.utime(three / "a" / "0000.png", ns=(1, 10**18))
    summary = again(store, three)
    assert (summary.added, summary.returned + summary.moved) == (3, 3)
    copies = {path.replace("/a/", "/copies/"): row for path, row in before.items()}
    assert held(store) == before | copies
    assert again(store, three).unchanged == 6


def test_an_unmounted_drive_is_found_again(
    store: EmbeddedStore, three: Path, tmp_path: Path
) -> None:
    before = held(store)
    three.rename(tmp_path / "unmounted")
    with pytest.raises(DataError, match=r"keeps its images as they are.*Mount the drive"):
        again(store, three)
    assert held(store) == before
    three.mkdir()
    summary = again(store, three)
    assert summary.removed == 3
    assert "Is a drive missing?" in summary.notes[0]
    assert not held(store)
    three.rmdir()
    (tmp_path / "unmounted").rename(three)
    assert again(store, three).returned == 3
    assert held(store) == before


def test_files_that_change_names_in_a_ring_keep_the_right_vectors(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.update.indexing._MOVED_AT_ONCE", 1)
    photos = tmp_path / "photos"
    paths = [save_picture(photos / f"{n}.bmp", n) for n in range(5)]  # all of one size
    indexed(store, photos)
    vectors = [held(store)[str(path)] for path in paths]
    paths[0].rename(photos / "held.tmp")
    for before, after in zip(paths[1:], paths, strict=False):
        before.rename(after)
    (photos / "held.tmp").rename(paths[-1])
    assert indexed(store, photos).changed == 5
    assert [held(store)[str(path)] for path in paths] == [*vectors[1:], vectors[0]]
    assert finds_itself(store)


def test_a_place_taken_by_another_file_does_not_mix_up_vectors(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    one, other = (save_picture(photos / f"{name}.bmp", n) for n, name in enumerate("ab"))
    indexed(store, photos)
    first, second = held(store)[str(one)], held(store)[str(other)]
    one.rename(tmp_path / "away.bmp")
    indexed(store, photos)
    other.rename(one)  # takes the place of what is away
    (tmp_path / "away.bmp").rename(photos / "c.bmp")  # which comes back elsewhere
    indexed(store, photos)
    indexed(store, photos)
    assert held(store) == {str(one): second, str(photos / "c.bmp"): first}


MOMENTS = int(os.environ.get("FOOTWORK_TEST_KILLS", "5"))
CHILD = """
import sys
from pathlib import Path
from search.update import indexing
from search.store.embedded.store import EmbeddedStore
from tests.search.collections import ThumbEncoder
indexing.BATCH = 4
print("ready", flush=True)
store = EmbeddedStore(Path(sys.argv[1]))
indexing.update(store, [sys.argv[2]], lambda: ThumbEncoder(0.004))
print("done", flush=True)
"""


def kill_while_indexing(index: Path, photos: Path, seconds: float) -> bool:
    """Returns whether it was killed before it was done."""
    with process(CHILD, index, photos) as child:
        time.sleep(seconds)
        child.kill()
        return "done" not in child.communicate()[0]


def test_after_any_kill_the_updated_index_equals_a_fresh_one(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos, 60)
    with closing(new_store(tmp_path / "fresh")) as fresh:
        indexed(fresh, photos)
        expected = held(fresh)
    moment = random.Random(0)
    killed = 0
    for attempt in range(MOMENTS):
        index = tmp_path / f"index-{attempt}"
        new_store(index).close()
        for _ in range(2):  # the second one goes on from the first
            killed += kill_while_indexing(index, photos, moment.uniform(0.0, 0.35))
        with closing(EmbeddedStore(index)) as store:
            left = held(store)
            assert left.items() <= expected.items()
            assert finds_itself(store)
            assert indexed(store, photos).unchanged == len(left)
            assert held(store) == expected
            assert store.counts().absent == 0
    assert killed
