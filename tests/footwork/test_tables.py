"""Tables are read as they were written, and every fault has a row."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import ConfigError, DataError
from footwork.tables.layout import DETECT, Expected, TableFormat
from footwork.tables.reader import SkippedRow, Table, iterate_rows, read_table
from footwork.tables.writer import write_rows
from tests.tables import PLAIN, write

STRANGE_CELLS = [
    *("NA", "None", "null", "nan", "007", "", "1e5", " padded ", "a,b", 'say "hi"', "é€字")
]


def cells(table: Table) -> list[tuple[Any, ...]]:
    return list(zip(*table.columns.values(), strict=True))


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_what_is_written_is_read_back_cell_by_cell(tmp_path: Path, ending: str) -> None:
    generator = random.Random(1)
    texts = generator.choices(STRANGE_CELLS, k=200)
    labels = generator.choices(STRANGE_CELLS[:5], k=200)
    columns = {"text": texts, "label": labels, "n": list(map(str, range(200)))}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_rows(rows, tmp_path / f"table{ending}")
    table = read_table(tmp_path / f"table{ending}")
    assert cells(table) == [tuple(row.values()) for row in rows]
    assert table.rows == list(range(2, 202))


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_json_and_parquet_keep_types(tmp_path: Path, ending: str) -> None:
    rows = [{"text": "NA", "label": 7, "tags": ["a", "b"]}, {"text": "", "label": 8, "tags": []}]
    write_rows(rows, tmp_path / f"table{ending}")
    table = read_table(tmp_path / f"table{ending}")
    assert table.columns == {"text": ["NA", ""], "label": [7, 8], "tags": [["a", "b"], []]}
    assert table.rows == [1, 2]


def test_nan_of_json_is_missing_at_any_depth(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", '{"text": NaN, "n": 1.5, "tags": ["a", NaN]}\n')
    assert read_table(path).columns == {"text": [None], "n": [1.5], "tags": [["a", None]]}


def test_columns_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["x"]), pyarrow.array(["y"])], ["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert read.columns == {"a": ["x"], "a_2": ["y"]}
    assert read.notes == ("Warning: 2 columns are called 'a'; they are read as 'a', 'a_2'.",)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiter_encoding_and_line_ends_do_not_matter(
    tmp_path: Path, delimiter: str, encoding: str, ending: str
) -> None:
    lines = ["text,label", *(f"naïve text {i},{i % 2}" for i in range(6))]
    content = ending.join(lines).replace(",", delimiter) + ending
    table = read_table(write(tmp_path, "table.csv", content.encode(encoding)))
    assert cells(table) == [(f"naïve text {i}", str(i % 2)) for i in range(6)]
    assert table.rows == list(range(2, 8))


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "quoted.tsv", "a.jsonl", "a.parquet", "plain.csv"]
)
def test_streaming_gives_the_rows_of_the_whole_table(tmp_path: Path, name: str) -> None:
    rows = [{"text": f'a "{i}", b', "label": str(i % 3)} for i in range(50)]
    if name == "quoted.tsv":
        stray = "".join(f'"stray {i}\t{i % 2}\n' for i in range(50))
        write(tmp_path, name, f"text\tlabel\n{stray}")
    elif name == "plain.csv":
        write(tmp_path, name, PLAIN)
    else:
        write_rows(rows, tmp_path / name)
    table = read_table(tmp_path / name)
    streamed = list(iterate_rows(tmp_path / name))
    assert [row for row, _ in streamed] == table.rows
    assert [tuple(values.values()) for _, values in streamed] == cells(table)


def test_rows_are_numbered_by_the_line_they_start_on(tmp_path: Path) -> None:
    content = 'text,label\n"two\nlines",a\n\nplain,b\n"x\r\ny\n\nz",c\nlast,d\n'
    table = read_table(write(tmp_path, "table.csv", content))
    assert table.rows == [2, 5, 6, 10]
    assert table.columns["text"] == ["two\nlines", "plain", "x\r\ny\n\nz", "last"]


def test_a_text_of_a_megabyte_is_a_text(tmp_path: Path) -> None:
    text = "word " * 250_000
    table = read_table(write(tmp_path, "table.csv", f"text,label\n{PLAIN}{text},pos\n"))
    assert table.columns["text"][-1] == text


ANSWERS = "".join(f"I think it is number {i} of all,{('good', 'bad')[i % 2]}\n" for i in range(30))
AMOUNTS = "".join(f"it is number {i},{i / 7:.2f}\n" for i in range(30))
ASKED = "".join(f"how far is it to place {i}?,{('question', 'y')[i % 2]}\n" for i in range(8))
QUESTIONS = "How do you feel about the new office?,What best describes your overall mood today?"
TOLD = "it is read as the header"
HEADERS = [
    *((header, PLAIN, "") for header in ("text,label", "TEXT,Category", "Review ,y")),
    ("Kommentar,Klasse", PLAIN, TOLD),
    (QUESTIONS, ANSWERS, TOLD),
    ("您对我们的新服务有什么看法,您的总体情绪如何", ANSWERS, TOLD),
    ("2019,2020", ANSWERS, TOLD),
]
FIRST_ROWS = [
    (PLAIN.split("\n")[0], PLAIN.split("\n", 1)[1]),
    (ASKED.split("\n")[0], ASKED.split("\n", 1)[1]),
    *((f"so good,{amount}", AMOUNTS) for amount in ("NA", "", "-")),
    *((f"{text},good", ANSWERS) for text in ("so good", "NA", "Review", "2019")),
    (",bad", ANSWERS),
    (f"{'x ' * 300},ugly", ANSWERS),
]


@pytest.mark.parametrize(("header", "rows", "told"), HEADERS)
def test_a_header_is_noticed_by_its_names_or_by_being_unlike(
    tmp_path: Path, header: str, rows: str, told: str
) -> None:
    table = read_table(write(tmp_path, "t.csv", f"{header}\n{rows}"))
    assert list(table.columns) == [name.strip() for name in header.split(",")]
    assert table.rows == list(range(2, rows.count("\n") + 2))
    assert told in " ".join(table.notes)
    data = read_table(tmp_path / "t.csv", TableFormat(header=False))
    assert list(data.columns) == ["column_1", "column_2"]
    assert data.rows[0] == 1


@pytest.mark.parametrize(("first", "rows"), FIRST_ROWS)
def test_a_first_row_like_the_others_is_no_header(tmp_path: Path, first: str, rows: str) -> None:
    table = read_table(write(tmp_path, "t.csv", f"{first}\n{rows}"))
    assert table.rows == list(range(1, rows.count("\n") + 2))
    assert "No header" in " ".join(table.notes)


GERMAN = "Wie  war-es;Klasse;2019\nso, gut;a;1\nso, so;b;2\n"
NAMELESS = "v1,v2,,\n" + "".join(f"{'sh'[i % 2]},a text of number {i},,\n" for i in range(9))
ESCAPED = "text,label\n" + '"He said \\"hi\\", ok",x\n' * 8
TAGGED = "__label__a\tso,\tit  is\n__label__a __label__b two\n"
FIRST_SPACE = TableFormat(delimiter="first-space")
READ_GERMAN = {"Wie  war-es": ["so, gut", "so, so"], "Klasse": ["a", "b"], "2019": ["1", "2"]}
STRAY = "Quality\t#1 String\t#2 String" + '\n1\t"whom he called\tsaid "so" and went' * 5
LABELLED = "".join(f"{i % 2} it is {i}, or not\n" for i in range(12)) + "1\n0 \n"
MEANT: list[tuple[str, str, TableFormat | Expected, dict[str, list[Any]], str]] = [
    ("t.csv", NAMELESS, DETECT, {"v1": [*"shshshshs"], "column_4": [""] * 9}, ""),
    (
        "t.csv",
        "text,label,text\na,b,c\n",
        DETECT,
        {"text": ["a"], "label": ["b"], "text_3": ["c"]},
        "2 columns are called 'text'; they are read as 'text', 'text_3'",
    ),
    (
        "t.csv",
        "a,a,a_2,A_2_2\n1,2,3,4\n",
        TableFormat(header=True),
        {"a_2": ["3"], "a_2_2_2": ["2"]},
        "",
    ),
    ("t.csv", ",text,column_1\n1,2,3\n", DETECT, {"column_1": ["3"], "column_1_1": ["1"]}, ""),
    ("t.csv", "text,label,,\na,b,\nc,d,,\ne,f\n", DETECT, {"column_4": [""] * 3}, ""),
    ("t.csv", "text,label\na,b,\nc,d,\ne,f,\ng,h\n", DETECT, {"label": [*"bdfh"]}, ""),
    *(
        ("t.csv", GERMAN, Expected(names=(name,)), READ_GERMAN, "semicolons")
        for name in ("Wie war es", "klasse", "2019")
    ),
    # The number of a column is no name of one.
    ("t.csv", "so it is,2\n" * 3, Expected(names=("2",)), {"column_2": ["2"] * 3}, "No header"),
    ("t.json", "text,label\na,b\n", TableFormat(delimiter=","), {"label": ["b"]}, ""),
    ("t.json", '{"label": "b,c"}\n', TableFormat(delimiter=","), {"label": ["b,c"]}, ""),
    ("t.txt", "text^label\na^b\n", TableFormat(delimiter="^"), {"label": ["b"]}, ""),
    ("pairs.tsv", STRAY, DETECT, {"#1 String": ['"whom he called'] * 5}, "Quote characters are"),
    ("t.csv", ESCAPED, DETECT, {"text": ['He said "hi", ok'] * 8}, ""),
    ("reviews.all", LABELLED, DETECT, {"label": [*"01010101010110"]}, "Lines of `label text`"),
    ("r.txt", "x a b\ny c\n", FIRST_SPACE, {"label": ["x", "y"], "text": ["a b", "c"]}, ""),
    (
        "ft.txt",
        TAGGED,
        DETECT,
        {"label": ["a", ["a", "b"]], "text": ["so,\tit  is", "two"]},
        "fastT",
    ),
]


@pytest.mark.parametrize(("name", "content", "known", "columns", "told"), MEANT)
def test_a_file_is_read_as_it_is_meant(
    tmp_path: Path,
    name: str,
    content: str,
    known: TableFormat | Expected,
    columns: dict[str, list[Any]],
    told: str,
) -> None:
    path = write(tmp_path, name, content)
    stated = {"expected" if isinstance(known, Expected) else "table_format": known}
    table = read_table(path, **stated)  # type: ignore[arg-type]
    assert {column: table.columns.get(column) for column in columns} == columns
    assert told in " ".join(table.notes)


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text\n"so, so"\n"he said ""no"""\n', ["so, so", 'he said "no"']),
        ('text\n"Yes", he said\nso\n', ['"Yes", he said', "so"]),
        ("I love it, really\nbad, so bad\n\nok", ["I love it, really", "bad, so bad", "", "ok"]),
    ],
)
def test_lines_are_texts_when_streamed(tmp_path: Path, content: str, texts: list[str]) -> None:
    path = write(tmp_path, "texts.txt", content)
    assert [values["text"] for _, values in iterate_rows(path)] == texts


