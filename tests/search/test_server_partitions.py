"""A collection in partitions: what lies where, and who asks which."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from footwork.errors import StoreError
from search.filters import Filter
from search.paths import is_at_or_below, stored_text
from search.store.protocol import Changes, Move
from search.store.server import ServerOptions, ServerStore
from search.store.server.connection import Connection
from search.store.server.partitions import Partitions
from tests.search.store_contract import (
    ServerEngine,
    embedded,
    embedder,
    empty,
    fault,
    paths_of,
    record,
    searched,
    vector_of,
    write_images,
)

SEVEN = Partitions(count=7, depth=2)
FOLDERS = [f"/photos/part {number}" for number in range(20)] + [
    "/photos",
    "/",
    "/a/b/c/d",
    "/photos/part 1/sub",
    "/photos/part 10",
    "/photos/" + os.fsdecode(b"\xff \"'\\") + "/deep",
]


@pytest.fixture
def store(milvus_server: ServerEngine) -> Iterator[ServerStore]:
    options = milvus_server.options("divided", partitions=SEVEN.count)
    with closing(ServerStore.create(options, embedder())) as made:
        empty(made)
        yield made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The partitions of every question from now on."""
    parts: list[Any] = []
    read = Connection.read

    def told(self: Connection, method: str, *arguments: Any, **settings: Any) -> Any:
        if method in ("query", "search"):
            parts.append(settings["partition_names"])
        return read(self, method, *arguments, **settings)

    monkeypatch.setattr(Connection, "read", told)
    return parts


