"""Rows are written as they come, and a file is complete or absent."""

from __future__ import annotations

import csv
import errno
import io
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas
import pytest

from footwork.console import print_csv
from footwork.errors import ConfigError, DataError
from footwork.tables.cells import text_of
from footwork.tables.reader import read_table
from footwork.tables.writer import require_table, write_rows

ADVICE = "Name a file in a folder that is there, where you may write and there is room."


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    def failing() -> Any:
        yield {"text": "a"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(failing(), tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match=r"must be one of \.csv"):
        write_rows([], tmp_path / "out.xls")
    with pytest.raises(DataError, match="Cannot write"):
        write_rows([{"text": "a"}], tmp_path / "nosuch" / "out.csv")


def test_rows_are_written_where_a_link_leads(tmp_path: Path) -> None:
    (link := tmp_path / "link.csv").symlink_to(tmp_path / "out.csv")
    write_rows([{"text": "a"}], link)
    assert link.is_symlink()
    assert (tmp_path / "out.csv").read_text() == "text\na\n"


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_file_that_cannot_be_written_goes_by_the_name_it_was_given(
    name: str, tmp_path: Path
) -> None:
    def until_the_disk_is_full() -> Any:
        yield {"text": "a"}
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/.out.part")

    target = tmp_path / "nosuch" / name
    with pytest.raises(DataError) as caught:
        write_rows([{"text": "a"}], target)
    assert str(caught.value) == f"Cannot write {target}: no such file or directory. {ADVICE}"
    with pytest.raises(DataError) as caught:
        write_rows(until_the_disk_is_full(), tmp_path / name)
    assert str(caught.value) == f"Cannot write {tmp_path / name}: no space left on device. {ADVICE}"
    assert list(tmp_path.iterdir()) == []


def test_lists_stand_in_csv_as_json(tmp_path: Path) -> None:
    write_rows([{"id": 1, "probabilities": {"é": 0.5}, "label": None}], tmp_path / "o.csv")
    row = next(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text(encoding="utf-8"))))
    assert row == {"id": "1", "probabilities": '{"é": 0.5}', "label": ""}


AWKWARD = (
    *("a\rb", "\ra", "a\r", "\r", "a\nb", "a\r\nb", "a,b", "a;b", "a\tb", 'say "hi"', '"', "'"),
    *("''", " a", "a ", " ", "", "\ta", "a\x85b", "a\u2028b", "a\x0bb\x0cc", "\\", "a\\,b", "\\n"),
    *("# a", "NA", "007", "1e5", "=a", "é", "\ufeffa"),
)


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_every_reader_reads_the_very_cells(ending: str, delimiter: str, tmp_path: Path) -> None:
    rows = [{"id": cell, "label": cell, "text": f"number {n}"} for n, cell in enumerate(AWKWARD)]
    path = tmp_path / f"o{ending}"
    write_rows(rows, path, raw_cells=True)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file, delimiter=delimiter)) == rows
    frame = pandas.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False)
    assert frame.to_dict("records") == rows
    table = read_table(path)
    assert table.columns == {name: [row[name] for row in rows] for name in rows[0]}
    write_rows(rows, tmp_path / f"quoted{ending}")
    quoted = read_table(tmp_path / f"quoted{ending}").columns
    assert [text_of(cell) for cell in quoted["id"]] == list(AWKWARD)


def test_printed_rows_are_those_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": cell, "label": f"{cell}x"} for cell in AWKWARD]
    write_rows(rows, tmp_path / "o.csv")
    print_csv(rows, dict)
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        assert capsys.readouterr().out == file.read()


def test_a_bare_return_is_quoted_on_every_python(tmp_path: Path) -> None:
    write_rows([{"id": "a\rb", "label": "x"}], tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes() == b'id,label\n"a\rb",x\n'


def test_parquet_is_written_in_several_batches(tmp_path: Path) -> None:
    write_rows(({"n": i} for i in range(25_000)), tmp_path / "o.parquet")
    assert read_table(tmp_path / "o.parquet").columns["n"] == list(range(25_000))


def test_what_the_first_rows_lack_may_follow_as_text(tmp_path: Path) -> None:
    rows = [{"true": [], "note": None}] * 10_000 + [{"true": ["a"], "note": "so"}]
    write_rows(rows, tmp_path / "o.parquet")
    assert read_table(tmp_path / "o.parquet").columns["true"][-1] == ["a"]


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        (None, [1, date(2020, 1, 2)], [None, '[1, "2020-01-02"]']),
        (5, 4.5, [5.0, 4.5]),
        (2**60 + 1, 4.5, [str(2**60 + 1), "4.5"]),
        (5, 2**63, ["5", str(2**63)]),
        (5, "n/a", ["5", "n/a"]),
        (5, True, ["5", "True"]),
        ({"x": 1}, {"x": 1, "y": 2}, ['{"x": 1}', '{"x": 1, "y": 2}']),
        ([1], ["a"], ["[1]", '["a"]']),
        (date(2020, 1, 2), datetime(2020, 1, 2, 3), ["2020-01-02", "2020-01-02 03:00:00"]),
    ],
)
@pytest.mark.parametrize("among", [0, 10_000])
def test_a_value_of_another_type_changes_none_in_parquet(
    tmp_path: Path, among: int, first: Any, later: Any, expected: list[Any]
) -> None:
    rows = [*[{"n": first, "id": "é"}] * max(among, 1), {"n": later, "id": "a"}]
    write_rows(iter(rows), tmp_path / "o.parquet")
    columns = read_table(tmp_path / "o.parquet").columns
    assert (columns["n"][0], columns["n"][-1], len(columns["n"])) == (*expected, len(rows))
    assert columns["id"][-2:] == ["é", "a"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_only_a_table_of_its_own_is_replaced(tmp_path: Path, ending: str) -> None:
    own, other, broken = (tmp_path / f"{name}{ending}" for name in ("own", "other", "broken"))
    write_rows([{"id": "1", "label": "a", "p:a": 1.0}], own)
    write_rows([{"text": "mine", "label": "a"}], other)
    broken.write_bytes(b"\xff\x00mine")
    noted = tmp_path / f"noted{ending}"
    write_rows([{"id": "1", "label": "a", "p:a": 1.0, "my notes": "two weeks"}], noted)
    partly = tmp_path / f"partly{ending}"
    write_rows([{"id": "1", "p:a": 1.0}], partly)
    require_table(own, ("id", "label"), further=("p:",))
    require_table(tmp_path / f"new{ending}", ("id", "label"))
    require_table(noted, ("id", "label"), further=("p:",), kept=("my notes",))
    with pytest.raises(ConfigError, match="is not replaced"):
        require_table(noted, ("id", "label"), further=("p:",), kept=("my",))
    for table in (other, broken, noted, partly):
        with pytest.raises(ConfigError, match=r"is not replaced: .* Name another file, or delete"):
            require_table(table, ("id", "label"), further=("p:",))
