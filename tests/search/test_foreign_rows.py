"""Rows of files by other hands: what an index takes of them, and what it does not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.errors import DataError
from search.transfer.sources import NumpySource
from tests.search.filled import model

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
    ((images, faults),) = NumpySource(tmp_path / "x.npy").batches()
    found = [(one.record.path, one.record.present) for one in images]
    assert found == [(str(picture), True), ("/gone.jpg", False)]  # a path once, by its last row
    assert {one.path: one.fault for one in faults} == {
        str(text): "it is no picture of a known kind",
        str(pipe): "it is no regular file",
        "/dev/zero": "it is no regular file",
        str(tmp_path): "it is a folder",
    }
    ((images, faults),) = NumpySource(export(tmp_path, GOOD | {"path": str(text)})).batches()
    assert (images, len(faults)) == ([], 1)
