"""A linear model on TF-IDF, trained, kept and asked through the same commands as all others."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer

from footwork.errors import ConfigError, DataError, ModelError
from tests.hub import StandInApi, keep_repository
from tests.runs import run_here, train_here
from tests.tables import BAD, GOOD, sentiment_rows, sentiment_table, write_table
from textclf import TextClassifier, TrainConfig, train
from textclf.audit.audit import audit_table
from textclf.classifier import ClassifierOptions, LinearClassifier
from textclf.data import Examples
from textclf.linear import (
    ANALYZERS,
    VOCABULARY,
    WEIGHTS,
    LinearModel,
    fit_linear,
)
from textclf.task import TextTask
from zeroshot.options import FinetuneConfig

LINEAR = TrainConfig(method="linear")
ODD = ["", "It's   SO-SO — 好的", "a\x00b\ud800", "naïve I I I", "the film was good " * 500]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a process of its own, that of the reload proof among others."""
    folder = tmp_path_factory.mktemp("linear")
    train(sentiment_table(folder / "data.csv"), folder / "out", LINEAR)
    return folder / "out"


def fitted(texts: list[str], targets: list[int]) -> LinearModel:
    rows = list(range(1, len(texts) + 1))
    examples = Examples(texts, None, np.array(targets), rows, "table")
    return fit_linear(examples, "single_label_classification", 2)


def test_terms_and_their_values_are_those_of_scikit_learn() -> None:
    texts = [text for text, _ in sentiment_rows(20)] + [text.replace("\ud800", "") for text in ODD]
    word = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b|[^\w\s]"}
    kinds = {"words": word, "pieces": {"ngram_range": (3, 5), "analyzer": "char_wb"}}
    model = fitted(texts, [i % 2 for i in range(len(texts))])
    for kind, options in kinds.items():
        theirs = TfidfVectorizer(sublinear_tf=True, **options)
        wanted = theirs.fit_transform(texts)
        assert list(model.terms[kind]) == theirs.get_feature_names_out().tolist()
        start = next(iter(model.terms[kind].values()))
        for text, row in zip(texts, wanted.toarray(), strict=True):
            assert sorted(ANALYZERS[kind](text)) == sorted(theirs.build_analyzer()(text))
            columns, values = model._row(text)
            own = np.zeros(len(model.idf))
            own[columns] = values
            np.testing.assert_allclose(own[start : start + len(row)], row, atol=1e-6)


def test_an_answer_depends_on_its_text_alone(out: Path) -> None:
    classifier = TextClassifier.load(out)
    texts = ODD + [text for text, _ in sentiment_rows(20)]
    together = classifier.logits(texts)
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(classifier.logits(texts[::-1])[::-1], together)
    for text, logits in zip(texts, together, strict=True):
        np.testing.assert_array_equal(classifier.logits([text])[0], logits)


def test_what_is_published_says_what_it_is_and_needs_no_other_model(out: Path) -> None:
    manifest = json.loads((out / "footwork.json").read_text())
    assert manifest["method"] == "linear"
    assert manifest["model"] == {"id": None, "revision": None}
    assert manifest["metrics"]["accuracy"]["value"] == 1.0
    assert manifest["reload_difference"] < 1e-6
    assert "learning_rate" not in manifest["config"]
    assert "max_length" not in manifest
    names = {path.name for path in out.iterdir()}
    assert names == {"README.md", "footwork.json", "report", VOCABULARY, WEIGHTS}
    card = (out / "README.md").read_text()
    assert "library_name: footwork" in card
    assert "This is a linear model on TF-IDF of words, pairs of words and pieces of" in card
    assert "The linear model is a logistic regression, its C fixed at 4." in card
    assert "torch and transformers are not needed" in card
    assert "beat the commonest answer" in card
    for absent in ("base_model", "pipeline(", "tokens", "optimistic", "curves.png"):
        assert absent not in card


