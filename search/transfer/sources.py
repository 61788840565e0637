"""Where embeddings are copied from: another index, or a file with what is known of its images."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from footwork.arrays import FloatArray, IntArray, RealArray
from footwork.errors import DataError, FootworkError, error_text
from footwork.files.folders import read_json
from footwork.files.paths import path_line, shell_word
from footwork.images.ahead import made_ahead
from search.exclusions import Exclusions, told_exclusions
from search.paths import absolute_path, real_path
from search.place import Place
from search.records import DATE_SOURCES, ImageRecord
from search.store.protocol import (
    WIDEST,
    Changes,
    Embedded,
    Embedder,
    batched,
    told_embedder,
    unit_vectors,
)
from search.transfer.export import FORMAT, KIND, METADATA, SAME, parquet_schema
from search.update.reading import looked_at

BATCH = 4096
"""Images at once."""

_PART = re.compile(r"img_emb_(\d+)\.npy")
_UNIT = 1e-3  # how far from 1 the length of an exported vector may be
_LOOKS = 64
"""Files that a thread looks at in a row: by turns, file by file, threads take twice as long."""
_CONVERT = {
    ".csv": "[print(json.dumps(row)) for row in csv.DictReader(sys.stdin)]",
    ".txt": "[print(json.dumps(dict(path=line.rstrip(chr(10))))) for line in sys.stdin]",
}
"""Ending → the Python that makes JSON lines of such a list of paths."""
_NAME_ANOTHER = (
    "Name a file that footwork search export, or another program, wrote as .parquet or .npy."
)
_LEAST = {"bytes": 0, "width": 1, "height": 1} | dict.fromkeys(
    ("mtime_ns", "ctime_ns", "date"), -(2**63)
)
"""Column of whole numbers → the least that it can hold."""
_NOT_TOLD = ("ctime_ns", "width", "height", "date")
_NOT_EXPORTED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What `_exported_record` raises at a row of others."""


