"""Tables that a caller holds: rows, frames of pandas or polars, tables of Arrow or `datasets`.

None of these libraries is imported for it: what is held is known by the module of its type, or by
`__arrow_c_stream__`, by which libraries hand tables to each other (Arrow's PyCapsule interface).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from os import PathLike, fspath
from typing import Any, Self, SupportsIndex, TypeVar, overload

from footwork.tables.cells import stored_value
from footwork.tables.columns import repeated_names, unique_names
from footwork.tables.reader import RowStream, arrow_rows

_BATCH_ROWS = 1000


Row = TypeVar("Row")


class Rows(list[Row]):
    """Rows as a list, and as a frame where that is wanted; a notebook shows the first of them."""

    SHOWN = 20
    columns: Iterable[str] = ()
    """Of the frame of no rows."""

    def cells(self, row: Row) -> dict[str, Any]:
        """Of a row, by column."""
        return row  # type: ignore[return-value]  # a subclass of others says how

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Row: ...

    @overload
    def __getitem__(self, place: slice, /) -> Self: ...

    def __getitem__(self, place: Any, /) -> Any:
        """A row, or those of a slice, which are of the same kind."""
        found = super().__getitem__(place)
        if not isinstance(place, slice):
            return found
        part = type(self).__new__(type(self))
        vars(part).update(vars(self))
        part.extend(found)
        return part

    def to_pandas(self) -> Any:
        """A DataFrame; what a row lacks is missing there."""
        import pandas

        rows = [*map(self.cells, self)]
        return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=[*self.columns])

    def _repr_html_(self) -> str:
        import pandas

        first: Any = pandas.DataFrame([*map(self.cells, self[: self.SHOWN])])
        return f"{first._repr_html_()}{self._rest()}"

    def _rest(self) -> str:
        return f"<p>{len(self):,} in all</p>" if len(self) > self.SHOWN else ""


def is_held(data: Any) -> bool:
    """Whether `data` is a table itself, and no path or name of one."""
    return not isinstance(data, (str, PathLike))


def data_name(data: Any) -> str:
    """What messages and manifests call `data`: its path or that of its train, or its type."""
    if not is_held(data):
        return str(data).rstrip("/") or str(data)
    if type(data) is dict and "train" in data:
        return data_name(data["train"])
    held = {"list": "rows", "tuple": "rows", "dict": "splits"}
    kind = type(data).__name__
    return f"{kind} of {held.get(kind, _library(data))}"


def input_names(data: Any) -> list[str]:
    """`data_name` of every split, to see that none is written over."""
    parts = data.values() if isinstance(data, Mapping) else ()
    return [name for part in parts for name in input_names(part)] or [data_name(data)]


def held_rows(data: Any, source: str | None = None, *, skip_bad_rows: bool = False) -> RowStream:
    """The rows of a table, numbered by their places, from 1; a TypeError if it is none.

    Args:
        data: A list of mappings, a DataFrame of pandas (the names of its index are columns, too)
            or polars, a `datasets.Dataset` (numbers of classes become their names), or what else
            exports Arrow.
        source: Named in errors; None takes `data_name`.
        skip_bad_rows: List what is no row instead of stopping at the first.
    """
    stream = RowStream(source or data_name(data), iter(()), skip_bad_rows)
    rows = map(_row, data) if isinstance(data, list | tuple) else _rows(data, stream)
    stream._rows = enumerate(rows, start=1)
    return stream


def _row(row: Any) -> dict[str, Any] | str:
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        return f'it must be a mapping such as {{"text": …, "label": …}}, got a {kind}'
    return {str(name): _plain(value) for name, value in row.items()}


def _rows(data: Any, stream: RowStream) -> Iterator[dict[str, Any] | str]:
    library = _library(data)
    if library == "pandas" and hasattr(data, "columns"):
        columns = _pandas_columns(data, stream)
        return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    if library == "datasets" and hasattr(data, "column_names") and hasattr(data, "__len__"):
        tables = data.with_format("arrow").iter(_BATCH_ROWS)
        batches = (batch for table in tables for batch in table.to_batches())
        return arrow_rows(batches, data.features.arrow_schema, stream)
    if hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns"):
        import pyarrow

        table = pyarrow.table(data)
        return arrow_rows(table.to_batches(_BATCH_ROWS), table.schema, stream)
    message = (
        "Data must be a path, a Hub id, a list of rows (mappings), a DataFrame of pandas or "
        "polars, a table of Arrow, a datasets.Dataset, or a mapping of splits to these, got "
        f"{data_name(data)}. One that is lazy or streamed must be collected first."
    )
    raise TypeError(message)


def _pandas_columns(frame: Any, stream: RowStream) -> dict[str, list[Any]]:
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=named) if named else frame
    series = [frame.iloc[:, place] for place in range(frame.shape[1])]
    lists = (
        [None if absent else _plain(value) for value, absent in zip(one, one.isna(), strict=True)]
        for one in series
    )
    names = list(map(str, frame.columns))
    stream.notes = repeated_names(names)
    return dict(zip(unique_names(names), lists, strict=True))


def _plain(value: Any) -> Any:
    """A cell in types of Python: numpy's scalars and arrays have their own; a path is its text."""
    if isinstance(value, Enum):
        value = value.value
    if type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]")  # finer ones are numbers to Python
    if isinstance(value, list):
        value = [_plain(each) for each in value]
    elif _library(value) == "numpy":
        value = value if getattr(value, "ndim", 0) > 1 else value.tolist()  # that is an image
    elif isinstance(value, PathLike):
        value = fspath(value)
    elif isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    absent = type(value).__name__ in ("NAType", "NaTType")
    return None if absent else stored_value(value)


def _library(data: Any) -> str:
    """The package that the type of `data`, or what it is derived from, comes from."""
    roots = [base.__module__.partition(".")[0] for base in type(data).__mro__]
    known = ("pandas", "polars", "datasets", "numpy", "pyarrow")
    return next((root for root in roots if root in known), roots[0])