def test_a_fresh_process_answers_without_torch_transformers_and_scikit_learn(out: Path) -> None:
    code = (
        "import json, sys\n"
        "from footwork.cli import main\n"
        f"main(['textclf', 'predict', {str(out)!r}, '-', '--json'])\n"
        "heavy = ('torch', 'transformers', 'sklearn', 'scipy', 'pandas')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    texts = [text for text, _ in sentiment_rows(6)]
    command, given = [sys.executable, "-c", code], "\n".join(texts)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    *rows, heavy = map(json.loads, done.stdout.splitlines())
    assert heavy == []
    here = TextClassifier.load(out)
    assert isinstance(here, LinearClassifier)
    answers = here.predict(texts)
    assert [row["label"] for row in rows] == [label for _, label in sentiment_rows(6)]
    assert [row["probability"] for row in rows] == [each.probability for each in answers]


def test_abstention_and_evaluation_are_those_of_any_classifier(out: Path, tmp_path: Path) -> None:
    table = sentiment_table(tmp_path / "held_out.csv", 40)
    judged = run_here("evaluate", out, table, "--json")
    assert json.loads(judged.stdout)["metrics"]["accuracy"]["value"] == 1.0
    answered = run_here("predict", out, table, "--abstain-below", "0.999", "--json")
    assert all(json.loads(line)["abstained"] for line in answered.stdout.splitlines())
    TextClassifier.load(out).save(tmp_path / "copy")
    answers = [TextClassifier.load(folder).predict(["good"]) for folder in (out, tmp_path / "copy")]
    assert answers[0] == answers[1]


def test_pairs_amounts_and_several_labels_are_learned(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    words = [*GOOD, *BAD]
    drawn = [[str(word) for word in generator.choice(words, 2)] for _ in range(300)]
    same = [(a, a if i % 2 else b, str(i % 2)) for i, (a, b) in enumerate(drawn) if a != b]
    table = write_table(tmp_path / "p.csv", same, ("sentence1", "sentence2", "label"))
    done = train_here(table, tmp_path / "pairs", LINEAR)
    assert done.evaluation.metrics["accuracy"].value > 0.9
    pairs = TextClassifier.load(tmp_path / "pairs")
    assert [one.label for one in pairs.predict(["good"] * 2, ["good", "dull"])] == ["1", "0"]
    with pytest.raises(DataError, match="takes pairs"):
        pairs.predict(["good"])
    amounts = [(f"{a} {b}", str((a in GOOD) + (b in GOOD) + 0.5)) for a, b in drawn]
    table = write_table(tmp_path / "a.csv", amounts, ("text", "score"))
    done = train_here(table, tmp_path / "amounts", TrainConfig(method="linear", task="regression"))
    assert done.manifest["task"] == "regression"
    assert done.evaluation.metrics["r2"].value > 0.9
    best, worst = TextClassifier.load(tmp_path / "amounts").predict(["good best", "dull worst"])
    assert float(str(best.label)) - float(str(worst.label)) > 1.2
    several = [(f"{a} {b}", f"{a},{b}") for a, b in drawn]
    table = write_table(tmp_path / "s.csv", several, ("text", "labels"))
    done = train_here(table, tmp_path / "several", LINEAR)
    assert done.manifest["task"] == "multi_label_classification"
    assert done.evaluation.metrics["micro_f1"].value > 0.9
    (answer,) = TextClassifier.load(tmp_path / "several").predict(["fine sad"])
    assert answer.label == ["fine", "sad"]
    with pytest.raises(ConfigError, match="about classes; a regression has none"):
        train(tmp_path / "a.csv", tmp_path / "no", TrainConfig(**BALANCED, task="regression"))


def test_pairs_are_told_by_their_cosines_and_older_folders_answer_without(tmp_path: Path) -> None:
    texts = [text for text, _ in sentiment_rows(40)]
    others = [texts[place - place % 2] for place in range(len(texts))]
    alike = np.array([place % 2 == 0 for place in range(len(texts))], np.int64)
    examples = Examples(texts, others, alike, list(range(len(texts))), "table")
    model = fit_linear(examples, "single_label_classification", 2)
    width, cosines = len(model.idf), len(ANALYZERS)
    assert len(model.weights) == 3 * width + cosines
    assert (model.weights[-cosines:, 1] > 0.1).all()
    said = model.logits(texts, others)
    assert (said.argmax(1) == alike).mean() > 0.9
    model.save_pretrained(tmp_path)
    np.testing.assert_array_equal(LinearModel.load(tmp_path).logits(texts, others), said)
    replace(model, weights=model.weights[:-cosines]).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not as a training leaves them"):
        LinearModel.load(tmp_path)
    spoil_document(tmp_path, format=1)
    older = LinearModel.load(tmp_path).logits(texts, others)
    vectors = [[np.zeros(width) for _ in each] for each in (texts, others)]
    for rows, each in zip(vectors, (texts, others), strict=True):
        for row, text in zip(rows, each, strict=True):
            columns, values = model._row(text)
            row[columns] = values
    ends = [next(iter(terms.values())) for terms in model.terms.values()]
    products = np.array(vectors[0]) * np.array(vectors[1])
    by_kind = np.add.reduceat(products, ends, axis=1)
    np.testing.assert_allclose(said - older, by_kind @ model.weights[-cosines:], atol=1e-5)


BALANCED: dict[str, Any] = {"method": "linear", "class_weights": "balanced"}


def test_balanced_classes_count_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = ["often" if i % 10 else "rare" for i in range(300)]
    rows = [(" ".join(generator.choice([*GOOD, *BAD], 3)), label) for label in labels]
    table = write_table(tmp_path / "d.csv", rows, ("text", "label"))
    odds = []
    for name, config in (("plain", LINEAR), ("balanced", TrainConfig(**BALANCED))):
        train_here(table, tmp_path / name, config)
        often, rare = TextClassifier.load(tmp_path / name).logits([""])[0]
        odds.append(rare - often)
    assert odds[1] - odds[0] > 1


def test_a_run_that_failed_begins_again_and_the_seed_gives_the_same(tmp_path: Path) -> None:
    table = sentiment_table(tmp_path / "data.csv")
    full = patch("textclf.task.fit_linear", side_effect=OSError("the disk is full"))
    with full, pytest.raises(OSError, match="the disk is full"):
        train(table, tmp_path / "out", LINEAR)
    train_here(table, tmp_path / "out", LINEAR, existing="resume")
    train_here(table, tmp_path / "again", LINEAR)
    for name in (VOCABULARY, WEIGHTS):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("model_id", "tiny"), ("revision", "main"), ("max_length", 64), ("merge", True)),
        *(("learning_rate", 1e-3), ("batch_size", 8), ("label_smoothing", 0.1)),
    ],
)
def test_a_setting_of_a_pretrained_model_is_refused(setting: str, value: Any) -> None:
    name = setting.replace("model_id", "--model")
    said = f"`{name}` means nothing to --method linear, .* got {value}"
    with pytest.raises(ConfigError, match=said) as refused:
        TrainConfig(**{"method": "linear", setting: value})
    assert setting != "model_id" or "model_id for --model" in refused.value.__notes__[0]


