"""Files that embeddings cannot be copied from are told as what they are, and no index is begun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import DataError
from search.options import StoreOptions
from search.place import IndexFolder
from search.transfer.sources import NumpySource, ParquetSource
from search.transfer.transfer import copy_index, find_source
from tests.search.filled import model

ROW = [3.0, 4.0]
PATHS = b'{"path": "/a"}\n{"path": "/b"}\n'


def table(folder: Path, embeddings: Any, **options: Any) -> Path:
    """A file of embeddings, row by row, by other hands."""
    path = folder / "foreign.parquet"
    paths = [f"/{row}" for row in range(len(embeddings))]
    columns = pyarrow.table({"path": paths, "embedding": embeddings})
    pyarrow.parquet.write_table(columns, path, **options)
    return path


def array(folder: Path, beside: bytes) -> Path:
    """Two embeddings, and what stands beside them."""
    path = folder / "foreign.npy"
    np.save(path, np.ones((2, 2), np.float32))
    path.with_suffix(".jsonl").write_bytes(beside)
    return path


BESIDE = [
    (b'{"path": "/a"}\n{"path": \n', r"line 2 is no JSON \(Expecting value\)"),
    (b'{"path": "/a"}\n["/b"]\n', "line 2 is no JSON object"),
    (b'{"path": "/a"}\n{"path": "/\xe9"}\n', "'utf-8' codec can't decode byte 0xe9"),
    (b'{"path": "/a"}\n' + b"[" * 99999 + b"\n", "maximum recursion depth"),
]


@pytest.mark.parametrize(("beside", "reason"), BESIDE)
def test_paths_that_cannot_be_read_are_told(tmp_path: Path, beside: bytes, reason: str) -> None:
    with pytest.raises(
        DataError, match=rf"^Cannot read .*foreign\.jsonl: {reason}.*\. Write it as UTF-8, a line"
    ):
        NumpySource(array(tmp_path, beside))


@pytest.mark.parametrize(
    "beside",
    [
        b'{"path": "/a"}\n{"path": null}\n',
        b'{"path": "/a"}\n{"name": "/b"}\n',
        b'{"path": "/a"}\n{"path": "/\\u0000"}\n',
        b'{"path": "/a"}\n{"path": "/\\ud800"}\n',
        b'{"path": "/a"}\n{"path": "/b", "path_bytes": [1]}\n',
        b'{"path": "/a"}\n{"path": ""}\n',
    ],
)
def test_rows_without_a_path_are_named(tmp_path: Path, beside: bytes) -> None:
    source = NumpySource(array(tmp_path, beside))
    with pytest.raises(DataError, match="rows 2 have no path"):
        list(source.batches())


@pytest.mark.parametrize(
    ("embeddings", "kind"),
    [([1.0, 2.0], "double"), (["[3, 4]"], "string"), ([["3", "4"]], "list<.*: string>")],
)
def test_a_column_that_holds_no_lists_of_floats_is_told(
    tmp_path: Path, embeddings: Any, kind: str
) -> None:
    with pytest.raises(
        DataError, match=f"must hold a list of floats a row, got {kind}\\. Save the"
    ):
        ParquetSource(table(tmp_path, embeddings))


@pytest.mark.parametrize(
    "kind", [pyarrow.list_(pyarrow.float16()), pyarrow.list_(pyarrow.float64(), 2)]
)
def test_lists_of_floats_of_every_kind_are_read(tmp_path: Path, kind: Any) -> None:
    rows = [np.array(ROW, kind.value_type.to_pandas_dtype())] * 2
    ((images, _),) = ParquetSource(table(tmp_path, pyarrow.array(rows, kind))).batches()
    assert np.allclose([one.vector for one in images], [[0.6, 0.8]] * 2)
    empty = ParquetSource(table(tmp_path, pyarrow.array([], kind)))
    assert list(empty.batches()) == []


@pytest.mark.parametrize("width", [-1, 2])
def test_embeddings_that_are_null_are_named_as_that(tmp_path: Path, width: int) -> None:
    kind = pyarrow.list_(pyarrow.float32(), width)
    path = table(tmp_path, pyarrow.array([ROW, None, ROW, None], kind))
    with pytest.raises(DataError, match=r"rows 2, 4 have no embedding \(null\), 2 in this part\."):
        list(ParquetSource(path).batches())
    path = table(tmp_path, pyarrow.array([ROW, [3.0, None]], kind))
    with pytest.raises(DataError, match="rows 2 are zero or no numbers"):
        list(ParquetSource(path).batches())


def test_embeddings_of_several_widths_are_refused_even_where_their_sum_would_do(
    tmp_path: Path,
) -> None:
    path = table(tmp_path, [[1.0], [1.0, 2.0, 3.0]])
    with pytest.raises(DataError, match="embeddings from row 1 on differ in width"):
        list(ParquetSource(path).batches())


def test_a_table_that_is_damaged_is_told(tmp_path: Path) -> None:
    path = table(tmp_path, [[n, 1.0] for n in range(999)], compression="none", use_dictionary=False)
    whole = bytearray(path.read_bytes())
    whole[4:400] = b"\xff" * 396  # of the first page
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"^Cannot read .*foreign\.parquet: .*\. Name a file that"):
        list(ParquetSource(path).batches())
    rows = pyarrow.table({"path": ["/a"], "embedding": [ROW]})
    pyarrow.parquet.write_table(rows.replace_schema_metadata({b"footwork": b"{"}), path)
    with pytest.raises(DataError, match="was not written by footwork search export"):
        ParquetSource(path)


@pytest.mark.parametrize("embeddings", [[ROW, None], [ROW, ROW]])
def test_no_index_is_begun_for_a_file_whose_first_rows_are_wrong(
    tmp_path: Path, embeddings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.transfer.transfer._stated_embedder", lambda *_: model(8))
    target = IndexFolder(tmp_path / "target")
    with pytest.raises(DataError, match=r"have no embedding|gives embeddings 8 wide, but"):
        copy_index(find_source(str(table(tmp_path, embeddings)), StoreOptions()), target)
    assert not target.exists


def test_a_damaged_number_is_told_without_a_warning(tmp_path: Path) -> None:
    path = array(tmp_path, PATHS)
    signalling = np.array([0x7FA00000] * 4, "<u4").view("<f4").reshape(2, 2)
    np.save(path, signalling)
    with pytest.raises(DataError, match="rows 1, 2 are zero or no numbers"):
        list(NumpySource(path).batches())


def test_large_numbers_are_vectors_all_the_same(tmp_path: Path) -> None:
    rows = np.array([[3e300, 4e300], [3e-300, 4e-300]])
    np.save(array(tmp_path, PATHS), rows)
    ((images, _),) = NumpySource(tmp_path / "foreign.npy").batches()
    assert np.allclose([one.vector for one in images], [[0.6, 0.8]] * 2)


HEADERS = [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 2), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (10**30, 2), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
    b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
    b"(" * 5000,
    b"\xff\0",
]


@pytest.mark.parametrize("header", HEADERS)
def test_an_array_that_cannot_be_is_told(tmp_path: Path, header: bytes) -> None:
    path = array(tmp_path, PATHS)
    size = len(header).to_bytes(2, "little")
    path.write_bytes(b"\x93NUMPY\1\0" + size + header + bytes(16))
    with pytest.raises(DataError, match=r"Cannot read .*foreign\.npy|must hold numbers of shape"):
        NumpySource(path)


def test_a_zip_of_arrays_and_more_than_two_axes_are_told(tmp_path: Path) -> None:
    path = array(tmp_path, PATHS)
    with path.open("wb") as file:
        np.savez(file, np.ones((2, 2)))
    with pytest.raises(DataError, match=r"Cannot read .*foreign\.npy"):
        NumpySource(path)
    for shape in [(2, 2, 2), (2,), (), (2, 1 << 17)]:
        np.save(path, np.ones(shape, np.float32))
        with pytest.raises(DataError, match="must hold numbers of shape"):
            NumpySource(path)
    np.save(path, np.ones((2, 0), np.float32))
    with pytest.raises(DataError, match="rows 1, 2 are zero or no numbers"):
        list(NumpySource(path).batches())


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_a_pipe_is_no_file_of_embeddings(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "x.jsonl").write_bytes(PATHS)
    with pytest.raises(DataError, match=rf"Cannot read .*/{name}: it is no regular file"):
        find_source(str(tmp_path / name), StoreOptions())


def test_only_the_columns_that_are_needed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "foreign.parquet"
    columns = {"path": ["/a"], "embedding": [ROW], "thumbnail": [b"x"], "nested": [{"a": [1]}]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    read: list[Any] = []
    whole = pyarrow.parquet.ParquetFile.iter_batches

    def counted(self: Any, *words: Any, **options: Any) -> Any:
        for batch in whole(self, *words, **options):
            read.append(batch.schema.names)
            yield batch

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", counted)
    assert len(list(ParquetSource(path).batches())) == 1
    assert read == [["embedding", "path"]]


@pytest.mark.parametrize("paths", [[["/a"]], [{"a": "/a"}], [5], [None]])
def test_a_column_of_paths_that_holds_no_texts_is_told(tmp_path: Path, paths: Any) -> None:
    path = tmp_path / "foreign.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"path": paths, "embedding": [ROW]}), path)
    with pytest.raises(DataError, match="rows 1 have no path"):
        list(ParquetSource(path).batches())
    twice = pyarrow.table([paths, paths, [ROW]], names=["path", "path", "embedding"])
    pyarrow.parquet.write_table(twice, path)
    with pytest.raises(DataError, match="lacks the column path, or has it twice"):
        ParquetSource(path)