class IndexSource:
    """An index, of either engine; it may be searched meanwhile.

    As of every source, `embedder` is the model that made the embeddings, None where that is not
    told; `roots` are absolute folders that they come from, less `exclusions`. `batches` are of
    images with their embeddings, and of files that are none; with their labels.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        with closing(place.open()) as store:
            self.embedder: Embedder | None = store.embedder
            self.roots: Sequence[str] = tuple(store.roots())
            self.exclusions = store.exclusions()

    def batches(self) -> Generator[Changes, None, None]:
        """Images, present or not, and unreadable files, in any order."""
        with closing(self.place.open()) as store:
            for part in batched(store.files(), BATCH):
                paths = [record.path for record in part]
                vectors, records = store.vectors(paths), store.records(paths)
                known = [records[path] for path in paths if path in records]
                images = [Embedded(one, vectors[one.path]) for one in known if one.path in vectors]
                faults = [one for one in known if one.fault is not None]
                yield Changes(embedded=images, unreadable=faults)


class FileSource:
    """A file of embeddings; what it tells of itself is read at once. `DataError` if it is none."""

    exclusions = Exclusions()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.embedder: Embedder | None = None
        self.roots: Sequence[str] = ()
        if path.exists() and not path.is_file():
            raise _unreadable(path, OSError("it is no regular file"))

    def _parts(self) -> Iterator[tuple[list[Mapping[str, Any]], RealArray, int]]:
        """Rows without embeddings, at least one, these, and the number of the first."""
        raise NotImplementedError

    def batches(self) -> Generator[Changes, None, None]:
        """Rows as they come; the `DataError` of a wrong row says which."""
        for rows, vectors, first in self._parts():
            yield self._batch(rows, vectors, first)

    def _tell(self, value: Any, path: Path) -> None:
        """Take in what an export tells of its model."""
        with suppress(KeyError, TypeError, ValueError, RecursionError):
            value = json.loads(value) if isinstance(value, bytes) else value
            embedder, roots = told_embedder(value["model"]), tuple(value["roots"])
            exclusions = told_exclusions(value.get("exclusions", asdict(Exclusions())))
            proper = all(isinstance(root, str) for root in roots)
            proper = proper and (value["kind"], value["format"]) == (KIND, FORMAT)
            if proper and embedder is not None and exclusions is not None:
                self.embedder, self.roots, self.exclusions = embedder, roots, exclusions
                return
        raise DataError(
            f"{path_line(path)} was not written by footwork search export of this version. "
            "Without it, the model is named with --model."
        )

    def _batch(self, rows: Sequence[Mapping[str, Any]], vectors: RealArray, first: int) -> Changes:
        units = self._unit_rows(vectors, first)
        nameless = np.flatnonzero([not _has_path(row) for row in rows])
        if len(nameless):
            raise _wrong_rows(self.path, first + nameless, "have no path that a file can have")
        try:
            if self.embedder is not None:
                records = [_exported_record(row) for row in rows]
            else:  # only the path is known; it counts as absent until it is looked at
                bare = ImageRecord(path="", size=0, mtime_ns=0, present=False, labels={})
                records = [replace(bare, path=absolute_path(_path_of(row))) for row in rows]
        except _NOT_EXPORTED as error:
            raise DataError(
                f"{path_line(self.path)}: rows from {first:,} on are not as footwork search export "
                f"writes them ({type(error).__name__}: {error}). Export them anew."
            ) from error
        # Of a hundred thousand, a `Path` each would take longer than this.
        here = [row for row, one in enumerate(records) if os.path.exists(one.path)]  # noqa: PTH110
        parts = [here[start : start + _LOOKS] for start in range(0, len(here), _LOOKS)]
        looks = made_ahead(parts, lambda part: [looked_at(records[row]) for row in part], 2)
        for part, found in looks:
            for row, record in zip(part, found, strict=True):
                records[row] = record
        last = {one.path: (one, units[row]) for row, one in enumerate(records)}  # of a path's rows
        images = [Embedded(one, unit) for one, unit in last.values() if one.fault is None]
        faults = [one for one, _ in last.values() if one.fault is not None]
        return Changes(embedded=images, unreadable=faults)

    def _unit_rows(self, vectors: RealArray, first: int) -> FloatArray:
        units, bad, lengths = unit_vectors(vectors)
        if len(bad):
            raise _wrong_rows(self.path, first + bad, "are zero or no numbers")
        if self.embedder is None:
            return units
        bad = np.flatnonzero(np.abs(lengths - 1) > _UNIT)
        if len(bad):
            raise _wrong_rows(self.path, first + bad, "are not of length 1, as an export's are")
        return vectors.astype(np.float32)


class ParquetSource(FileSource):
    """A Parquet file with a column of paths and one of embeddings."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        super().__init__(path)
        try:
            schema = pa.parquet.read_schema(self.path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error
        missing = {name for name in ("path", "embedding") if schema.names.count(name) != 1}
        if missing:
            names = ", ".join(sorted(missing))
            raise DataError(
                f"{path_line(self.path)} lacks the column {names}, or has it twice. Name the "
                "columns of paths and of embeddings `path` and `embedding`."
            )
        column, types = schema.field("embedding").type, pa.types
        lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        if not (any(is_kind(column) for is_kind in lists) and types.is_floating(column.value_type)):
            raise DataError(
                f"{path_line(self.path)}: the column embedding must hold a list of floats a row, "
                f"got {column}. Save the embeddings as lists of float32."
            )
        told = (schema.metadata or {}).get(METADATA)
        if told is not None:
            self._tell(told, self.path)

    def _parts(self) -> Iterator[tuple[list[Mapping[str, Any]], RealArray, int]]:
        import pyarrow as pa
        import pyarrow.parquet

        told = set() if self.embedder is None else set(parquet_schema(1, {}).names)
        columns, first = sorted({"path", "path_bytes", "embedding"} | told), 1
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(BATCH, columns=columns):
                    if batch.num_rows:
                        vectors = self._vectors_of(batch.column("embedding"), first)
                        yield _plain(batch).to_pylist(), vectors, first
                        first += batch.num_rows
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def _vectors_of(self, embeddings: Any, first: int) -> RealArray:
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
        flat: RealArray = embeddings.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(embeddings), widths[0])


