"""How the server engine is reached, and what it says and does when that fails; no server needed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from footwork.errors import ConfigError, StoreError
from search.filters import Filter
from search.options import INDEX_TYPES, NewStoreOptions, StoreOptions
from search.store.server import connection
from search.store.server.connection import PATIENCE, TIMEOUT, Connection, is_transient
from search.store.server.rows import any_path, any_size, literal, present_images
from search.store.server.store import ServerStore

pytest.importorskip("pymilvus")
OPTIONS = NewStoreOptions(store="http://127.0.0.1:19530")


class Flaky:
    """A client whose calls fail a few times."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def upsert(self, *_: object, **__: object) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    query = upsert


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connection, "time", clock)
    return clock


def of_milvus(code: int, message: str = "no", **facts: Any) -> Exception:
    from pymilvus import MilvusException

    return MilvusException(code, message, **facts)


def of_grpc(name: str) -> Exception:
    import grpc

    class Failure(grpc.RpcError):
        def code(self) -> Any:
            return grpc.StatusCode[name]

        def details(self) -> str:
            return f"it is {name}"

    return Failure()


@pytest.mark.parametrize(
    "error",
    [
        lambda: of_milvus(8, "rate limit exceeded"),
        lambda: of_milvus(2, "service unavailable"),
        lambda: of_milvus(503, "channel not available"),
        lambda: of_milvus(1, "[upsert] Retry timeout: 10.0s"),
        lambda: of_milvus(65535, "try later", retriable=True),
        lambda: of_grpc("UNAVAILABLE"),
        lambda: of_grpc("DEADLINE_EXCEEDED"),
        lambda: of_grpc("RESOURCE_EXHAUSTED"),
    ],
)
def test_what_may_pass_is_tried_again(clock: Clock, error: Callable[[], Exception]) -> None:
    client: Any = Flaky(error(), error())
    assert Connection(client, OPTIONS).write("upsert", "rows") == "done"
    assert client.calls == 3
    assert len(clock.pauses) == 2


@pytest.mark.parametrize(
    "error",
    [
        lambda: of_milvus(100, "collection not found"),
        lambda: of_milvus(65535, "cannot parse expression: token recognition error"),
        lambda: of_milvus(1, "Unexpected error"),
        lambda: of_milvus(8, "rate limit", is_input_error=True),
        lambda: of_grpc("UNAUTHENTICATED"),
        lambda: of_grpc("INVALID_ARGUMENT"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    clock: Clock, error: Callable[[], Exception]
) -> None:
    client: Any = Flaky(error(), error())
    assert not is_transient(error())
    with pytest.raises(StoreError):
        Connection(client, OPTIONS).write("upsert", "rows")
    assert (client.calls, clock.pauses) == (1, [])


def test_patience_ends(clock: Clock) -> None:
    client: Any = Flaky(*(of_grpc("UNAVAILABLE") for _ in range(1000)))
    with pytest.raises(StoreError, match=r"does not answer as it should: it is UNAVAILABLE\. See"):
        Connection(client, OPTIONS).write("upsert", "rows")
    assert PATIENCE / 2 < clock.now <= 1.5 * PATIENCE
    assert clock.pauses[-1] > clock.pauses[0]


def test_a_query_is_given_up_sooner_than_a_write(clock: Clock) -> None:
    client: Any = Flaky(*(of_grpc("UNAVAILABLE") for _ in range(1000)))
    with pytest.raises(StoreError):
        Connection(client, OPTIONS).read("query", "rows")
    assert clock.now <= 1.5 * TIMEOUT


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lambda: of_milvus(100), r"has no collection footwork\. Make one: footwork search index"),
        (lambda: of_grpc("UNAUTHENTICATED"), r"does not let you in: it is UNAUTHENTICATED\. Give"),
        (
            lambda: of_milvus(65535, "odd"),
            r"refused what was asked of collection footwork: odd\. Its log",
        ),
    ],
)
def test_a_failure_is_told_with_the_address(error: Callable[[], Exception], expected: str) -> None:
    client: Any = Flaky(error())
    with pytest.raises(StoreError, match=rf"^Milvus at {OPTIONS.store} {expected}"):
        Connection(client, OPTIONS).read("query", "rows")


def test_an_address_where_nobody_listens_is_told(capfd: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(StoreError, match=rf"^Cannot reach Milvus at {url}: connection refused\. S"):
        ServerStore(NewStoreOptions(store=url))
    assert capfd.readouterr() == ("", "")


def test_a_server_of_something_else_is_told_in_time(
    capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreError, match=rf"^Milvus at {url} does not answer as it should: "):
            ServerStore(NewStoreOptions(store=url))
    assert capfd.readouterr() == ("", "")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(StoreError, match=r"not installed: pip install 'footwork\[milvus\]'$"):
        ServerStore(OPTIONS)


def test_importing_the_engine_does_not_import_the_library() -> None:
    script = "import sys, search.store.server.store; sys.exit('pymilvus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"store": "localhost:19530"}, r"named like http://HOST:19530, got 'localhost:19530'"),
        ({"store": "http://"}, r"named like http://HOST:19530, got 'http://'"),
        ({"store": "http://host:port"}, r"named like http://HOST:19530, got 'http://host:port'"),
        ({"collection": "my photos"}, r"`collection` must be letters, digits and _.*'my photos'"),
        ({"collection": "1st"}, r"`collection` must be letters"),
        ({"index_type": "hnsw"}, r"`index_type` must be one of HNSW, IVF_SQ8.*got 'hnsw'"),
        ({"shards": 0}, r"`shards` must be 1 to 16, got 0"),
        ({"replicas": 2000}, r"`replicas` must be 1 to 1,024, got 2000"),
    ],
)
def test_options_say_what_is_allowed(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        NewStoreOptions(**({"store": "http://host"} | settings))


def test_a_port_may_be_left_out() -> None:
    assert StoreOptions(store="http://host").address == ("host", 19530)
    assert StoreOptions(store="https://host:443").address == ("host", 443)
    for index_type in INDEX_TYPES:
        NewStoreOptions(store="http://host", index_type=index_type)


def test_a_literal_ends_where_its_text_ends() -> None:
    assert literal('a"b\\c\n\x00é') == '"a\\"b\\\\c\\012\\000é"'
    assert literal('\\" or state == 9 or path == "') == '"\\\\\\" or state == 9 or path == \\""'


def test_a_prefix_becomes_a_range() -> None:
    within = {"/a": '(path >= "/a/" and path < "/a0")', "/": '(path >= "/" and path < "0")'}
    for folder, expected in within.items():
        assert expected in present_images(Filter(folders=(folder,)))
    for camera, expected in {
        "EOS": '(camera_key >= "eos" and camera_key < "eot")',
        "\ud7ff": '(camera_key >= "\ud7ff" and camera_key < "\ue000")',
        "\U0010ffff": 'camera_key >= "\U0010ffff"',
        "": 'camera_key != ""',
    }.items():
        assert expected in present_images(Filter(cameras=(camera,)))


def test_long_lists_are_asked_for_in_parts() -> None:
    assert len(list(any_path(f"/{number}" for number in range(2500)))) == 3
    assert len(list(any_path("/" + "x" * 400_000 for _ in range(3)))) == 2
    assert list(any_path([])) == list(any_size([])) == []
    assert len(list(any_size(range(2500)))) == 3
