"""The vector file shrinks where much was deleted; nothing else changes, for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.errors import StoreError
from search.store.embedded import vectors
from search.store.embedded.catalog import Catalog
from search.store.embedded.repair import inspect_folder
from search.store.embedded.store import EmbeddedStore
from search.store.embedded.vectors import VectorFile, compact
from search.store.protocol import Changes
from tests.search.collections import held
from tests.search.store_contract import EmbeddedEngine, known, vector_of, write_images


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with closing(EmbeddedEngine(tmp_path).make()) as made:
        yield made


def test_compaction_keeps_every_vector_and_open_readers_go_on(store: EmbeddedStore) -> None:
    paths = [f"/p/{n:04d}" for n in range(5000)]
    write_images(store, *paths)
    store.write(Changes(forgotten=paths[::2], absent=paths[1::20]))
    before, files = held(store), known(store)
    with closing(EmbeddedStore(store.folder)) as reader:
        half = reader.scan()
        first = next(half)
        assert compact(store.folder) == 2500
        assert compact(store.folder) == 0
        assert [path.name for path in store.folder.glob("*.f32")] == ["vectors-2.f32"]
        assert (store.folder / "vectors-2.f32").stat().st_size == 2500 * 8 * 4
        for block in (first, *half):
            for image, vector in zip(block.records, block.vectors, strict=True):
                assert np.array_equal(vector, vector_of(image.path))
        for one in (store, reader):
            assert held(one) == before
            assert known(one) == files
        write_images(store, "/p/new")
        assert held(reader).keys() == before.keys() | {"/p/new"}


def test_an_update_compacts_once_a_quarter_is_holes(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "FEWEST_HOLES", 5)
    paths = [f"/p/{n}" for n in range(40)]
    write_images(store, *paths)
    for forgotten, slots in ((paths[:10], 40), (paths[10:12], 28)):
        store.write(Changes(forgotten=forgotten))
        store.finish(np.zeros((0, 8), np.float32))
        (file,) = store.folder.glob("*.f32")
        assert file.stat().st_size == slots * 8 * 4


def test_killed_before_the_catalog_names_the_new_file_it_starts_over(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    write_images(store, "/a", "/b", "/c")
    store.write(Changes(forgotten=["/a"]))
    before = held(store)
    with monkeypatch.context() as patched:
        patched.setattr(Catalog, "run_many", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compact(store.folder)
    assert held(store) == before
    assert (store.folder / "vectors-2.f32").exists()
    assert compact(store.folder) == 1
    assert held(store) == before
    assert [path.name for path in store.folder.glob("*.f32")] == ["vectors-2.f32"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.search(vector_of("/p/3")[None], 1)[0].records[0].path == "/p/3",
        lambda store: store.find_words("3", 1).records[0].path == "/p/3",
        lambda store: np.array_equal(store.vectors(["/p/3"])["/p/3"], vector_of("/p/3")),
        lambda store: held(store).keys() == {"/p/3", "/p/4"},
        lambda store: len(store.sample(9)) == 2,
    ],
)
def test_a_reader_whose_vectors_move_away_before_it_opens_them_finds_the_new_ones(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, ask: Callable[[EmbeddedStore], bool]
) -> None:
    opened = []

    def compact_first(path: Path, width: int) -> VectorFile:
        if not opened:
            assert compact(path.parent) == 3
        opened.append(path.name)
        return VectorFile(path, width)

    write_images(store, *(f"/p/{n}" for n in range(5)))
    store.write(Changes(forgotten=["/p/0", "/p/1", "/p/2"]))
    monkeypatch.setattr("search.store.embedded.store.VectorFile", compact_first)
    with closing(EmbeddedStore(store.folder)) as reader:
        assert ask(reader)
    assert opened == ["vectors.f32", "vectors-2.f32"]


def test_a_thread_that_began_before_a_compaction_keeps_its_vectors_while_others_take_the_new_ones(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Callable[[], None]] = []

    class Interrupted(VectorFile):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name == "path" and waiting:
                waiting.pop()()
            return value

    def compact_and_read() -> None:
        assert compact(store.folder) == 3
        write_images(store, *(f"/new/{n}" for n in range(5)))  # the new file is no shorter
        with ThreadPoolExecutor(1) as others:
            others.submit(reader.vectors, ["/p/4"]).result()
            others.submit(reader.close).result()

    write_images(store, *(f"/p/{n}" for n in range(5)))
    store.write(Changes(forgotten=["/p/0", "/p/1", "/p/2"]))
    monkeypatch.setattr("search.store.embedded.store.VectorFile", Interrupted)
    with closing(EmbeddedStore(store.folder)) as reader:
        reader.vectors(["/p/3"])
        waiting.append(compact_and_read)
        for _ in range(2):  # before, and after
            assert np.array_equal(reader.vectors(["/p/3"])["/p/3"], vector_of("/p/3"))
    assert not waiting


def test_a_thread_gets_its_rows_though_another_maps_fewer(tmp_path: Path) -> None:
    class Interrupted(VectorFile):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value[:2] if name == "_mapped" else value)

    file = Interrupted(tmp_path / "vectors.f32", 8)
    file.write(0, np.ones((3, 8), np.float32))
    assert len(file.rows(3)) == 3


def test_an_examination_during_a_compaction_takes_nothing_for_lost(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, opened = VectorFile.stored, []

    def compact_first(file: VectorFile) -> int:
        if not opened:
            opened.append(compact(file.path.parent))
        return stored(file)

    write_images(store, "/a", "/b", "/c")
    store.write(Changes(forgotten=["/a"]))
    monkeypatch.setattr(VectorFile, "stored", compact_first)
    assert [one.kind for one in inspect_folder(store.folder)] == ["no copy of the catalog"]
    assert opened == [1]


def test_a_full_disk_leaves_all_as_it_was(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    write_images(store, "/a", "/b")
    store.write(Changes(forgotten=["/a"]))
    monkeypatch.setattr(vectors.os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"No space left on device\. Make room"):
        compact(store.folder)
    assert [path.name for path in store.folder.glob("*.f32")] == ["vectors.f32"]
    assert list(held(store)) == ["/b"]
