"""What only the server engine does; see test_store_contract.py for what it shares."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from select import select
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from footwork.cli import main
from footwork.errors import StoreError
from search.filters import Filter
from search.options import NewStoreOptions, StoreOptions
from search.place import ServerPlace
from search.store.protocol import Changes, Embedded
from search.store.server.rows import root_row, row_of, schema_of
from search.store.server.store import ServerStore
from tests.search.milvus import TOKEN
from tests.search.store_contract import (
    ServerEngine,
    embedded,
    embedder,
    empty,
    found_paths,
    known,
    paths_of,
    record,
    searched,
    unit,
    vector_of,
    write_images,
)

pytestmark = pytest.mark.server

WRITER = """
import sys
from search.store.protocol import Changes
from search.options import StoreOptions
from search.store.server.store import ServerStore
from tests.search.store_contract import embedded, record

url, token, collection = sys.argv[1:]
store = ServerStore(StoreOptions(store=url, token=token, collection=collection))
for batch in range(10_000):
    records = [record(f"/p/{batch:05}/{number:03}.jpg") for number in range(100)]
    store.write(Changes(embedded=embedded(*records)))
    print(batch, flush=True)
"""


@pytest.fixture
def store(milvus_server: ServerEngine) -> Iterator[ServerStore]:
    with closing(ServerStore(milvus_server.options("alone"), embedder())) as made:
        empty(made)
        yield made


def test_a_wrong_password_is_told(milvus_server: ServerEngine, capfd: Any) -> None:
    wrong = StoreOptions(store=milvus_server.options("alone").store, user="root", password="wrong")
    with pytest.raises(StoreError, match=r"does not let you in: .* Give a user and password"):
        ServerStore(wrong)
    assert capfd.readouterr() == ("", "")
    assert "wrong" not in repr(wrong)


def test_a_collection_that_is_missing_is_told(milvus_server: ServerEngine, capfd: Any) -> None:
    options = milvus_server.options("nothing")
    with pytest.raises(StoreError, match=rf"{options.store} has no collection nothing\. Make "):
        ServerStore(options)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("my products", r"^Collection strange at \S+ was not made by Footwork\. Name another"),
        ('{"footwork": 99}', r"has format 99; this Footwork reads 2 and 3\. Use the Footwork"),
        ('{"footwork": 3, "embedder": {"width": "8"}, "index": "FLAT"}', "not made by Footwork"),
    ],
)
def test_the_collection_of_another_program_is_left_alone(
    milvus_server: ServerEngine, description: str, expected: str
) -> None:
    from pymilvus import DataType, MilvusClient

    options = milvus_server.options("strange")
    with closing(MilvusClient(options.store, token=options.token)) as client:
        schema = client.create_schema(description=description)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
        client.create_collection("strange", schema=schema)
        try:
            with pytest.raises(StoreError, match=expected):
                ServerStore(options)
            with pytest.raises(StoreError, match=expected):
                ServerStore(options, embedder())
        finally:
            client.drop_collection("strange")


def made_before(options: NewStoreOptions, divided: bool) -> list[str]:
    """A collection as the version before made it; returns the paths of its images."""
    from pymilvus import DataType, MilvusClient

    told: dict[str, Any] = {"footwork": 2, "embedder": asdict(embedder()), "index": "HNSW"}
    told |= {"partitions": {"count": 3, "depth": 2}} if divided else {}
    paths = [f"/p/{part}/{number}.jpg" for part in range(3) for number in range(4)]
    rows = [row_of(record(path), vector_of(path)) | {"words": ["p", "jpg"]} for path in paths]
    with closing(MilvusClient(options.store, token=options.token)) as client:
        schema = schema_of(embedder(), json.dumps(told))
        words = {"element_type": DataType.VARCHAR, "max_length": 65_535, "max_capacity": 4096}
        schema.add_field("words", DataType.ARRAY, **words)
        client.create_collection(options.collection, schema=schema)
        parts = [f"folders_{number}" for number in range(3)] if divided else [None] * 3
        for part in filter(None, parts):
            client.create_partition(options.collection, part)
        for number, row in enumerate([*rows, root_row("/p", 8) | {"words": ()}]):
            client.insert(options.collection, row, partition_name=parts[number // 4 % 3])
    return paths


@pytest.mark.parametrize("divided", [False, True])
def test_a_collection_of_the_version_before_answers_the_same(
    milvus_server: ServerEngine, divided: bool
) -> None:
    options = milvus_server.options(f"before_{divided}")
    paths = made_before(options, divided)
    with closing(ServerStore(options, embedder())) as store:
        store.finish(vector_of("typical")[None])
        assert found_paths(store) == paths_of(store.files()) == paths
        assert found_paths(store, folders=("/p/1",)) == paths[4:8]
        assert searched(store, vector_of(paths[5]), 3).records[0].path == paths[5]
        assert store.records(paths) == {path: record(path, labels={}) for path in paths}
        assert store.counts().present == 12
        assert store.roots() == ("/p",)


def test_a_collection_of_the_version_before_is_written(milvus_server: ServerEngine) -> None:
    options = milvus_server.options("before_written")
    paths = made_before(options, divided=False)
    with closing(ServerStore(options, embedder())) as store:
        write_images(store, "/p/new.jpg", paths[0])
        store.write_labels([(paths[1], {"cat": 0.5})])
        store.write(Changes(absent=[paths[2]], forgotten=[paths[3]]))
        assert found_paths(store) == sorted([*paths[:2], *paths[4:], "/p/new.jpg"])
        assert found_paths(store, labels=("cat",)) == [paths[1]]


def test_a_collection_in_partitions_is_copied_and_not_written(
    milvus_server: ServerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_STORE_TOKEN", TOKEN)
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path))
    options = milvus_server.options("before_divided")
    paths = made_before(options, divided=True)
    with closing(ServerStore(options, embedder())) as store:
        store.finish(vector_of("typical")[None])
        for change in (
            lambda: write_images(store, paths[0]),
            lambda: store.write(Changes(forgotten=[paths[0]])),
            lambda: store.write_labels([(paths[0], {"cat": 0.5})]),
            lambda: store.set_roots(["/q"]),
        ):
            with pytest.raises(
                StoreError, match=r"is divided into partitions by .* Copy it"
            ) as told:
                change()
        assert found_paths(store) == paths
    assert main(shlex.split(str(told.value).partition("anything: footwork ")[2])) == 0
    place = ServerPlace(replace(options, collection="before_divided_2"))
    with closing(place.open()) as copied:
        write_images(copied, paths[0])
        assert found_paths(copied) == paths


def test_two_machines_can_make_the_same_store(
    store: ServerStore, milvus_server: ServerEngine
) -> None:
    write_images(store, "/p/a.jpg")
    with closing(ServerStore(milvus_server.options("alone"), embedder())) as other:
        write_images(other, "/p/b.jpg")
        assert found_paths(other) == found_paths(store) == ["/p/a.jpg", "/p/b.jpg"]


def test_writers_at_once_lose_nothing(store: ServerStore, milvus_server: ServerEngine) -> None:
    failures: list[Exception] = []

    def write(name: str) -> None:
        try:
            with closing(ServerStore(milvus_server.options("alone"))) as own:
                for batch in range(10):
                    mine = [f"/{name}/{batch}_{number}.jpg" for number in range(20)]
                    shared = [f"/shared/{number}.jpg" for number in range(20)]
                    write_images(own, *mine, *shared)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    store.finish(vector_of("typical")[None])
    assert len(found_paths(store, folders=("/shared",))) == 20
    assert store.counts().present == len(known(store)) == 3 * 200 + 20


def test_a_record_stands_with_its_own_vector_whoever_writes_at_once(
    store: ServerStore, milvus_server: ServerEngine
) -> None:
    paths = [f"/p/{number}.jpg" for number in range(20)]

    def embed(version: int) -> None:
        rows = [Embedded(record(path, size=version), vector_of(f"{version}")) for path in paths]
        store.write(Changes(embedded=rows))

    def label(own: ServerStore) -> None:
        for number in range(15):
            own.write_labels((path, {"cat": number / 15}) for path in paths)

    embed(0)
    with closing(ServerStore(milvus_server.options("alone"))) as other:
        thread = threading.Thread(target=label, args=(other,))
        thread.start()
        for version in range(1, 16):
            embed(version)
        thread.join()
    store.finish(vector_of("typical")[None])
    vectors = store.vectors(paths)
    assert sorted(vectors) == sorted(paths)
    for path, one in known(store).items():
        assert_allclose(vectors[path], vector_of(f"{one.size}"), atol=1e-7)


def test_what_a_killed_writer_was_told_is_there(
    store: ServerStore, milvus_server: ServerEngine
) -> None:
    options = milvus_server.options("alone")
    arguments = [options.store, options.token, options.collection]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 4:
                writer.kill()
                break
        told = 4 + len(writer.stdout.readlines())
    assert writer.returncode == -signal.SIGKILL
    there = known(store)
    assert len(there) >= 100 * told
    again = [record(f"/p/{batch:05}/{n:03}.jpg") for batch in range(8) for n in range(100)]
    store.write(Changes(embedded=embedded(*again)))
    assert there.keys() <= known(store).keys() | {one.path for one in again}
    assert store.counts().present == len(known(store))


@pytest.mark.parametrize("index", ["FLAT", "IVF_SQ8"])
def test_every_image_finds_itself_whatever_the_index(
    milvus_server: ServerEngine, index: str
) -> None:
    options = milvus_server.options(f"index_{index}", index_type=index)
    with closing(ServerStore(options, embedder())) as store:
        paths = [f"/p/{number}.jpg" for number in range(1500)]
        write_images(store, *paths)
        store.finish(vector_of("typical")[None])
        queries = np.stack([vector_of(path) for path in paths[:50]])
        answers = store.search(queries, 3)
        assert [found.records[0].path for found in answers] == paths[:50]
        assert store.counts().details["index"] == f"{index}, 1,500 rows"


def test_a_store_of_two_shards_answers_the_same(milvus_server: ServerEngine) -> None:
    with closing(ServerStore(milvus_server.options("two", shards=2), embedder())) as store:
        paths = sorted(f"/p/{number}.jpg" for number in range(60))
        write_images(store, *paths)
        store.write(Changes(forgotten=paths[:20]))
        assert found_paths(store) == paths_of(store.files()) == paths[20:]
        write_images(store, *paths[10:30])
        assert found_paths(store) == paths_of(store.files()) == paths[10:]
        assert store.counts().details["shards"] == "2"


def test_few_rows_are_compared_one_by_one(store: ServerStore) -> None:
    write_images(store, *(f"/p/{number}.jpg" for number in range(50)))
    query = unit(np.ones(8))
    by_index = searched(store, query, 10)
    one_by_one = searched(store, query, 10, folders=("/p",))
    assert [one.path for one in by_index.records] == [one.path for one in one_by_one.records]
    assert_allclose(by_index.cosines, one_by_one.cosines, atol=1e-6)


def test_more_labels_than_a_row_can_hold_are_refused(store: ServerStore) -> None:
    write_images(store, "/p/a.jpg")
    with pytest.raises(StoreError, match=r"^/p/a.jpg has 4,097 labels; at most 4,096 can be sto"):
        store.write_labels([("/p/a.jpg", {str(number): 0.5 for number in range(4097)})])


def test_a_condition_that_the_server_cannot_read_is_told(store: ServerStore) -> None:
    where = Filter()
    object.__setattr__(where, "min_bytes", "many")
    with pytest.raises(StoreError, match=r"refused what was asked of collection alone: cannot par"):
        store.search(vector_of("q")[None], 3, where)


def test_the_server_ends_with_the_tests_however_they_end(
    milvus_programs: Path, tmp_path: Path
) -> None:
    script = (
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        "from tests.search import milvus\n"
        "start = milvus._start\n"
        "def told(*arguments):\n"
        "    process = start(*arguments)\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "milvus._start = told\n"
        "with milvus.running_milvus(Path(sys.argv[1]), Path(sys.argv[2])):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    arguments = [str(milvus_programs), str(tmp_path / "data")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        assert tests.stdout.readline() == "up\n"
        tests.kill()
    with suppress(ProcessLookupError):  # it has ended
        descriptor = os.pidfd_open(pid)
        try:
            assert select([descriptor], [], [], 20)[0]
        finally:
            os.close(descriptor)
