"""Files that embeddings are copied from."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DataError, FootworkError
from runtime.folders import read_json
from runtime.images.listing import why_missing
from runtime.paths import path_line
from search.paths import absolute_path, real_path
from search.records import ImageRecord
from search.store.protocol import Embedded, Embedder, FloatArray
from search.transfer.export import FORMAT, KIND, METADATA
from search.transfer.path_rows import READERS
from search.transfer.sources import BATCH, Batch
from search.update.reading import content_of


@dataclass(slots=True)
class ParquetSource:
    """A Parquet file with a column of paths and one of embeddings.

    Raises:
        DataError: It is no such file.
    """

    path: Path
    embedder: Embedder | None = None
    roots: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Read what it says of itself."""
        import pyarrow as pa
        import pyarrow.parquet

        try:
            schema = pa.parquet.read_schema(self.path)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error
        missing = {"path", "embedding"} - set(schema.names)
        if missing:
            names = ", ".join(sorted(missing))
            raise DataError(
                f"{path_line(self.path)} lacks the column {names}. Name the columns of paths and "
                "of embeddings `path` and `embedding`."
            )
        _require_floats(schema.field("embedding").type, self.path)
        told = (schema.metadata or {}).get(METADATA)
        if told is not None:
            self.embedder, self.roots = _told(told, self.path)

    def batches(self) -> Iterator[Batch]:
        """Rows as they come."""
        first = 1
        for rows, embeddings in self._parts():
            vectors = self._vectors_of(embeddings, first)
            yield _embedded(self, rows, vectors, first), []
            first += len(rows)

    def texts_folder(self) -> Path | None:
        """A file has none."""
        return None

    def _parts(self) -> Iterator[tuple[list[dict[str, Any]], Any]]:
        """Rows without embeddings, and the column of these; at least a row."""
        import pyarrow as pa
        import pyarrow.parquet

        try:
            with pa.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(BATCH):
                    if batch.num_rows:
                        yield _plain(batch).to_pylist(), batch.column("embedding")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def _vectors_of(self, embeddings: Any, first: int) -> FloatArray:
        import pyarrow.compute

        nulls = np.flatnonzero(embeddings.is_null().to_numpy(zero_copy_only=False))
        if len(nulls):
            raise _wrong_rows(self.path, first + nulls, "have no embedding (null)")
        widths = pyarrow.compute.list_value_length(embeddings).unique().to_pylist()
        if len(widths) > 1:
            raise DataError(
                f"{path_line(self.path)}: embeddings from row {first:,} on differ in width. Leave "
                "out those of another model."
            )
        flat = embeddings.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, np.float32).reshape(len(embeddings), widths[0])


@dataclass(slots=True)
class NumpySource:
    """A .npy file of embeddings, and beside it the paths: .jsonl, .csv, or .txt, a line each.

    Raises:
        DataError: Something is missing, or the numbers of rows differ.
    """

    path: Path
    embedder: Embedder | None = None
    roots: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Read what it says of itself."""
        told = self.path.with_suffix(".json")
        if told.is_file():
            try:
                self.embedder, self.roots = _told(read_json(told), told)
            except FootworkError as error:
                raise DataError(str(error)) from error
        if not any(path.is_file() for path in self._beside()):
            names = ", ".join(path.name for path in self._beside())
            raise DataError(
                f"The paths of {path_line(self.path)} must stand beside it, a line for each row. "
                f"Put one of {names} there."
            )
        count = sum(1 for _ in self._rows())
        if count != len(self._array()):
            raise DataError(
                f"{path_line(self.path)} has {len(self._array()):,} rows, but beside it stand "
                f"{count:,} paths. Write a line for each row."
            )

    def batches(self) -> Iterator[Batch]:
        """Rows as they come."""
        array, rows, first = self._array(), self._rows(), 0
        while part := list(islice(rows, BATCH)):
            vectors = np.asarray(array[first : first + len(part)], np.float32)
            yield _embedded(self, part, vectors.reshape(len(part), -1), first + 1), []
            first += len(part)

    def texts_folder(self) -> Path | None:
        """A file has none."""
        return None

    def _beside(self) -> Sequence[Path]:
        return [self.path.with_suffix(ending) for ending in READERS]

    def _array(self) -> FloatArray:
        try:
            array: FloatArray = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error
        if array.ndim < 2 or array.dtype.kind != "f":
            raise DataError(
                f"{path_line(self.path)} must hold numbers of shape (N, D), got {array.dtype} of "
                f"shape {array.shape}. Save the embeddings as float32, a row an image."
            )
        return array

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        beside = next(path for path in self._beside() if path.is_file())
        try:
            yield from READERS[beside.suffix](beside)
        except (OSError, ValueError, csv.Error) as error:
            advice = f"Write it as UTF-8, a line for each row of {path_line(self.path.name)}."
            raise _unreadable(beside, error, advice) from error


_NAME_ANOTHER = (
    "Name a file that footwork search export, or another program, wrote as .parquet or .npy."
)


def _unreadable(path: Path, error: Exception, advice: str = _NAME_ANOTHER) -> DataError:
    reason = " ".join(str(error).split()).rstrip(".")  # pyarrow writes several lines
    return DataError(f"Cannot read {path_line(path)}: {reason}. {advice}")


def _wrong_rows(path: Path, rows: NDArray[np.int64], what: str) -> DataError:
    listed = ", ".join(f"{row:,}" for row in rows[:10].tolist())
    return DataError(
        f"{path_line(path)}: rows {listed} {what}, {len(rows):,} in this part. Leave them out."
    )


def _require_floats(column: Any, path: Path) -> None:
    from pyarrow import types

    is_list = types.is_list(column) or types.is_large_list(column)
    is_list = is_list or types.is_fixed_size_list(column)
    if not (is_list and types.is_floating(column.value_type)):
        raise DataError(
            f"{path_line(path)}: the column embedding must hold a list of floats a row, got "
            f"{column}. Save the embeddings as lists of float32."
        )


def _plain(batch: Any) -> Any:
    """Without the embeddings; dates as seconds, which may lie beyond Python's."""
    import pyarrow as pa

    batch = batch.drop_columns(["embedding"])
    place = batch.schema.get_field_index("date")
    if place < 0 or not pa.types.is_timestamp(batch.schema.field(place).type):
        return batch
    seconds = batch.column(place).cast(pa.timestamp("s"))  # Parquet knows milliseconds at most
    return batch.set_column(place, "date", seconds.cast(pa.int64()))


