"""Rows in, rows out."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import ConfigError, DataError
from footwork.evaluation.decision import flat_row
from footwork.tables.layout import TableFormat
from footwork.tables.reader import RowStream
from tests.models import build_classifier
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.config import TextOptions
from textclf.predict import PredictedRows, cut_note, open_rows, predict_rows, write_predictions


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> TextClassifier:
    folder = build_classifier(tmp_path_factory.mktemp("model") / "bert")
    return TextClassifier.load(folder, ClassifierOptions(precision="float32"))


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> TextClassifier:
    folder = tmp_path_factory.mktemp("model") / "multi"
    build_classifier(folder, labels=("a", "b"), task="multi_label_classification")
    return TextClassifier.load(folder, ClassifierOptions(precision="float32"))


def rows_of(*cells: dict[str, Any], source: str = "input", skip: bool = False) -> RowStream:
    return RowStream(source, enumerate(cells, start=2), skip)


def answered(
    classifier: TextClassifier, *cells: dict[str, Any], source: str = "input", **options: Any
) -> list[dict[str, Any]]:
    rows = rows_of(*cells, source=source)
    return list(predict_rows(classifier, rows, TextOptions(**options)))


def test_one_row_comes_out_for_each_row_in_and_in_order(classifier: TextClassifier) -> None:
    texts = ["good", "", "the film " * 20, "bad"] * 50
    rows = answered(classifier, *({"text": text} for text in texts))
    assert [row["id"] for row in rows] == [str(number) for number in range(2, 202)]
    assert [row["label"] for row in rows] == [a.label for a in classifier.predict(texts)]
    assert list(rows[0]) == ["id", "label", "probability", "probabilities", "abstained"]


def test_ids_come_from_a_column_or_are_row_numbers(classifier: TextClassifier) -> None:
    cells = {"ID": "x7", "text": "good", "key": "k1"}
    assert answered(classifier, cells)[0]["id"] == "x7"
    assert answered(classifier, cells, id_column="key")[0]["id"] == "k1"
    assert answered(classifier, {"text": "good"})[0]["id"] == "2"
    ids = (7.0, 7.5, None, math.nan, "7.0", "")
    rows = answered(classifier, *({"id": own, "text": "good", "label": "positive"} for own in ids))
    assert [row["id"] for row in rows] == ["7", "7.5", "4", "5", "7.0", "7"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'text,stars\n"good\nfilm",1\nbad film,2\ndull,3\n'),
        ("t.txt", "good\n\nbad film\ndull, sad\n"),
        ("t.jsonl", '{"text": "good"}\n\n{"text": "bad film"}\n{"text": "dull"}\n'),
    ],
)
def test_an_id_is_the_line_on_which_its_row_stands(
    name: str, content: str, classifier: TextClassifier, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    rows = list(open_rows(str(tmp_path / name)))
    answers = predict_rows(classifier, tmp_path / name)
    lines = content.split("\n")
    for answer, (_, cells) in zip(answers, rows, strict=True):
        assert cells["text"].split("\n")[0] in lines[int(answer["id"]) - 1]


TRAINED_ON = {"text": ("text",), "odd": ("odd name",), "number": ("column_2",)}
TRAINED_ON["pair"] = ("premise", "hypothesis")


@pytest.mark.parametrize(
    ("trained", "columns", "chosen", "said"),
    [
        ("odd", ["text", "odd name"], ["odd name"], None),
        ("odd", ["text", "Odd-Name"], ["Odd-Name"], None),
        ("odd", ["text"], ["text"], None),
        ("odd", ["id", "review"], ["review"], "lacks 'odd name'.* are taken from 'review'"),
        ("text", ["remark"], ["remark"], "are taken from 'remark'"),
        ("text", ["sku", "review", "stars"], ["review"], "are taken from 'review'"),
        ("text", ["remark", "verdict"], ["remark"], "are taken from 'remark'"),
        ("text", ["column_1"], ["column_1"], "are taken from 'column_1'"),
        ("number", ["column_1", "column_2"], ["column_2"], "no names of columns.*'column_2'"),
        ("pair", ["hypothesis", "Premise", "text"], ["Premise", "hypothesis"], None),
        ("pair", ["sentence2", "sentence1"], ["sentence1", "sentence2"], "'sentence1' and 'sen"),
    ],
)
def test_the_columns_are_those_of_the_training_or_one_obvious_candidate_that_is_named(
    trained: str,
    columns: list[str],
    chosen: list[str],
    said: str | None,
    classifier: TextClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "text_columns", TRAINED_ON[trained])
    monkeypatch.setattr(classifier, "label_column", "verdict")
    cells = {name: f"the cell of {name}" for name in columns}
    rows = predict_rows(classifier, rows_of(cells, source="t.csv"))
    answer = next(rows)
    texts = [[cells[name]] for name in chosen]
    assert answer["probability"] == pytest.approx(classifier.predict(*texts)[0].probability)
    assert bool(rows.notes) == bool(said)
    assert said is None or re.search(said, rows.notes[0])
    swapped = {name: f"the cell of {name}" for name in reversed(columns)}
    assert answered(classifier, swapped)[0]["probability"] == answer["probability"]


@pytest.mark.parametrize(
    ("trained", "columns", "message"),
    [
        ("text", ["title", "body_html"], "lacks 'text': .*'title', 'body_html'.*--text-column"),
        ("text", ["review", "comment"], "lacks 'text'"),
        ("text", ["premise", "hypothesis"], "lacks 'text'"),
        ("text", ["Text", "TEXT"], "lacks 'text'"),
        ("text", ["id", "stars"], "lacks 'text'"),
        ("text", ["column_1", "column_2"], "lacks 'text'"),
        ("pair", ["premise", "answer"], "lacks 'hypothesis': .*'premise' and 'hypothesis'.*twice"),
        ("pair", ["text"], "lacks 'premise' and 'hypothesis'"),
        ("pair", ["a", "b"], "lacks 'premise' and 'hypothesis'"),
    ],
)
def test_where_no_column_or_several_would_do_the_columns_are_listed(
    trained: str,
    columns: list[str],
    message: str,
    classifier: TextClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "text_columns", TRAINED_ON[trained])
    with pytest.raises(DataError, match=message):
        answered(classifier, dict.fromkeys(columns, "a"), source="t.csv")


def test_as_many_columns_are_stated_as_the_model_takes(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "text_columns", TRAINED_ON["pair"])
    with pytest.raises(DataError, match="takes 2 texts a row, input has 1: a"):
        answered(classifier, {"a": "x", "b": "y"}, text_columns=("a",))
    stated = answered(classifier, {"a": "x", "b": "y"}, text_columns=("b", "A"))[0]
    assert stated["probability"] == pytest.approx(classifier.predict(["y"], ["x"])[0].probability)


def test_an_object_that_lacks_the_text_is_that_rows_fault(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "text_columns", TRAINED_ON["odd"])
    cells = ({"id": "a", "title": "x"}, {"id": "b", "odd name": "good"})
    rows = predict_rows(classifier, rows_of(*cells, skip=True))
    assert [row["id"] for row in rows] == ["b"]
    assert [skipped.row for skipped in rows.skipped] == [2]


def test_what_is_held_is_answered_like_a_file(classifier: TextClassifier, tmp_path: Path) -> None:
    frame = pandas.DataFrame({"text": ["good", "bad film"]}, index=pandas.Index([7, 9], name="id"))
    frame.to_csv(tmp_path / "t.csv")
    answers = [list(predict_rows(classifier, data)) for data in (frame, tmp_path / "t.csv")]
    assert answers[0] == answers[1]
    with pytest.raises(DataError, match="list of rows, row 2: there is no text in 'text'"):
        list(predict_rows(classifier, [{"text": "a"}, {"text": None}]))


def test_a_folder_is_asked_as_its_classifier_and_what_is_none_is_refused(
    classifier: TextClassifier,
) -> None:
    rows = [{"text": "good"}, {"text": "bad film"}]
    assert classifier.origin is not None
    by_folder = list(predict_rows(str(classifier.origin[0]), rows))
    assert [row["label"] for row in by_folder] == [a["label"] for a in answered(classifier, *rows)]
    with pytest.raises(ConfigError, match=r"must be a classifier of texts, .* got list"):
        predict_rows([classifier], rows)  # type: ignore[arg-type]


def test_rows_are_answered_once_and_never_silently_none(classifier: TextClassifier) -> None:
    answers = predict_rows(classifier, [{"text": text} for text in "abc"])
    assert repr(answers) == (
        "<PredictedRows: answers to list of rows, take them one by one, or as to_pandas()>"
    )
    ids = [next(answers)["id"], next(iter(answers))["id"], *(row["id"] for row in answers)]
    assert ids == ["1", "2", "3"]
    for again in (list, PredictedRows.to_pandas):
        with pytest.raises(DataError, match=r"answers to list of rows were taken already.*a list"):
            again(answers)
    assert "all taken" in repr(answers)
    one_by_one = predict_rows(classifier, [{"text": "a"}])
    assert next(one_by_one)["id"] == "1"
    assert next(one_by_one, None) is None
    with pytest.raises(DataError, match="were taken already"):
        list(one_by_one)


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_answers_that_broke_off_are_never_silently_none(
    error: type[BaseException], classifier: TextClassifier
) -> None:
    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        yield from ((number, {"text": "good"}) for number in range(1, 200))
        raise error

    answers = predict_rows(classifier, RowStream("t.csv", rows(), False))
    with pytest.raises(error):
        answers.to_pandas()
    for again in (PredictedRows.to_pandas, list, next):
        with pytest.raises(DataError, match=r"answers to t\.csv broke off, .* predict_rows anew"):
            again(answers)
    assert "broken off" in repr(answers)


def test_a_missing_text_stops_with_its_row(classifier: TextClassifier) -> None:
    with pytest.raises(DataError, match=r"songs\.jsonl, row 3: there is no text in .*--skip-bad"):
        answered(classifier, {"text": "a"}, {"text": None}, source="songs.jsonl")
    with pytest.raises(DataError, match="row 3: 'text' must hold a text, got list"):
        answered(classifier, {"text": "a"}, {"text": ["b"]})


def test_an_empty_text_is_answered_and_marked(classifier: TextClassifier) -> None:
    answers = predict_rows(
        classifier, rows_of(*({"text": text} for text in ("good", "", " \n\u00ad")))
    )
    assert [row["abstained"] for row in answers] == [False, True, True]
    assert answers.empty == [3, 4]
    assert answers.notes == (
        "2 rows have an empty text and are marked as abstained, whatever the answer: 3, 4.",
    )
    pairs = classifier.predict(["good", "good"], ["", "bad"])
    assert [answer.abstained for answer in pairs] == [True, False]


def test_bad_rows_can_be_skipped_and_are_listed(classifier: TextClassifier) -> None:
    cells = ({"text": "a"}, {"other": 1}, {"text": 7}, {"text": None}, {"text": math.nan})
    answers = predict_rows(classifier, rows_of(*cells, skip=True))
    assert [row["id"] for row in answers] == ["2", "4"]
    assert [skipped.row for skipped in answers.skipped] == [3, 5, 6]


def test_no_rows_and_no_text_column_are_errors(classifier: TextClassifier) -> None:
    with pytest.raises(DataError, match="input has no rows"):
        answered(classifier)
    with pytest.raises(DataError, match="text column of input is not clear"):
        answered(classifier, {"height": "1", "width": "2"})


def test_cut_texts_are_noted(classifier: TextClassifier) -> None:
    rows = predict_rows(classifier, rows_of({"text": "good " * 90}, {"text": "bad"}))
    list(rows)
    assert rows.notes == (
        "1 text is longer than 64 tokens and lost the rest; --long windows reads all of a text.",
    )
    short = predict_rows(classifier, rows_of({"text": "bad"}))
    beside = predict_rows(classifier, rows_of({"text": "good " * 90}))
    next(beside)
    list(short)
    assert (short.notes, beside.notes) == ((), rows.notes)


def test_the_stated_id_may_be_lacking_in_the_first_row(classifier: TextClassifier) -> None:
    rows = rows_of({"text": "good"}, {"text": "bad", "case": "x"})
    answers = predict_rows(classifier, rows, TextOptions(id_column="case"))
    assert [row["id"] for row in answers] == ["2", "x"]


def test_of_a_pair_of_long_texts_a_note_names_what_helps() -> None:
    answering = SimpleNamespace(long="windows", max_length=64)
    note = cut_note(2, cast("TextClassifier", answering))
    assert note.startswith("2 pairs have two long texts")
    assert "larger --max-length" in note
    assert "--long windows" not in note


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_an_empty_cell_of_one_column_is_a_row(
    name: str, classifier: TextClassifier, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("text\ngood\n\n\nbad\n\n")
    rows = [*predict_rows(classifier, tmp_path / name)]
    assert [row["abstained"] for row in rows] == [False, True, True, False]
    (tmp_path / name).write_text("\n\ntext\ngood\nbad\n")
    assert [row["id"] for row in predict_rows(classifier, tmp_path / name)] == ["4", "5"]


def test_every_format_holds_the_same_answers(classifier: TextClassifier, tmp_path: Path) -> None:
    import pyarrow.parquet

    cells = [{"text": "good", "id": 'a"b'}, {"text": "", "id": "c\nd"}]
    expected = answered(classifier, *cells)
    for ending in (".jsonl", ".csv", ".parquet"):
        write_predictions(iter(expected), tmp_path / f"out{ending}")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["id", "label", "probability", "abstained", "p:negative", "p:positive"]
    assert [row["id"] for row in table] == ['a"b', "c\nd"]
    parquet = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for rows in (table, parquet):
        for label in ("negative", "positive"):
            told = [row["probabilities"][label] for row in expected]
            assert [float(row[f"p:{label}"]) for row in rows] == told


def test_several_labels_stand_in_csv_as_a_list(multi: TextClassifier, tmp_path: Path) -> None:
    rows = answered(multi, {"text": "good"}, {"text": "bad movie"})
    write_predictions(rows, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        written = [json.loads(row["label"]) for row in csv.DictReader(file)]
    assert written == [row["label"] for row in rows]


def test_parquet_takes_labels_that_come_after_thousands_of_rows_without_one(
    tmp_path: Path,
) -> None:
    import pyarrow.parquet

    row = {"id": "1", "probability": 0.1, "probabilities": {"a": 0.1}, "abstained": False}
    rows = ({**row, "label": [] if i < 10_000 else ["a"]} for i in range(10_001))
    write_predictions(rows, tmp_path / "out.parquet")
    labels = pyarrow.parquet.read_table(tmp_path / "out.parquet")["label"].to_pylist()
    assert labels == [[]] * 10_000 + [["a"]]
    amount = {"id": "1", "label": 2.5, "probability": None, "probabilities": {}, "abstained": False}
    write_predictions([amount], tmp_path / "amounts.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "amounts.parquet")["label"].to_pylist() == [2.5]


@pytest.mark.parametrize("given", ["", "\n \n"])
def test_empty_json_lines_are_an_empty_input(
    classifier: TextClassifier, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given.encode())))
    rows = open_rows("-", "jsonl")
    with pytest.raises(DataError, match="standard input has no rows"):
        list(predict_rows(classifier, rows))


def test_a_failed_run_leaves_no_file(classifier: TextClassifier, tmp_path: Path) -> None:
    rows = predict_rows(classifier, rows_of({"text": "a"}, {"text": None}))
    with pytest.raises(DataError):
        write_predictions(rows, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match=r"ending of out\.xlsx"):
        write_predictions(answered(classifier, {"text": "a"}), tmp_path / "out.xlsx")


@pytest.mark.parametrize(
    ("content", "input_format", "texts"),
    [
        ("good film\nbad, dull\n\nfine\n", "lines", ["good film", "bad, dull", "", "fine"]),
        ('{"text": 1}\n', "lines", ['{"text": 1}']),
        ('{"text": "a"}\n{"text": "b"}\n', "jsonl", ["a", "b"]),
        ('{"text": "a"}\n{"text": "b"}\n', "auto", ["a", "b"]),
        ('id,text\n1,"a, b"\n2,c\n', "csv", ["a, b", "c"]),
        ("id\ttext\n1\ta\n2\tb\n", "tsv", ["a", "b"]),
    ],
)
def test_standard_input_is_lines_or_a_table(
    monkeypatch: pytest.MonkeyPatch, content: str, input_format: Any, texts: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    rows = open_rows("-", input_format)
    assert [str(cells["text"]) for _, cells in rows] == texts


def test_an_unknown_format_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`input_format` must be one of auto, lines"):
        open_rows("-", "xml")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="of a file, got 'lines' and list of rows, which are in"):
        open_rows([{"text": "a"}], "lines")
    for stated in (TableFormat(header=True), TableFormat(delimiter=";")):
        with pytest.raises(ConfigError, match="With --format lines each line is a text, and none"):
            open_rows("-", "lines", stated)
    with pytest.raises(DataError, match="cannot be read"):
        open_rows(str(tmp_path / "absent.txt"), "lines")


LABELLED = {"text": "good", "label": "bad", "p:x": "0.1", "input:label": "so", "id": 7, "n": 3}


def test_the_columns_of_a_row_stand_beside_its_answer_under_names_of_their_own(
    classifier: TextClassifier,
) -> None:
    answers = predict_rows(classifier, [LABELLED, LABELLED | {"late": 1}], keep_columns=True)
    row, second = answers
    assert row == answered(classifier, {"id": "7", "text": "good"})[0] | {
        "text": "good",
        "input:input:label": "bad",
        "input:p:x": "0.1",
        "input:label": "so",
        "n": 3,
        "late": None,
    }
    assert second["late"] == 1
    assert [*flat_row(row)][:5] == ["id", "label", "probability", "abstained", "text"]
    said = answers.notes[-1]
    assert "own are kept: 'label' as 'input:input:label', 'p:x' as 'input:p:x'" in said


def test_rows_without_end_keep_their_columns(classifier: TextClassifier) -> None:
    read = 0

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        nonlocal read
        for read in itertools.count(1):
            yield (
                read,
                {"text": f"good {read}", "n": read}
                | ({"late": 1, "b": 2, "a": 3} if read > 200 else {}),
            )

    answers = predict_rows(classifier, RowStream("input", rows(), False), keep_columns=True)
    taken = list(itertools.islice(answers, 300))
    assert [row["n"] for row in taken] == [*range(1, 301)]
    assert read < 10_000
    assert [*taken[-1]][-2:] == ["text", "n"]
    assert any(
        "none of the first rows has such a column: 'late', 'b', 'a'" in n for n in answers.notes
    )


def test_a_frame_of_answers_has_the_columns_of_the_file(
    classifier: TextClassifier, tmp_path: Path
) -> None:
    frame = pandas.DataFrame({"key": ["a", "b"], "text": ["good film", "bad"], "label": ["x", "y"]})
    options = TextOptions(id_column="key")
    write_predictions(
        predict_rows(classifier, frame, options, keep_columns=True), tmp_path / "out.csv"
    )
    held = predict_rows(classifier, frame, options, keep_columns=True).to_pandas()
    pandas.testing.assert_frame_equal(held, pandas.read_csv(tmp_path / "out.csv"))
    assert held["input:label"].tolist() == ["x", "y"]
    answers = classifier.predict([*frame["text"]], ids=[*frame["key"]])
    own = held.drop(columns=["key", "text", "input:label"])
    pandas.testing.assert_frame_equal(answers.to_pandas(), own)
    assert repr(answers) == f"[{answers[0]!r}, {answers[1]!r}]"
    assert "probabilities" not in repr(answers)
    assert repr(classifier.predict(["a"] * 9)).endswith(", … 4 more]")
    assert f"<td>{answers[0].label}</td>" in answers._repr_html_()


def test_columns_that_are_kept_keep_their_types_in_parquet(
    classifier: TextClassifier, tmp_path: Path
) -> None:
    table = pyarrow.table(
        {
            "text": pyarrow.array(["good", "bad"]),
            "small": pyarrow.array([1, None], pyarrow.int16()),
            "when": pyarrow.array([datetime(2020, 1, 2), None], pyarrow.timestamp("ms")),
            "kind": pyarrow.array(["x", None]).dictionary_encode(),
            "tags": pyarrow.array([["a"], []], pyarrow.list_(pyarrow.string())),
            "nothing": pyarrow.nulls(2),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    for source in (table, tmp_path / "in.parquet"):
        answers = predict_rows(classifier, source, keep_columns=True)
        write_predictions(answers, tmp_path / "out.parquet")
        out = pyarrow.parquet.read_table(tmp_path / "out.parquet")
        assert out.column_names[4:10] == table.column_names
        assert [out.schema.field(name).type for name in table.column_names] == table.schema.types
        assert out.select(table.column_names).to_pylist() == table.to_pylist()
    views = pyarrow.array(["good", "bad"], pyarrow.string_view())  # texts and categories of polars
    kinds = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1], pyarrow.uint32()), views)
    held = pyarrow.table({"text": views, "kind": kinds})
    write_predictions(predict_rows(classifier, held, keep_columns=True), tmp_path / "of.parquet")
    out = pyarrow.parquet.read_table(tmp_path / "of.parquet")
    assert out["kind"].to_pylist() == out["text"].to_pylist() == ["good", "bad"]
    assert out.schema.field("text").type == out.schema.field("kind").type == pyarrow.string()
    write_predictions(
        predict_rows(classifier, table.to_pandas(), keep_columns=True), tmp_path / "out.jsonl"
    )
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert (line["when"], line["tags"], line["nothing"]) == ("2020-01-02 00:00:00", ["a"], None)
