"""A taught classifier on labelled images, next to words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from footwork.errors import DataError, ModelError
from footwork.evaluation.text import display_width
from tests.zeroshot.labelled import EXAMPLES, collection, evaluate
from tests.zeroshot.stand_in import StandInEncoder
from zeroshot.assessment import evaluate_images
from zeroshot.labelled_images import LabelledImages
from zeroshot.options import EvaluateOptions, TeachOptions
from zeroshot.taught import TaughtClassifier, teach_files

NEW = {
    "red_bird": [f"robin {n}" for n in range(12)],
    "big-cat": [f"lion {n}" for n in range(12)] + ["whale asleep"],
}


@pytest.fixture
def examples(tmp_path: Path) -> LabelledImages:
    return collection(tmp_path / "examples", EXAMPLES)


@pytest.fixture
def taught(examples: LabelledImages, tmp_path: Path) -> TaughtClassifier:
    teach_files(StandInEncoder(logit_scale=30.0), examples, tmp_path / "out", TeachOptions())
    return TaughtClassifier.load(tmp_path / "out")


def test_it_is_judged_and_words_beside_it(taught: TaughtClassifier, tmp_path: Path) -> None:
    images = collection(tmp_path / "new", NEW)
    found = evaluate(images, taught=taught)
    assert [way.name for way in found.sets] == ["the taught classifier", "a photo of a {}.", "{}"]
    assert found.labels == ("big-cat", "red_bird", "whale")
    assert [Path(each.path).stem for each in found.wrong] == ["whale asleep"]
    words = found.sets[1]
    assert words.metrics["top_1"].value < found.reported.metrics["top_1"].value
    assert words.difference is not None
    assert words.difference.clear
    assert words.difference.lost > words.difference.won
    rows = StandInEncoder().encode_images(images.paths)
    answers = [answer.label for answer in taught.label_embeddings(rows)]
    if found.answered is not None:
        given = [label for label in answers if label is not None]
        assert found.answered.share == pytest.approx(len(given) / len(answers))
    else:
        assert None not in answers
    assert max(map(display_width, found.to_text().splitlines())) <= 100


def test_classes_are_those_however_accents_are_stored(
    taught: TaughtClassifier, tmp_path: Path
) -> None:
    expected = evaluate(collection(tmp_path / "new", NEW), taught=taught)
    taught._labels = ("big-cat", "pe\u0301lican", "whale")
    renamed = {"p\u00e9lican" if name == "red_bird" else name: NEW[name] for name in NEW}
    found = evaluate(collection(tmp_path / "renamed", renamed), taught=taught)
    assert found.labels == ("big-cat", "p\u00e9lican", "whale")
    assert found.reported.metrics["top_1"] == expected.reported.metrics["top_1"]


def test_a_class_without_an_image_is_not_judged(taught: TaughtClassifier, tmp_path: Path) -> None:
    found = evaluate(collection(tmp_path / "new", NEW), taught=taught)
    whale = found.per_class[found.labels.index("whale")]
    assert (whale.recall, whale.images, whale.given) == (None, 0, 1)
    seen = [each.recall.value for each in found.per_class if each.recall]
    assert found.reported.metrics["macro_recall"].value == pytest.approx(sum(seen) / len(seen))


def test_it_says_whether_the_images_are_new_to_it(
    taught: TaughtClassifier, examples: LabelledImages, tmp_path: Path
) -> None:
    same = evaluate(examples, taught=taught)
    assert any("say nothing of new images" in note for note in same.notes)
    new = replace(collection(tmp_path / "new", NEW), source=examples.source)
    new = evaluate(new, taught=taught)
    assert any("none of these images was among the examples" in note for note in new.notes)


def test_it_must_know_the_classes_and_the_encoder(taught: TaughtClassifier, tmp_path: Path) -> None:
    images = collection(tmp_path / "new", NEW)
    with pytest.raises(DataError, match="does not know 'fish'; it was taught 'big-cat'"):
        evaluate(replace(images, class_names=("big-cat", "fish")), taught=taught)
    with pytest.raises(ModelError, match="was taught on embeddings"):
        evaluate_images(StandInEncoder("other"), images, EvaluateOptions(), taught)
