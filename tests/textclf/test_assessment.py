"""A trained classifier, judged on a table that it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from footwork.errors import DataError
from tests.models import build_base, build_classifier
from tests.runs import train_here
from tests.tables import sentiment_rows, write_table
from textclf import TrainConfig, sources
from textclf.assessment import assess
from textclf.classifier import ClassifierOptions, TextClassifier
from textclf.config import LabelOptions

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
    evaluation = assess(model, table, LabelOptions(), FLOAT32).evaluation
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
    config = TrainConfig(model_id=str(base), method="full", **settings)
    done = train_here(data, tmp_path / "out", config)
    chosen, judged = done.manifest["calibration"], done.evaluation.calibration
    assert done.manifest["data"]["path"] == "dict of splits"
    assert done.manifest["evaluated_on"] == "test"
    assert judged is not None
    assert not judged.fitted
    assert judged.temperature == chosen["temperature"] != 1
    assert judged.abstain_below == chosen["abstain_below"]
    again = assess(tmp_path / "out", data["test"], LabelOptions(), FLOAT32).evaluation
    assert again.calibration is not None
    assert again.calibration.temperature == judged.temperature
    for name, interval in done.evaluation.metrics.items():
        assert again.metrics[name].value == pytest.approx(interval.value, rel=1e-2, abs=1e-4)


def test_the_columns_are_those_of_the_training(tmp_path: Path) -> None:
    facts = {"text_columns": ["note"], "label_column": "verdict"}
    model = trained(tmp_path / "model", data=facts)
    rows = sentiment_rows(40)
    misled = [("the same text", "negative", text, label) for text, label in rows]
    table = write_table(tmp_path / "d.csv", misled, ("text", "label", "note", "verdict"))
    found = assess(model, table, LabelOptions(), FLOAT32).evaluation
    assert [score.support for score in found.per_class] == [20, 20]
    plain = write_table(tmp_path / "p.csv", rows, ("text", "label"))
    usual = assess(model, plain, LabelOptions(), FLOAT32).evaluation
    assert usual.to_dict() == found.to_dict()
    stated = LabelOptions(text_columns=("text",), label_column="label")
    misread = assess(model, table, stated, FLOAT32).evaluation
    assert [score.support for score in misread.per_class] == [40, 0]


def test_label_columns_are_those_of_the_training_in_any_order(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"label_column": "negative,positive"})
    rows = sentiment_rows(40)
    plain = write_table(tmp_path / "p.csv", rows, ("text", "label"))
    marks = [(text, label == "positive", label == "negative", "x") for text, label in rows]
    names = ("text", "positive", "negative", "label")
    table = write_table(tmp_path / "d.csv", [tuple(map(str, row)) for row in marks], names)
    found = assess(model, table, LabelOptions(), FLOAT32)
    expected = assess(model, plain, LabelOptions(), FLOAT32).evaluation
    assert found.evaluation.to_dict() == expected.to_dict()
    assert any("2 columns (--label-column negative,positive)" in note for note in found.notes)


def test_a_table_is_read_once(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"text_columns": ["text"], "label_column": "label"})
    table = write_table(tmp_path / "d.csv", sentiment_rows(20), ("text", "label"))
    with patch.object(sources, "read_table", wraps=sources.read_table) as read:
        assess(model, table, LabelOptions(), FLOAT32)
    assert read.call_count == 1


def test_a_table_of_pairs_is_refused_by_a_model_of_single_texts(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"text_columns": ["text"], "label_column": "label"})
    pairs = [(text, "so", label) for text, label in sentiment_rows(20)]
    table = write_table(tmp_path / "d.csv", pairs, ("premise", "hypothesis", "label"))
    with pytest.raises(DataError, match=r"lacks 'text': .*'premise', 'hypothesis'"):
        assess(model, table, LabelOptions(), FLOAT32)
    stated = LabelOptions(text_columns=("premise", "hypothesis"))
    with pytest.raises(DataError, match=r"takes 1 text a row, .* has 2: premise, hypothesis"):
        assess(model, table, stated, FLOAT32)


def test_another_text_column_is_named_or_asked_for(tmp_path: Path) -> None:
    model = trained(tmp_path / "model", data={"text_columns": ["text"], "label_column": "verdict"})
    rows = [(str(n), text, label) for n, (text, label) in enumerate(sentiment_rows(20))]
    table = write_table(tmp_path / "d.csv", rows, ("id", "remark", "verdict"))
    found = assess(model, table, LabelOptions(), FLOAT32)
    assert any("lacks 'text', which the model was trained on" in one for one in found.notes)
    assert "Texts are taken from 'remark', labels from 'verdict'." in found.notes
    unclear = write_table(tmp_path / "e.csv", rows, ("title", "body_html", "verdict"))
    with pytest.raises(DataError, match=r"lacks 'text': .*'title', 'body_html'.*--text-column"):
        assess(model, unclear, LabelOptions(), FLOAT32)
    plain = write_table(tmp_path / "f.csv", sentiment_rows(20), ("Text", "verdict"))
    assert assess(model, plain, LabelOptions(), FLOAT32).notes