class NumpySource(FileSource):
    """A .npy file of embeddings, and a .jsonl file of their images beside it, a line each.

    Of a part that clip-retrieval wrote, `img_emb_0.npy`, its `metadata_0.parquet` has the images.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._beside, told = path.with_suffix(".jsonl"), path.with_suffix(".json")
        advice = "."
        if part := _PART.fullmatch(self.path.name):
            name = f"metadata_{part[1]}.parquet"
            places = (self.path.with_name(name), self.path.parent.parent / "metadata" / name)
            self._beside = next(filter(Path.is_file, places), self._beside)
            advice = f", or, as clip-retrieval writes them, in {name}."
        if told.is_file():
            try:
                self._tell(read_json(told), told)
            except FootworkError as error:
                raise DataError(str(error)) from error
        if not self._beside.is_file():
            others = [path for end in _CONVERT if (path := self.path.with_suffix(end)).is_file()]
            for other in others[:1]:
                program = f'python3 -c "import csv, json, sys; {_CONVERT[other.suffix]}"'
                files = f"{shell_word(str(other))} > {shell_word(str(self._beside))}"
                advice = f", not in {path_line(other.name)}. Make it:\n  {program} < {files}"
            raise DataError(
                f"The paths of {path_line(self.path)} must stand beside it in "
                f"{path_line(self._beside.name)}, a line like "
                f'{{"path": "/photos/a.jpg"}} for each row{advice}'
            )
        count = sum(1 for _ in self._rows())
        if count != len(self._array()):
            raise DataError(
                f"{path_line(self.path)} has {len(self._array()):,} rows, but beside it stand "
                f"{count:,} paths. Write a line for each row."
            )

    def _parts(self) -> Iterator[tuple[list[Mapping[str, Any]], RealArray, int]]:
        array, first = self._array(), 0
        for part in batched(self._rows(), BATCH):
            yield part, array[first : first + len(part)], first + 1
            first += len(part)

    def _array(self) -> RealArray:
        try:
            # Never unpickled: an array of objects is refused.
            array: RealArray = np.lib.format.open_memmap(self.path, mode="r")
        except Exception as error:
            raise _unreadable(self.path, error) from error
        if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] > WIDEST:
            raise DataError(
                f"{path_line(self.path)} must hold numbers of shape (N, D), got {array.dtype} of "
                f"shape {array.shape}. Save the embeddings as float32, a row an image."
            )
        return array

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        if self._beside.suffix == ".parquet":
            yield from _paths_of_part(self._beside)
            return
        try:
            with self._beside.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    yield _json_object(line, number)
        except (OSError, ValueError, RecursionError) as error:
            advice = f"Write it as UTF-8, a line for each row of {path_line(self.path.name)}."
            raise _unreadable(self._beside, error, advice) from error


class PartsSource:
    """What clip-retrieval wrote into a folder, or what it is laid out as: several `NumpySource`.

    Source: clip_inference/writer.py of github.com/rom1504/clip-retrieval.
    """

    embedder: Embedder | None = None
    roots: Sequence[str] = ()
    exclusions = Exclusions()

    def __init__(self, parts: Sequence[Path]) -> None:
        self._parts = [NumpySource(part) for part in parts]

    def batches(self) -> Generator[Changes, None, None]:
        """The rows of all parts."""
        for part in self._parts:
            yield from part.batches()


def find_parts(folder: Path) -> list[Path]:
    """The embeddings of images in a folder of clip-retrieval's, part by part; none of another."""
    found = [*folder.glob("img_emb/img_emb_*.npy"), *folder.glob("img_emb_*.npy")]
    numbers = {path: int(part[1]) for path in found if (part := _PART.fullmatch(path.name))}
    return sorted(numbers, key=lambda path: (numbers[path], path))


