"""Stores to test with, and commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from search.place import IndexFolder
from search.store.embedded.store import EmbeddedStore
from tests.search.collections import new_store
from tests.search.commands import Command
from tests.search.places import well
from tests.search.store_contract import EmbeddedEngine, Engine, EngineOf, ServerEngine


@pytest.fixture(scope="session")
def milvus_programs(pytestconfig: pytest.Config) -> Path:
    """Of a Milvus server; they stay unpacked among pytest's own files."""
    from tests.search.milvus import unpack

    assert pytestconfig.cache is not None
    programs = pytestconfig.cache.mkdir("milvus") / "2.3.5"
    unpack(programs)
    return programs


@pytest.fixture(scope="session")
def milvus_server(
    milvus_programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerEngine]:
    """A real server."""
    from tests.search.milvus import TOKEN, running_milvus

    with running_milvus(milvus_programs, tmp_path_factory.mktemp("milvus")) as url:
        yield ServerEngine(url, TOKEN)


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.server)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Every engine in turn."""
    if request.param == "embedded":
        return EmbeddedEngine(tmp_path)
    server: ServerEngine = request.getfixturevalue("milvus_server")
    return server


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("server", marks=pytest.mark.server)],
)
def engine_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EngineOf:
    """Engines of one kind, every kind in turn; a store of one is not emptied by another's."""

    def make(name: str) -> Engine:
        if request.param == "embedded":
            return EmbeddedEngine(tmp_path_factory.mktemp(name))
        server: ServerEngine = request.getfixturevalue("milvus_server")
        return server.apart(name)

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder to come."""
    return tmp_path / "photos"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """An empty one, for pictures of `collections.save_pictures`."""
    with closing(new_store(tmp_path / "index")) as made:
        yield made


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs commands, as a user does."""
    return Command(capsys)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and their index, which no test changes."""
    return well(tmp_path_factory.mktemp("well"))


@pytest.fixture
def place(original: Path, tmp_path: Path) -> IndexFolder:
    """A copy of the index, to be spoilt."""
    shutil.copytree(original / "index", tmp_path / "index")
    return IndexFolder(tmp_path / "index")