def in_folder(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def found(store: ServerStore, **conditions: Any) -> list[str]:
    """All that a filter lets through, by a search and by a scan."""
    by_search = paths_of(searched(store, vector_of("anything"), 1000, **conditions).records)
    blocks = list(store.scan(Filter(**conditions)))
    assert by_search == paths_of(one for block in blocks for one in block.records)
    return by_search


def held(options: ServerOptions) -> dict[str, list[str]]:
    """The paths that each partition holds, as they are stored."""
    from pymilvus import MilvusClient

    with closing(MilvusClient(options.url, token=options.token)) as client:
        return {
            name: [
                row["path"]
                for row in client.query(
                    options.collection,
                    'path != ""',
                    ["path"],
                    partition_names=[name],
                    consistency_level="Strong",
                )
            ]
            for name in client.list_partitions(options.collection)
        }


def check(store: ServerStore, present: set[str], others: set[str]) -> None:
    """Whatever folder is asked for, all of it is found, and nothing else."""
    for folder in (*FOLDERS, "/photos/part", "/photos/part 1/sub/none", "/nothing/at/all"):
        below = sorted(path for path in present if is_at_or_below(path, folder))
        known = [path for path in others if is_at_or_below(path, folder)]
        assert found(store, folders=(folder,)) == below
        assert paths_of(store.files(folder)) == sorted(below + known)
        assert paths_of(store.find_words("jpg", 1000, Filter(folders=(folder,))).records) == below
    several = FOLDERS[3:6]
    below = [path for path in present if any(is_at_or_below(path, one) for one in several)]
    assert found(store, folders=tuple(several)) == sorted(below)
    assert found(store) == sorted(present)
    assert paths_of(store.files()) == sorted(present | others)
    assert store.records(sorted(present | others)).keys() == present | others
    with_vectors = present | {path for path in others if not path.endswith("broken.jpg")}
    assert store.vectors(sorted(present | others)).keys() == with_vectors
    assert paths_of(store.same_size([1000])) == sorted(with_vectors)


def test_what_lies_below_a_folder_is_in_its_partition() -> None:
    generator = random.Random(0)
    for _ in range(2000):
        names = [generator.choice(["a", "b", "a b", "日本", "x" * 250]) for _ in range(5)]
        path = "/" + "/".join(names)
        (place,) = SEVEN.holding([path]) or []
        for depth in range(2, 5):
            folder = "/" + "/".join(names[:depth])
            assert SEVEN.holding([folder]) == SEVEN.holding([folder + "/"]) == [place]
        assert SEVEN.grouped([path], str) == [(place, [path])]


def test_a_shallow_folder_may_be_in_any_partition() -> None:
    for folder in ("/", "/photos", "/photos/", "", "//"):
        assert SEVEN.holding([folder]) is None
        assert SEVEN.holding(["/photos/part", folder]) is None
    assert SEVEN.holding([]) is None
    assert Partitions(count=0, depth=2).holding(["/photos/part"]) is None
    assert Partitions(count=0, depth=2).grouped(["/a", "/b"], str) == [(None, ["/a", "/b"])]


def test_a_folder_stays_in_its_partition_from_version_to_version() -> None:
    places = {"/photos/part-017": "folders_3", "/a/b": "folders_5", "/日/本": "folders_2"}
    assert {folder: SEVEN.holding([folder]) for folder in places} == {
        folder: [place] for folder, place in places.items()
    }


def test_folders_are_spread_evenly() -> None:
    groups = Partitions(count=64, depth=2).grouped((f"/p/{n}/a.jpg" for n in range(6400)), str)
    assert len(groups) == 64
    assert all(60 < len(paths) < 150 for _, paths in groups)


@pytest.mark.server
def test_nothing_is_lost_or_misplaced_whatever_is_done_with_it(store: ServerStore) -> None:
    images = [in_folder(folder, f"{number}.jpg") for folder in FOLDERS for number in range(8)]
    faults = [in_folder(folder, "broken.jpg") for folder in FOLDERS]
    store.set_roots(["/photos", "/a/b/c", "/"])
    store.write(Changes(embedded=embedded(*map(record, images))))
    store.write(Changes(unreadable=[fault(path) for path in faults]))
    check(store, {*images}, {*faults})
    store.write(Changes(embedded=embedded(*map(record, images[1::2])), absent=images[::8]))
    moved = {path: in_folder(FOLDERS[-row], "moved.jpg") for row, path in enumerate(images[3::8])}
    moves = [Move(old, record(new)) for old, new in moved.items()]
    store.write(Changes(moved=moves, forgotten=images[5::8] + faults[::2]))
    store.write_labels((path, {"cat": 0.5}) for path in images)
    present = {*images, *moved.values()} - {*images[::8], *moved, *images[5::8]}
    others = {*images[::8], *faults[1::2]}
    for _ in range(2):
        check(store, present, others)
        store.finish(vector_of("typical")[None])
    assert sorted(store.roots()) == ["/", "/a/b/c", "/photos"]
    assert store.counts().present == len(present)
    lying = held(store._options)
    assert lying.pop("_default") == []
    assert sorted(lying) == sorted(SEVEN.names)
    everything = [path for paths in lying.values() for path in paths]
    roots = {"root:/", "root:/a/b/c", "root:/photos"}
    assert sorted(everything) == sorted({*map(stored_text, present | others)} | roots)
    assert dict(SEVEN.grouped(sorted(everything), str)) == {
        name: sorted(paths) for name, paths in lying.items() if paths
    }


@pytest.mark.server
def test_a_filter_by_folder_asks_only_its_partition(store: ServerStore, asked: list[Any]) -> None:
    write_images(store, "/photos/a/1.jpg", "/photos/b/2.jpg")
    for folder in ("/photos/a", "/photos/a/", "/photos/a/1.jpg"):
        asked.clear()
        assert found(store, folders=(folder,)) == ["/photos/a/1.jpg"]
        assert paths_of(store.files(folder)) == ["/photos/a/1.jpg"]
        assert paths_of(store.find_words("jpg", 3, Filter(folders=(folder,))).records)
        assert store.records(["/photos/a/1.jpg"])
        assert len(asked) > 6
        assert all(parts == SEVEN.holding(["/photos/a"]) for parts in asked)
    asked.clear()
    assert len(found(store, folders=("/photos",))) == 2
    assert None in asked


@pytest.mark.server
def test_what_is_opened_knows_its_partitions(
    store: ServerStore, milvus_server: ServerEngine
) -> None:
    write_images(store, "/photos/a/1.jpg")
    for opening in (
        lambda: ServerStore.open(milvus_server.options("divided")),
        lambda: ServerStore.create(milvus_server.options("divided", partitions=3), embedder()),
    ):
        with closing(opening()) as opened:
            write_images(opened, "/photos/a/1.jpg", "/photos/b/2.jpg")
            assert opened.counts().details["partitions"] == "7"
            assert found(opened, folders=("/photos/a",)) == ["/photos/a/1.jpg"]
            assert opened.counts().present == 2


@pytest.mark.server
def test_many_machines_can_make_the_same_partitions(milvus_server: ServerEngine) -> None:
    options = milvus_server.options("divided_at_once", partitions=9)
    failures: list[Exception] = []

    def make(number: int) -> None:
        try:
            with closing(ServerStore.create(options, embedder())) as own:
                write_images(own, *(f"/photos/{part}/{number}.jpg" for part in range(30)))
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            failures.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with closing(ServerStore.open(options)) as store:
        store.finish(vector_of("typical")[None])
        assert len(found(store)) == store.counts().present == 120


@pytest.mark.server
@pytest.mark.parametrize("step", ["create_partition", "create_index"])
def test_making_that_was_cut_short_is_completed(
    milvus_server: ServerEngine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    options = milvus_server.options(f"divided_short_{step}", partitions=3)
    write = Connection.write

    def cut(self: Connection, method: str, *arguments: Any, **settings: Any) -> Any:
        if method == step and arguments[-1] != "folders_0":
            raise StoreError("The power is out.")
        return write(self, method, *arguments, **settings)

    with monkeypatch.context() as short:
        short.setattr(Connection, "write", cut)
        with pytest.raises(StoreError, match="power"):
            ServerStore.create(options, embedder())
    with closing(ServerStore.create(options, embedder())) as store:
        write_images(store, *(f"/photos/{part}/1.jpg" for part in range(9)))
        assert len(found(store)) == 9
