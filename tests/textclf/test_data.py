"""Columns, tasks and splits are found, said, and overridable; bad rows are named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from runtime.errors import ConfigError, DataError
from runtime.tables.reader import TableFormat, write_rows
from textclf.data.columns import StatedColumns, choose_columns
from textclf.data.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from textclf.data.loading import (
    DataOptions,
    Examples,
    LabelledData,
    load_data,
    load_table,
    read_examples,
)

SKIP = DataOptions(table_format=TableFormat(skip_bad_rows=True))


def rows_of(labels: Sequence[Any], name: str = "label") -> list[dict[str, Any]]:
    return [{"text": f"this is text {i}", name: label} for i, label in enumerate(labels)]


def load(folder: Path, rows: Sequence[dict[str, Any]], options: DataOptions = SKIP) -> LabelledData:
    write_rows(rows, folder / "data.jsonl")
    return load_data(str(folder / "data.jsonl"), options)


def load_csv(folder: Path, content: str, options: DataOptions | None = None) -> LabelledData:
    (folder / "data.csv").write_text(content)
    return load_data(str(folder / "data.csv"), options or DataOptions())


def every_label(data: LabelledData) -> dict[str, str]:
    names = np.array(data.labels)
    splits = (data.train, data.validation)
    return {t: str(names[y]) for one in splits for t, y in zip(one.texts, one.targets, strict=True)}


def test_every_row_lands_in_one_split_with_its_label(tmp_path: Path) -> None:
    data = load(tmp_path, rows_of(["neg", "pos", "other"] * 20))
    assert every_label(data) == {
        f"this is text {i}": ["neg", "pos", "other"][i % 3] for i in range(60)
    }
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
]


@pytest.mark.parametrize(("labels", "task", "names"), TASK_CASES)
def test_the_task_is_told_from_the_labels(
    tmp_path: Path, labels: list[Any], task: str, names: tuple[str, ...]
) -> None:
    data = load(tmp_path, rows_of(labels))
    assert data.task == task
    assert not names or data.labels == names
    assert any("(--task)" in note for note in data.notes)


def test_targets_have_the_shape_of_the_task(tmp_path: Path) -> None:
    multi = load(tmp_path, rows_of(["a;b", "a", "", "b"] * 5), replace(SKIP, label_separator=";"))
    assert multi.train.targets.dtype == np.float32
    assert multi.train.targets.shape == (18, 2)
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
        ({"text": ["x"], "label": "a"}, DataOptions(), "row 11: its text must be a string"),
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


def test_a_test_file_without_labels_is_left_out(tmp_path: Path) -> None:
    data = load_data(
        folder_of(tmp_path / "set", train=rows_of(["a", "b"] * 4), test=[{"text": "what"}])
    )
    assert data.test is None
    assert any("has no labels" in note for note in data.notes)


def test_a_folder_without_clear_splits_is_told(tmp_path: Path) -> None:
    rows = rows_of(["a", "b"] * 4)
    with pytest.raises(DataError, match=r"several files for train: train_1\.csv, train_2\.csv"):
        load_data(folder_of(tmp_path / "two", train_1=rows, train_2=rows))
    with pytest.raises(DataError, match="no training file, only test"):
        load_data(folder_of(tmp_path / "only", test=rows))
    with pytest.raises(DataError, match=r"has books\.csv, dvds\.csv"):
        load_data(folder_of(tmp_path / "none", books=rows, dvds=rows))
    assert len(load_data(folder_of(tmp_path / "one", reviews=rows)).train.texts) == 7


def test_small_splits_are_read_like_the_training_split(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.tsv").write_text("".join(f"a text, number {i}\t{i % 2}\n" for i in range(20)))
    (folder / "dev.tsv").write_text("text\t1\n")
    data = load_data(str(folder))
    assert data.validation.texts == ["text"]


def test_a_table_that_is_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        load_data(str(tmp_path / "nosuch.csv"))
    with pytest.raises(DataError, match="Use a local file"):
        load_data("nosuch-owner/nosuch-set")


def test_classes_of_the_hub_have_their_names() -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    from textclf.data.sources import hub_table

    classes = ClassLabel(names=["neg", "pos"])
    features = Features({"text": Value("string"), "label": classes, "tags": List(classes)})
    rows = {"text": ["a", "b"], "label": [1, -1], "tags": [[0, 1], []]}
    table = hub_table(Dataset.from_dict(rows, features=features), "hub")
    assert table.columns["label"] == ["pos", None]
    assert table.columns["tags"] == [["neg", "pos"], []]


def examples_for(
    labels: tuple[str, ...], task: str, path: Path, options: DataOptions | None = None
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


def test_the_separator_is_told_from_the_labels_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    write_rows(rows_of(["x;y", "y"]), path)
    examples = examples_for(("x", "y"), MULTI_LABEL, path)
    assert examples.targets.tolist() == [[1, 1], [0, 1]]
    write_rows(rows_of(["card, lost", "other"]), path)
    examples = examples_for(("card, lost", "other"), MULTI_LABEL, path)
    assert examples.targets.tolist() == [[1, 0], [0, 1]]


def test_impossible_options_are_a_wrong_command() -> None:
    for options in (
        {"validation_share": 0.0},
        {"text_columns": ("a", "b", "c")},
        {"task": "magic"},
    ):
        with pytest.raises(ConfigError, match="must be"):
            DataOptions(**options)  # type: ignore[arg-type]


def test_notes_are_not_repeated_for_every_file(tmp_path: Path) -> None:
    rows = rows_of(["a", "b"] * 4)
    data = load_data(folder_of(tmp_path / "set", train=rows, dev=rows, test=rows))
    assert len(set(data.notes)) == len(data.notes)
    assert json.dumps(data.notes).count("commas") == 1


def test_a_pipe_is_read_once_and_its_rows_are_what_is_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    hashes = []
    for label in ("x", "x", "y"):
        content = "text,label\n" + "".join(
            f"text {n},{label if n % 2 else 'z'}\n" for n in range(9)
        )
        writer = Thread(target=(tmp_path / "rows.csv").write_text, args=(content,))
        writer.start()
        hashes.append(load_data(str(tmp_path / "rows.csv"), SKIP).sha256)
        writer.join()
    assert hashes[0] == hashes[1] != hashes[2]
