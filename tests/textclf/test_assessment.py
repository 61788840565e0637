"""A trained classifier, judged on a table that it has not seen."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas
import pytest

from footwork.cli import main
from footwork.errors import ConfigError, DataError
from footwork.methods.table import UNPRETRAINED
from tests.models import build_base, build_classifier
from tests.runs import train_here
from tests.tables import sentiment_rows, write_table
from textclf import TrainConfig, sources
from textclf.assessment import evaluate, write_assessment
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.config import LabelOptions, TextOptions
from textclf.predict import predict_rows

FLOAT32 = ClassifierOptions(precision="float32")


def trained(folder: Path, **changes: Any) -> Path:
    """An untrained classifier whose manifest says what a training would."""
    build_classifier(folder)
    manifest = json.loads((folder / "footwork.json").read_text())
    (folder / "footwork.json").write_text(json.dumps(manifest | changes))
    return folder


def test_the_temperature_and_the_threshold_are_the_models(tmp_path: Path) -> None:
    calibration = {"temperature": 2.5, "abstain_below": 0.55}
    model = trained(tmp_path / "model", calibration=calibration)
    rows = sentiment_rows(60)
    table = write_table(tmp_path / "d.csv", rows, ("text", "label"))
    evaluation = evaluate(model, table, LabelOptions(), FLOAT32).evaluation
    found = evaluation.calibration
    assert found is not None
    assert (found.temperature, found.abstain_below, found.fitted) == (2.5, 0.55, False)
    classifier = TextClassifier.load(model, FLOAT32)
    answers = classifier.predict([text for text, _ in rows])
    both = zip(answers, rows, strict=True)
    kept = [answer.label == label for answer, (_, label) in both if not answer.abstained]
    assert found.abstention is not None
    assert found.abstention.coverage == pytest.approx(len(kept) / 60)
    assert found.abstention.accuracy == pytest.approx(np.mean(kept))
    raw = classifier.logits([text for text, _ in rows]).astype(np.float64)
    wanted = np.array([["negative", "positive"].index(label) for _, label in rows])
    losses = np.log(np.exp(raw).sum(axis=1)) - raw[np.arange(60), wanted]
    assert evaluation.metrics["log_loss"].value == pytest.approx(losses.mean())


def test_what_validation_chose_is_judged_on_the_test_rows(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    rows = [{"text": text, "label": label} for text, label in sentiment_rows(240)]
    data = {"train": rows[:80], "validation": rows[80:160], "test": rows[160:]}
    settings = {"num_epochs": 8, "learning_rate": 3e-3, "max_length": 48}
    settings |= {"method": "full", "mixed_precision": "bf16"}
    config = TrainConfig(model_id=str(base), **settings)
    done = train_here(data, tmp_path / "out", config)
    chosen, judged = done.manifest["calibration"], done.evaluation.calibration
    assert done.manifest["data"]["path"] == "list of rows"
    assert done.manifest["evaluated_on"] == "test"
    assert judged is not None
    assert not judged.fitted
    assert judged.temperature == chosen["temperature"] != 1
    assert judged.abstain_below == chosen["abstain_below"]
    again = evaluate(tmp_path / "out", data["test"], LabelOptions(), FLOAT32).evaluation
    assert again.calibration is not None
    assert again.calibration.temperature == judged.temperature
    for name, interval in done.evaluation.metrics.items():
        assert again.metrics[name].value == pytest.approx(interval.value, rel=1e-4, abs=1e-5)
    assert not again.remarks


def test_what_it_was_trained_on_is_told(tmp_path: Path) -> None:
    rows = sentiment_rows(60)
    table = write_table(tmp_path / "d.csv", rows, ("text", "label"))
    split = [{"text": text, "label": label} for text, label in rows]
    test = write_table(tmp_path / "test.csv", rows[:20], ("text", "label"))
    config = TrainConfig(method=UNPRETRAINED)
    train_here(table, tmp_path / "out", config)
    train_here({"train": table, "test": test}, tmp_path / "split", config)
    train_here({"train": split, "test": split[:20]}, tmp_path / "held", config)
    (tmp_path / "new").mkdir()
    moved = table.rename(tmp_path / "new" / "moved.csv")
    other = write_table(table, rows[:40], ("text", "label"))
    known = ("It was trained on most of these texts: the figures say nothing of new ones.",)
    for model, data, told in (
        ("out", moved, True),
        ("out", other, False),
        ("split", moved, True),
        ("split", test, False),
        ("held", split, True),
        ("held", split[:20], False),
    ):
        assert evaluate(tmp_path / model, data).evaluation.remarks == (known if told else ())


def test_the_columns_are_those_of_the_training(tmp_path: Path) -> None:
    facts = {"text_columns": ["note"], "label_column": "verdict"}
    model = trained(tmp_path / "model", data=facts)
    rows = sentiment_rows(40)
    misled = [("the same text", "negative", text, label) for text, label in rows]
    table = write_table(tmp_path / "d.csv", misled, ("text", "label", "note", "verdict"))
    found = evaluate(model, table, LabelOptions(), FLOAT32).evaluation
    assert [score.support for score in found.per_class] == [20, 20]
    plain = write_table(tmp_path / "p.csv", rows, ("text", "label"))
    usual = evaluate(model, plain, LabelOptions(), FLOAT32).evaluation
    assert usual.to_dict() == found.to_dict()
    stated = LabelOptions(text_columns=("text",), label_column="label")
    misread = evaluate(model, table, stated, FLOAT32).evaluation
    assert [score.support for score in misread.per_class] == [40, 0]


def test_label_columns_are_those_of_the_training_in_any_order(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"label_column": "negative,positive"})
    rows = sentiment_rows(40)
    plain = write_table(tmp_path / "p.csv", rows, ("text", "label"))
    marks = [(text, label == "positive", label == "negative", "x") for text, label in rows]
    names = ("text", "positive", "negative", "label")
    table = write_table(tmp_path / "d.csv", [tuple(map(str, row)) for row in marks], names)
    found = evaluate(model, table, LabelOptions(), FLOAT32)
    expected = evaluate(model, plain, LabelOptions(), FLOAT32).evaluation
    assert found.evaluation.to_dict() == expected.to_dict()
    assert any("2 columns (--label-column negative,positive)" in note for note in found.notes)


def test_a_table_is_read_once(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"text_columns": ["text"], "label_column": "label"})
    table = write_table(tmp_path / "d.csv", sentiment_rows(20), ("text", "label"))
    with patch.object(sources, "read_table", wraps=sources.read_table) as read:
        evaluate(model, table, LabelOptions(), FLOAT32)
    assert read.call_count == 1


def test_a_table_of_pairs_is_refused_by_a_model_of_single_texts(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"text_columns": ["text"], "label_column": "label"})
    pairs = [(text, "so", label) for text, label in sentiment_rows(20)]
    table = write_table(tmp_path / "d.csv", pairs, ("premise", "hypothesis", "label"))
    with pytest.raises(DataError, match=r"lacks 'text': .*'premise', 'hypothesis'"):
        evaluate(model, table, LabelOptions(), FLOAT32)
    stated = LabelOptions(text_columns=("premise", "hypothesis"))
    with pytest.raises(DataError, match=r"takes 1 text a row, .* has 2: premise, hypothesis"):
        evaluate(model, table, stated, FLOAT32)


def test_another_text_column_is_named_or_asked_for(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"text_columns": ["text"], "label_column": "verdict"})
    rows = [(str(n), text, label) for n, (text, label) in enumerate(sentiment_rows(20))]
    table = write_table(tmp_path / "d.csv", rows, ("id", "remark", "verdict"))
    found = evaluate(model, table, LabelOptions(), FLOAT32)
    assert any("lacks 'text', which the model was trained on" in one for one in found.notes)
    assert "Texts are taken from 'remark', labels from 'verdict'." in found.notes
    unclear = write_table(tmp_path / "e.csv", rows, ("title", "body_html", "verdict"))
    with pytest.raises(
        DataError, match=r"lacks 'text': .*'body_html'.*--text-column, once\.\n.*text_columns"
    ):
        evaluate(model, unclear, LabelOptions(), FLOAT32)
    plain = write_table(tmp_path / "f.csv", sentiment_rows(20), ("Text", "verdict"))
    assert evaluate(model, plain, LabelOptions(), FLOAT32).notes


def test_a_loaded_classifier_is_judged_as_its_folder(tmp_path: Path) -> None:
    model = trained(tmp_path / "model")
    table = write_table(tmp_path / "d.csv", sentiment_rows(20), ("text", "label"))
    classifier = TextClassifier.load(model, FLOAT32)
    found = evaluate(classifier, pandas.read_csv(table)).evaluation
    assert found.to_dict() == evaluate(model, table, answering=FLOAT32).evaluation.to_dict()
    for given in ({"answering": FLOAT32}, {"revision": "main"}):
        with pytest.raises(ConfigError, match="`answering` and `revision` are for loading"):
            evaluate(classifier, table, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["single", "multi", "regression"])
def test_the_answers_stand_beside_the_true_labels(task: str, tmp_path: Path) -> None:
    labels: dict[str, list[Any]] = {
        "single": ["positive", "negative", "positive"],
        "multi": [["negative"], [], ["negative", "positive"]],
        "regression": [0.5, 2.0, -1.0],
    }
    kind = {"multi": "multi_label_classification", "regression": "regression"}.get(task)
    names = ("amount",) if task == "regression" else ("negative", "positive")
    build_classifier(tmp_path / "model", labels=names, **({"task": kind} if kind else {}))
    texts = ["good", "", "a bad film"]
    given = [{"key": float(n), "text": text} for n, text in enumerate(texts)]
    rows = [row | {"label": label} for row, label in zip(given, labels[task], strict=True)]
    classifier = TextClassifier.load(tmp_path / "model", FLOAT32)
    found = evaluate(classifier, rows, LabelOptions(id_column="key"))
    answers = list(predict_rows(classifier, given, TextOptions(id_column="key")))
    told = [row | {"true_label": label} for row, label in zip(answers, labels[task], strict=True)]
    assert [answer.to_row() for answer in found.predictions] == told
    assert pickle.loads(pickle.dumps(found)).predictions == found.predictions
    write_assessment(found, tmp_path / "answers.jsonl")
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == told


def test_what_was_found_is_written_and_nothing_of_the_users_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained(tmp_path / "model")
    table = write_table(tmp_path / "d.csv", sentiment_rows(12), ("text", "label"))
    command = ["textclf", "evaluate", str(model), str(table), "--precision", "float32", "-o"]
    for name in ("found.json", "found.json", "answers.csv", "answers.csv"):
        assert main([*command, str(tmp_path / name)]) == 0
    capsys.readouterr()
    found = evaluate(model, table, answering=FLOAT32)
    told = json.loads(json.dumps(found.evaluation.to_dict()))
    assert json.loads((tmp_path / "found.json").read_text()) == told
    frame = pandas.read_csv(tmp_path / "answers.csv", dtype={"id": str})
    assert frame["true_label"].tolist() == [label for _, label in sentiment_rows(12)]
    pandas.testing.assert_frame_equal(found.predictions.to_pandas(), frame)
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "list.json").write_text("[]")
    frame.assign(note="mine").to_csv(tmp_path / "mine.csv")
    frame.drop(columns="true_label").to_csv(tmp_path / "predicted.csv", index=False)
    for name in ("mine.json", "list.json", "mine.csv", "predicted.csv", "d.csv"):
        assert main([*command, str(tmp_path / name)]) == 2
        assert "what is read" in (said := capsys.readouterr().err) or "is not replaced" in said


def test_a_file_with_kept_columns_is_written_anew_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained(tmp_path / "model")
    table = write_table(tmp_path / "d.csv", sentiment_rows(12), ("text", "label"))
    out = tmp_path / "out.csv"
    command = ["textclf", "predict", str(model), str(table), "-o", str(out), "--keep-columns"]
    assert main(command) == main(command) == 0
    assert "'label' as 'input:label'" in capsys.readouterr().err
    pandas.read_csv(out).assign(note="mine").to_csv(out, index=False)
    assert main(command) == 2
    assert "is not replaced" in capsys.readouterr().err
