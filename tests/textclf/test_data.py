"""Columns, tasks and splits are found, said, and overridable; bad rows are named."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import ConfigError, DataError
from footwork.tables.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from footwork.tables.layout import TableFormat
from footwork.tables.writer import write_rows
from tests.textclf.loading import SKIP, load, load_csv, rows_of
from textclf.columns import StatedColumns, choose_columns
from textclf.config import LabelOptions
from textclf.data import DataOptions, Examples, TextData, load_data, load_table, read_examples
from textclf.predict import open_rows


def every_label(data: TextData) -> dict[str, str]:
    names = np.array(data.labels)
    splits = (data.train, data.validation)
    return {t: str(names[y]) for one in splits for t, y in zip(one.texts, one.targets, strict=True)}


def test_every_row_lands_in_one_split_with_its_label(tmp_path: Path) -> None:
    data = load(tmp_path, rows_of(["neg", "pos", "other"] * 20))
    labels = ["neg", "pos", "other"]
    assert every_label(data) == {f"this is text {i}": labels[i % 3] for i in range(60)}
    assert sorted([*data.train.rows, *data.validation.rows]) == list(range(1, 61))
    assert data.held_out
    assert data.sha256 == hashlib.sha256((tmp_path / "data.jsonl").read_bytes()).hexdigest()


def test_labels_stay_as_they_are_written(tmp_path: Path) -> None:
    labels = ["NA", "None", "007", "7", "null"] * 2
    content = "text,label\n" + "".join(f"t {i},{label}\n" for i, label in enumerate(labels))
    data = load_csv(tmp_path, content)
    assert data.labels == ("007", "7", "NA", "None", "null")
    assert data.task == SINGLE_LABEL


def test_integers_with_a_gap_stay_classes_in_their_order(tmp_path: Path) -> None:
    data = load(tmp_path, rows_of([10, 0, 1, 3, 2, 5, 6, 7, 8, 9] * 2))
    assert data.labels == ("0", "1", "2", "3", "5", "6", "7", "8", "9", "10")
    assert any("gaps (no 4)" in note for note in data.notes)


def test_whole_floats_of_parquet_are_integers_again(tmp_path: Path) -> None:
    write_rows(rows_of([0.0, 1.0, 3.0] * 4), tmp_path / "d.parquet")
    assert load_data(str(tmp_path / "d.parquet")).labels == ("0", "1", "3")


TASK_CASES: list[tuple[list[Any], str, tuple[str, ...]]] = [
    (
        ["Sci/Tech", "card, lost", "card, stolen"] * 3,
        SINGLE_LABEL,
        ("Sci/Tech", "card, lost", "card, stolen"),
    ),
    (["3,17", "3", "17", "4,3", "4", "17,4"] * 3, MULTI_LABEL, ("3", "4", "17")),
    (["a|b", "a", "b|c", "c", "a|c", "b"] * 2, MULTI_LABEL, ("a", "b", "c")),
    ([["x"], ["x", "y"], []] * 4, MULTI_LABEL, ("x", "y")),
    (['["x"]', "['y', 'x']", "[]"] * 4, MULTI_LABEL, ("x", "y")),
    ([f"{i * 0.37:.2f}" for i in range(30)], REGRESSION, ()),
    (["1.5", "2.0", "2.5"] * 9, SINGLE_LABEL, ("1.5", "2.0", "2.5")),
    ([f"{i % 5},{i % 9}" for i in range(90)], REGRESSION, ()),
    ([True, False] * 4, SINGLE_LABEL, ("False", "True")),
    ([f"{i / 10}".replace(".", ",") for i in range(30)], REGRESSION, ()),
    (["1,5", "2", "3", "10,3,5", "2,10", "3,5"] * 3, MULTI_LABEL, ("1", "2", "3", "5", "10")),
    (["[spam]", "(other)"] * 5, SINGLE_LABEL, ("(other)", "[spam]")),
]


@pytest.mark.parametrize(("labels", "task", "names"), TASK_CASES)
def test_the_task_is_told_from_the_labels(
    tmp_path: Path, labels: list[Any], task: str, names: tuple[str, ...]
) -> None:
    data = load(tmp_path, rows_of(labels))
    assert data.task == task
    assert not names or data.labels == names
    assert any("(--task)" in note for note in data.notes)


def test_a_separator_is_a_text_that_labels_contain(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`label_separator` must be .* got an empty text"):
        DataOptions(label_separator="")
    with pytest.raises(DataError, match=r"No label of .* contains the separator '/'"):
        load(tmp_path, rows_of(["a", "b"] * 9), DataOptions(label_separator="/"))
    stated = DataOptions(task="multi", label_separator="/")
    assert load(tmp_path, rows_of(["a", "b"] * 9), stated).labels == ("a", "b")


JOY, FEAR = [[0, 1], [1, 0], [1, 1]], ("fear", "joy")
WRITTEN_LISTS = [
    ("['joy']", "['fear']", "['joy' 'fear']"),
    ("['joy']", "['fear']", "['joy'\n 'fear']"),
    ("['joy']", "['fear', nan]", "['joy', 'fear']"),
    ("{'joy'}", "frozenset({'fear'})", "{'joy', 'fear'}"),
    ("joy", "fear", 'c("joy", "fear")'),
    ("{joy}", "{fear,NULL}", '{"joy",fear}'),
    ("[joy]", "[fear]", "[joy, fear]"),
    ('["joy"]', '["fear", null]', '["joy", "fear"]'),
    ("('joy',)", "('fear',)", "('joy', 'fear')"),
    (["joy"], ["fear", None], ["joy", "fear"]),
]


@pytest.mark.parametrize("cells", WRITTEN_LISTS)
def test_lists_are_read_as_their_tools_write_them(tmp_path: Path, cells: tuple[Any, ...]) -> None:
    path = tmp_path / "d.jsonl"
    write_rows(rows_of([*cells] * 4), path)
    data = load_data(str(path))
    assert (data.task, data.labels) == (MULTI_LABEL, FEAR)
    targets = dict(zip(data.train.rows, data.train.targets.tolist(), strict=True))
    assert all(target == JOY[(row - 1) % 3] for row, target in targets.items())
    assert examples_for(FEAR, MULTI_LABEL, path).targets.tolist() == JOY * 4


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("['joy' 'fear' ... 'anger']", r"row 11: its label cannot be read as a list: .*\.\.\."),
        ("['joy''fear']", "row 11: its label cannot be read as a list"),
        ({"joy": 1}, "row 11: its label must be a text, .* got an object"),
        ([{"name": "joy"}], "row 11: its label must be a text, .* got an object"),
        ('[{"name": "joy"}]', "row 11: its label must be a text, .* got an object"),
        ("{'name': 'joy'}", "row 11: its label cannot be read as a list"),
    ],
)
def test_lists_that_cannot_be_read_are_bad_rows(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, rows_of([["joy"], ["fear"]] * 5 + [bad]), DataOptions())


def test_a_few_lists_among_labels_are_asked_about(tmp_path: Path) -> None:
    rows = rows_of(["joy", "fear"] * 20 + ["['joy' 'fear']"])
    with pytest.raises(DataError, match=r"1 of the 41 labels .* are lists, the first in row 41"):
        load(tmp_path, rows)
    assert load(tmp_path, rows, replace(SKIP, task="multi")).labels == FEAR
    assert [one.row for one in load(tmp_path, rows, replace(SKIP, task="single")).skipped] == [41]


VECTORS: list[list[Any]] = [
    [[1, 0, 0], [0, 1, 1]],
    [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]],
    [[True, False, False], [False, True, True]],
    ["[1, 0, 0]", "[0, 1, 1]"],
    ["[1. 0. 0.]", "[0. 1. 1.]"],
    ["1 0 0", "0 1 1"],
    ["1,0,0", "0,1,1"],
]


@pytest.mark.parametrize("vectors", VECTORS)
def test_vectors_of_zeros_and_ones_are_multi_hot(tmp_path: Path, vectors: list[Any]) -> None:
    data = load(tmp_path, rows_of(vectors * 6))
    assert (data.task, data.labels) == (MULTI_LABEL, ("0", "1", "2"))
    assert data.train.targets[:2].tolist() == [[1, 0, 0], [0, 1, 1]]
    assert any("numbered by their places, 0 to 2" in note for note in data.notes)
    named = load(tmp_path, rows_of(vectors * 6), replace(SKIP, labels="toxic,insult,threat"))
    assert named.labels == ("toxic", "insult", "threat")
    assert not any("numbered" in note for note in named.notes)
    examples = examples_for(named.labels, MULTI_LABEL, tmp_path / "data.jsonl")
    assert examples.targets[:2].tolist() == [[1, 0, 0], [0, 1, 1]]
    assert any("in the order of the model's" in note for note in examples.notes)
    turned = LabelOptions(labels="threat,insult,toxic")
    examples = examples_for(named.labels, MULTI_LABEL, tmp_path / "data.jsonl", turned)
    assert examples.targets[:2].tolist() == [[0, 0, 1], [1, 1, 0]]


def test_label_columns_of_another_spelling_are_the_model_s_classes(tmp_path: Path) -> None:
    write_rows([{"text": "so", "Toxic": 1, "INSULT": 0}], tmp_path / "d.csv")
    table = load_table(tmp_path / "d.csv", TableFormat())
    columns = choose_columns(table.columns, StatedColumns(label="insult,toxic"), table.source)
    examples = read_examples(table, columns, LabelOptions(), ("toxic", "insult"), MULTI_LABEL)
    assert examples.targets.tolist() == [[1, 0]]


def test_a_regression_has_no_names_of_classes(tmp_path: Path) -> None:
    options = DataOptions(task="regression", labels="a,b")
    with pytest.raises(
        ConfigError, match=r"one column of amounts and no classes, got a, b\. State"
    ):
        load(tmp_path, rows_of([0.5, 1.5] * 5), options)
    with pytest.raises(ConfigError, match="no classes, got a, b"):
        examples_for((), REGRESSION, tmp_path / "data.jsonl", options)


def test_one_hot_vectors_are_classes_that_exclude_each_other(tmp_path: Path) -> None:
    rows = rows_of([[0, 0, 1], [1, 0, 0], [0, 1, 0]] * 4)
    data = load(tmp_path, rows)
    assert data.task == SINGLE_LABEL
    assert data.train.targets[:3].tolist() == [2, 0, 1]
    assert load(tmp_path, rows, replace(SKIP, task="multi")).task == MULTI_LABEL


def test_a_vector_unlike_the_others_is_a_bad_row(tmp_path: Path) -> None:
    vectors: list[Any] = [[1, 0, 0], [0, 1, 1]] * 20
    for odd in ([1, 0], [1, 0, 2], [], "joy"):
        with pytest.raises(DataError, match=r"row 41: (its label must be 3 values of 0 and 1|the)"):
            load(tmp_path, rows_of([*vectors, odd]), DataOptions())
    with pytest.raises(DataError, match="2 places are named, but no label"):
        load(tmp_path, rows_of(vectors), replace(SKIP, labels="toxic,insult"))
    with pytest.raises(DataError, match=r"vectors of numbers such as \['0.1', '0.9'\]"):
        load(tmp_path, rows_of([[0.1, 0.9], [0.5, 0.5]] * 5))
    assert load(tmp_path, rows_of([[0], [1], [0, 1], [2]] * 5)).labels == ("0", "1", "2")


@pytest.mark.parametrize(
    "vectors", [[[1, 0, 0], [0, 1]], [[1, -1, -1], [-1, 1, 1]], [[None, 1, 1], [1, 0, 0]]]
)
def test_numbers_that_repeat_in_a_list_are_no_labels(tmp_path: Path, vectors: list[Any]) -> None:
    with pytest.raises(DataError, match=r"vectors of numbers such as \['1', "):
        load(tmp_path, rows_of(vectors * 6))


@pytest.mark.parametrize("vector", [[0, 1, 1], [0, 1, 1, 0, 0], "0,1,1", [2, 2, 0]])
def test_vectors_of_other_classes_than_the_model_s_are_refused(tmp_path: Path, vector: Any) -> None:
    write_rows(rows_of([vector] * 4), tmp_path / "d.jsonl")
    with pytest.raises(DataError, match=r"but the model has 4 labels|are vectors of numbers"):
        examples_for(("0", "1", "2", "3"), MULTI_LABEL, tmp_path / "d.jsonl")


def test_names_of_vectors_come_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("toxic\ninsult\n")
    options = replace(SKIP, labels_file=str(tmp_path / "names.txt"))
    assert load(tmp_path, rows_of([[1, 0], [1, 1]] * 5), options).labels == ("toxic", "insult")


AMOUNTS = [f"{i / 10:.1f}" for i in range(50)] * 4


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([*AMOUNTS[:199], "NA"], r"1 of 200 .*'NA' \(row 200\)"),
        ([*AMOUNTS[:198], "-", "inf"], r"2 of 200 .*'-' \(row 199\), 'inf' \(row 200\)"),
        ([*map(str, range(199)), "n/a"], r"1 of 200 .*'n/a' \(row 200\)"),
        ([*AMOUNTS[:199], "3,5"], r"1 of 200 .*'3,5' \(row 200\)"),
        ([f"${i * 1.37:.2f}" for i in range(50)], r"50 of 50 .*and 45 more"),
        ([f"{i * 137:,}" for i in range(50)], r"42 of 50 .*'1,096' \(row 9\)"),
        ([f"{i} %" for i in range(50)], r"50 of 50 .*'0 %' \(row 1\)"),
    ],
)
def test_odd_cells_among_amounts_are_named(tmp_path: Path, labels: list[str], shown: str) -> None:
    with pytest.raises(DataError, match=f"look like amounts, but {shown}.*--task regression"):
        load(tmp_path, rows_of(labels))
    assert load(tmp_path, rows_of(labels * 2), replace(SKIP, task="single")).task == SINGLE_LABEL


def test_decimal_commas_are_read_where_the_whole_column_has_them(tmp_path: Path) -> None:
    half_stars = ["0,5", "1", "1,5", "2", "2,5", "3", "3,5", "4", "4,5", "5"]
    with pytest.raises(DataError, match="may be numbers with a decimal comma, or two labels"):
        load(tmp_path, rows_of(half_stars * 4))
    data = load(tmp_path, rows_of([*half_stars * 4, "NA"]), replace(SKIP, task="regression"))
    assert [one.row for one in data.skipped] == [41]
    assert "The label '0,5' is read as 0.5." in data.notes
    values = dict(zip(data.train.rows, data.train.targets.tolist(), strict=True))
    assert all(value == ((row - 1) % 10 + 1) / 2 for row, value in values.items())
    examples = examples_for((), REGRESSION, tmp_path / "data.jsonl", SKIP)
    assert examples.targets[:2].tolist() == [0.5, 1]


@pytest.mark.parametrize("task", [None, "regression"])
def test_thousands_with_a_point_are_no_decimals(tmp_path: Path, task: str | None) -> None:
    parted = [f"{i}.{i * 37 % 100:02}0" for i in range(12, 40)]
    prices, options = [*parted, "950", "780"], DataOptions(task=task)
    with pytest.raises(DataError, match=r"'12\.440' may be thousands with a point.*\(12500\), or"):
        load(tmp_path, rows_of(prices), options)
    with pytest.raises(DataError, match="may be thousands"):
        examples_for((), REGRESSION, tmp_path / "data.jsonl")
    told = "The label '12.440' is read as 12.44."
    assert told in load(tmp_path, rows_of(parted), options).notes
    for plain in ([*prices, "0.5"], [950, *(i + 0.125 for i in range(30))]):
        data = load(tmp_path, rows_of(plain), options)
        assert data.task == REGRESSION
        assert told not in data.notes


@pytest.mark.parametrize("target", ["1e39", "1e400", "-1e30", 10**50])
def test_a_target_that_cannot_be_learned_is_a_bad_row(tmp_path: Path, target: Any) -> None:
    rows = rows_of([i * 0.37 for i in range(40)] + [target])
    with pytest.raises(DataError, match=r"row 41: label '.*' is beyond 1e\+18"):
        load(tmp_path, rows, DataOptions())


def test_labels_that_look_the_same_are_one(tmp_path: Path) -> None:
    forms = ["caf\u00e9", "cafe\u0301", "caf\u00e9\u200b", "\ufeffcaf\u00e9 ", "th\u00e9\u00a0noir"]
    data = load(tmp_path, rows_of(forms * 4))
    assert data.labels == ("caf\u00e9", "th\u00e9 noir")
    for written in (data.labels, ("cafe\u0301", "th\u00e9 noir")):
        examples = examples_for(written, SINGLE_LABEL, tmp_path / "data.jsonl")
        assert examples.targets[:5].tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(DataError, match=r"two labels .* that look the same"):
        examples_for(("caf\u00e9", "cafe\u0301"), SINGLE_LABEL, tmp_path / "data.jsonl")


def test_withheld_labels_are_told(tmp_path: Path) -> None:
    rows, withheld = rows_of([0, 1] * 10), rows_of([-1] * 5)
    folder = folder_of(tmp_path / "set", train=rows, dev=withheld, test=withheld)
    data = load_data(folder)
    assert data.test is None
    assert data.held_out
    assert sum("withholds its labels: every one is -1" in note for note in data.notes) == 2
    with pytest.raises(DataError, match=r"test\.csv are withheld: every one is -1"):
        examples_for(("0", "1"), SINGLE_LABEL, tmp_path / "set" / "test.csv")
    folder = folder_of(tmp_path / "three", train=rows_of([0, 1, -1] * 6), test=withheld)
    assert load_data(folder).test is not None
    losses = examples_for((), REGRESSION, tmp_path / "set" / "test.csv")
    assert losses.targets.tolist() == [-1] * 5


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["a;b", "b;c", "a;c", "a", "b", "c"], "divided by ';'"),
        (["a|b", "c"], "divided by '|'"),
        (["a;b", "c,d"], "may be divided by any of , ;. State which does, with --label-separator"),
    ],
)
def test_a_separator_that_is_found_is_told(tmp_path: Path, cells: list[str], told: str) -> None:
    options = DataOptions(task="multi")
    if "any of" in told:
        with pytest.raises(DataError, match=told):
            load(tmp_path, rows_of(cells * 4), options)
    else:
        assert told in " ".join(load(tmp_path, rows_of(cells * 4), options).notes)


def test_targets_have_the_shape_of_the_task(tmp_path: Path) -> None:
    multi = load(tmp_path, rows_of(["a;b", "a", "", "b"] * 5), replace(SKIP, label_separator=";"))
    assert multi.train.targets.dtype == np.float32
    assert multi.train.targets.shape == (18, 2)
    told = f"5 rows of {tmp_path / 'data.jsonl'} have no label: no class holds there. Take them out"
    judged = examples_for(("a", "b"), MULTI_LABEL, tmp_path / "data.jsonl")
    for notes in (multi.notes, judged.notes):
        assert sum(note.startswith(told) for note in notes) == 1
    single = load(tmp_path, rows_of(["a", "b"] * 5))
    assert single.train.targets.dtype == np.int64
    amounts = load(tmp_path, rows_of([1, 2] * 5), replace(SKIP, task="regression"))
    assert amounts.train.targets.dtype == np.float32
    assert amounts.labels == ()


@pytest.mark.parametrize(
    ("bad", "options", "message"),
    [
        ({"text": "x", "label": ""}, DataOptions(), "row 11: the label is empty"),
        ({"text": "x", "label": None}, DataOptions(), "row 11: the label is empty"),
        ({"text": None, "label": "a"}, DataOptions(), "row 11: there is no text"),
        ({"text": ["x"], "label": "a"}, DataOptions(), "row 11: 'text' must hold a text, got list"),
        ({"text": True, "label": "a"}, DataOptions(), "row 11: 'text' must hold a text, got bool"),
        ({"text": math.nan, "label": "a"}, DataOptions(), "row 11: there is no text in 'text'"),
        ({"text": -math.inf, "label": "a"}, DataOptions(), "'text' must hold a text, got -inf"),
        ({"text": "x", "label": "high"}, DataOptions(task="regression"), "'high' is not a number"),
        ({"text": "x", "label": "nan"}, DataOptions(task="regression"), "'nan' is not a number"),
        ({"text": "x", "label": ["1", "2"]}, DataOptions(task="single"), "2 labels, expected one"),
    ],
)
def test_a_bad_row_is_named_or_skipped(
    tmp_path: Path, bad: dict[str, Any], options: DataOptions, message: str
) -> None:
    rows = [*rows_of(["1", "2"] * 5), bad]
    with pytest.raises(DataError, match=message):
        load(tmp_path, rows, options)
    data = load(tmp_path, rows, replace(options, table_format=TableFormat(skip_bad_rows=True)))
    assert [one.row for one in data.skipped] == [11]
    assert 11 not in data.train.rows + data.validation.rows
    data = load(tmp_path, rows, replace(options, keep_going=True))
    assert [one.row for one in data.blocking] == [11]
    assert data.skipped == ()


def folder_of(path: Path, **files: Sequence[dict[str, Any]]) -> str:
    path.mkdir()
    for name, rows in files.items():
        write_rows(rows, path / f"{name}.csv")
    return str(path)


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev", "eval", "my-Dev"])
def test_splits_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    rows = rows_of(["a", "b"] * 4)
    files = {"train": rows, name: rows[:2], "test": rows[:3]}
    data = load_data(folder_of(tmp_path / "set", **files))
    assert data.test is not None
    assert [len(one.texts) for one in (data.train, data.validation, data.test)] == [8, 2, 3]
    assert not data.held_out


def test_test_rows_are_never_used_for_validation(tmp_path: Path) -> None:
    rows = rows_of(["a", "b"] * 20)
    data = load_data(folder_of(tmp_path / "set", train=rows, test=rows_of(["a"] * 3)))
    assert data.held_out
    assert data.test is not None
    assert len(data.test.texts) == 3
    assert len(data.train.texts) + len(data.validation.texts) == 40


def test_an_unseen_class_is_told_with_its_rows(tmp_path: Path) -> None:
    rows = rows_of(["a", "b"] * 4)
    data = folder_of(tmp_path / "set", train=rows, dev=rows_of(["a", "zzz", "zzz"]))
    with pytest.raises(DataError, match=r"dev\.csv, row 3: label 'zzz' is not among .* in 2 rows"):
        load_data(data)
    assert [one.row for one in load_data(data, SKIP).skipped] == [3, 4]
    data = folder_of(tmp_path / "odd", train=rows, test=rows_of(["zzz"]))
    with pytest.raises(
        DataError, match=r"test\.csv has too few usable rows \(0\): .*, row 2: label"
    ):
        load_data(data, SKIP)


def test_rows_of_a_wrong_label_column_share_one_short_reason_for_each_label(tmp_path: Path) -> None:
    train = rows_of([letter * 10**4 for letter in "abc"] * 4)
    data = folder_of(tmp_path / "set", train=train, dev=rows_of(["a" * 10**4, *["z" * 10**4] * 3]))
    reasons = [one.reason for one in load_data(data, SKIP).skipped]
    assert len(reasons) == 3
    assert len(set(map(id, reasons))) == 1
    assert len(reasons[0]) < 400


def test_of_several_splits_only_the_judged_one_is_read(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "set", train=rows_of(["a"]), test=rows_of(["a", "b"]))
    Path(data, "train.csv").write_text("text,label\nso,a,b,c\n")
    table = load_table(data, TableFormat())
    assert table.columns["label"] == ["a", "b"]
    assert table.notes[0] == f"Of {data} the test split is used."
    assert table.sha256 == hashlib.sha256(Path(data, "test.csv").read_bytes()).hexdigest()


def test_a_test_file_without_labels_is_left_out(tmp_path: Path) -> None:
    train, test = rows_of(["a", "b"] * 4), [{"text": "what"}]
    data = load_data(folder_of(tmp_path / "set", train=train, test=test))
    assert data.test is None
    assert any("has no column 'label'" in note for note in data.notes)


def test_a_folder_without_clear_splits_is_told(tmp_path: Path) -> None:
    rows = rows_of(["a", "b"] * 4)
    with pytest.raises(DataError, match=r"several files for train: train_1\.csv, train_2\.csv"):
        load_data(folder_of(tmp_path / "two", train_1=rows, train_2=rows))
    with pytest.raises(DataError, match="has no split train; it has 'test'"):
        load_data(folder_of(tmp_path / "only", test=rows))
    with pytest.raises(DataError, match=r"has books\.csv, dvds\.csv"):
        load_data(folder_of(tmp_path / "none", books=rows, dvds=rows))
    assert len(load_data(folder_of(tmp_path / "one", reviews=rows)).train.texts) == 7
    (tmp_path / "one" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DataError, match=r"cannot be read as what `datasets` saves .* to_parquet"):
        load_data(str(tmp_path / "one"))


def test_a_name_that_begins_with_a_tilde_is_a_name_and_an_empty_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(rows_of(["a", "b"] * 4), Path("~x.csv"))
    assert load_data("~x.csv").labels == ("a", "b")
    for read in (load_data, open_rows):
        with pytest.raises(DataError, match="DATA is empty"):
            read("")


def test_small_splits_are_read_like_the_training_split(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.tsv").write_text("".join(f"a text, number {i}\t{i % 2}\n" for i in range(20)))
    (folder / "dev.tsv").write_text("text\t1\n")
    data = load_data(str(folder))
    assert data.validation.texts == ["text"]


TRAIN = "text,label\n" + "".join(f"a text of {i},{'ab'[i % 2]}\n" for i in range(12))


def test_a_first_row_with_a_label_of_its_own_is_asked_about(tmp_path: Path) -> None:
    content = "Wie war es bei uns gestern,Welche Klasse passt\n" + TRAIN.split("\n", 1)[1]
    with pytest.raises(DataError, match=r"row 1 alone has .*'Welche Klasse passt'.*--header"):
        load_csv(tmp_path, content)
    header = TableFormat(header=True)
    assert load_csv(tmp_path, content, DataOptions(table_format=header)).labels == ("a", "b")
    stated = DataOptions(label_column="Welche Klasse passt")
    assert load_csv(tmp_path, content, stated).text_columns == ("Wie war es bei uns gestern",)
    amounts = "".join(f"a text of {i},{i and i % 3 + 7}\n" for i in range(12))
    assert load_csv(tmp_path, amounts).labels == ("0", "7", "8", "9")
    notes = load_csv(tmp_path, TRAIN.replace("label\n", "label\nThe text,The class\n")).notes
    assert any("row 2 alone has the label 'The class'" in note for note in notes)


def test_columns_that_are_nearly_empty_or_hold_dates_are_no_text_nor_label(tmp_path: Path) -> None:
    rows = "".join(f"2020/01/{i:02} 10:00,{'xy'[i % 2]},a text of {i},\n" for i in range(30))
    data = load_csv(tmp_path, f"When,v1,v2,\n{rows}")
    assert (data.text_columns, data.label_column) == (("v2",), "v1")


def test_a_table_that_is_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        load_data(str(tmp_path / "nosuch.csv"))
    with pytest.raises(DataError, match="give the path of a file"):
        load_data("nosuch-owner/nosuch-set")


def test_what_parquet_stores_as_bytes_is_the_text_it_encodes(tmp_path: Path) -> None:
    texts, labels = [f"naïve {i}" for i in range(6)], ["a", "b"] * 3
    encoded = {"text": [t.encode() for t in texts], "label": [x.encode() for x in labels]}
    pyarrow.parquet.write_table(pyarrow.table(encoded), tmp_path / "d.parquet")
    found = every_label(load_data(str(tmp_path / "d.parquet")))
    assert found == dict(zip(texts, labels, strict=True))
    encoded["text"][3] = "naïve".encode("latin-1")
    pyarrow.parquet.write_table(pyarrow.table(encoded), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"row 4: 'text' must hold a text, got bytes that are not"):
        load_data(str(tmp_path / "d.parquet"))


def test_a_missing_number_is_no_text(tmp_path: Path) -> None:
    columns = {"text": [1.5, math.nan, 2.5], "label": ["a", "b", "a"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="row 2: there is no text in 'text'"):
        load_data(str(tmp_path / "d.parquet"))


def examples_for(
    labels: tuple[str, ...], task: str, path: Path, options: LabelOptions | None = None
) -> Examples:
    options = options or DataOptions()
    table = load_table(str(path), options.table_format)
    columns = choose_columns(table.columns, StatedColumns(), table.source)
    return read_examples(table, columns, options, labels, task)


def test_examples_are_read_with_the_labels_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    write_rows(rows_of(["b", "a", "b"]), path)
    examples = examples_for(("b", "c", "a"), SINGLE_LABEL, path)
    assert examples.targets.tolist() == [0, 2, 0]
    assert examples.rows == [1, 2, 3]
    with pytest.raises(DataError, match=r"row 2: label 'a' is not among the model's \(b, c\)"):
        examples_for(("b", "c"), SINGLE_LABEL, path)
    assert len(examples_for(("b", "c"), SINGLE_LABEL, path, SKIP).texts) == 2
    with pytest.raises(DataError, match=r"no row that can be used: .*, row 1: label 'b' is not"):
        examples_for(("x", "y"), SINGLE_LABEL, path, SKIP)


def test_the_separator_is_told_from_the_labels_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    write_rows(rows_of(["x;y", "y"]), path)
    examples = examples_for(("x", "y"), MULTI_LABEL, path)
    assert examples.targets.tolist() == [[1, 1], [0, 1]]
    write_rows(rows_of(["card, lost", "other"]), path)
    examples = examples_for(("card, lost", "other"), MULTI_LABEL, path)
    assert examples.targets.tolist() == [[1, 0], [0, 1]]


def test_notes_are_not_repeated_for_every_file(tmp_path: Path) -> None:
    rows = rows_of(["a", "b"] * 4)
    data = load_data(folder_of(tmp_path / "set", train=rows, dev=rows, test=rows))
    assert len(set(data.notes)) == len(data.notes)
    assert json.dumps(data.notes).count("commas") == 1


def test_a_pipe_is_read_once_and_its_rows_are_what_is_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    hashes = []
    for label in ("x", "x", "y"):
        rows = [f"text {n},{label if n % 2 else 'z'}\n" for n in range(9)]
        content = "".join(["text,label\n", *rows])
        writer = Thread(target=(tmp_path / "rows.csv").write_text, args=(content,))
        writer.start()
        hashes.append(load_data(str(tmp_path / "rows.csv"), SKIP).sha256)
        writer.join()
    assert hashes[0] == hashes[1] != hashes[2]
