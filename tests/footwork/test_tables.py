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
from footwork.tables.format import Expected
from footwork.tables.reader import (
    SkippedRow,
    Table,
    TableFormat,
    iterate_rows,
    read_table,
    write_rows,
)

PLAIN = "".join(f"text number {i},{'pos' if i % 2 else 'neg'}\n" for i in range(10))
STRANGE_CELLS = [
    "NA",
    "None",
    "null",
    "nan",
    "007",
    "",
    "1e5",
    " padded ",
    "a,b",
    'say "hi"',
    "é€字",
]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(table: Table) -> list[tuple[Any, ...]]:
    return list(zip(*table.columns.values(), strict=True))


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_what_is_written_is_read_back_cell_by_cell(tmp_path: Path, ending: str) -> None:
    generator = random.Random(1)
    rows = [
        {
            "text": generator.choice(STRANGE_CELLS),
            "label": generator.choice(STRANGE_CELLS[:5]),
            "n": str(i),
        }
        for i in range(200)
    ]
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
    assert read_table(tmp_path / "t.parquet").columns == {"a": ["x"], "a_2": ["y"]}


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
        write(
            tmp_path, name, "text\tlabel\n" + "".join(f'"stray {i}\t{i % 2}\n' for i in range(50))
        )
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


def test_a_missing_header_is_noticed_and_told(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "table.csv", PLAIN))
    assert list(table.columns) == ["column_1", "column_2"]
    assert len(table.rows) == 10
    assert "No header" in " ".join(table.notes)


@pytest.mark.parametrize("header", ["text,label", "Kommentar,Klasse", "TEXT,Category", "Review ,y"])
def test_a_header_is_noticed_by_its_names_or_by_being_unlike(tmp_path: Path, header: str) -> None:
    table = read_table(write(tmp_path, "table.csv", f"{header}\n{PLAIN}"))
    assert list(table.columns) == [name.strip() for name in header.split(",")]
    assert table.rows[0] == 2


def test_a_label_that_is_called_like_a_column_is_no_header(tmp_path: Path) -> None:
    content = "".join(f"how far is it to place {i}?,{('question', 'y')[i % 2]}\n" for i in range(8))
    assert len(read_table(write(tmp_path, "table.csv", content)).rows) == 8


QUESTIONS = "How do you feel about the new office?,What best describes your overall mood today?"
ANSWERS = "".join(f"I think it is number {i} of all,{('good', 'bad')[i % 2]}\n" for i in range(30))


@pytest.mark.parametrize(
    "header", [QUESTIONS, "您对我们的新服务有什么看法,您的总体情绪如何", "2019,2020"]
)
def test_whole_questions_and_years_are_a_header(tmp_path: Path, header: str) -> None:
    table = read_table(write(tmp_path, "t.csv", f"{header}\n{ANSWERS}"))
    assert list(table.columns) == header.split(",")
    assert table.rows[0] == 2
    assert "it is read as the header" in " ".join(table.notes)
    assert len(read_table(tmp_path / "t.csv", TableFormat(header=False)).rows) == 31


@pytest.mark.parametrize(
    "first", ["so good,good", "NA,good", "Review,good", ",bad", "2019,good", f"{'x ' * 300},ugly"]
)
def test_a_first_row_like_the_others_is_no_header(tmp_path: Path, first: str) -> None:
    assert len(read_table(write(tmp_path, "t.csv", f"{first}\n{ANSWERS}")).rows) == 31


def test_a_missing_amount_in_the_first_row_is_no_name(tmp_path: Path) -> None:
    rows = "".join(f"it is number {i},{i / 7:.2f}\n" for i in range(30))
    for amount in ("NA", "", "-"):
        assert len(read_table(write(tmp_path, "t.csv", f"so good,{amount}\n{rows}")).rows) == 31


def test_a_header_may_have_empty_names_and_names_twice(tmp_path: Path) -> None:
    rows = "".join(f"{('ham', 'spam')[i % 2]},a text of number {i},,\n" for i in range(9))
    table = read_table(write(tmp_path, "t.csv", f"v1,v2,,\n{rows}"))
    assert list(table.columns) == ["v1", "v2", "column_3", "column_4"]
    table = read_table(write(tmp_path, "t.csv", "text,label,text\na,b,c\n"))
    assert table.columns == {"text": ["a"], "label": ["b"], "text_3": ["c"]}
    assert "2 columns are called 'text'; they are read as 'text', 'text_3'" in table.notes[-1]


def test_empty_cells_beside_the_table_are_none_of_it(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "t.csv", "text,label,,\na,b,\nc,d,,\ne,f\n"))
    assert table.columns["text"] == ["a", "c", "e"]
    assert table.columns["column_4"] == ["", "", ""]
    table = read_table(write(tmp_path, "t.csv", "text,label\na,b,\nc,d,\ne,f,\ng,h\n"))
    assert cells(table) == [(*both, "") for both in ("ab", "cd", "ef", "gh")]
    # A stray comma before a label that is missing.
    path = write(tmp_path, "t.csv", "text,label\na,b\nso, so,\nc,d\n")
    with pytest.raises(DataError, match="row 3: it has 3 cells, expected 2"):
        read_table(path)


