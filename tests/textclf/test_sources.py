"""The files of a folder: which is which split, and each is read as itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import DataError
from footwork.tables.held import data_name, input_names
from footwork.tables.layout import TableFormat
from footwork.tables.reader import gathered, iterate_rows
from footwork.tables.splits import with_splits
from footwork.tables.writer import write_rows
from textclf.config import DataOptions
from textclf.data import load_data
from textclf.predict import open_rows

TRAIN = "text,label\n" + "".join(f"a text of {i},{'ab'[i % 2]}\n" for i in range(12))


def folder_with(path: Path, **contents: str) -> str:
    path.mkdir()
    for name, content in contents.items():
        (path / name.replace("__", ".")).write_text(content)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test__csv", TRAIN.replace(",", ";")),
        ("test__tsv", TRAIN.replace(",", "\t")),
        ("test__csv", "Label;TEXT \na;it is, and so on\n"),
        ("test__jsonl", '{"Text": "it is", "label": "b"}\n'),
    ],
)
def test_a_file_beside_another_is_read_as_itself(tmp_path: Path, name: str, content: str) -> None:
    test = load_data(folder_with(tmp_path / "set", train__csv=TRAIN, **{name: content})).test
    assert test is not None
    assert test.texts[0] in ("a text of 0", "it is, and so on", "it is")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TRAIN.replace("text,label", "text,sentiment"), "test.csv has no column 'label'"),
        (TRAIN.replace("text,label", "review,label"), "test.csv has no column 'text'"),
        (TRAIN.removeprefix("text,label\n"), "no column 'text'; .* state --header"),
    ],
)
def test_a_file_of_other_columns_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(folder_with(tmp_path / "set", train__csv=TRAIN, test__csv=content))


def test_a_test_file_with_empty_labels_is_left_out_as_such(tmp_path: Path) -> None:
    others = {"test__csv": "id,text,label\n1,a,\n", "sample__csv": "id,label\n"}
    data = load_data(folder_with(tmp_path / "set", train__csv=TRAIN, **others))
    assert data.test is None
    assert any("test.csv has no label in its column 'label'" in note for note in data.notes)
    assert any("being no table named after a split: sample.csv" in note for note in data.notes)


@pytest.mark.parametrize("name", ["train_val", "train-and-dev", "trainval"])
def test_a_file_of_train_and_validation_is_train_alone(tmp_path: Path, name: str) -> None:
    data = load_data(folder_with(tmp_path / "set", **{f"{name}__csv": TRAIN, "test__csv": TRAIN}))
    assert data.held_out
    assert len(data.train.texts) + len(data.validation.texts) == 12


@pytest.mark.parametrize("name", ["val_test", "train_test", "train_eval_test"])
def test_a_file_is_no_two_other_splits(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}\.csv is named after .* only one of them"):
        load_data(folder_with(tmp_path / "set", **{f"{name}__csv": TRAIN}))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("test.xlsx", b"PK\x03\x04", "test.xlsx.* an Excel workbook; save the sheet as CSV"),
        ("validation.csv.gz", b"\x1f\x8b\x08", "compressed with gzip; decompress it first"),
    ],
)
def test_a_packed_table_is_refused(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    folder = folder_with(tmp_path / "set", train__csv=TRAIN)
    Path(folder, name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        load_data(folder)


def test_only_tables_are_splits_where_there_are_any(tmp_path: Path) -> None:
    others = {"eval__py": "import os\n", "test_notes__md": "of the test\n"}
    data = load_data(folder_with(tmp_path / "set", train__csv=TRAIN, **others))
    assert (data.held_out, data.test) == (True, None)
    assert any("Not read, being" in n and "eval.py, test_notes.md" in n for n in data.notes)


def test_parts_of_a_split_are_not_taken_for_the_whole(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("A data set.\n")
    whole = tmp_path / "data" / "train-00000-of-00001.parquet"
    write_rows([{"text": f"{i}", "label": "ab"[i % 2]} for i in range(8)], whole)
    assert len(load_data(str(tmp_path)).train.texts) == 7
    whole.rename(whole.with_name("train-00001-of-00002.parquet"))
    with pytest.raises(DataError, match="train in 2 parts, of which 1 are here: train-00001"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("half \ud800", "half a surrogate pair"),
        (["a", "\ud800"], "half a surrogate pair"),
        (np.ones((1, 2)), "a nested list"),
    ],
)
def test_a_label_that_cannot_be_written_is_a_bad_row(label: Any, fault: str) -> None:
    rows = [{"text": f"a text of {i}", "label": label if i == 3 else "ab"[i % 2]} for i in range(9)]
    with pytest.raises(DataError, match=f"row 4: its label .*{fault}"):
        load_data(rows)


HELD = [list, pandas.DataFrame, pyarrow.Table.from_pylist, datasets.Dataset.from_list]


@pytest.mark.parametrize("hold", HELD)
def test_what_is_held_is_read_as_its_file(hold: Callable[[Any], Any], tmp_path: Path) -> None:
    rows = [{"text": f"a text of {i}", "label": "ab"[i % 2]} for i in range(12)]
    write_rows(rows, tmp_path / "train.csv")
    held, read = load_data(hold(rows)), load_data(tmp_path / "train.csv")
    assert (held.train.texts, held.labels) == (read.train.texts, read.labels)
    assert held.train.targets.tolist() == read.train.targets.tolist()
    assert held.sha256 == load_data(hold(rows)).sha256 != load_data(hold(rows[1:])).sha256
    splits = load_data({"train": hold(rows), "dev": hold(rows[:3]), "other": None})
    assert splits.validation.texts == [row["text"] for row in rows[:3]]
    bad = hold([*rows, {"text": "so", "label": None}])
    with pytest.raises(DataError, match=r"^(list|\w+) of \w+, row 13: the label"):
        load_data(bad)
    with pytest.raises(DataError, match=r"^\w+ of \w+ \(validation\), row 13: the label"):
        load_data({"train": hold(rows), "validation": bad})


NAMES = datasets.ClassLabel(names=["calm", "angry"])
ROWS = [{"text": f"a text of {i}", "label": i % 2} for i in range(12)]
NAMED = datasets.Dataset.from_list(ROWS).cast_column("label", NAMES)


def saved_set(folder: Path) -> Path:
    NAMED.save_to_disk(folder)
    return folder


def saved_splits(folder: Path) -> Path:
    datasets.DatasetDict({"train": NAMED, "test": NAMED.select(range(4))}).save_to_disk(folder)
    return folder


def parquet(folder: Path) -> Path:
    NAMED.to_parquet(folder.with_suffix(".parquet"))
    return folder.with_suffix(".parquet")


def arrow(folder: Path) -> Any:
    return pyarrow.parquet.read_table(parquet(folder))


@pytest.mark.parametrize("made", [saved_set, saved_splits, parquet, arrow])
def test_numbers_of_classes_have_their_names_wherever_datasets_wrote_them(
    made: Callable[[Path], Any], tmp_path: Path
) -> None:
    data = made(tmp_path / "set")
    read, held = load_data(data), load_data(NAMED)
    assert read.labels == held.labels == ("angry", "calm")
    assert read.train.texts == held.train.texts or read.test
    answered = gathered(open_rows(data)).columns["label"]
    assert answered == (["calm", "angry"] * 6)[: 4 if read.test else 12]


def test_lists_of_classes_have_names_in_parquet_too(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "tags": datasets.List(NAMES)})
    rows = {"text": [f"a text of {i}" for i in range(8)], "tags": [[0, 1], [1], [], [0]] * 2}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    data = load_data(tmp_path / "train.parquet")
    assert (data.task, data.labels) == ("multi_label_classification", ("angry", "calm"))


def test_a_class_without_a_name_is_a_bad_row_and_a_strange_note_none(tmp_path: Path) -> None:
    path, table = tmp_path / "train.parquet", arrow(tmp_path / "set")
    metadata = {**table.schema.metadata}
    labels = pyarrow.array([0, 1, 2, -1] * 3)
    changed = table.set_column(1, "label", labels).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(changed, path)
    with pytest.raises(DataError, match="row 3: its class is 2, and there are names of 0 to 1"):
        load_data(path)
    for noted in (b"{", b"[]", b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}'):
        changed = changed.replace_schema_metadata({b"huggingface": noted})
        pyarrow.parquet.write_table(changed.slice(0, 2), path)
        assert [cells["label"] for _, cells in iterate_rows(path)] == [0, 1]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("dataset_dict.json", '{"splits": ["../other"]}'),
        ("train/state.json", '{"_data_files": [{"filename": "/etc/passwd"}]}'),
        ("train/state.json", "{}"),
        ("train/data-00000-of-00001.arrow", "nothing of the kind"),
    ],
)
def test_a_spoilt_folder_of_datasets_is_refused(tmp_path: Path, file: str, content: str) -> None:
    (saved_splits(tmp_path / "set") / file).write_text(content)
    with pytest.raises(DataError, match="set cannot be read as what `datasets` saves to disk"):
        load_data(tmp_path / "set")


def test_splits_are_given_beside_the_data_whatever_each_is(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text(TRAIN)
    named = [row | {"label": "ab"[row["label"]]} for row in ROWS]
    beside = with_splits(pandas.DataFrame(named), tmp_path / "dev.csv", named[:3])
    data = load_data(beside)
    sizes = {name: len(part) for name, part in data.splits.items()}
    assert (sizes, data.held_out) == ({"train": 12, "validation": 12, "test": 3}, False)
    assert with_splits(named) is named
    assert input_names(beside) == ["DataFrame of pandas", str(tmp_path / "dev.csv"), "list of rows"]
    assert data_name({"train": tmp_path / "dev.csv", "test": named}) == str(tmp_path / "dev.csv")


def test_a_split_given_beside_takes_the_place_of_the_data_s_own(tmp_path: Path) -> None:
    data = load_data(with_splits(saved_splits(tmp_path / "set"), test=NAMED.select(range(6, 12))))
    assert data.test is not None
    assert data.test.texts == [row["text"] for row in ROWS[6:]]
    assert any("The test of" in note and "another one is given" in note for note in data.notes)
    three = {"train": NAMED, "validation": NAMED, "test": NAMED}
    own = load_data(with_splits(NAMED, validation=three))
    assert (own.validation.texts, own.test) == (NAMED["text"][:], None)
    with pytest.raises(DataError, match="must be one validation; it has train, test"):
        load_data(with_splits(NAMED, validation=saved_splits(tmp_path / "other")))


@pytest.mark.parametrize("form", [dict, datasets.DatasetDict, "saved", "files"])
def test_of_several_splits_the_test_is_answered(form: Any, tmp_path: Path) -> None:
    splits = {"train": NAMED, "test": NAMED.select(range(4))}
    data = tmp_path / "set"
    if form == "saved":
        saved_splits(data)
    elif form == "files":
        data.mkdir()
        for split, rows in splits.items():
            rows.to_parquet(data / f"{split}.parquet")
    rows = open_rows(data if isinstance(form, str) else form(splits))
    assert [cells["text"] for _, cells in rows] == NAMED["text"][:4]
    assert any("the test split is used" in note for note in rows.notes)


def test_a_mapping_without_splits_says_what_they_are_called() -> None:
    with pytest.raises(
        DataError, match=r"dict of splits has no split train; it has 'text'"
    ) as raised:
        load_data({"text": ["a"]})
    assert "Columns become a table by pandas.DataFrame(data) or" in str(raised.value)
    with pytest.raises(DataError, match="it has 'rest'") as raised:
        load_data({"rest": [{"text": "a"}]})
    assert "Columns" not in str(raised.value)


def tweets(path: Path, **changed: str) -> str:
    contents = {
        f"{split}_{half}__txt": text
        for split, rows in (("train", 12), ("val", 4), ("test", 3))
        for half, text in (
            ("text", "".join(f"tweet {i} of\x85{split}, \n" for i in range(rows))),
            ("labels", "".join(f"{i % 2}\n" for i in range(rows))),
        )
    }
    return folder_with(path, **contents | {"mapping__txt": "0\tanger\n1\tjoy\t_x_"} | changed)


def test_texts_and_labels_in_two_files_a_split_are_put_together(tmp_path: Path) -> None:
    spaces = load_data(tweets(tmp_path / "spaces", mapping__txt="0 anger\n1   joy and more \n"))
    assert spaces.labels == ("anger", "joy and more")
    of_a_mac = {"._train_text__txt": "\0", "._train_labels__txt": "\0"}
    found = load_data(tweets(tmp_path / "set", **of_a_mac))
    assert found.labels == ("anger", "joy")
    sizes = {name: len(part) for name, part in found.splits.items()}
    assert sizes == {"train": 12, "validation": 4, "test": 3}
    assert found.test is not None
    assert found.test.texts[1] == "tweet 1 of\x85test, "
    assert found.test.targets.tolist() == [0, 1, 0]
    assert found.test.rows == [1, 2, 3]
    said = " ".join(found.notes)
    assert "train_text.txt" in said
    assert "names of classes from mapping.txt" in said


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_labels__txt": "0\n1\n"}, "val_text.txt has 4 lines and val_labels.txt 2"),
        ({"test_labels__txt": "0\n7\n1"}, "row 2: label '7' is not in mapping.txt .*0, 1"),
        ({"train__csv": TRAIN}, "several files for train"),
        ({"mapping__txt": "0 anger\n\n1\n"}, "mapping.txt, line 3: it must be a number and .*'1'"),
        ({"mapping__txt": "0\t\n1\tjoy\n"}, "mapping.txt, line 1: it must be a number"),
        ({"mapping__txt": "0\tanger\n1\tj\0y\n"}, "mapping.txt, line 2: it holds a NUL"),
        ({"test_labels__txt": "0\n1\0\n1"}, "row 2: it holds a NUL"),
    ],
)
def test_files_that_do_not_fit_are_named(
    tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_data(tweets(tmp_path / "set", **changed))


def test_names_of_classes_are_read_in_the_encoding_found_or_stated(tmp_path: Path) -> None:
    folder = Path(tweets(tmp_path / "set"))
    (folder / "mapping.txt").write_bytes("0\tennui\n1\tgaieté\n".encode("latin-1"))
    found = load_data(folder)
    assert found.labels == ("ennui", "gaieté")
    assert any("Warning: not valid UTF-8 (first at row 2)" in note for note in found.notes)
    stated = DataOptions(table_format=TableFormat(encoding="utf-8"))
    with pytest.raises(DataError, match=r"mapping\.txt, line 2: byte 0xE9 is not valid"):
        load_data(folder, stated)


def test_of_texts_and_labels_in_two_files_the_test_is_answered(tmp_path: Path) -> None:
    rows = open_rows(tweets(tmp_path / "set"))
    assert [*rows][1] == (2, {"text": "tweet 1 of\x85test, ", "label": "joy"})
    assert any("the test split is used" in note for note in rows.notes)


def test_a_file_of_texts_without_labels_beside_it_is_left_out_and_told(tmp_path: Path) -> None:
    folder = Path(tweets(tmp_path / "set"))
    (folder / "test_labels.txt").unlink()
    (folder / "mapping.txt").unlink()
    found = load_data(str(folder))
    assert found.test is None
    assert found.labels == ("0", "1")
    assert "Not read, texts and labels not both being there: test_text.txt." in found.notes
