"""Indexes on the disk: who may open them, and what is said of those that cannot be."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from footwork.errors import ConfigError, StoreError
from search.options import ModelOptions
from search.place import IndexFolder, default_index, find_index, index_around
from search.query.texts import open_texts
from search.store.embedded.store import EmbeddedStore
from search.update.indexing import Indexer
from tests.search.collections import (
    EMBEDDER,
    finds_itself,
    held,
    indexed,
    save_picture,
    save_pictures,
)
from tests.search.commands import WRITER, process
from tests.search.places import catalog, execute, executing, holdings, index_of, vectors


@pytest.fixture
def index(tmp_path: Path) -> Path:
    save_pictures(tmp_path / "photos", 6)
    return index_of(tmp_path / "index", tmp_path / "photos").path


def test_an_index_may_be_made_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "index")
    place = IndexFolder(tmp_path / "link")
    with place.writing():
        place.begin(EMBEDDER).close()
    assert (tmp_path / "link").is_symlink()
    assert IndexFolder(tmp_path / "disk" / "index").exists


def test_readers_see_whole_batches_while_one_writes(tmp_path: Path, index: Path) -> None:
    place = IndexFolder(index)
    with closing(place.open()) as reader, closing(place.open()) as writer:
        scan = reader.scan()
        first = next(scan)
        save_pictures(tmp_path / "photos", 3, first=100)
        indexed(writer, tmp_path / "photos")
        assert list(scan) == []  # as of the moment it began
        assert len(first.records) == 6
        assert len(held(reader)) == 9
        assert finds_itself(reader)


@pytest.fixture
def open_connections(index: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts those that were opened by the test and not yet closed."""
    del index  # made before any is counted
    every: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def kept(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        every.append(connect(*arguments, **settings))
        return every[-1]

    def count() -> int:
        still_open = 0
        for connection in every:
            with suppress(sqlite3.ProgrammingError):
                still_open += connection.total_changes >= 0
        return still_open

    monkeypatch.setattr("search.store.embedded.catalog.sqlite3.connect", kept)
    return count


def test_a_store_closes_what_every_thread_opened(
    index: Path, open_connections: Callable[[], int]
) -> None:
    store = IndexFolder(index).open()
    begun, left = store.scan(), store.files()
    assert next(begun).records
    assert next(left)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: len(held(store)), range(9))) == [6] * 9
    left.close()
    store.close()
    assert open_connections() == 1
    assert list(begun) == []  # what was begun may be finished
    assert open_connections() == 0
    assert len(held(store)) == 6
    assert open_connections() == 0


def test_a_model_that_is_not_there_leaves_nothing_open(
    index: Path, open_connections: Callable[[], int]
) -> None:
    with pytest.raises(ConfigError, match="no-such-model"):
        Indexer(IndexFolder(index), ModelOptions(model_id="./no-such-model")).index()
    assert open_connections() == 0


def tell(place: IndexFolder, **facts: object) -> None:
    """Change the manifest."""
    manifest = place.path / "footwork.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text("utf-8")) | facts), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (executing("DELETE FROM facts WHERE name = 'embedder'"), "does not tell its embedder"),
        (executing("PRAGMA user_version = 7"), r"has format 7; .* reads format 2\. Move it away"),
        (
            lambda place: catalog(place).write_bytes(b"no database, but long enough" * 100),
            "not a database.*doctor --repair",
        ),
        (
            lambda place: os.truncate(vectors(place), 100),
            "shorter than its catalog .*doctor --repair",
        ),
        (lambda place: shutil.rmtree(place.current()), "No index in"),
        (lambda place: tell(place, format=9), "has format 9"),
        (lambda place: tell(place, kind="model"), "no index but something else .* Name a"),
        (
            lambda place: (place.path / "footwork.json").write_text("{"),
            r"cannot be read\. footwork search doctor --repair",
        ),
    ],
)
def test_an_index_that_cannot_be_read_says_why_and_is_let_go_of(
    index: Path,
    open_connections: Callable[[], int],
    spoil: Callable[[IndexFolder], object],
    told: str,
) -> None:
    spoil(IndexFolder(index))
    with pytest.raises(StoreError, match=told), closing(IndexFolder(index).open()) as store:
        list(store.scan())
    assert open_connections() == 0


