"""Columns are found by their names, else by what they hold, else asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import DataError
from textclf.data.loading import DataOptions, LabelledData, load_data


def load_csv(folder: Path, content: str, options: DataOptions | None = None) -> LabelledData:
    (folder / "data.csv").write_text(content)
    return load_data(str(folder / "data.csv"), options or DataOptions())


COLUMN_CASES: list[tuple[str, tuple[str, ...], str]] = [
    ("text,label,domain,rating,title,uid", ("text",), "label"),
    ("Sentence1,sentence2,gold_label", ("Sentence1", "sentence2"), "gold_label"),
    ("Quality,#1 ID,#2 ID,#1 String,#2 String", ("#1 String", "#2 String"), "Quality"),
    ("question,sentence,label", ("question", "sentence"), "label"),
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
    lines = [
        ",".join(str(i % 2) if name == label else f"{name} words {i}" for name in names)
        for i in range(8)
    ]
    data = load_csv(tmp_path, "\n".join([header, *lines]))
    assert (data.text_columns, data.label_column) == (texts, label)
    assert (data.train.pairs is not None) == (len(texts) == 2)


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
    content = "text,notes,label,mood\n" + "".join(
        f"t {i},n {i},{i % 2},{i % 3}\n" for i in range(9)
    )
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
