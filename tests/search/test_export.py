"""Other programs read what is exported, and find it complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import ConfigError, DataError, FootworkError, StoreError
from search.filters import Filter
from search.place import IndexFolder
from search.store.protocol import Store
from search.transfer.export import NUMPY_ENDINGS, export_images
from tests.search.filled import ODD, filled, model


@pytest.fixture
def place(tmp_path: Path) -> IndexFolder:
    """An index with every kind of file."""
    return filled(tmp_path / "source", model(8))


def test_a_filter_chooses_what_is_exported(place: IndexFolder, tmp_path: Path) -> None:
    with closing(place.open()) as store:
        out = tmp_path / "deep.parquet"
        assert export_images(store, out, Filter(folders=("/p/deep",))) == 1
        assert export_images(store, tmp_path / "none.npy", Filter(folders=("/none",))) == 0
    assert pyarrow.parquet.read_table(out).column("path").to_pylist() == ["/p/deep/b.jpg"]
    assert np.load(tmp_path / "none.npy").shape == (0, 8)


def test_other_programs_read_the_files(place: IndexFolder, tmp_path: Path) -> None:
    with closing(place.open()) as store:
        export_images(store, tmp_path / "all.parquet")
        export_images(store, tmp_path / "all.npy")
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    told = json.loads(table.schema.metadata[b"footwork"])
    assert told["model"]["width"] == 8
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), 8)
    rows = table.to_pylist()
    assert json.loads(rows[0]["labels"]) == {"cat": 0.75, "dög": 0.25}
    assert os.fsencode(ODD) in [row["path_bytes"] for row in rows]
    lines = (tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row["path"] for row in rows]
    assert np.array_equal(np.load(tmp_path / "all.npy"), [row["embedding"] for row in rows])


def test_an_export_that_fails_leaves_what_was_there(place: IndexFolder, tmp_path: Path) -> None:
    class Failing:
        def __init__(self, store: Store) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        def scan(self, where: Filter) -> Iterator[Any]:
            yield from self._store.scan(where)
            raise StoreError("The server is gone.")

    for name in ("all.parquet", "all.npy"):
        with closing(place.open()) as store:
            export_images(store, tmp_path / name)
            before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
            with pytest.raises(StoreError, match="is gone"):
                export_images(Failing(store), tmp_path / name)  # type: ignore[arg-type]
        assert before == {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_an_export_replaces_what_an_export_wrote_and_nothing_else(
    place: IndexFolder, tmp_path: Path
) -> None:
    vectors, rows, model = (tmp_path / f"all{ending}" for ending in NUMPY_ENDINGS)
    with closing(place.open()) as store:
        for foreign in (vectors, tmp_path / "all.parquet"):
            foreign.write_bytes(b"mine")
            with pytest.raises(ConfigError, match=rf"{foreign.name} is not replaced"):
                export_images(store, foreign)
            assert foreign.read_bytes() == b"mine"
        vectors.unlink()
        for where in (Filter(), Filter(folders=("/none",)), Filter()):
            export_images(store, vectors, where)
        assert len(np.load(vectors)) == 5
        before = vectors.read_bytes()
        for path, own in ((rows, '{"path": "/a", "caption": "x"}\n'), (model, '{"kind": "mine"}')):
            kept = path.read_bytes()
            path.write_text(own)
            with pytest.raises(ConfigError, match=r"all\.\w+ is not replaced"):
                export_images(store, vectors)
            assert (path.read_text(), vectors.read_bytes()) == (own, before)
            path.unlink()
            os.mkfifo(path)
            with pytest.raises(
                FootworkError, match=r"no file but a pipe or a device\. Name|is not replaced"
            ):
                export_images(store, vectors)
            path.unlink()
            path.write_bytes(kept)


def test_another_ending_and_a_missing_folder_are_refused(
    place: IndexFolder, tmp_path: Path
) -> None:
    with closing(place.open()) as store:
        with pytest.raises(ConfigError, match=r"must be \.parquet or \.npy, got '\.csv'"):
            export_images(store, tmp_path / "all.csv")
        with pytest.raises(
            DataError, match=r"Cannot write .*/no/all\.npy: no such folder\. Name a file in"
        ):
            export_images(store, tmp_path / "no" / "all.npy")