def test_the_device_of_all_commands_is_no_setting_of_a_pretrained_model_alone(out: Path) -> None:
    assert TrainConfig(method="linear", device="cpu").device == "cpu"
    assert TextClassifier.load(out).max_length is None


def test_images_tokens_and_merging_are_refused_with_the_reason(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"counts words, and images have none.*--method head"):
        FinetuneConfig(method="linear")
    for options in (ClassifierOptions(max_length=64), ClassifierOptions(long="windows")):
        with pytest.raises(ConfigError, match="reads texts whole"):
            TextClassifier.load(out, options)
    with pytest.raises(ConfigError, match="from no pretrained model, so it has nothing to merge"):
        TextTask().load_trained(out)
    assert run_here("merge", out, tmp_path / "merged").returncode == 2


def test_the_audit_counts_no_tokens_and_estimates_no_cost(tmp_path: Path) -> None:
    audit = audit_table(sentiment_table(tmp_path / "data.csv"), LINEAR)
    assert audit.usable
    assert audit.cost is None
    assert audit.to_dict()["splits"]["train"]["median_tokens"] is None
    assert "token" not in audit.to_text()


def test_what_is_pushed_is_answered_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    config = TrainConfig(method="linear", push_to_hub="owner/name")
    done = train_here(sentiment_table(tmp_path / "data.csv"), tmp_path / "out", config)
    assert done.repository == "owner/name"
    keep_repository(done.folder, "owner/name")
    (answer,) = TextClassifier.load("owner/name").predict(["good"])
    assert answer.label == "positive"


def spoil_document(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / VOCABULARY).read_text()) | changes
    (folder / VOCABULARY).write_text(json.dumps(document))


@pytest.mark.parametrize(
    "changes",
    [
        *({"format": 3}, {"pairs": True}, {"pairs": 1}, {"words": None}, {"pieces": [["a"]]}),
        *({"words": ["a", "a"]}, {"words": []}, {"words": "good"}),
    ],
)
def test_another_vocabulary_is_refused(changes: dict[str, Any], out: Path, tmp_path: Path) -> None:
    LinearModel.load(out).save_pretrained(tmp_path)
    spoil_document(tmp_path, **changes)
    with pytest.raises(ModelError, match="not as a training leaves them"):
        LinearModel.load(tmp_path)


@pytest.mark.parametrize("name", ["idf", "weights", "bias"])
def test_weights_of_another_shape_or_kind_are_refused(name: str, out: Path, tmp_path: Path) -> None:
    LinearModel.load(out).save_pretrained(tmp_path)
    sound = load_file(tmp_path / WEIGHTS)
    wrong = (sound[name][:-1], sound[name] * np.nan, sound[name].astype(np.float64), None)
    for each in wrong:
        own = {name: each} if each is not None else {}
        rest = {key: value for key, value in sound.items() if key != name}
        save_file(rest | own, tmp_path / WEIGHTS)
        with pytest.raises(ModelError, match="not as a training leaves them"):
            LinearModel.load(tmp_path)
