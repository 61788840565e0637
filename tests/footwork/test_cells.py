"""Cells that a spreadsheet would run, and what it reads as numbers."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from footwork.console import print_csv
from footwork.tables.cells import cell, list_of, text_of
from footwork.tables.writer import require_table, write_rows


@pytest.mark.parametrize(
    "text",
    ["=1+1.jpg", "+a", "-a.jpg", "@x", "\t=1", "\r=1", "\n=1", "-", "-1-1", "+49 1", "\uff1d1"],
)
def test_what_begins_like_a_formula_is_a_text(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert text_of(cell(text)) == text
    assert cell(text, raw=True) == text


@pytest.mark.parametrize("value", [-1, -0.5, "-1", "+1.5e-3", "-.5", "a=1", "'=1", "", None, True])
def test_numbers_and_all_else_stay_as_they_are(value: Any) -> None:
    assert cell(value) is value


@pytest.mark.parametrize("name", ["out.csv", "out.tsv"])
@pytest.mark.parametrize("raw_cells", [False, True])
def test_every_writer_of_tables_knows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, raw_cells: bool
) -> None:
    rows = [{"=path": "=a.jpg", "score": -0.5, "labels": ["=x"]}]
    header = ["=path" if raw_cells else "'=path", "score", "labels"]
    written = "=a.jpg" if raw_cells else "'=a.jpg"
    write_rows(rows, tmp_path / name, raw_cells=raw_cells)
    with (tmp_path / name).open(newline="") as file:
        [names, found] = csv.reader(file, delimiter="\t" if name == "out.tsv" else ",")
    assert (names, found) == (header, [written, "-0.5", '["=x"]'])
    require_table(tmp_path / name, ("=path", "score", "labels"))
    print_csv(rows, dict, raw_cells=raw_cells)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == ",".join(header)
    assert printed[1].startswith(f"{written},-0.5,")


def test_other_files_hold_what_they_are_given(tmp_path: Path) -> None:
    write_rows([{"path": "=a.jpg"}], tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == '{"path": "=a.jpg"}\n'


@pytest.mark.parametrize(
    ("written", "items"),
    [
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b c' \"it's\"]", ["a", "b c", "it's"]),
        (r"['it\'s', 'a\xa0b', 'x\\y']", ["it's", "a\xa0b", "x\\y"]),
        ("['a', nan, None]", ["a", None, None]),
        ("['a',]", ["a"]),
        ('["a", 1, null]', ["a", 1, None]),
        ("[1. 0.5]", [1.0, 0.5]),
        ("[007 7]", ["007", "7"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array([], dtype=object)", []),
        ("frozenset({'a'})", ["a"]),
        ("set()", []),
        ('c("a", NA)', ["a", None]),
        ('{a,"b c",NULL}', ["a", "b c", None]),
        ("[don't, know, a b]", ["don't", "know", "a b"]),
        ("{}", []),
        ('{"a": 1}', [{"a": 1}]),
        *((text, None) for text in ("a", "", "[", "[spam]", "{spam}", "(1)", "(a, b)", "c(a)")),
        ("(1, 0]", None),
    ],
)
def test_a_list_is_read_as_its_tool_writes_it(written: str, items: list[Any] | None) -> None:
    assert list_of(written) == items


@pytest.mark.parametrize(
    "written", ["['a' ... 'b']", "[0 1 ... 1]", "['a''b']", "['a' b]", "{'a': 1}", "[('a', 1)]"]
)
def test_a_list_that_is_cut_or_nested_is_no_guess(written: str) -> None:
    with pytest.raises(ValueError, match=re.escape(written[1:-1])):
        list_of(written)


@pytest.mark.parametrize("value", [[], ["a", "b, c", 'd "e"', "it's"], [1, None, "x"]])
def test_a_list_that_is_written_reads_the_same(value: list[Any]) -> None:
    assert list_of(cell(value)) == value
