"""Columns are found by their names, else by what they hold, else asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from footwork.errors import DataError
from footwork.tables.labels import MULTI_LABEL, SINGLE_LABEL
from tests.textclf.loading import load_csv
from textclf.data import DataOptions, load_data

COLUMN_CASES: list[tuple[str, tuple[str, ...], str]] = [
    ("text,label,domain,rating,title,uid", ("text",), "label"),
    ("Sentence1,sentence2,gold_label", ("Sentence1", "sentence2"), "gold_label"),
    ("Quality,#1 ID,#2 ID,#1 String,#2 String", ("#1 String", "#2 String"), "Quality"),
    ("question,sentence,label", ("question", "sentence"), "label"),
    ("text_pair,label,text", ("text", "text_pair"), "label"),
    ("id,title,description,category", ("title", "description"), "category"),
    ("Review Text,Stars", ("Review Text",), "Stars"),
    ("subject,body,intent", ("subject", "body"), "intent"),
    ("utterance,intent", ("utterance",), "intent"),
]


@pytest.mark.parametrize(("header", "texts", "label"), COLUMN_CASES)
def test_usual_columns_are_found(
    tmp_path: Path, header: str, texts: tuple[str, ...], label: str
) -> None:
    names = header.split(",")
    cells = ([str(i % 2) if n == label else f"{n} words {i}" for n in names] for i in range(8))
    lines = map(",".join, cells)
    data = load_csv(tmp_path, "\n".join([header, *lines]))
    assert (data.text_columns, data.label_column) == (texts, label)
    assert (data.train.pairs is not None) == (len(texts) == 2)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            "text,label,other text",
            "'other text' holds texts, too, and is left out; --text-column text --text-column "
            "'other text' takes pairs.",
        ),
        (
            "text,label,title,notes,uid",
            "'title' and 'notes' hold texts, too, and are left out (--text-column).",
        ),
        (
            "sentence1,sentence2,label,notes",
            "'notes' holds texts, too, and is left out (--text-column).",
        ),
        ("text,label,id,uid,name_kind,price", None),
    ],
)
def test_texts_that_are_left_out_are_told(tmp_path: Path, header: str, told: str | None) -> None:
    names = header.split(",")
    kinds = {"label": "{0}", "name_kind": "of kind {0}", "price": "{1}.5", "id": "key {1}"}
    filled = [kinds.get(name, "{1} words of it") for name in names]
    lines = [",".join(cell.format(row % 2, row) for cell in filled) for row in range(20)]
    content = "\n".join([header, *lines])
    data = load_csv(tmp_path, content)
    assert [note for note in data.notes if "texts, too" in note] == [told][: told is not None]
    stated = DataOptions(text_columns=data.text_columns, label_column="label")
    assert not any("texts, too" in note for note in load_csv(tmp_path, content, stated).notes)


def test_usual_columns_that_are_not_taken_as_labels_are_told(tmp_path: Path) -> None:
    lines = ["text,category,sentiment", *(f"some words {i},{i % 2},{i % 3}" for i in range(12))]
    data = load_csv(tmp_path, "\n".join(lines))
    assert data.label_column == "category"
    assert "Not taken as labels: 'sentiment' (--label-column)." in data.notes


def test_columns_without_names_are_told_by_what_they_hold(tmp_path: Path) -> None:
    lines = [f"{i % 2}\tsome longer text of {i}\tx{i:04}" for i in range(30)]
    (tmp_path / "d.tsv").write_text("\n".join(lines))
    data = load_data(str(tmp_path / "d.tsv"))
    assert (data.text_columns, data.label_column) == (("column_2",), "column_1")
    chinese = "".join(f"这部电影非常好看我很喜欢它{i},{'好坏'[i % 2]}\n" for i in range(10))
    assert load_csv(tmp_path, chinese).text_columns == ("column_1",)
    pair = "".join(f'"{i % 4}","A title {i}","A longer description {i}"\n' for i in range(20))
    data = load_csv(tmp_path, pair)
    assert (data.text_columns, data.label_column) == (("column_2", "column_3"), "column_1")
    assert any("pairs of 'column_2' and 'column_3'" in note for note in data.notes)


def test_stated_columns_go_first_and_missing_ones_are_told(tmp_path: Path) -> None:
    rows = (f"t {i},n {i},{i % 2},{i % 3}\n" for i in range(9))
    content = "".join(["text,notes,label,mood\n", *rows])
    data = load_csv(tmp_path, content, DataOptions(text_columns=("notes",), label_column="Mood"))
    assert (data.text_columns, data.label_column) == (("notes",), "mood")
    message = r"no column 'lable'; it has the columns 'text', 'notes', .* Did you mean 'label'\?"
    with pytest.raises(DataError, match=message):
        load_csv(tmp_path, content, DataOptions(label_column="lable"))
    plain = "".join(f"{i % 2},t number {i}\n" for i in range(9))
    assert load_csv(tmp_path, plain, DataOptions(text_columns=("2",))).text_columns == ("column_2",)


def test_a_stated_id_column_is_neither_text_nor_label(tmp_path: Path) -> None:
    content = "title,body,key\n" + "".join(f"some {i},{i % 2},the words {i}\n" for i in range(9))
    data = load_csv(tmp_path, content, DataOptions(id_column="key", label_column="body"))
    assert data.text_columns == ("title",)
    content = "".join(f"some words {i},{i % 2},other words {i}\n" for i in range(9))
    data = load_csv(tmp_path, content, DataOptions(id_column="column_3"))
    assert (data.text_columns, data.label_column) == (("column_1",), "column_2")


def test_unclear_columns_are_listed_with_the_flags(tmp_path: Path) -> None:
    lines = "".join(f"long text {i},other text {i},c{i % 2},d{i % 3}\n" for i in range(12))
    with pytest.raises(DataError, match=r"'foo', 'bar', 'baz', 'qux'\. .*--label-column"):
        load_csv(tmp_path, "foo,bar,baz,qux\n" + lines)


INDICATORS = "id,comment_text,toxic,insult,threat\n" + "".join(
    f"{i:08x},some words {i},{i % 2},{int(i % 3 == 0)},{int(i % 5 == 0)}\n" for i in range(30)
)


def test_several_columns_of_zeros_and_ones_are_one_multi_label_task(tmp_path: Path) -> None:
    data = load_csv(tmp_path, INDICATORS)
    assert (data.text_columns, data.label_column) == (("comment_text",), "toxic,insult,threat")
    assert (data.task, data.labels) == (MULTI_LABEL, ("toxic", "insult", "threat"))
    rows = zip(data.train.rows, data.train.targets.tolist(), strict=True)
    for row, target in rows:
        assert target == [(row - 2) % 2, int((row - 2) % 3 == 0), int((row - 2) % 5 == 0)]
    assert any("3 columns (--label-column toxic,insult,threat)" in note for note in data.notes)
    for stated in ("threat, Toxic", ("threat", "Toxic"), "threat,toxic,Toxic"):
        chosen = load_csv(tmp_path, INDICATORS, DataOptions(label_column=stated))
        assert chosen.labels == ("threat", "toxic")
    with pytest.raises(DataError, match=r"no column 'thread'.* Did you mean 'threat'\?"):
        load_csv(tmp_path, INDICATORS, DataOptions(label_column="toxic,thread"))
    words = INDICATORS.replace("0,1,0\n", "0,,0\n").replace("toxic,", '"toxic, mild",')
    options = DataOptions(label_column='"toxic, mild",insult')
    with pytest.raises(DataError, match="its label must be 2 values of 0 and 1, for toxic, mild"):
        load_csv(tmp_path, words, options)


def test_columns_of_zeros_and_ones_may_be_no_labels(tmp_path: Path) -> None:
    named = INDICATORS.replace("toxic", "label")
    assert load_csv(tmp_path, named).label_column == "label"
    narrow = "".join(f"{line.rpartition(',')[0]}\n" for line in INDICATORS.splitlines())
    with pytest.raises(DataError, match="--label-column toxic,insult"):
        load_csv(tmp_path, narrow)
    lines = INDICATORS.splitlines()
    mood = "\n".join(f"{line},{'mood' if not i else 'ab'[i % 2]}" for i, line in enumerate(lines))
    with pytest.raises(DataError, match=r"label column .* is not clear"):
        load_csv(tmp_path, mood)


def test_columns_of_withheld_labels_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(INDICATORS)
    (tmp_path / "test.csv").write_text(re.sub(r",[01](?=,|\n)", ",-1", INDICATORS))
    data = load_data(str(tmp_path))
    assert data.test is None
    assert any("test.csv withholds its labels: every one is -1" in note for note in data.notes)
    (tmp_path / "test.csv").write_text(re.sub(r",[01](?=,|\n)", ",", INDICATORS))
    notes = load_data(str(tmp_path)).notes
    assert any("test.csv has no label in its column" in note for note in notes)


def test_one_column_that_is_one_a_row_makes_classes(tmp_path: Path) -> None:
    rows = (f"words {i},{i % 3 == 0},{i % 3 == 1},{i % 3 == 2}\n" for i in range(30))
    data = load_csv(tmp_path, "".join(["text,joy,fear,anger\n", *rows]))
    assert (data.task, data.labels) == (SINGLE_LABEL, ("joy", "fear", "anger"))
    rows = zip(data.train.rows, data.train.targets.tolist(), strict=True)
    assert all(target == (row - 2) % 3 for row, target in rows)
