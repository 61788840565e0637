"""Answers as programs read them, and as people do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from footwork.evaluation.text import display_width
from footwork.files.paths import path_text
from footwork.tables.reader import read_table
from search.answers.answer import answer_document, answer_lines, hit_rows, write_hits
from search.records import date_text
from tests.search.found import answer, hit

ODD = os.fsdecode(b"/photos/caf\xe9\n\x1b[31m.jpg")


def test_a_document_holds_what_is_known_of_each_image_and_null_for_the_rest() -> None:
    known = {"format": "jpeg", "width": 40, "height": 30, "camera": "Canon"}
    known |= {"date": 1_577_836_800, "date_from": "picture"}
    found = hit("/a.jpg", 0.9, 0.25, labels={"dog": 0.5}, **known)
    row = {"path": "/a.jpg", "score": 0.25, "relevance": 0.9, **known, "bytes": 1234}
    row |= {"date": "2020-01-01T00:00:00", "labels": {"dog": 0.5}, "missing": False}
    document = {"query": "a dog", "hits": [row], "nothing_matches": False}
    assert answer_document(answer(found)) == document
    (bare,) = answer_document(answer(hit("/a.jpg")))["hits"]
    assert {name for name, value in bare.items() if value is None} == {"labels", *known}


def test_a_document_is_valid_json_for_any_name_and_any_kind_of_float() -> None:
    found = hit(ODD, np.float32(0.75), np.float64(0.5))  # type: ignore[arg-type]
    text = json.dumps(answer_document(answer(found, query=f"like {ODD}")), ensure_ascii=False)
    read = json.loads(text.encode())
    assert read["hits"][0]["path"] == "/photos/caf\\xe9\n\x1b[31m.jpg"
    assert read["query"] == "like /photos/caf\\xe9\n\x1b[31m.jpg"
    assert read["hits"][0]["relevance"] == 0.75


def test_rows_of_several_answers_name_their_query_and_all_have_the_same_columns() -> None:
    one, other = answer(hit("/a.jpg"), hit("/b.jpg")), answer(hit("/c.jpg"), query="a cat")
    rows = list(hit_rows([one, answer(query="none"), other], by_query=True))
    asked = [("a dog", "/a.jpg"), ("a dog", "/b.jpg"), ("a cat", "/c.jpg")]
    assert [(row["query"], row["path"]) for row in rows] == asked
    assert len({tuple(row) for row in rows}) == 1
    assert "query" not in next(hit_rows([one], by_query=False))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_hits_are_written_as_a_table_of_any_kind(tmp_path: Path, ending: str) -> None:
    labels = {"cat": 0.2, "dog": 0.7}
    answers = [answer(hit(ODD, labels=labels)), answer(hit("/b.jpg", width=4), query="a cat")]
    path = tmp_path / f"hits{ending}"
    write_hits(answers, path)
    columns = read_table(path).columns
    assert columns["query"] == ["a dog", "a cat"]
    assert columns["path"] == [path_text(ODD), "/b.jpg"]
    if ending == ".jsonl":  # which keeps the scores
        assert json.loads(path.read_text("utf-8").splitlines()[0])["labels"] == labels
    else:
        assert columns["labels"][0] == "dog; cat"


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("queries", [1, 2])
def test_a_table_without_hits_has_the_columns_of_one_with_hits(
    tmp_path: Path, ending: str, queries: int
) -> None:
    some, none = tmp_path / f"some{ending}", tmp_path / f"none{ending}"
    write_hits([answer(hit("/a.jpg", 0.9))] * queries, some)
    write_hits([answer()] * queries, none)
    if ending == ".parquet":
        read = pyarrow.parquet.read_schema
        assert read(none).equals(read(some))
    else:
        assert none.read_text("utf-8") == some.read_text("utf-8").splitlines(keepends=True)[0]


def test_a_table_shows_rank_relevance_score_and_path() -> None:
    assert list(answer_lines(answer())) == []
    assert list(answer_lines(answer(hit("/a.jpg", 0.98, 0.3123), hit("/b.jpg", 0.5, -0.05)))) == [
        "rank  relevance   score  path",
        "   1       0.98   0.312  /a.jpg",
        "   2       0.50  -0.050  /b.jpg",
    ]


@pytest.mark.parametrize("width", [44, 60, 80])
def test_a_long_path_loses_its_beginning(width: int) -> None:
    long = "/photos/" + "夏休み/" * 30 + "鳥.jpg"
    line = list(answer_lines(answer(hit(long)), width))[1]
    assert width - 2 <= display_width(line) <= width
    assert line.endswith("/鳥.jpg")
    assert "…" in line
    assert long in list(answer_lines(answer(hit(long))))[1]


def test_a_table_keeps_to_its_lines_whatever_a_name_holds() -> None:
    lines = list(answer_lines(answer(hit(ODD), query=f"like {ODD}", nothing_matches=True)))
    assert all(line.isprintable() for line in lines)
    assert lines[-1].endswith("/photos/caf\\xe9\\n\\x1b[31m.jpg")


def test_that_nothing_matches_is_said_with_the_nearest() -> None:
    assert list(answer_lines(answer(nothing_matches=True))) == ["Nothing here matches “a dog”."]
    told = "Nothing here matches “a dog”; the nearest is /a.jpg, with relevance 0.03."
    near = hit("/a.jpg", 0.03)
    assert list(answer_lines(answer(nothing_matches=True, nearest=near))) == [told]
    lines = list(answer_lines(answer(near, nothing_matches=True)))
    assert (lines[0], len(lines)) == (told, 3)


def test_dates_are_those_of_the_calendar() -> None:
    assert [date_text(date) for date in (-1, 10**15, None)] == ["1969-12-31T23:59:59", None, None]