def _told(value: Any, path: Path) -> tuple[Embedder, tuple[str, ...]]:
    try:
        value = json.loads(value) if isinstance(value, bytes) else value
        if (value["kind"], value["format"]) == (KIND, FORMAT):
            return Embedder(**value["model"]), tuple(value["roots"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(_foreign(path)) from error
    raise DataError(_foreign(path))


def _foreign(path: Path) -> str:
    return (
        f"{path_line(path)} was not written by footwork search export of this version. Without "
        "it, the model is named with --model."
    )


def _embedded(
    source: ParquetSource | NumpySource,
    rows: Sequence[Mapping[str, Any]],
    vectors: FloatArray,
    first: int,
) -> list[Embedded]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise _wrong_rows(source.path, first + bad, "are zero or no numbers")
    nameless = np.flatnonzero([not _has_path(row) for row in rows])
    if len(nameless):
        raise _wrong_rows(source.path, first + nameless, "have no path")
    units = vectors / lengths if source.embedder is None else vectors
    read = _record_of if source.embedder is not None else _foreign_record
    try:
        records = [read(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path_line(source.path)}: rows from {first:,} on are not as footwork search export "
            f"writes them ({type(error).__name__}: {error}). Export them anew."
        ) from error
    return [Embedded(one, units[row]) for row, one in enumerate(records)]


def _has_path(row: Mapping[str, Any]) -> bool:
    path = row.get("path")
    return bool(row.get("path_bytes") or (isinstance(path, str) and path))


def _path_of(row: Mapping[str, Any]) -> str:
    raw = row.get("path_bytes")
    if raw:
        return os.fsdecode(raw if isinstance(raw, bytes) else bytes.fromhex(raw))
    return str(row["path"])


def _record_of(row: Mapping[str, Any]) -> ImageRecord:
    """A row of an export."""
    labels, camera = row["labels"], row["camera"]
    return ImageRecord(
        path=_path_of(row),
        size=row["bytes"],
        mtime_ns=row["mtime_ns"],
        content=row["content"],
        format=row["format"],
        width=row["width"],
        height=row["height"],
        date=row["date"],
        camera=None if camera is None else real_path(camera),
        labels=json.loads(labels) if isinstance(labels, str) else labels or {},
    )


def _foreign_record(row: Mapping[str, Any]) -> ImageRecord:
    """What can be told of a file of which only the path is known."""
    path = Path(absolute_path(_path_of(row)))
    absent = ImageRecord(path=str(path), size=0, mtime_ns=0, present=False, labels={})
    if why_missing(path) is not None:
        return absent
    state = path.stat()
    content = content_of(path) or ""
    return replace(
        absent, size=state.st_size, mtime_ns=state.st_mtime_ns, content=content, present=True
    )
