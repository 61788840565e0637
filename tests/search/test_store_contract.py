"""What every engine does when it is written to; see test_store_contract_search.py for queries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from numpy.testing import assert_allclose

from search.store.protocol import Changes, Counts, Embedded, Move, Store
from tests.search.store_contract import (
    SHA,
    WIDTH,
    Engine,
    embedded,
    embedder,
    fault,
    found_paths,
    known,
    paths_of,
    record,
    scanned,
    vector_of,
    write_images,
)

HOSTILE_PATHS = [
    "/p/plain.jpg",
    "/p/with space.jpg",
    '/p/double"quote.jpg',
    "/p/single'quote.jpg",
    "/p/back\\slash.jpg",
    "/p/ends with back\\",
    "/p/per%cent_under.jpg",
    "/p/new\nline\ttab\r.jpg",
    "/p/bell\x07delete\x7f.jpg",
    "/p/ünïcödé/日本/😀.jpg",
    "/p/line\u2028separator\u0085.jpg",
    '/p/" or path != ".jpg',
    "/p/{braces} $meta [x] (y).jpg",
    "/p/" + os.fsdecode(b"latin-1 \xe9t\xe9.jpg"),
    "/p/" + os.fsdecode(b"\xff\xfe\x80.jpg"),
    "/p/" + "/".join(["folder" * 40] * 16) + "/long.jpg",
    "/p/" + "/".join([os.fsdecode(b"\xe9" * 250)] * 15) + "/long.jpg",
]


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with closing(engine.make()) as made:
        yield made


def kinds(counts: Counts) -> tuple[int, int, int]:
    return counts.present, counts.absent, counts.unreadable


def test_an_empty_store_knows_nothing_and_no_change_is_no_error(store: Store) -> None:
    store.write(Changes())
    store.write_labels([])
    store.finish(vector_of("typical")[None])
    assert kinds(store.counts()) == (0, 0, 0)
    assert list(store.files()) == []
    assert list(store.files("/")) == []
    assert store.records(["/a.jpg"]) == {}
    assert store.vectors(["/a.jpg"]) == {}
    assert list(store.same_size([1000])) == []
    assert list(store.scan()) == []
    assert list(store.roots()) == []
    assert store.sample(5).shape == (0, WIDTH)
    (found,) = store.search(vector_of("q")[None], 10)
    assert list(found.records) == []
    assert (found.cosines.shape, found.vectors.shape) == ((0,), (0, WIDTH))


def test_what_was_written_is_read_again(store: Store) -> None:
    full = record("/p/full.jpg")
    bare = replace(record("/p/bare.png"), format=None, width=None, height=None, date=None)
    bare = replace(bare, camera=None, size=2**40, ctime_ns=None, date_from=None)
    early = record("/p/early.jpg", date=-5_000_000_000, date_from="file", mtime_ns=-(2**63))
    store.write(Changes(embedded=embedded(full, bare, early)))
    assert known(store) == {one.path: one for one in (full, bare, early)}
    vectors = store.vectors([full.path, bare.path, "/p/unknown.jpg"])
    assert vectors.keys() == {full.path, bare.path}
    assert_allclose(vectors[full.path], vector_of(full.path), atol=1e-7)


def test_what_was_written_is_there_when_the_store_is_opened_again(engine: Engine) -> None:
    with closing(engine.make()) as store:
        write_images(store, "/p/a.jpg", "/p/b.jpg")
        store.write(Changes(unreadable=[fault("/p/c.jpg")], absent=["/p/b.jpg"]))
        store.write_labels([("/p/a.jpg", {"cat": 0.5})])
        store.set_roots(["/p"])
        store.finish(vector_of("typical")[None])
    with closing(engine.reopen()) as opened:
        assert store.embedder == opened.embedder == embedder()
        assert kinds(opened.counts()) == (1, 1, 1)
        assert found_paths(opened, labels=("cat",)) == ["/p/a.jpg"]
        assert list(opened.roots()) == ["/p"]


def test_another_reader_sees_what_is_finished(engine: Engine) -> None:
    with closing(engine.make()) as writer, closing(engine.reopen()) as reader:
        for number in range(2):
            write_images(writer, f"/p/{number}.jpg")
            writer.finish(vector_of("typical")[None])
            assert reader.counts().present == number + 1


def test_an_image_replaces_all_that_is_known_of_its_path(store: Store) -> None:
    write_images(store, "/p/a.jpg")
    store.write_labels([("/p/a.jpg", {"cat": 0.9})])
    changed = record("/p/a.jpg", size=2000, content="f" * 64)
    store.write(Changes(embedded=[Embedded(changed, vector_of("changed"))]))
    assert store.records(["/p/a.jpg"])["/p/a.jpg"] == replace(changed, labels={})
    assert_allclose(scanned(store)[1], [vector_of("changed")], atol=1e-7)
    assert kinds(store.counts()) == (1, 0, 0)


def test_an_image_written_again_and_again_is_one_image(store: Store) -> None:
    for number in range(20):
        write_images(store, "/p/a.jpg", size=number)
        assert [one.size for one in known(store).values()] == [number]
    assert kinds(store.counts()) == (1, 0, 0)


def test_a_fault_takes_the_vector_away_and_an_image_in_its_place_is_found(store: Store) -> None:
    write_images(store, "/p/a.jpg", "/p/b.jpg")
    store.write(Changes(unreadable=[fault("/p/a.jpg")]))
    assert store.records(["/p/a.jpg"])["/p/a.jpg"].fault == "it is truncated"
    assert known(store)["/p/a.jpg"] == fault("/p/a.jpg")
    assert store.vectors(["/p/a.jpg"]) == {}
    assert found_paths(store) == ["/p/b.jpg"]
    assert paths_of(store.same_size([7, 1000])) == ["/p/b.jpg"]
    assert kinds(store.counts()) == (1, 0, 1)
    write_images(store, "/p/a.jpg")
    assert found_paths(store) == ["/p/a.jpg", "/p/b.jpg"]
    assert known(store)["/p/a.jpg"].fault is None
    assert kinds(store.counts()) == (2, 0, 0)


def test_an_absent_image_keeps_its_vector_and_is_not_found_until_it_returns(store: Store) -> None:
    write_images(store, "/p/a.jpg", "/p/b.jpg")
    store.write_labels([("/p/a.jpg", {"cat": 0.9})])
    store.write(Changes(absent=["/p/a.jpg", "/p/unknown.jpg"]))
    assert known(store)["/p/a.jpg"] == record("/p/a.jpg", present=False)
    assert found_paths(store) == ["/p/b.jpg"]
    assert len(store.sample(10)) == 1
    assert store.vectors(["/p/a.jpg"]).keys() == {"/p/a.jpg"}
    assert paths_of(store.same_size([1000])) == ["/p/a.jpg", "/p/b.jpg"]
    assert kinds(store.counts()) == (1, 1, 0)
    store.write(Changes(moved=[Move("/p/a.jpg", record("/p/a.jpg", mtime_ns=5))]))
    assert found_paths(store, labels=("cat",)) == ["/p/a.jpg"]
    assert known(store)["/p/a.jpg"] == record("/p/a.jpg", mtime_ns=5)
    paths, vectors = scanned(store)
    assert_allclose(vectors, list(map(vector_of, paths)), atol=1e-7)


def test_a_moved_image_takes_its_vector_and_labels_along(store: Store) -> None:
    write_images(store, "/p/old.jpg", "/p/other.jpg")
    store.write_labels([("/p/old.jpg", {"cat": 0.9})])
    store.write(Changes(moved=[Move("/p/old.jpg", record("/q/new.jpg", date=7))]))
    assert paths_of(store.files()) == ["/p/other.jpg", "/q/new.jpg"]
    new = record("/q/new.jpg", date=7, labels={"cat": 0.9})
    assert store.records(["/q/new.jpg"]) == {"/q/new.jpg": new}
    assert found_paths(store, folders=("/q",)) == ["/q/new.jpg"]
    moved = store.vectors(["/q/new.jpg"])["/q/new.jpg"]
    assert_allclose(moved, vector_of("/p/old.jpg"), atol=1e-7)


def test_a_move_replaces_what_stood_in_its_place(store: Store) -> None:
    write_images(store, "/p/a.jpg", "/p/b.jpg")
    store.write(Changes(moved=[Move("/p/a.jpg", record("/p/b.jpg"))]))
    assert paths_of(store.files()) == ["/p/b.jpg"]
    assert_allclose(scanned(store)[1], [vector_of("/p/a.jpg")], atol=1e-7)


def test_a_place_that_was_left_can_be_taken_in_the_same_batch(store: Store) -> None:
    write_images(store, "/p/a.jpg")
    new = Embedded(record("/p/a.jpg", size=5), vector_of("new"))
    store.write(Changes(moved=[Move("/p/a.jpg", record("/p/b.jpg"))], embedded=[new]))
    vectors = store.vectors(["/p/a.jpg", "/p/b.jpg"])
    assert_allclose(vectors["/p/a.jpg"], vector_of("new"), atol=1e-7)
    assert_allclose(vectors["/p/b.jpg"], vector_of("/p/a.jpg"), atol=1e-7)
    assert kinds(store.counts()) == (2, 0, 0)


def test_nothing_is_kept_of_what_is_forgotten(store: Store) -> None:
    write_images(store, "/p/a.jpg", "/p/b.jpg", "/p/c.jpg")
    store.write_labels([("/p/a.jpg", {"cat": 0.9})])
    store.write(Changes(unreadable=[fault("/p/d.jpg")]))
    store.write(Changes(forgotten=["/p/a.jpg", "/p/d.jpg", "/p/unknown.jpg"]))
    assert paths_of(store.files()) == ["/p/b.jpg", "/p/c.jpg"]
    assert found_paths(store) == ["/p/b.jpg", "/p/c.jpg"]
    assert found_paths(store, labels=("cat",)) == []
    assert kinds(store.counts()) == (2, 0, 0)
    write_images(store, "/p/a.jpg")
    assert store.records(["/p/a.jpg"])["/p/a.jpg"].labels == {}


def test_many_batches_add_up(store: Store) -> None:
    for start in range(0, 600, 60):
        write_images(store, *(f"/p/{start + number:04}.jpg" for number in range(60)))
    expected = [f"/p/{number:04}.jpg" for number in range(600)]
    assert paths_of(store.files()) == expected
    assert sorted(scanned(store)[0]) == expected
    assert kinds(store.counts()) == (600, 0, 0)


def test_labels_are_replaced_as_a_whole(store: Store) -> None:
    write_images(store, "/p/a.jpg", "/p/b.jpg")
    store.write_labels([("/p/a.jpg", {"cat": 0.75, "dög": 0.1}), ("/p/unknown.jpg", {"cat": 1.0})])
    store.write_labels([("/p/a.jpg", {'a "bird"': 0.3})])
    assert store.records(["/p/a.jpg", "/p/b.jpg", "/p/unknown.jpg"]) == {
        "/p/a.jpg": record("/p/a.jpg", labels={'a "bird"': 0.3}),
        "/p/b.jpg": record("/p/b.jpg", labels={}),
    }
    store.write_labels([("/p/a.jpg", {})])
    assert store.records(["/p/a.jpg"])["/p/a.jpg"].labels == {}
    assert_allclose(store.vectors(["/p/a.jpg"])["/p/a.jpg"], vector_of("/p/a.jpg"), atol=1e-7)


def test_images_bring_their_labels(store: Store) -> None:
    labelled = record("/p/a.jpg", labels={"cat": 0.75, "dög": 0.25})
    store.write(Changes(embedded=embedded(labelled, record("/p/b.jpg"))))
    assert store.records(["/p/a.jpg", "/p/b.jpg"]) == {
        "/p/a.jpg": labelled,
        "/p/b.jpg": record("/p/b.jpg", labels={}),
    }
    assert found_paths(store, labels=("cat",)) == ["/p/a.jpg"]


def test_roots_are_replaced_as_a_whole(store: Store) -> None:
    write_images(store, "/p/a.jpg")
    store.set_roots(["/p", HOSTILE_PATHS[2], HOSTILE_PATHS[13]])
    assert sorted(store.roots()) == sorted(["/p", HOSTILE_PATHS[2], HOSTILE_PATHS[13]])
    store.set_roots(["/q"])
    assert list(store.roots()) == ["/q"]
    assert paths_of(store.files()) == found_paths(store) == ["/p/a.jpg"]


def test_any_path_that_a_disk_can_hold_is_told_from_every_other(store: Store) -> None:
    write_images(store, *HOSTILE_PATHS)
    expected = sorted(HOSTILE_PATHS)
    assert paths_of(store.files()) == sorted(scanned(store)[0]) == found_paths(store) == expected
    for path in HOSTILE_PATHS:
        assert store.records([path]) == {path: record(path, labels={})}
        assert found_paths(store, folders=(os.path.dirname(path),))  # noqa: PTH120 - bytes stay
        assert paths_of(store.files(path)) == [path]
    store.write_labels((path, {"x": 1.0}) for path in HOSTILE_PATHS[::2])
    assert found_paths(store, labels=("x",)) == sorted(HOSTILE_PATHS[::2])
    store.write(Changes(forgotten=HOSTILE_PATHS[1::2]))
    assert paths_of(store.files()) == sorted(HOSTILE_PATHS[::2])


def test_images_are_found_by_their_size(store: Store) -> None:
    for number in range(5):
        write_images(store, f"/p/{number}.jpg", f"/q/{number}.jpg", size=100 * number)
    same = list(store.same_size(iter([100, 300, 12345])))
    assert paths_of(same) == ["/p/1.jpg", "/p/3.jpg", "/q/1.jpg", "/q/3.jpg"]
    assert {one.content for one in same} == {SHA}
    assert list(store.same_size([])) == []
    assert len(list(store.same_size(range(3000)))) == 10


def test_files_below_a_folder_are_not_those_of_its_namesakes(store: Store) -> None:
    write_images(store, "/p/a.jpg", "/p/sub/b.jpg", "/p2/c.jpg", "/p.jpg", "/p-/d.jpg", "/P/e.jpg")
    store.write(Changes(unreadable=[fault("/p/f.jpg")], absent=["/p/a.jpg"]))
    assert paths_of(store.files("/p")) == ["/p/a.jpg", "/p/f.jpg", "/p/sub/b.jpg"]
    assert paths_of(store.files("/p.jpg")) == ["/p.jpg"]
    assert len(paths_of(store.files("/"))) == 7
