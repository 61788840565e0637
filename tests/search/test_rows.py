"""Answers as programs read them, and as people do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from footwork.errors import ConfigError
from footwork.evaluation.text import display_width
from footwork.files.paths import path_text
from footwork.tables.reader import read_table
from search.answers.answer import (
    answer_document,
    answer_lines,
    flat_row,
    hit_rows,
    path_bytes,
    write_hits,
)
from search.records import date_text
from tests.search.found import answer, hit

ODD = os.fsdecode(b"/photos/caf\xe9\n\x1b[31m.jpg")


def test_a_document_holds_what_is_known_of_each_image() -> None:
    known = {"format": "jpeg", "width": 40, "height": 30, "camera": "Canon"}
    known |= {"date": 1_577_836_800, "date_from": "picture"}
    document = answer_document(answer(hit("/a.jpg", 0.9, 0.25, labels={"dog": 0.5}, **known)))
    assert document == {
        "query": "a dog",
        "hits": [
            {
                "path": "/a.jpg",
                "score": 0.25,
                "relevance": 0.9,
                "bytes": 1234,
                "labels": {"dog": 0.5},
                "missing": False,
                **known,
                "date": "2020-01-01T00:00:00",
            }
        ],
        "nothing_matches": False,
    }


def test_what_is_not_known_is_null() -> None:
    row = answer_document(answer(hit("/a.jpg")))["hits"][0]
    assert {name for name, value in row.items() if value is None} == {
        "format",
        "width",
        "height",
        "date",
        "date_from",
        "camera",
        "labels",
    }


def test_a_document_is_valid_json_for_any_name_and_any_kind_of_float() -> None:
    found = hit(ODD, np.float32(0.75), np.float64(0.5))  # type: ignore[arg-type]
    document = answer_document(answer(found, query=f"like {ODD}"))
    text = json.dumps(document, ensure_ascii=False).encode()
    read = json.loads(text)
    assert read["hits"][0]["path"] == "/photos/caf\\xe9\n\x1b[31m.jpg"
    assert read["query"] == "like /photos/caf\\xe9\n\x1b[31m.jpg"
    assert read["hits"][0]["relevance"] == 0.75


def test_rows_of_several_answers_name_their_query() -> None:
    one, other = answer(hit("/a.jpg"), hit("/b.jpg")), answer(hit("/c.jpg"), query="a cat")
    rows = list(hit_rows([one, answer(query="none"), other]))
    assert [(row["query"], row["path"]) for row in rows] == [
        ("a dog", "/a.jpg"),
        ("a dog", "/b.jpg"),
        ("a cat", "/c.jpg"),
    ]
    assert len({tuple(row) for row in rows}) == 1
    assert "query" not in next(hit_rows([one]))


def test_labels_of_a_flat_row_stand_in_one_cell_the_best_first() -> None:
    found = hit("/a.jpg", labels={"cat": 0.2, "dog": 0.7})
    assert flat_row(next(hit_rows([answer(found)])))["labels"] == "dog; cat"


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_hits_are_written_as_a_table_of_any_kind(tmp_path: Path, ending: str) -> None:
    answers = [answer(hit(ODD, labels={"dog": 0.7})), answer(hit("/b.jpg", width=4), query="a cat")]
    write_hits(answers, tmp_path / f"hits{ending}")
    columns = read_table(tmp_path / f"hits{ending}").columns
    assert columns["query"] == ["a dog", "a cat"]
    assert columns["path"] == [path_text(ODD), "/b.jpg"]


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
        [header] = none.read_text("utf-8").splitlines()
        assert header == some.read_text("utf-8").splitlines()[0]


def test_json_lines_keep_the_scores_of_labels(tmp_path: Path) -> None:
    write_hits([answer(hit("/a.jpg", labels={"dog": 0.7}))], tmp_path / "hits.jsonl")
    assert json.loads((tmp_path / "hits.jsonl").read_text("utf-8"))["labels"] == {"dog": 0.7}


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The ending of hits\.txt must be one of \.csv"):
        write_hits([answer(hit("/a.jpg"))], tmp_path / "hits.txt")


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_paths_are_given_byte_for_byte(end: bytes) -> None:
    given = b"".join(path_bytes([answer(hit(ODD), hit("/b.jpg")), answer(hit("/c.jpg"))], end))
    assert given == end.join([b"/photos/caf\xe9\n\x1b[31m.jpg", b"/b.jpg", b"/c.jpg", b""])


def test_a_table_shows_rank_relevance_score_and_path() -> None:
    lines = list(answer_lines(answer(hit("/a.jpg", 0.98, 0.3123), hit("/b.jpg", 0.5, -0.05))))
    assert lines == [
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
    said = "Nothing here matches “a dog”; the nearest is /a.jpg, with relevance 0.03."
    near = hit("/a.jpg", 0.03)
    assert list(answer_lines(answer(nothing_matches=True, nearest=near))) == [said]
    lines = list(answer_lines(answer(near, nothing_matches=True)))
    assert (lines[0], len(lines)) == (said, 3)


def test_an_answer_without_hits_has_no_table() -> None:
    assert list(answer_lines(answer())) == []


def test_dates_are_those_of_the_calendar() -> None:
    assert date_text(-1) == "1969-12-31T23:59:59"
    assert date_text(10**15) is None