class ArraySource(FileSource):
    """Vectors that a caller holds, (N, D), and the files of their N images; rows count from 0.

    `ValueError` where the shapes are others, `DataError` where a vector is none.
    """

    def __init__(self, paths: Sequence[str | Path], vectors: ArrayLike, width: int) -> None:
        self.path, self.embedder, self.roots = Path("vectors"), None, ()
        self.paths, self._vectors = list(map(str, paths)), np.asarray(vectors)
        shape, kind = self._vectors.shape, self._vectors.dtype
        if shape != (len(self.paths), width) or kind.kind not in "fiu":
            raise ValueError(
                f"`vectors` must be numbers of shape ({len(self.paths)}, {width}): a row for each "
                f"path, as wide as the index's model gives them. Got {kind} of shape {shape}."
            )
        for _, part, first in self._parts():  # before the first of them is written
            self._unit_rows(part, first)

    def _parts(self) -> Iterator[tuple[list[Mapping[str, Any]], RealArray, int]]:
        for start in range(0, len(self.paths), BATCH):
            part = slice(start, start + BATCH)
            yield [{"path": path} for path in self.paths[part]], self._vectors[part], start


Source = IndexSource | FileSource | PartsSource
"""Embeddings with what is known of their images."""


def _json_object(line: str, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number:,} is no JSON ({error.msg})") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number:,} is no JSON object")  # noqa: TRY004 - of the file
    return row


def _paths_of_part(path: Path) -> Iterator[Mapping[str, Any]]:
    """The images of a part that clip-retrieval wrote; captions are not kept."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pa.parquet.ParquetFile(path) as file:
            if "image_path" not in file.schema_arrow.names:
                raise DataError(
                    f"{path_line(path)} lacks the column image_path, which tells the files of "
                    "images. Run clip-retrieval's inference with its images enabled."
                )
            for batch in file.iter_batches(BATCH, columns=["image_path"]):
                yield from ({"path": name} for name in batch.column(0).to_pylist())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception, advice: str = _NAME_ANOTHER) -> DataError:
    reason = error_text(error)  # pyarrow writes several lines
    return DataError(f"Cannot read {path_line(path)}: {reason}. {advice}")


def _wrong_rows(path: Path, rows: IntArray, what: str) -> DataError:
    listed = ", ".join(f"{row:,}" for row in rows[:10].tolist())
    return DataError(
        f"{path_line(path)}: rows {listed} {what}, {len(rows):,} in this part. Leave them out."
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


def _has_path(row: Mapping[str, Any]) -> bool:
    """Whether a row names a file as a file system can, and so an index."""
    try:
        path = _path_of(row)
        return bool(path) and b"\0" not in os.fsencode(path)
    except (KeyError, TypeError, ValueError):
        return False


def _exported_record(row: Mapping[str, Any]) -> ImageRecord:
    """A row of an export; raises any of `_NOT_EXPORTED` if it is none."""
    path, labels, camera = _path_of(row), row["labels"], row["camera"]
    labels = json.loads(labels) if isinstance(labels, str) else labels or {}
    if path != absolute_path(path):
        raise ValueError("a path is not absolute")
    for name, least in _LEAST.items():
        value = row[name]
        proper = type(value) is int and least <= value < 2**63
        if not proper and (value is not None or name not in _NOT_TOLD):
            raise ValueError(f"{name} cannot be {str(value)[:40]!r}")
    if not re.fullmatch("[0-9a-f]*", row["content"]) or not (row["format"] or "a").isprintable():
        raise ValueError("content or format is no such text")
    if row["date_from"] not in (None, *DATE_SOURCES):
        raise ValueError("date_from is none of a date's")
    if not all(math.isfinite(score) for score in labels.values()):
        raise ValueError("a score is no number")
    "".join((*labels, camera or "")).encode("utf-8", "surrogateescape")
    same = {name: row[name] for name in SAME}
    camera = None if camera is None else real_path(camera)
    return ImageRecord(path=path, size=row["bytes"], camera=camera, labels=labels, **same)


def _path_of(row: Mapping[str, Any]) -> str:
    raw, path = row.get("path_bytes"), row["path"]
    if raw:
        return os.fsdecode(raw if isinstance(raw, bytes) else bytes.fromhex(raw))
    if not isinstance(path, str):
        raise TypeError(path)
    return path
