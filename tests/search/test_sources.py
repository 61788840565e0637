"""Files of embeddings by other hands: what an index takes of them, and what is told of the rest."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from footwork.arrays import FloatArray
from footwork.errors import ConfigError, DataError
from search.options import StoreOptions
from search.place import IndexFolder
from search.transfer.sources import NumpySource, ParquetSource
from search.transfer.transfer import copy_index, find_source
from tests.search.collections import again, save_pictures
from tests.search.test_transfer import model

ROW = [3.0, 4.0]
FIRST = b'{"path": "/a"}\n'
PATHS = FIRST + b'{"path": "/b"}\n'


def table(folder: Path, embeddings: Any, paths: Any = None, **options: Any) -> Path:
    """A file of embeddings, row by row, by other hands."""
    path = folder / "foreign.parquet"
    paths = paths or [f"/{row}" for row in range(len(embeddings))]
    columns = pyarrow.table({"path": paths, "embedding": embeddings})
    pyarrow.parquet.write_table(columns, path, **options)
    return path


def array(folder: Path, beside: bytes = PATHS, vectors: Any = ((1.0, 1.0), (1.0, 1.0))) -> Path:
    """Embeddings, and what stands beside them."""
    path = folder / "foreign.npy"
    np.save(path, np.asarray(vectors))
    path.with_suffix(".jsonl").write_bytes(beside)
    return path


def headed(folder: Path, header: bytes) -> Path:
    """An array that tells something else of itself."""
    path = array(folder)
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(16))
    return path


def zipped(folder: Path) -> Path:
    with array(folder).open("wb") as file:
        np.savez(file, np.ones((2, 2)))
    return folder / "foreign.npy"


def scribbled(folder: Path, name: str) -> Path:
    array(folder).with_name(name).write_bytes(b"something else")
    return folder / name


def spoilt(bad: Any) -> FloatArray:
    vectors = np.ones((4, 2), np.float32)
    vectors[[1, 3]] = bad
    return vectors


def lists(rows: Any, width: int = -1) -> Any:
    return pyarrow.array(rows, pyarrow.list_(pyarrow.float32(), width))


SIGNALLING = np.array([0x7FA00000] * 2, "<u4").view("<f4")
COUNTS = (b"1000000000000", b"10**30", b"99999999999999999999", b"-1")
SHAPES: list[tuple[int, ...]] = [(2, 2, 2), (2,), (), (2, 1 << 17)]
SECOND_LINES = {
    r"line 2 is no JSON \(Expecting value\)": b'{"path": \n',
    "line 2 is no JSON object": b'["/b"]\n',
    "'utf-8' codec can't decode byte 0xe9": b'{"path": "/\xe9"}\n',
    "maximum recursion depth": b"[" * 99999 + b"\n",
}
NAMELESS = [
    *(b'{"path": null}', b'{"name": "/b"}', b'{"path": "/\\u0000"}', b'{"path": "/\\ud800"}'),
    *(b'{"path": "/b", "path_bytes": [1]}', b'{"path": ""}'),
]
HEADERS = [
    *(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%b, 2), }" % count for count in COUNTS),
    b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
    b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
    *(b"(" * 5000, b"\xff\0"),
]
COLUMNS = {"double": [1.0, 2.0], "string": ["[3, 4]"], "list<.*: string>": [["3", "4"]]}
BAD: list[Any] = [[0.0], [np.nan], [np.inf], SIGNALLING]
WRONG: dict[str, list[Callable[[Path], Path]]] = {
    **{
        rf"^Cannot read .*foreign\.jsonl: {reason}.*\. Write it as UTF-8, a line": [
            partial(array, beside=FIRST + line)
        ]
        for reason, line in SECOND_LINES.items()
    },
    "rows 2 have no path": [partial(array, beside=FIRST + line) for line in NAMELESS],
    "rows 1 have no path": [
        partial(table, embeddings=[ROW], paths=[path]) for path in (["/a"], {"a": "/a"}, 5, None)
    ],
    **{
        rf"must hold a list of floats a row, got {kind}\. Save the": [
            partial(table, embeddings=rows)
        ]
        for kind, rows in COLUMNS.items()
    },
    r"rows 2, 4 have no embedding \(null\), 2 in this part\.": [
        partial(table, embeddings=lists([ROW, None, ROW, None], width)) for width in (-1, 2)
    ],
    "rows 2 are zero or no numbers": [
        partial(table, embeddings=lists([ROW, [3.0, None]], width)) for width in (-1, 2)
    ],
    "rows 2, 4 are zero or no numbers, 2 in this part": [
        partial(array, beside=2 * PATHS, vectors=spoilt(bad)) for bad in BAD
    ],
    "rows 1, 2 are zero or no numbers": [partial(array, vectors=np.ones((2, 0), np.float32))],
    "embeddings from row 1 on differ in width": [
        partial(table, embeddings=[[1.0], [1.0, 2.0, 3.0]])
    ],
    "must hold numbers of shape": [
        partial(array, vectors=np.ones(shape, np.float32)) for shape in SHAPES
    ],
    r"Cannot read .*foreign\.npy|must hold numbers of shape": [
        partial(headed, header=header) for header in HEADERS
    ],
    r"Cannot read .*/foreign\.(npy|parquet): .*\. Name a file that": [
        *(
            zipped,
            partial(scribbled, name="foreign.npy"),
            partial(scribbled, name="foreign.parquet"),
        )
    ],
}


@pytest.mark.parametrize(
    ("make", "told"), [(make, told) for told, makes in WRONG.items() for make in makes]
)
def test_what_is_no_file_of_embeddings_is_told_with_what_is(
    tmp_path: Path, make: Callable[[Path], Path], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        list(find_source(str(make(tmp_path)), StoreOptions()).batches())


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


def test_large_numbers_are_vectors_all_the_same(tmp_path: Path) -> None:
    rows = np.array([[3e300, 4e300], [3e-300, 4e-300]])
    (batch,) = NumpySource(array(tmp_path, PATHS, rows)).batches()
    assert np.allclose([one.vector for one in batch.embedded], [[0.6, 0.8]] * 2)


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


def test_a_table_of_others_needs_paths_and_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    rows = pyarrow.table({"path": ["/a"], "embedding": [[3.0, 4.0]]})
    pyarrow.parquet.write_table(rows, path)
    (batch,) = ParquetSource(path).batches()
    assert np.allclose(batch.embedded[0].vector, [0.6, 0.8])
    twice = pyarrow.table([["/a"], ["/a"], [ROW]], names=["path", "path", "embedding"])
    for others in (rows.drop_columns(["path"]), twice):
        pyarrow.parquet.write_table(others, path)
        with pytest.raises(DataError, match=r"lacks the column path, or has it twice\. Name"):
            ParquetSource(path)


def test_paths_and_embeddings_have_to_agree_in_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 rows, but beside it stand 1 paths\\. Write a line"):
        NumpySource(array(tmp_path, FIRST))
    (tmp_path / "foreign.jsonl").unlink()
    with pytest.raises(DataError, match=r'in foreign\.jsonl, a line like {"path": "/photos/a\.jpg'):
        NumpySource(tmp_path / "foreign.npy")


@pytest.mark.parametrize(
    ("ending", "beside"),
    [(".csv", 'n,path\n1,"/p/a, b.jpg"\n2,/p/é.jpg\n'), (".txt", "/p/a, b.jpg\n/p/é.jpg\n")],
)
def test_a_list_of_paths_that_is_no_jsonl_is_refused_with_what_converts_it(
    tmp_path: Path, ending: str, beside: str
) -> None:
    path = tmp_path / "it's.npy"
    np.save(path, np.ones((2, 2), np.float32))
    path.with_suffix(ending).write_text(beside, "utf-8")
    with pytest.raises(DataError, match=rf"for each row, not in it's\{ending}\. Make it:") as told:
        find_source(str(path), StoreOptions())
    subprocess.run(str(told.value).partition("Make it:\n")[2], shell=True, check=True)
    (batch,) = find_source(str(path), StoreOptions()).batches()
    assert [one.record.path for one in batch.embedded] == ["/p/a, b.jpg", "/p/é.jpg"]


@pytest.mark.parametrize("name", ["vectors.csv", "vectors.TSV", "vectors.txt"])
def test_a_text_file_of_embeddings_is_refused_with_what_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("path,embedding\n/a,0.6 0.8\n")
    with pytest.raises(ConfigError, match=rf"a \.parquet or a \.npy file, not from .*/{name}\. S"):
        find_source(str(tmp_path / name), StoreOptions())


TOLD = {"kind": "embeddings", "format": 2, "model": asdict(model(2)), "roots": ["/p"]}
"""What an export says of itself."""
GOOD: dict[str, Any] = {
    "path": "/p/a.jpg",
    "path_bytes": None,
    "bytes": 5,
    "mtime_ns": 7,
    "ctime_ns": None,
    "content": "ab",
    "format": "jpeg",
    "width": 3,
    "height": 2,
    "date": 0,
    "date_from": "picture",
    "camera": None,
    "labels": {"cat": 0.5},
}
"""A row of an export."""


def export(folder: Path, row: Any, vector: Any = (0.6, 0.8), told: Any = TOLD) -> Path:
    """An export of one row, that other hands may have been at."""
    path = folder / "crafted.npy"
    np.save(path, np.array([vector], np.float32))
    path.with_suffix(".jsonl").write_text(f"{json.dumps(row)}\n", "utf-8")
    path.with_suffix(".json").write_text(json.dumps(told), "utf-8")
    return path


CRAFTED = [
    ("path", "p/a.jpg"),
    ("path", "/p/../a.jpg"),
    ("bytes", -1),
    ("bytes", None),
    ("bytes", 2**63),
    ("mtime_ns", 1e30),
    ("ctime_ns", 2**63),
    ("date_from", "hearsay"),
    ("content", "../../x"),
    ("content", None),
    ("format", 5),
    ("format", "\x1b[2J"),
    ("width", 0),
    ("date", "now"),
    ("camera", ["x"]),
    ("camera", "\ud800"),
    ("labels", [1]),
    ("labels", {"cat": float("nan")}),
    ("labels", {"\ud800": 0.5}),
    ("labels", "[" * 99999),
]


@pytest.mark.parametrize(("column", "value"), CRAFTED)
def test_values_that_no_export_has_are_refused(tmp_path: Path, column: str, value: Any) -> None:
    with pytest.raises(DataError, match="rows from 1 on are not as footwork search export writes"):
        list(NumpySource(export(tmp_path, GOOD | {column: value})).batches())
    lacking = {name: kept for name, kept in GOOD.items() if name != column}
    with pytest.raises(DataError, match=r"\(KeyError|have no path"):
        list(NumpySource(export(tmp_path, lacking)).batches())


@pytest.mark.parametrize("vector", [(1e30, 0.0), (1.0, 1.0), (0.1, 0.0)])
def test_vectors_of_an_export_are_of_length_1(tmp_path: Path, vector: Any) -> None:
    assert list(NumpySource(export(tmp_path, GOOD)).batches())
    with pytest.raises(DataError, match="rows 1 are not of length 1"):
        list(NumpySource(export(tmp_path, GOOD, vector)).batches())


@pytest.mark.parametrize(
    "change",
    [
        {"model": [1]},
        {"model": asdict(model(2)) | {"width": "2"}},
        {"model": asdict(model(2)) | {"model_id": 5}},
        {"roots": [5]},
        {"exclusions": {"patterns": "*", "removed": []}},
        {"kind": "index"},
    ],
)
def test_an_export_that_tells_of_no_model_is_refused(tmp_path: Path, change: Any) -> None:
    with pytest.raises(DataError, match="was not written by footwork search export"):
        NumpySource(export(tmp_path, GOOD, told=TOLD | change))


def test_rows_that_lead_to_no_image_are_skipped_and_told(tmp_path: Path) -> None:
    picture, text, pipe = (tmp_path / name for name in ("a.pgm", "shadow", "pipe.jpg"))
    picture.write_bytes(b"P5 1 1 255\nx")
    text.write_text("root:$6$salt$hash:19000:0:99999:7:::\n")
    os.mkfifo(pipe)
    paths = [picture, text, pipe, "/dev/zero", tmp_path, "/gone.jpg", f"{tmp_path}/./a.pgm"]
    np.save(tmp_path / "x.npy", np.ones((len(paths), 2), np.float32))
    lines = (json.dumps({"path": str(path)}) + "\n" for path in paths)
    (tmp_path / "x.jsonl").write_text("".join(lines))
    (batch,) = NumpySource(tmp_path / "x.npy").batches()
    found = [(one.record.path, one.record.present) for one in batch.embedded]
    assert found == [(str(picture), True), ("/gone.jpg", False)]  # a path once, by its last row
    assert {one.path: one.fault for one in batch.unreadable} == {
        str(text): "it is no picture of a known kind",
        str(pipe): "it is no regular file",
        "/dev/zero": "it is no regular file",
        str(tmp_path): "it is a folder",
    }
    (batch,) = NumpySource(export(tmp_path, GOOD | {"path": str(text)})).batches()
    assert (batch.embedded, len(batch.unreadable)) == ([], 1)


def clip_retrieval(
    folder: Path, *parts: Sequence[str], flat: bool = False, column: str = "image_path"
) -> FloatArray:
    """What clip-retrieval writes of some images, part by part; their vectors, float16."""
    places = (folder, folder) if flat else (folder / "img_emb", folder / "metadata")
    vectors = np.random.default_rng(0).normal(size=(sum(map(len, parts)), 8)).astype(np.float16)
    first = 0
    for number, paths in enumerate(parts):
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        np.save(places[0] / f"img_emb_{number}.npy", vectors[first : first + len(paths)])
        table = pyarrow.table({column: paths, "caption": ["a cat"] * len(paths)})
        pyarrow.parquet.write_table(table, places[1] / f"metadata_{number}.parquet")
        first += len(paths)
    return vectors.astype(np.float32)


@pytest.mark.parametrize("flat", [False, True])
def test_what_clip_retrieval_wrote_is_copied_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat: bool
) -> None:
    photos = [str(path) for path in save_pictures(tmp_path / "photos", 11)]
    parts = [[photo] for photo in photos[:10]] + [[photos[10], "/gone.jpg"]]
    wanted = clip_retrieval(tmp_path / "embeddings", *parts, flat=flat)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    monkeypatch.setattr("search.transfer.transfer._stated_embedder", lambda *_: model(8))
    target = IndexFolder(tmp_path / "target")
    source = find_source(str(tmp_path / "embeddings"), StoreOptions())
    done = copy_index(source, target)
    assert (done.copied, done.absent, done.unchanged) == (12, 1, 0)
    assert "1 file of them cannot be found on this machine" in done.notes[-1]
    with closing(target.open()) as store:
        found = store.vectors([*photos, "/gone.jpg"])
        rows = np.stack([found[path] for path in (*photos, "/gone.jpg")])
        np.testing.assert_allclose(rows, wanted, atol=1e-6)
        assert again(store, tmp_path / "photos").unchanged == 11
    assert copy_index(source, target).unchanged == 11


def test_a_part_of_clip_retrieval_is_named_by_itself_or_told_what_it_lacks(tmp_path: Path) -> None:
    clip_retrieval(tmp_path, ["/a.jpg", "/b.jpg"], ["/c.jpg"])
    part = tmp_path / "img_emb" / "img_emb_1.npy"
    (batch,) = find_source(str(part), StoreOptions()).batches()
    assert [one.record.path for one in batch.embedded] == ["/c.jpg"]
    (tmp_path / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(DataError, match=r"or, as clip-retrieval writes them, in metadata_1\.parq"):
        find_source(str(tmp_path), StoreOptions())
    clip_retrieval(tmp_path, ["/a.jpg"], [], column="url")
    with pytest.raises(DataError, match="lacks the column image_path, which tells the files"):
        find_source(str(tmp_path), StoreOptions())
    (tmp_path / "metadata" / "metadata_0.parquet").write_bytes(b"none")
    with pytest.raises(DataError, match=r"Cannot read .*metadata_0\.parquet"):
        find_source(str(tmp_path), StoreOptions())
    clip_retrieval(tmp_path, ["/a.jpg", "/b.jpg"])
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.ones((3, 8)))
    with pytest.raises(DataError, match=r"has 3 rows, but beside it stand 2 paths"):
        find_source(str(tmp_path), StoreOptions())
