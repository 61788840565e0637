"""What a caller holds is read as its file would be."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pytest

from footwork.errors import DataError
from footwork.tables.held import data_name, held_rows

ROWS = [
    {"text": "a", "n": 1, "tags": ["x", "y"], "day": date(2020, 1, 2)},
    {"text": None, "n": None, "tags": [], "day": None},
]


class Exporting:
    """As a frame of polars: known by nothing but what it exports."""

    columns = tuple(ROWS[0])

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        return pyarrow.Table.from_pylist(ROWS).__arrow_c_stream__(schema)


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        tuple(ROWS),
        pandas.DataFrame(ROWS).astype({"n": "Int64"}),
        pyarrow.Table.from_pylist(ROWS),
        Exporting(),
        datasets.Dataset.from_list(ROWS),
        datasets.Dataset.from_list(ROWS[::-1]).select([1, 0]).with_format("numpy"),
    ],
    ids=lambda data: type(data).__module__,
)
def test_every_form_of_a_table_has_the_same_rows(data: Any) -> None:
    assert list(held_rows(data)) == [(1, ROWS[0]), (2, ROWS[1])]


def test_cells_of_numpy_and_pandas_are_values_of_python() -> None:
    frame = pandas.DataFrame(
        {
            "kind": pandas.Categorical(["x", None]),
            "amount": [1.5, np.nan],
            "when": pandas.to_datetime(["2020-01-02", None]),
            "bits": [np.array([1, 0]), np.array([0, 1])],
        }
    )
    first, second = (cells for _, cells in held_rows(frame))
    day = pandas.Timestamp("2020-01-02")
    assert first == {"kind": "x", "amount": 1.5, "when": day, "bits": [1, 0]}
    assert second == {"kind": None, "amount": None, "when": None, "bits": [0, 1]}
    assert type(first["bits"]) is list
    held = [{"n": np.int64(3), "gap": np.float64("nan"), "none": pandas.NA, "set": {"b", "a"}}]
    assert list(held_rows(held)) == [(1, {"n": 3, "gap": None, "none": None, "set": ["a", "b"]})]
    kind = StrEnum("Kind", {"GOOD": "good"})
    odd = [{"kind": kind.GOOD, "day": np.datetime64(day), "list": [pandas.NA, np.int64(1)]}]
    assert list(held_rows(odd)) == [(1, {"kind": "good", "day": day, "list": [None, 1]})]


def test_an_index_with_a_name_is_a_column_and_rows_are_numbered_by_place() -> None:
    frame = pandas.DataFrame({"text": ["a", "b"]}, index=pandas.Index(["r1", "r2"], name="id"))
    assert list(held_rows(frame[1:])) == [(1, {"id": "r2", "text": "b"})]
    doubled = pandas.DataFrame([["a", "b"]], columns=["text", "text"], index=[7])
    rows = held_rows(doubled)
    assert list(rows) == [(1, {"text": "a", "text_2": "b"})]
    said = "Warning: 2 columns are called 'text'; they are read as 'text', 'text_2'."
    assert rows.notes == (said,)


def test_numbers_of_classes_become_their_names() -> None:
    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"label": names, "tags": datasets.List(names)})
    rows = {"label": [1, -1], "tags": [[0, 1], []]}
    data = datasets.Dataset.from_dict(rows, features=features)
    assert [cells for _, cells in held_rows(data)] == [
        {"label": "pos", "tags": ["neg", "pos"]},
        {"label": None, "tags": []},
    ]


def test_a_date_that_python_lacks_is_a_text() -> None:
    table = pyarrow.table({"day": pyarrow.array([0, 2**30], pyarrow.date32()), "text": ["a", "b"]})
    assert [cells["text"] for _, cells in held_rows(table)] == ["a", "b"]
    assert next(held_rows(table))[1]["day"] == "1970-01-01"


def test_what_is_no_row_is_told_with_its_number_or_left_out() -> None:
    rows = [{"text": "a"}, "b", {"text": "c"}]
    with pytest.raises(DataError, match=r"list of rows, row 2: it must be a mapping .* got a str"):
        list(held_rows(rows))
    stream = held_rows(rows, skip_bad_rows=True)
    assert [row for row, _ in stream] == [1, 3]
    assert [skipped.row for skipped in stream.skipped] == [2]


@pytest.mark.parametrize(
    "data",
    [
        5,
        np.zeros(3),
        pandas.Series(["a"]),
        iter(ROWS),
        {"text": ["a"]},
        datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    ],
    ids=data_name,
)
def test_what_is_no_table_is_refused_with_what_is_one(data: Any) -> None:
    with pytest.raises(TypeError, match=f"DataFrame of pandas .* got {data_name(data)}"):
        held_rows(data)