def test_only_one_writes_others_are_told_who_and_its_lock_ends_with_it(index: Path) -> None:
    place = IndexFolder(index)
    with process(WRITER, index) as writer:
        told = f"is being written by process {writer.pid} on "
        with pytest.raises(StoreError, match=told), place.writing():
            pass
        assert len(holdings(place)) == 6
        writer.kill()
    with place.writing():
        pass


def test_a_read_only_index_answers(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect

    def read_only(database: str, **options: object) -> sqlite3.Connection:
        if "mode=ro&immutable=1" in database:
            return real(database, **options)  # type: ignore[call-overload, no-any-return]
        raise sqlite3.OperationalError("unable to open database file")

    generation = index / "generation-1"
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (generation / name).unlink(missing_ok=True)
    monkeypatch.setattr("search.store.embedded.catalog.sqlite3.connect", read_only)
    assert len(holdings(IndexFolder(index))) == 6


def test_a_model_that_takes_over_while_an_index_is_opened_is_the_one_that_is_opened(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, later = IndexFolder(index), replace(EMBEDDER, fingerprint="thumb-2")
    opening = "search.place.EmbeddedStore"

    def publish_first(folder: Path) -> EmbeddedStore:
        if folder.name == "generation-1":
            monkeypatch.setattr(opening, EmbeddedStore)
            place.publish(later)
        return EmbeddedStore(folder)

    place.begin(later).close()
    monkeypatch.setattr(opening, publish_first)
    with closing(place.open()) as store:
        assert store.embedder == later
    assert [path.name for path in index.glob("*generation*")] == ["generation-2"]


def test_an_update_clears_what_a_killed_one_left(index: Path) -> None:
    left = [
        index / ".generation-2.footwork-abc",
        index / "generation-1" / ".texts.footwork-abc",
        index / "generation-1" / ".approximate-600000.faiss.123",
        index / ".footwork.json.abc",
    ]
    for path in left[:2]:
        (path / "tower").mkdir(parents=True)
    for path in left[2:]:
        path.write_text("{")
    with IndexFolder(index).writing():
        assert not any(path.exists() for path in left)
    assert len(holdings(IndexFolder(index))) == 6


@pytest.mark.parametrize(
    "later", [("date_from", "ctime_ns", "checksum"), ("date_from", "ctime_ns")]
)
def test_an_index_of_the_version_before_answers_and_is_brought_up_to_date(
    index: Path, later: tuple[str, ...]
) -> None:
    place = IndexFolder(index)
    with closing(place.open()) as store:
        before, sample = list(store.files()), store.sample(10)
    for column in later:
        execute(catalog(place), f"ALTER TABLE files DROP COLUMN {column}")
    execute(catalog(place), "PRAGMA user_version = 1")
    with closing(place.open()) as store:
        assert list(store.files()) == [replace(record, ctime_ns=None) for record in before]
        assert (store.sample(10) == sample).all()
    with closing(place.open()) as store:
        summary = indexed(store, index.parent / "photos")
        assert (summary.embedded, summary.unchanged) == (0, len(before))
        assert list(store.files()) == before


def test_an_older_index_that_cannot_be_written_says_so(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(catalog(IndexFolder(index)), "PRAGMA user_version = 1")

    def refuse(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr("search.store.embedded.catalog._written", refuse)
    with pytest.raises(StoreError, match=r"is of an earlier version, and cannot be written here"):
        EmbeddedStore(index / "generation-1")


def test_what_may_not_be_read_is_told_as_that(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorname = "SQLITE_CANTOPEN"
        raise error

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with closing(IndexFolder(index).open()) as store:
        monkeypatch.setattr("search.store.embedded.vectors.np.memmap", refuse)
        with pytest.raises(StoreError, match=r"vectors\.f32 may not be read\. Give yourself the "):
            store.sample(3)
    monkeypatch.setattr("search.store.embedded.catalog.sqlite3.connect", closed)
    with pytest.raises(StoreError, match=r"unable to open database file\. See that .* may be read"):
        IndexFolder(index).open()


def test_a_folder_of_other_things_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with (
        pytest.raises(StoreError, match="holds other files"),
        IndexFolder(tmp_path).writing(),
    ):
        pass
    model = tmp_path / "model"
    model.mkdir()
    (model / "footwork.json").write_text('{"application": "textclf"}')
    with (
        pytest.raises(StoreError, match="is no index but something else"),
        IndexFolder(model).writing(),
    ):
        pass
    assert len(list(model.iterdir())) == 1  # no lock, which could not be replaced with it
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="cannot be written"),
        IndexFolder(tmp_path / "file").writing(),
    ):
        pass


def test_which_index_is_meant_is_found_or_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    with pytest.raises(StoreError, match="There is no index yet"):
        find_index(None)
    roots = [tmp_path / name for name in ("a", "b")]
    for number, root in enumerate(roots):
        save_pictures(root, 1, first=number)
        index_of(find_index(None, (str(root),)).path, root)
    for names in (["b", "a"], ["c", "b", "a"]):
        found = find_index(None, tuple(str(tmp_path / name) for name in names))
        assert found.path == default_index(str(roots[1])).path
    with pytest.raises(StoreError, match=r"Which index\? Name one with --index: .*/a-.*/b-"):
        find_index(None)
    both, second = find_index(None, (str(roots[1]),)), save_picture(tmp_path / "c.png", 3)
    with closing(both.open()) as store:
        indexed(store, second)
    monkeypatch.chdir(roots[1])
    meant = (find_index(None), find_index(roots[1]), find_index(None, (str(roots[1]),)))
    of_second = (find_index(second), find_index(None, (str(second),)))
    assert {place.path for place in (*meant, *of_second)} == {both.path}
    assert find_index(tmp_path / "none").path == tmp_path / "none"


def test_a_folder_within_one_that_is_indexed_belongs_to_the_index_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    photos, part = tmp_path / "photos", tmp_path / "photos" / "2024"
    save_pictures(part, 2)
    of_photos = index_of(default_index(str(photos)).path, photos).path
    monkeypatch.chdir(part)
    meant = (find_index(None, (str(part),)), find_index(part), index_around(str(part)))
    assert {place.path for place in meant} == {of_photos}
    new = photos / "new.index"
    assert find_index(new, (str(part),)).path == new  # as it was named
    index_of(default_index(str(part)).path, part)
    meant = (find_index(None, (str(part),)), find_index(part), find_index(None))
    assert {place.path for place in meant} == {default_index(str(part)).path}


@pytest.mark.parametrize(
    "moment",
    [
        "search.store.embedded.catalog.sqlite3.connect",
        "search.store.embedded.store.open_catalog",
        "search.store.embedded.store.EmbeddedStore.__init__",
        "search.place.write_json",
    ],
)
def test_an_index_whose_making_was_cut_short_is_made_by_the_next_run(
    tmp_path: Path, moment: str
) -> None:
    script = (
        "import os, sys, pathlib, pkgutil\n"
        "from search.place import IndexFolder\n"
        "from tests.search.collections import EMBEDDER\n"
        "owner, name = sys.argv[2].rsplit('.', 1)\n"
        "setattr(pkgutil.resolve_name(owner), name, lambda *_, **__: os._exit(9))\n"
        "place = IndexFolder(pathlib.Path(sys.argv[1]))\n"
        "with place.writing(): place.begin(EMBEDDER)"
    )
    folder = tmp_path / "index"
    killed = subprocess.run([sys.executable, "-c", script, str(folder), moment], check=False)
    assert killed.returncode == 9
    place = IndexFolder(folder)
    with place.writing():
        place.begin(EMBEDDER).close()
    with closing(place.open()) as store:
        assert store.embedder == EMBEDDER
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["generation-1"]


def test_an_index_of_nothing_is_not_among_those_that_may_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    empty = default_index("/empty")
    with empty.writing():
        empty.begin(EMBEDDER).close()
    save_pictures(tmp_path / "photos", 2)
    index_of(default_index("/full").path, tmp_path / "photos")
    assert find_index(None).path == default_index("/full").path


def test_a_medium_that_cannot_be_written_is_told(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("search.place.exclusive_lock", refuse)
    with (
        pytest.raises(StoreError, match=r"cannot be written: Read-only file system\. Make"),
        IndexFolder(index).writing(),
    ):
        pass
    monkeypatch.setattr("search.query.texts.load_model", lambda *_: None)
    monkeypatch.setattr("search.query.texts.prepare_texts", refuse)
    with pytest.raises(StoreError, match=r"lacks what queries need, and cannot be written: Read-"):
        open_texts(index / "none", EMBEDDER)
