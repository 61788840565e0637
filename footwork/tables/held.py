"""Tables that a caller holds: rows, frames of pandas or polars, tables of Arrow or `datasets`.

None of these libraries is imported for it: what is held is known by the module of its type, or by
`__arrow_c_stream__`, by which libraries hand tables to each other (Arrow's PyCapsule interface).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from footwork.tables.cells import stored_value
from footwork.tables.columns import unique_names
from footwork.tables.reader import RowStream


def is_held(data: Any) -> bool:
    """Whether `data` is a table itself, and no path or name of one."""
    return not isinstance(data, (str, PathLike))


def data_name(data: Any) -> str:
    """What messages and manifests call `data`: its path, or its type."""
    if not is_held(data):
        return str(data)
    held = {"list": "rows", "tuple": "rows", "dict": "splits"}
    kind = type(data).__name__
    return f"{kind} of {held.get(kind, _library(data))}"


def held_rows(data: Any, source: str | None = None, *, skip_bad_rows: bool = False) -> RowStream:
    """The rows of a table, numbered by their places, from 1; a TypeError if it is none.

    Args:
        data: A list of mappings, a DataFrame of pandas (the names of its index are columns, too)
            or polars, a `datasets.Dataset` (numbers of classes become their names), or what else
            exports Arrow.
        source: Named in errors; None takes `data_name`.
        skip_bad_rows: List what is no row instead of stopping at the first.
    """
    if isinstance(data, (list, tuple)):
        rows = enumerate(map(_row, data), start=1)
    else:
        columns = _columns(data)
        cells = zip(*columns.values(), strict=True)
        rows = enumerate((dict(zip(columns, row, strict=True)) for row in cells), start=1)
    return RowStream(source or data_name(data), rows, skip_bad_rows)


def _row(row: Any) -> dict[str, Any] | str:
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        return f'it must be a mapping such as {{"text": …, "label": …}}, got a {kind}'
    return {str(name): _plain(value) for name, value in row.items()}


def _columns(data: Any) -> dict[str, list[Any]]:
    library = _library(data)
    if library == "pandas" and hasattr(data, "columns"):
        return _pandas_columns(data)
    if library == "datasets" and hasattr(data, "column_names") and hasattr(data, "__len__"):
        table = data.with_format("arrow")[:]
        return {
            name: [_class_name(value, getattr(inner, "names", None)) for value in values]
            for name, feature in data.features.items()
            for inner in [getattr(feature, "feature", feature)]
            for values in [table.column(name).to_pylist()]
        }
    if hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns"):
        import pyarrow

        table = pyarrow.table(data)
        lists = (list(map(stored_value, column.to_pylist())) for column in table.columns)
        return dict(zip(unique_names(table.column_names), lists, strict=True))
    message = (
        "Data must be a path, a Hub id, a list of rows (mappings), a DataFrame of pandas or "
        "polars, a table of Arrow, a datasets.Dataset, or a mapping of splits to these, got "
        f"{data_name(data)}. One that is lazy or streamed must be collected first."
    )
    raise TypeError(message)


def _pandas_columns(frame: Any) -> dict[str, list[Any]]:
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=named) if named else frame
    series = [frame.iloc[:, place] for place in range(frame.shape[1])]
    lists = (
        [None if absent else _plain(value) for value, absent in zip(one, one.isna(), strict=True)]
        for one in series
    )
    return dict(zip(unique_names(list(map(str, frame.columns))), lists, strict=True))


def _class_name(value: Any, names: Sequence[str] | None) -> Any:
    """A cell of a data set; numbers of classes as their names, where the column has such."""
    if names is None:
        return stored_value(value)
    if isinstance(value, list):
        return [_class_name(one, names) for one in value]
    # The Hub marks rows whose labels are withheld with -1.
    return None if value is None or value < 0 else names[value]


def _plain(value: Any) -> Any:
    """A cell in types of Python: numpy's scalars and arrays have their own; a path is its text."""
    if _library(value) == "numpy":
        value = value.tolist()
    elif isinstance(value, PathLike):
        value = fspath(value)
    absent = type(value).__name__ in ("NAType", "NaTType")
    return None if absent else stored_value(value)


def _library(data: Any) -> str:
    """The package that the type of `data`, or what it is derived from, comes from."""
    roots = [base.__module__.partition(".")[0] for base in type(data).__mro__]
    known = ("pandas", "polars", "datasets", "numpy", "pyarrow")
    return next((root for root in roots if root in known), roots[0])
