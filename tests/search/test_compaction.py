"""The vector file shrinks where much was deleted; nothing else changes, for nobody."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import StoreError
from search.store.embedded import EmbeddedStore, compaction
from search.store.embedded.compaction import compact
from search.store.protocol import Changes
from tests.search.collections import held
from tests.search.store_contract import EmbeddedEngine, known, vector_of, write_images


def test_compaction_keeps_every_vector_and_open_readers_go_on(tmp_path: Path) -> None:
    with closing(EmbeddedEngine(tmp_path).make()) as store:
        assert isinstance(store, EmbeddedStore)
        paths = [f"/p/{n:04d}" for n in range(5000)]
        write_images(store, *paths)
        store.write(Changes(forgotten=paths[::2], absent=paths[1::20]))
        before, files = held(store), known(store)
        reader = EmbeddedStore.open(store.folder)
        half = reader.scan()
        first = next(half)
        assert compact(store.folder) == 2500
        assert compact(store.folder) == 0
        assert [path.name for path in store.folder.glob("*.f32")] == ["vectors-2.f32"]
        assert (store.folder / "vectors-2.f32").stat().st_size == 2500 * 8 * 4
        for image, vector in zip(first.records, first.vectors, strict=True):
            assert np.array_equal(vector, vector_of(image.path))
        for block in half:
            for image, vector in zip(block.records, block.vectors, strict=True):
                assert np.array_equal(vector, vector_of(image.path))
        for one in (store, reader):
            assert held(one) == before
            assert known(one) == files
        write_images(store, "/p/new")
        assert held(reader).keys() == before.keys() | {"/p/new"}
        reader.close()


def test_an_update_compacts_once_a_quarter_is_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FEWEST_HOLES", 5)
    with closing(EmbeddedEngine(tmp_path).make()) as store:
        paths = [f"/p/{n}" for n in range(40)]
        write_images(store, *paths)
        for forgotten, slots in ((paths[:10], 40), (paths[10:12], 28)):
            store.write(Changes(forgotten=forgotten))
            store.finish(np.zeros((0, 8), np.float32))
            (file,) = (tmp_path / "1").glob("*.f32")
            assert file.stat().st_size == slots * 8 * 4


def test_killed_before_the_catalog_names_the_new_file_it_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with closing(EmbeddedEngine(tmp_path).make()) as store:
        write_images(store, "/a", "/b", "/c")
        store.write(Changes(forgotten=["/a"]))
        before = held(store)
        with monkeypatch.context() as patched:
            patched.setattr(compaction, "_renumber", interrupt)
            with pytest.raises(KeyboardInterrupt):
                compact(tmp_path / "1")
        assert held(store) == before
        assert (tmp_path / "1" / "vectors-2.f32").exists()
        assert compact(tmp_path / "1") == 1
        assert held(store) == before
        assert [path.name for path in (tmp_path / "1").glob("*.f32")] == ["vectors-2.f32"]


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with closing(EmbeddedEngine(tmp_path).make()) as store:
        write_images(store, "/a", "/b")
        store.write(Changes(forgotten=["/a"]))
        monkeypatch.setattr(compaction.os, "fsync", refuse)
        with pytest.raises(StoreError, match=r"No space left on device\. Make room"):
            compact(tmp_path / "1")
        assert [path.name for path in (tmp_path / "1").glob("*.f32")] == ["vectors.f32"]
        assert list(held(store)) == ["/b"]
