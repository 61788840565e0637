"""Images with their embeddings as files that other programs read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from footwork.errors import ConfigError
from footwork.files.faults import why
from footwork.files.folders import published_file
from footwork.files.outputs import require_writable, unwritable
from footwork.files.paths import path_text
from search.filters import EVERYTHING, Filter
from search.paths import stored_text
from search.records import ImageRecord
from search.store.protocol import Block, Store

KIND, FORMAT = "embeddings", 2
METADATA = b"footwork"
"""Key of the schema's metadata in Parquet, whose value is JSON: as of `_description`."""
NUMPY_ENDINGS = (".npy", ".jsonl", ".json")
"""Of an export's three files: embeddings, images, model."""
SAME = ("mtime_ns", "ctime_ns", "content", "format", "width", "height", "date", "date_from")
"""Columns that are called as in a record."""


def export_images(store: Store, out: Path, where: Filter = EVERYTHING) -> int:
    """Write the present images with their embeddings; each file is complete or absent.

    A .parquet file holds all of it. In it `path` is text for people, in which bytes that are no
    UTF-8 stand as escapes, and `path_bytes` the name as the file system has it. A .npy file holds
    the embeddings, float32 of shape (N, D); beside it `OUT.jsonl` has the images row by row, and
    `OUT.json` the model. They are replaced if an export wrote them. Memory does not grow with the
    number of images, which is returned.

    Raises:
        ConfigError: `out` has another ending, or what no export wrote would be replaced.
        DataError: It cannot be written.
    """
    require_exportable(out)
    try:
        return _WRITERS[out.suffix.lower()](store, out, where)
    except OSError as error:
        raise unwritable(out, why(error)) from error


def require_exportable(out: Path) -> None:
    """See that images can be exported to a file, and nothing is lost; raises as `export_images`."""
    ending = out.suffix.lower()
    if ending not in _WRITERS:
        raise ConfigError(
            f"The ending of {out.name} must be {' or '.join(_WRITERS)}, got "
            f"{out.suffix or 'none'!r}."
        )
    beside = NUMPY_ENDINGS[1:] if ending == ".npy" else ()
    for path in (out, *map(out.with_suffix, beside)):
        require_writable(path, _is_exported)


def _description(store: Store) -> dict[str, Any]:
    told = {"kind": KIND, "format": FORMAT, "model": asdict(store.embedder)}
    return told | {"roots": list(store.roots()), "exclusions": asdict(store.exclusions())}


def parquet_schema(width: int, told: dict[str, Any]) -> Any:
    """Columns of an export; `labels` is JSON, label → score, `date` has no time zone."""
    import pyarrow as pa

    columns = {
        "path": pa.string(),
        "path_bytes": pa.binary(),
        "bytes": pa.int64(),
        "mtime_ns": pa.int64(),
        "ctime_ns": pa.int64(),
        "content": pa.string(),
        "format": pa.string(),
        "width": pa.int64(),
        "height": pa.int64(),
        "date": pa.timestamp("s"),
        "date_from": pa.string(),
        "camera": pa.string(),
        "labels": pa.string(),
        "embedding": pa.list_(pa.float32(), width),
    }
    return pa.schema(list(columns.items()), metadata={METADATA: json.dumps(told)})


def _write_parquet(store: Store, out: Path, where: Filter) -> int:
    import pyarrow as pa
    import pyarrow.parquet

    schema = parquet_schema(store.embedder.width, _description(store))
    count = 0
    with published_file(out) as sibling, pa.parquet.ParquetWriter(sibling, schema) as writer:
        for block in _labelled_blocks(store, where):
            rows = [_cells(record) for record in block.records]
            columns = [[row[name] for row in rows] for name in schema.names[:-1]]
            arrays = list(map(pa.array, columns, schema.types))
            flat = pa.array(np.ascontiguousarray(block.vectors, np.float32).reshape(-1))
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, store.embedder.width))
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(rows)
    return count


def _write_numpy(store: Store, out: Path, where: Filter) -> int:
    count, width = 0, store.embedder.width
    rows, model = map(out.with_suffix, NUMPY_ENDINGS[1:])
    with ExitStack() as published:
        # The last to be entered is the first to appear: the embeddings come last.
        vectors_part, rows_part, model_part = (
            published.enter_context(published_file(path)) for path in (out, rows, model)
        )
        with vectors_part.open("r+b") as array, rows_part.open("w", encoding="utf-8") as lines:
            begin = _write_header(array, 0, width)
            for block in _labelled_blocks(store, where):
                array.write(np.ascontiguousarray(block.vectors, "<f4").tobytes())
                for record in block.records:
                    cells = _cells(record) | {"labels": dict(record.labels or {})}
                    is_text = stored_text(record.path) == record.path
                    cells["path_bytes"] = None if is_text else cells["path_bytes"].hex()
                    lines.write(json.dumps(cells, ensure_ascii=False) + "\n")
                count += len(block.records)
            array.seek(0)
            end = _write_header(array, count, width)
            assert begin == end, "numpy leaves room for the number of rows to grow"
        told = _description(store) | {"rows": count}
        model_part.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        if out.exists():  # else a kill could leave those of before beside the images of now
            with published_file(out):
                pass
    return count


def _is_exported(path: Path) -> bool:
    """Whether an export wrote a file, by its beginning; embeddings, by the model beside them."""
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet

        with suppress(OSError, pa.ArrowException):
            return METADATA in (pa.parquet.read_schema(path).metadata or {})
        return False
    if path.suffix.lower() == ".npy":
        path = path.with_suffix(NUMPY_ENDINGS[-1])
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begin = file.read(1 << 17)  # as long as a row can be, up to its labels
    if path.suffix == NUMPY_ENDINGS[-1]:
        return begin.startswith(f'{{\n  "kind": "{KIND}"'.encode())
    first = begin.partition(b"\n")[0]
    return not begin or all(
        f'"{name}": '.encode() in first for name in parquet_schema(1, {}).names[:-1]
    )


_WRITERS: dict[str, Callable[[Store, Path, Filter], int]] = {
    ".parquet": _write_parquet,
    ".npy": _write_numpy,
}


def _write_header(file: Any, count: int, width: int) -> int:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    np.lib.format.write_array_header_1_0(file, header)
    return int(file.tell())


def _labelled_blocks(store: Store, where: Filter) -> Iterator[Block]:
    for block in store.scan(where):
        known = store.records([record.path for record in block.records])
        records = [known.get(record.path) or replace(record, labels={}) for record in block.records]
        yield Block(records, block.vectors)


def _cells(record: ImageRecord) -> dict[str, Any]:
    return {
        "path": path_text(record.path),
        "path_bytes": os.fsencode(record.path),
        "bytes": record.size,
        **{name: getattr(record, name) for name in SAME},
        "camera": None if record.camera is None else stored_text(record.camera),
        "labels": json.dumps(dict(record.labels)) if record.labels else None,
    }
