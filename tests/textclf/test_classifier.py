"""Laws of a trained classifier, on real architectures with untrained weights."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
from dataclasses import astuple
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import numpy as np
import pandas
import pytest

from footwork.errors import ConfigError, DataError, ModelError
from footwork.inference.rounding import DEVIATIONS, measured_error
from tests.models import FAMILIES, build_adapter, build_base, build_classifier
from tests.runs import train_here
from tests.tables import sentiment_table
from textclf import TrainConfig
from textclf.classifier import ClassifierOptions, TextClassifier, TextRow

TEXTS = [
    "the film was very good",
    "bad",
    "",
    "it was not the best book, but the food and the service were fine " * 2,
    "Who is it?",
    "what a dull, sad movie; i hate the price",
    "a" * 30,
]
Folders = dict[str, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("classifiers")
    built = {family: build_classifier(root / family, family) for family in FAMILIES}
    several = ("a", "b", "c"), "multi_label_classification"
    built["multi"] = build_classifier(root / "multi", "bert", *several)
    built["regression"] = build_classifier(root / "regression", "bert", (), "regression")
    return built


def loaded(folder: Path, **options: Any) -> TextClassifier:
    return TextClassifier.load(folder, ClassifierOptions(**{"precision": "float32", **options}))


def rewrite(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    manifest = json.loads((target / "footwork.json").read_text())
    (target / "footwork.json").write_text(json.dumps(manifest | changes))
    return target


def plain_logits(folder: Path, texts: list[str], pairs: list[str] | None = None) -> np.ndarray:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for index, text in enumerate(texts):
        # In lists: an empty second text alone counts as none.
        second = {} if pairs is None else {"text_pair": [pairs[index]]}
        inputs = tokenizer([text], **second, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            rows.append(model(**inputs).logits[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("pairs", [None, TEXTS[::-1]], ids=["texts", "pairs"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers_one_row_at_a_time(
    folders: Folders, family: str, pairs: list[str] | None
) -> None:
    logits = loaded(folders[family]).logits(TEXTS, pairs)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, plain_logits(folders[family], TEXTS, pairs), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_answers_as_peft_does(tmp_path: Path, family: str) -> None:
    from footwork.models.checkpoints import load_trained

    base = build_base(tmp_path / "base", family)
    folder = build_adapter(tmp_path / "adapter", base, ("x", "y", "z"))
    model, tokenizer = load_trained(folder)
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    classifier = loaded(folder)
    assert classifier.labels == ("x", "y", "z")
    expected = model(**inputs).logits.detach().numpy()
    np.testing.assert_allclose(classifier.logits(TEXTS[:1]), expected, atol=1e-5)


def test_a_foreign_folder_needs_no_manifest(folders: Folders, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["bert"], tmp_path / "foreign"))
    (folder / "footwork.json").unlink()
    classifier = loaded(folder)
    assert classifier.labels == ("negative", "positive")
    assert classifier.task == "single_label_classification"
    assert classifier.max_length == 128
    np.testing.assert_allclose(classifier.logits(["bad"]), loaded(folders["bert"]).logits(["bad"]))


def test_probabilities_sum_to_one_and_obey_the_temperature(
    folders: Folders, tmp_path: Path
) -> None:
    plain = loaded(folders["bert"])
    hot = loaded(rewrite(folders["bert"], tmp_path / "hot", calibration={"temperature": 4.0}))
    found, odds = hot.predict_proba(TEXTS), np.exp(plain.logits(TEXTS) / 4.0)
    np.testing.assert_allclose(found.sum(1), 1.0)
    np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(found.argmax(1), odds.argmax(1))


def test_a_prediction_names_its_label_and_every_probability(folders: Folders) -> None:
    classifier = loaded(folders["bert"])
    answers = classifier.predict(TEXTS, ids=[f"row {n}" for n in range(len(TEXTS))])
    assert [answer.id for answer in answers] == [f"row {n}" for n in range(len(TEXTS))]
    for answer, row in zip(answers, classifier.predict_proba(TEXTS), strict=True):
        assert answer.label == classifier.labels[row.argmax()]
        assert answer.probability == pytest.approx(row.max(), abs=1e-6)
        assert list(answer.probabilities) == ["negative", "positive"]
        assert answer.abstained == (answer.id == "row 2")  # which is empty


def test_multi_label_gives_every_label_that_is_likely(folders: Folders) -> None:
    for answer in loaded(folders["multi"]).predict(TEXTS):
        likely = [name for name, p in answer.probabilities.items() if p >= 0.5]
        assert answer.label == likely
        assert answer.probability == max(answer.probabilities.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_length": 0}, "`max_length` must be at least 1, got 0"),
        ({"overlap": 10}, "`overlap` is that of windows"),
        ({"abstain_below": 0.5}, "`abstain_below` is a probability; a regression has none"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    options: dict[str, Any], said: str, folders: Folders
) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(folders["regression"], **options)


def test_regression_gives_a_number_and_no_probability(folders: Folders) -> None:
    classifier = loaded(folders["regression"])
    answer = classifier.predict(["bad"])[0]
    amount = float(classifier.logits(["bad"])[0, 0])
    assert astuple(answer)[1:] == (pytest.approx(amount), None, {}, False, {})
    with pytest.raises(ConfigError, match="no probabilities"):
        classifier.predict_proba(["bad"])


def test_abstention_follows_the_threshold(folders: Folders, tmp_path: Path) -> None:
    probabilities = loaded(folders["bert"]).predict_proba(TEXTS).max(1)
    middle = float(np.median(probabilities)) + 1e-4
    answers = loaded(folders["bert"], abstain_below=middle).predict(TEXTS)
    empty = np.array([not text for text in TEXTS])
    assert [answer.abstained for answer in answers] == (empty | (probabilities < middle)).tolist()
    strict = rewrite(folders["bert"], tmp_path / "strict", calibration={"abstain_below": 1.0})
    assert all(answer.abstained for answer in loaded(strict).predict(TEXTS))
    answers = loaded(strict, abstain_below=0.0).predict(TEXTS)
    assert [answer.abstained for answer in answers] == empty.tolist()


@pytest.mark.parametrize("precision", ["float32", "bf16", "auto"])
@pytest.mark.parametrize("long", ["truncate", "windows"])
def test_one_text_has_one_probability_whatever_is_asked_beside_it(
    folders: Folders, long: str, precision: str, tmp_path: Path
) -> None:
    texts = [f"{text} {n}" for n in range(9) for text in (*TEXTS, "the good film " * 40)]
    exact = loaded(folders["bert"], long=long).logits(texts)
    half = float(np.median(np.ptp(exact, axis=1)))  # every second answer is a close call
    rounding = {"bias": [1e-3, -1e-3], "deviation": half / DEVIATIONS}
    folder = rewrite(folders["bert"], tmp_path / "bert", rounding=rounding)
    with patch("footwork.accelerator.has_bf16", return_value=True):
        classifier = loaded(folder, precision=precision, long=long)
    together = classifier.predict_proba(texts)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    np.testing.assert_array_equal(alone, together)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(texts)), 2))
    shuffled = classifier.predict_proba([texts[row] for row in order])
    np.testing.assert_array_equal(shuffled, together[order])
    rows = [TextRow(str(row), texts[row]) for row in order]
    streamed = [list(answer.probabilities.values()) for answer in classifier.stream(rows)]
    np.testing.assert_array_equal(streamed, together[order])
    same = np.all(classifier.logits(texts) == exact, axis=1)
    # What is close by bf16 is not always what is close in float32.
    least, most = {"float32": (1.0, 1.0), "bf16": (0.0, 0.1), "auto": (0.25, 0.75)}[precision]
    assert least <= same.mean() <= most


def test_auto_precision_gives_the_labels_of_float32(folders: Folders, tmp_path: Path) -> None:
    texts = [f"{text} {n}" for n in range(20) for text in TEXTS]
    for family in FAMILIES:
        exact, bf16 = (loaded(folders[family], precision=p) for p in ("float32", "bf16"))
        error = measured_error(exact.rule, bf16.logits(texts[::5]), exact.logits(texts[::5]))
        rounding = error.to_dict() if error else None
        folder = rewrite(folders[family], tmp_path / family, rounding=rounding)
        with patch("footwork.accelerator.has_bf16", return_value=True):
            quick = loaded(folder, precision="auto")
        assert [a.label for a in quick.predict(texts)] == [a.label for a in exact.predict(texts)]
        assert not np.array_equal(quick.logits(texts), exact.logits(texts))


def test_texts_that_are_cut_are_counted(folders: Folders) -> None:
    classifier = loaded(folders["bert"])
    classifier.predict(["good " * 62, "good " * 63, "bad"])
    assert classifier.texts_cut == 1


def test_a_stream_without_end_runs_in_bounded_memory(folders: Folders) -> None:
    endless = (TextRow(str(number), "good " * (number % 9)) for number in count(1))
    stream = loaded(folders["bert"], look_ahead=64).stream(endless)
    assert [next(stream).id for _ in range(200)] == [str(n) for n in range(1, 201)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(1000):
        next(stream)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    stream.close()
    assert grown < 500_000


def test_a_length_past_the_positions_is_refused(folders: Folders) -> None:
    for family in ("bert", "roberta"):
        with pytest.raises(ConfigError, match="`max_length` must be at most 128"):
            loaded(folders[family], max_length=129)
    assert loaded(folders["deberta-v2"], max_length=300).logits(["good " * 400]).shape == (1, 2)
    assert loaded(folders["roberta"], max_length=128).logits(["good " * 400]).shape == (1, 2)


def test_a_copy_answers_the_same(folders: Folders, tmp_path: Path) -> None:
    classifier = loaded(folders["bert"])
    classifier.save(tmp_path / "copy")
    np.testing.assert_array_equal(loaded(tmp_path / "copy").logits(TEXTS), classifier.logits(TEXTS))
    with pytest.raises(ConfigError, match="exists"):
        classifier.save(tmp_path / "copy")


@pytest.mark.parametrize("hold", [pandas.DataFrame, dict, datasets.Dataset.from_dict])
def test_a_table_is_not_taken_for_a_list_of_its_columns(hold: Any, folders: Folders) -> None:
    classifier, table = loaded(folders["bert"]), hold({"text": ["a", "b", "c"], "n": [1, 2, 3]})
    ways = (classifier.predict, classifier.predict_proba, classifier.logits)
    for ask in (*ways, lambda rows: list(classifier.stream(rows))):
        with pytest.raises(
            TypeError, match=r"such as data\['text'\]\. .*predict_rows\(classifier, d"
        ):
            ask(table)
    assert len(classifier.predict(table["text"])) == 3


def test_a_stream_takes_texts_as_predict_does(folders: Folders) -> None:
    classifier = loaded(folders["bert"])
    assert list(classifier.stream(text for text in TEXTS)) == classifier.predict(TEXTS)
    for wrong, said in (("a", "`rows` must be a list"), (["a", 5], "got int at 1"), (5, "got int")):
        with pytest.raises(TypeError, match=said):
            list(classifier.stream(wrong))  # type: ignore[arg-type]


def test_wrong_calls_are_named(folders: Folders, tmp_path: Path) -> None:
    classifier = loaded(folders["bert"])
    with pytest.raises(TypeError, match="put it into a list"):
        classifier.predict("one text")
    with pytest.raises(TypeError, match="Texts must be strings, got NoneType at 1 of `texts`"):
        classifier.predict(["a", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Either every row"):
        list(classifier.stream([TextRow("1", "a", "b"), TextRow("2", "c")]))
    with pytest.raises(TypeError, match="Texts must be strings, got float at 0 of `pairs`"):
        classifier.predict(["a"], pairs=[float("nan")])  # type: ignore[list-item]
    for name in ("pairs", "ids"):
        for wrong in (["b", "c"], []):
            with pytest.raises(DataError, match=f"`{name}` must be as many as `texts`: expected 1"):
                classifier.predict(["a"], **{name: wrong})
        with pytest.raises(TypeError, match=f"`{name}` must be a list.*put it into a list"):
            classifier.predict(["a"], **{name: "b"})
    with pytest.raises(DataError, match="expected 0, got 1"):
        classifier.predict([], pairs=["a"])
    with pytest.raises(ModelError, match="holds no trained classifier"):
        loaded(tmp_path)
    assert classifier.predict([]) == []
    assert [*classifier.predict([]).to_pandas()] == [*classifier.predict(["a"]).to_pandas()]
    cut = classifier.predict(["a", "b", "c"])[1:]
    assert [answer.id for answer in cut] == cut.to_pandas()["id"].tolist() == ["1", "2"]
    assert [one.id for one in classifier.predict(iter(["a", "b"]), ids=[7, 8])] == ["7", "8"]
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.logits([]).shape == (0, 2)


def test_a_model_takes_as_many_texts_a_row_as_it_was_trained_on(
    folders: Folders,
) -> None:
    classifier = loaded(folders["bert"])
    classifier.text_columns = ("premise", "hypothesis")
    pairs = r"takes pairs of texts \(premise, hypothesis\): give the second ones as `pairs`"
    for ask in (classifier.predict, classifier.predict_proba, classifier.logits):
        with pytest.raises(DataError, match=pairs):
            ask(["half a pair"])
    with pytest.raises(DataError, match=pairs):
        list(classifier.stream([TextRow("1", "half a pair")]))
    assert len(classifier.predict(["one"], pairs=["other"])) == 1
    classifier.text_columns = ("text",)
    with pytest.raises(DataError, match=r"takes single texts \(text\): leave `pairs` out"):
        classifier.predict(["one"], pairs=["other"])


@pytest.mark.parametrize("kind", ["bert", "linear"])
def test_a_classifier_is_pickled_by_the_folder_that_it_was_loaded_from(
    kind: str, folders: Folders, tmp_path: Path
) -> None:
    folder = folders.get(kind, tmp_path / "linear")
    if kind == "linear":
        train_here(sentiment_table(tmp_path / "data.csv", 40), folder, TrainConfig(method="linear"))
    options = ClassifierOptions(precision="float32", abstain_below=0.9)
    classifier = TextClassifier.load(folder, options)
    assert repr(classifier) == f"<{type(classifier).__name__} {folder}: negative, positive>"
    again = pickle.loads(pickle.dumps(classifier))
    assert type(again) is type(classifier)
    assert again.predict(TEXTS) == classifier.predict(TEXTS)
    classifier.origin = None
    with pytest.raises(pickle.PicklingError, match=r"made of parts.* Take one of \w+\.load"):
        pickle.dumps(classifier)