@pytest.mark.parametrize(
    "above", ["# exported today\n# by us\n", "Survey of 2020,\n", ",\n", "sep=,\n"]
)
def test_what_stands_above_a_header_is_left_out_and_told(tmp_path: Path, above: str) -> None:
    table = read_table(write(tmp_path, "t.csv", f"{above}text,label\n{PLAIN}"))
    assert list(table.columns) == ["text", "label"]
    assert table.rows[0] == above.count("\n") + 2
    assert ("above the header is left out" in " ".join(table.notes)) == bool(above.strip(",\n"))


def test_a_header_that_comes_again_is_no_row(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", f"text,label\n{PLAIN}text,label\n{PLAIN}")
    with pytest.raises(DataError, match="row 12: it repeats the header"):
        read_table(path)
    assert len(read_table(path, TableFormat(skip_bad_rows=True)).rows) == 20


GOOD = '{"text": "a", "label": 1}\n'
DEEP = f'{{"text": {"[" * 99_999}{"]" * 99_999}}}\n'
BAD_ROWS = {
    # A stray comma before a label that is missing.
    "stray.csv": ("text,label\na,b\nso, so,\nc,d\n", 3, "it has 3 cells, expected 2"),
    "ragged.csv": (f"text,label\n{PLAIN}a,b,c\n", 12, "it has 3 cells, expected 2"),
    "nul.csv": (f"text,label\n{PLAIN}a\0b,pos\n", 12, "NUL character"),
    "json.jsonl": (GOOD + '\n{"text": \n', 3, "not valid JSON"),
    "array.jsonl": (GOOD + '["text"]\n', 2, "must be a JSON object"),
    "twice.jsonl": (GOOD + '{"text": "a", "text": "b"}\n', 2, "has a key twice"),
    "deep.jsonl": (GOOD + DEEP, 2, "nested too|recursion"),
    "half.jsonl": (GOOD + '{"text": "\\ud800"}\n', 2, "surrogate"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_an_error_with_its_row_or_is_skipped_with_it(
    tmp_path: Path, name: str
) -> None:
    content, row, reason = BAD_ROWS[name]
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=f"row {row}: .*{reason}"):
        read_table(path)
    table = read_table(path, TableFormat(skip_bad_rows=True))
    assert [(one.row, one.source) for one in table.skipped] == [(row, str(path))]
    assert re.search(reason, table.skipped[0].reason)
    assert row not in table.rows


def test_an_open_quote_swallows_one_row_and_no_more(tmp_path: Path) -> None:
    good = "".join(f'"a, b {i}",{i % 2}\n' for i in range(20))
    path = write(tmp_path, "t.csv", f'text,label\n{good}"never closed, x\n{good}')
    with pytest.raises(DataError, match="row 22: a quote opens here and never closes"):
        read_table(path)
    table = read_table(path, TableFormat(skip_bad_rows=True))
    assert len(table.rows) == 40
    assert table.skipped == (SkippedRow(22, "a quote opens here and never closes", str(path)),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "\n \n", "is empty"),
        ("t.jsonl", "", "is empty"),
        ("t.csv", "text,label\n", r"has a header \(text, label\) and no rows"),
        ("t.xlsx", b"PK\x03\x04....", "Excel workbook; save the sheet as CSV"),
        ("t.csv.gz", b"\x1f\x8b....", "decompress it first"),
        ("t.json", '[{"text": "a"},\n {"text": }]', "row 2: it is not valid JSON"),
        ("t.feather", b"ARROW1\0\0....", "Arrow or Feather file; save it as Parquet"),
        ("t.parquet", b"PAR1 broken", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_is_told(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, name, content))


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nosuch\.csv cannot be read"):
        read_table(tmp_path / "nosuch.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    "stated",
    [{"delimiter": "ab"}, {"encoding": "utf-9"}, {"encoding": "hex"}, {"encoding": "a\0b"}],
)
def test_an_impossible_format_is_a_wrong_command(stated: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        TableFormat(**stated)  # type: ignore[arg-type]


def test_a_json_array_is_a_table(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": True}, {"text": "b"}]
    table = read_table(write(tmp_path, "t.json", json.dumps(rows, indent=1)))
    assert table.columns == {"text": ["a", "b"], "label": [True, None]}


def test_a_header_that_is_not_of_the_stated_encoding_is_a_bad_row(tmp_path: Path) -> None:
    (path := tmp_path / "d.csv").write_bytes("text,café\ngood,1\nbad,0\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"d\.csv, row 1: .*Mend the row"):
        read_table(path, TableFormat(encoding="utf-8", header=True))