@pytest.mark.parametrize("names", [("Wie war es",), ("klasse",), ("2019",)])
def test_a_name_that_is_known_proves_the_header(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = write(tmp_path, "t.csv", "Wie  war-es;Klasse;2019\nso, gut;a;1\nso, so;b;2\n")
    table = read_table(path, expected=Expected(names=names))
    assert list(table.columns) == ["Wie  war-es", "Klasse", "2019"]
    assert cells(table) == [("so, gut", "a", "1"), ("so, so", "b", "2")]


def test_a_quoted_column_is_read_as_csv_where_it_has_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "t.txt", 'text\n"so, so"\n"he said ""no"""\n')
    assert [row["text"] for _, row in iterate_rows(path)] == ["so, so", 'he said "no"']
    path = write(tmp_path, "t.txt", 'text\n"Yes", he said\nso\n')
    assert [row["text"] for _, row in iterate_rows(path)] == ['"Yes", he said', "so"]


def test_the_number_of_a_column_proves_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", PLAIN.replace("neg", "2"))
    assert len(read_table(path, expected=Expected(names=("2",))).rows) == 10


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


def test_header_and_delimiter_can_be_stated(tmp_path: Path) -> None:
    path = write(tmp_path, "table.csv", "text,label\n" + PLAIN)
    assert len(read_table(path, TableFormat(header=False)).rows) == 11
    path = write(tmp_path, "odd.txt", "text^label\na^b\n")
    assert cells(read_table(path, TableFormat(delimiter="^"))) == [("a", "b")]


def test_stray_quotes_stay_in_the_text(tmp_path: Path) -> None:
    lines = ["Quality\t#1 String\t#2 String"]
    lines += [f'1\t"whom he called {i}\tsaid "so" and went' for i in range(5)]
    table = read_table(write(tmp_path, "pairs.tsv", "\n".join(lines)))
    assert len(table.rows) == 5
    assert table.columns["#1 String"][0] == '"whom he called 0'
    assert "Quote characters are kept" in " ".join(table.notes)


def test_backslashes_before_quotes_are_understood(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f'"He said \\"hi {i}\\", ok",{i % 2}\n' for i in range(8))
    assert read_table(write(tmp_path, "t.csv", content)).columns["text"][0] == 'He said "hi 0", ok'


def test_lines_of_label_and_text(tmp_path: Path) -> None:
    lines = "".join(f"{i % 2} it is number {i}, or not\n" for i in range(12)) + "1\n0 \n"
    table = read_table(write(tmp_path, "reviews.all", lines))
    assert table.columns["label"] == [*"010101010101", "1", "0"]
    assert table.columns["text"][1] == "it is number 1, or not"
    assert table.columns["text"][-2:] == ["", ""]
    stated = read_table(
        write(tmp_path, "r.txt", "x a b\ny c\n"), TableFormat(delimiter="first-space")
    )
    assert cells(stated) == [("x", "a b"), ("y", "c")]


def test_lines_of_fasttext(tmp_path: Path) -> None:
    table = read_table(
        write(tmp_path, "ft.txt", "__label__a so, it is\n__label__a __label__b two\n")
    )
    assert table.columns == {"label": ["a", ["a", "b"]], "text": ["so, it is", "two"]}


def test_lines_without_labels_are_texts_when_streamed(tmp_path: Path) -> None:
    path = write(tmp_path, "texts.txt", "I love it, really\nbad, so bad\n\nok")
    texts = [values["text"] for _, values in iterate_rows(path)]
    assert texts == ["I love it, really", "bad, so bad", "", "ok"]


BAD_ROWS = {
    "ragged.csv": ("text,label\n" + PLAIN + "a,b,c\n", 12, "it has 3 cells, expected 2"),
    "nul.csv": ("text,label\n" + PLAIN + "a\0b,pos\n", 12, "NUL character"),
    "json.jsonl": ('{"text": "a", "label": 1}\n\n{"text": \n', 3, "not valid JSON"),
    "array.jsonl": ('{"text": "a", "label": 1}\n["text"]\n', 2, "must be a JSON object"),
    "twice.jsonl": (
        '{"text": "a", "label": 1}\n{"text": "a", "text": "b"}\n',
        2,
        "has a key twice",
    ),
    "deep.jsonl": (
        f'{{"text": "a"}}\n{{"text": {"[" * 99_999}{"]" * 99_999}}}\n',
        2,
        "nested too|recursion",
    ),
    "half.jsonl": ('{"text": "a", "label": 1}\n{"text": "\\ud800"}\n', 2, "surrogate"),
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
    "stated", [{"delimiter": "ab"}, {"encoding": "utf-9"}, {"encoding": "hex"}]
)
def test_an_impossible_format_is_a_wrong_command(stated: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        TableFormat(**stated)  # type: ignore[arg-type]


def test_a_json_array_is_a_table(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": True}, {"text": "b"}]
    table = read_table(write(tmp_path, "t.json", json.dumps(rows, indent=1)))
    assert table.columns == {"text": ["a", "b"], "label": [True, None]}
