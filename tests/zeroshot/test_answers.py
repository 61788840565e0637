"""Answers as frames and in notebooks, vectors, and classifiers in other processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from footwork.encoder.dual import DualEncoder
from footwork.errors import ConfigError
from footwork.options import EncoderConfig
from tests.models import build_classifier
from tests.runs import run_here
from tests.zeroshot.image_towers import LABELS
from zeroshot import FinetunedClassifier, TaughtClassifier, ZeroShotClassifier
from zeroshot.options import FinetunedOptions, TeachOptions
from zeroshot.rows import ImageAnswers, LabelledImage
from zeroshot.taught import teach


@pytest.fixture(scope="module")
def paths(examples: Path) -> list[Path]:
    return sorted(examples.rglob("*.png"))[::4]


@pytest.fixture(scope="module")
def by_words() -> ZeroShotClassifier:
    return ZeroShotClassifier.load("tiny", LABELS)


@pytest.fixture(scope="module")
def finetuned(adapter: Path) -> FinetunedClassifier:
    return FinetunedClassifier.load(adapter, FinetunedOptions(precision="float32"))


@pytest.fixture(scope="module")
def taught(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> TaughtClassifier:
    out = tmp_path_factory.mktemp("taught") / "out"
    return teach(examples, out, "tiny", TeachOptions(words=0)).classifier


@pytest.fixture(params=["by_words", "taught", "finetuned"])
def classifier(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_answers_are_a_frame_with_the_columns_of_the_command(
    by_words: ZeroShotClassifier, paths: list[Path]
) -> None:
    answers = by_words.predict(paths)
    command = ["label", *paths, "--labels", ",".join(LABELS), "--model", "tiny"]
    expected = pandas.read_csv(StringIO(run_here(*command, app="zeroshot").stdout))
    frame = answers.to_pandas()
    assert list(frame.columns) == list(expected.columns)
    assert frame["path"].tolist() == expected["path"].tolist()
    np.testing.assert_allclose(frame[f"s:{LABELS[0]}"], expected[f"s:{LABELS[0]}"], atol=1e-6)
    assert isinstance(answers, list)
    assert [*by_words.predict([]).to_pandas()] == [*frame]


def test_answers_show_their_counts_and_in_a_notebook_their_images(
    classifier: Any, paths: list[Path]
) -> None:
    answers = classifier.predict([*paths, Image.open(paths[0]), paths[1].read_bytes()])
    assert repr(answers).startswith(f"<ImageAnswers: {len(paths) + 2} images: ")
    shown = answers._repr_html_()
    assert shown.count('<img src="data:image/jpeg;base64,') == len(paths) + 2
    assert str(paths[0]) in shown
    assert "in all" not in shown
    many = classifier.predict([*paths[:1] * 20, paths[1]])
    assert many._repr_html_().count("<img") == 20
    assert "<p>21 in all</p>" in many._repr_html_()
    last = many[-2:]
    assert (type(last), list(last)) == (type(many), [many[19], many[20]])
    assert [*last.to_pandas()] == [*many.to_pandas()]
    assert last._repr_html_() == classifier.predict(paths[:2])._repr_html_()


def test_a_picture_goes_with_its_answer_wherever_that_is_moved() -> None:
    colours = ("red", "blue")
    pictures = [Image.new("RGB", (8, 8), colour) for colour in colours]
    answers = ImageAnswers([LabelledImage(None, colour) for colour in colours], colours, pictures)
    red = answers[:1]._repr_html_()
    answers.reverse()
    assert answers[1:]._repr_html_() == red
    del answers[0]
    assert answers._repr_html_() == red


def test_a_hostile_name_stays_text_in_a_notebook(
    by_words: ZeroShotClassifier, paths: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "<script>.png"
    path.write_bytes(paths[0].read_bytes())
    assert "<script>" not in by_words.predict(path)._repr_html_()


def test_labels_are_not_renamed_by_assigning_them(classifier: Any) -> None:
    with pytest.raises(AttributeError, match="labels"):
        classifier.labels = LABELS[::-1]
    assert list(classifier.labels) == LABELS


def test_vectors_are_unit_rows_of_one_space(
    by_words: ZeroShotClassifier, taught: TaughtClassifier, paths: list[Path]
) -> None:
    texts, images = by_words.encode(["amber", "navy"]), by_words.encode_images(paths)
    encoder = DualEncoder("tiny")
    assert np.array_equal(texts, encoder.encode_texts(["amber", "navy"]))
    assert np.array_equal(images, encoder.encode_images(paths))
    assert np.array_equal(taught.encode_images(paths), images)
    assert by_words.encode([]).shape == (0, images.shape[1])
    with pytest.raises(TypeError, match="Texts must be strings, got int at 0 of `texts`"):
        by_words.encode([1])  # type: ignore[list-item]


def test_files_are_labelled_by_paths_in_words_too(classifier: Any, paths: list[Path]) -> None:
    expected = list(classifier.label_files(paths))
    assert list(classifier.label_files(map(str, paths))) == expected
    [alone] = classifier.label_files(str(paths[0]))
    assert (alone.path, alone.label) == (expected[0].path, expected[0].label)
    with pytest.raises(TypeError, match="StringIO, open as a text"):
        classifier.predict(StringIO("a.png"))


def test_vectors_of_a_fine_tuned_tower_are_what_its_output_layer_reads(
    finetuned: FinetunedClassifier, paths: list[Path]
) -> None:
    rows = finetuned.encode_images(paths)
    assert rows.shape == (len(paths), 32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.array_equal(finetuned.encode_images(paths[0].read_bytes()), rows[:1])
    assert finetuned.encode_images([]).shape == (0, 32)
    logits = finetuned.logits(paths)
    # Logits are linear in what was normalised: rows times a length each, and a bias.
    lengths = np.column_stack([rows, 1 / np.linalg.norm(logits, axis=1)])
    assert np.isfinite(lengths).all()
    labels = np.array([path.parent.name for path in paths])
    alike = rows @ rows.T
    same = labels[:, None] == labels
    assert alike[same].mean() > alike[~same].mean()


def test_a_classifier_is_pickled_by_what_it_was_loaded_from(
    classifier: Any, paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert repr(classifier).endswith(f"{classifier.origin[0]}: {', '.join(LABELS)}>")
    sent = pickle.dumps(classifier)
    assert len(sent) < 2000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(sent)
    assert np.array_equal(again.predict_proba(paths), classifier.predict_proba(paths))
    assert again.predict(paths) == classifier.predict(paths)


def test_what_was_taught_is_run_as_its_settings_say(
    examples: Path, paths: list[Path], tmp_path: Path
) -> None:
    config = EncoderConfig(precision="float32", decode="exact", batch_size=2)
    run = teach(examples, tmp_path / "out", "tiny", TeachOptions(words=0), config=config)
    sent = pickle.dumps(run.classifier)
    loaded = TaughtClassifier.load(tmp_path / "out", abstain_below=0.9, config=config)
    assert pickle.loads(sent).config == loaded.config == config
    expected = DualEncoder("tiny", config=config).encode_images(paths)
    assert np.array_equal(loaded.encode_images(paths), expected)
    again = pickle.loads(pickle.dumps(loaded))
    assert (again.config, again.thresholds) == (config, loaded.thresholds)
    with pytest.raises(ConfigError, match=r"What was taught in .* with `--decode exact`"):
        TaughtClassifier.load(tmp_path / "out", config=EncoderConfig(decode="draft"))
    with pytest.raises(ConfigError, match="`config` is for loading an encoder, and one is given"):
        TaughtClassifier.load(tmp_path / "out", loaded.encoder, config=config)


def test_one_that_was_not_loaded_says_why_it_is_not_pickled(by_words: ZeroShotClassifier) -> None:
    made = ZeroShotClassifier(by_words.encoder, LABELS)
    with pytest.raises(pickle.PicklingError, match=r"made of parts.* Take one of ZeroShotClassif"):
        pickle.dumps(made)


def test_a_fork_answers_after_its_parent_has_computed_on_several_threads(
    paths: list[Path], tmp_path: Path
) -> None:
    code = """
import faulthandler, os, signal, sys, torch
torch.set_num_threads(2)
from textclf import TextClassifier
from zeroshot import ZeroShotClassifier
texts, images = TextClassifier.load(sys.argv[1]), ZeroShotClassifier.load("tiny", ["red", "blue"])
def ask():
    texts.predict(["a fine day", "rain and rain and rain"] * 20)
    images.predict(sys.argv[2:] * 8)
    images.encode(["a cat"])
ask()
if os.fork() == 0:
    faulthandler.dump_traceback_later(190)
    signal.alarm(200)
    ask()
    os._exit(0)
print(os.wait()[1])
ask()
"""
    folder = build_classifier(tmp_path / "bert", "bert")
    words = [sys.executable, "-c", code, str(folder), *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, check=True)
    assert done.stdout.strip() == "0", done.stderr
