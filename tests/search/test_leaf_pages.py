"""Rows are read from SQLite's pages as SQLite reads them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from search.store.embedded.leaf_pages import PAGE, leaf_rows

VALUES = [None, 0, 1, -1, 127, -(2**15), 2**23, -(2**31), 2**47, 2**62, 0.5, "", "é🐱", b"\0\xff"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")
        rows = [(3**n % 10**17, value, "x" * 40 * n) for n, value in enumerate(VALUES, 1)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows * 1)
        connection.executemany("INSERT INTO t (a) VALUES (?)", [(n,) for n in range(2000)])
        connection.commit()
    return path


def test_every_row_is_read_as_it_was_written(table: Path) -> None:
    with closing(sqlite3.connect(table)) as connection:
        rows = connection.execute("SELECT * FROM t").fetchall()
    assert sorted(leaf_rows(table, 3), key=lambda row: row[0]) == sorted(
        rows, key=lambda row: row[0]
    )


def test_a_spoilt_page_costs_no_more_than_its_rows(table: Path) -> None:
    whole = set(leaf_rows(table, 3))
    data, generator = bytearray(table.read_bytes()), random.Random(0)
    for page in range(2, len(data) // PAGE, 3):
        for _ in range(200):
            data[page * PAGE + generator.randrange(PAGE)] = generator.randrange(256)
    table.write_bytes(data)
    kept = whole & set(leaf_rows(table, 3))
    assert len(kept) > len(whole) / 2
