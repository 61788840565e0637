"""What labelled images say of the ways to label them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.encoder.dual import DualEncoder
from footwork.errors import ConfigError, DataError
from tests.dual_encoders import build_dual_encoder, draw_image
from tests.zeroshot.labelled import EASY, collection, evaluate, many
from tests.zeroshot.stand_in import StandInEncoder
from zeroshot import ZeroShotClassifier, ZeroShotOptions
from zeroshot.assessment import evaluate_images
from zeroshot.labelled_images import LabelledImages, read_labelled_images
from zeroshot.options import EvaluateOptions


def test_images_that_show_their_class_are_all_right(tmp_path: Path) -> None:
    found = evaluate(collection(tmp_path / "easy", EASY))
    assert found.images == 6
    for way in found.sets:
        values = {name: each.value for name, each in way.metrics.items()}
        assert values == {"top_1": 1.0, "macro_recall": 1.0}
        assert 0.5 < way.metrics["top_1"].low < 1.0
    assert found.wrong == ()
    assert found.confusion.tolist() == [[3, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert found.majority == ("cat", 0.5)


@pytest.mark.parametrize("bias", [None, -12.0])
def test_figures_are_those_of_the_labels_given(mixed: LabelledImages, bias: float | None) -> None:
    found = evaluate(mixed, bias=bias)
    encoder = StandInEncoder(logit_bias=bias, logit_scale=30.0)
    always = ZeroShotOptions(none_below=None)
    answers = ZeroShotClassifier(encoder, mixed.class_names, always).predict(mixed.paths)
    right = [mixed.class_names[target] for target in mixed.targets]
    wrong = {a.path: a for a, label in zip(answers, right, strict=True) if a.label != label}
    assert found.reported.metrics["top_1"].value == pytest.approx(1 - len(wrong) / len(answers))
    assert {each.path for each in found.wrong} == set(wrong)
    for each in found.wrong:
        answer = wrong[each.path]
        assert each.given == answer.label
        assert each.probability == pytest.approx(answer.score, abs=1e-6)
        assert each.label_probability == pytest.approx(answer.scores[each.label], abs=1e-6)
        better = sum(score > answer.scores[each.label] for score in answer.scores.values())
        assert each.rank == better + 1


def test_none_of_these_is_told_as_label_would_give_it(mixed: LabelledImages) -> None:
    found = evaluate(mixed)
    encoder = StandInEncoder(logit_scale=30.0)
    answers = ZeroShotClassifier(encoder, mixed.class_names).predict(mixed.paths)
    assert found.answered is not None
    assert found.answered.share == np.mean([answer.label is not None for answer in answers])
    assert found.answered.share < 1
    assert evaluate(mixed, EvaluateOptions(compare=(), none_below=None)).answered is None
    refused = evaluate(mixed, EvaluateOptions(compare=(), none_below=100.0))
    assert refused.answered is not None
    assert refused.answered.accuracy is None
    assert "0.0% of the images get a label" in refused.to_text()


def test_counts_and_recalls_agree(mixed: LabelledImages) -> None:
    found = evaluate(mixed)
    assert found.confusion.sum(axis=1).tolist() == [each.images for each in found.per_class]
    assert found.confusion.sum(axis=0).tolist() == [each.given for each in found.per_class]
    recalls = [each.recall.value for each in found.per_class if each.recall]
    assert found.reported.metrics["macro_recall"].value == pytest.approx(np.mean(recalls))
    assert len(found.wrong) == found.images - np.trace(found.confusion)
    worst = [each.label_probability / each.probability for each in found.wrong]
    assert worst == sorted(worst)


def test_every_image_is_embedded_once(mixed: LabelledImages) -> None:
    class Counting(StandInEncoder):
        read: list[Path]

        def encode_files(self, paths: Iterable[Path]) -> Iterator[Any]:
            self.read.extend(paths)
            return super().encode_files(paths)

    encoder = Counting()
    encoder.read = []
    found = evaluate_images(encoder, mixed)
    assert encoder.read == list(mixed.paths)
    assert [way.name for way in found.sets] == ["a photo of a {}.", "{}", "short", "imagenet"]


def test_a_table_of_the_same_images_gives_the_same(mixed: LabelledImages, tmp_path: Path) -> None:
    pairs = zip(mixed.paths, mixed.targets, strict=True)
    rows = [f'"{path}","{mixed.class_names[target]}"' for path, target in pairs]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label", *reversed(rows)]), encoding="utf-8")
    one, other = evaluate(mixed), evaluate(read_labelled_images(table))
    assert one.confusion.tolist() == other.confusion.tolist()
    assert one.reported.metrics == other.reported.metrics
    assert {each.path for each in one.wrong} == {each.path for each in other.wrong}


def test_the_same_seed_gives_the_same_report(mixed: LabelledImages) -> None:
    assert evaluate(mixed).to_dict() == evaluate(mixed).to_dict()


def test_top_5_finds_more_than_top_1_and_is_left_out_of_five_classes(tmp_path: Path) -> None:
    six = evaluate(collection(tmp_path / "six", many(6, 6))).reported.metrics
    assert six["top_5"].value > six["top_1"].value == pytest.approx(4 / 6)
    assert "top_5" not in evaluate(collection(tmp_path / "five", many(6, 5))).reported.metrics


def test_a_better_template_set_is_told_from_luck(tmp_path: Path) -> None:
    poodles = [f"poodle {n}" for n in range(40)]
    images = collection(tmp_path / "many", {"cat": ["cat"], "dog": poodles})
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"dog": ["a poodle"]}), encoding="utf-8")
    found = evaluate(images, EvaluateOptions(templates="{}", compare=(str(prompts),)))
    assert [way.name for way in found.sets] == ["{}", "a photo of a {}.", str(prompts)]
    assert found.sets[1].difference is not None
    better = found.sets[2].difference
    assert better is not None
    assert better.clear
    assert better.interval.low > 0
    assert (better.won, better.lost) == (len(found.wrong), 0)
    text = found.to_text()
    assert "Clearly better than the bare label:" in text
    said = "The best of 3 template sets, chosen by these images, looks better"
    assert said in " ".join(text.split())


def test_template_sets_that_are_the_same_are_judged_once(mixed: LabelledImages) -> None:
    same = EvaluateOptions(templates="a photo of a {}.", compare=("{}", "{}", "a photo of a {}."))
    found = evaluate(mixed, same)
    assert [way.name for way in found.sets] == ["a photo of a {}.", "{}"]
    alone = evaluate(mixed, EvaluateOptions(compare=()))
    assert [way.name for way in alone.sets] == ["a photo of a {}."]
    assert "change:" not in alone.to_text()
    assert not any("template sets" in note for note in alone.notes)


def test_templates_are_checked_before_images_are_read(mixed: LabelledImages) -> None:
    class Unread(StandInEncoder):
        def encode_files(self, paths: Iterable[Path]) -> Iterator[Any]:
            raise AssertionError(paths)

    with pytest.raises(ConfigError, match="There are no templates 'nothing'"):
        evaluate_images(Unread(), mixed, EvaluateOptions(compare=("nothing",)))


def test_words_of_a_folder_name_are_read_apart(tmp_path: Path) -> None:
    found = evaluate(collection(tmp_path / "all", {"fire_truck": ["fire truck"], "cat": ["cat"]}))
    assert found.labels == ("cat", "fire_truck")
    assert found.per_class[1].label == "fire_truck"
    assert found.wrong == ()


@pytest.mark.parametrize("name", ["fire_truck", "fire truck"])
def test_prompts_name_a_class_as_it_is_written_or_spoken(tmp_path: Path, name: str) -> None:
    images = collection(tmp_path / "all", {"fire_truck": ["engine"], "cat": ["cat"]})
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({name: ["an engine"]}))
    assert evaluate(images, EvaluateOptions(templates=str(path), compare=())).wrong == ()


def test_a_class_that_differs_from_another_in_case_is_its_own(tmp_path: Path) -> None:
    labels = ("Polish", "polish", "CAT")
    rows = [{"path": tmp_path / f"{label}.jpg", "label": label} for label in labels]
    classifier = ZeroShotClassifier(StandInEncoder(), ["Polish", "polish", "cat"])
    images, alone = read_labelled_images(rows), EvaluateOptions(compare=())
    found = evaluate_images(StandInEncoder(), images, alone, classifier)
    assert [each.images for each in found.per_class] == [1, 1, 1]


def test_a_sigmoid_model_is_judged_label_by_label(mixed: LabelledImages) -> None:
    soft, sigmoid = evaluate(mixed), evaluate(mixed, bias=-12.0)
    assert sum(each.rows for each in soft.calibration.bins_before) == soft.images
    pairs = sigmoid.images * len(sigmoid.labels)
    assert sum(each.rows for each in sigmoid.calibration.bins_before) == pairs
    assert any("judges each label by itself" in note for note in sigmoid.notes)
    assert "the temperature was found on these same images" in sigmoid.to_text()


def test_the_calibration_after_the_temperature_is_better(tmp_path: Path) -> None:
    found = evaluate(collection(tmp_path / "all", many(60)), EvaluateOptions(compare=()))
    assert found.calibration.fitted
    assert found.calibration.ece_after is not None
    assert found.calibration.ece_after < found.calibration.ece_before


def test_files_that_cannot_be_read_are_listed_and_not_counted(tmp_path: Path) -> None:
    images = collection(tmp_path / "all", EASY)
    (tmp_path / "all" / "cat" / "broken.jpg").touch()
    whole, partly = evaluate(images), evaluate(read_labelled_images(tmp_path / "all"))
    assert [each.reason for each in partly.skipped] == ["it ends too early"]
    assert partly.images == whole.images
    assert partly.sets == whole.sets
    assert partly.to_dict()["skipped"][0]["place"].endswith("broken.jpg")
    assert "6 images (1 skipped), 3 classes" in partly.to_text()


def test_a_model_that_knows_nothing_is_not_called_better_than_the_commonest(tmp_path: Path) -> None:
    images = collection(tmp_path / "all", {"cat": ["dog 1", "dog 2"], "dog": ["cat 1"]})
    text = " ".join(evaluate(images).to_text().split())
    assert "not clearly better than to answer 'cat' every time, which has 66.7% right" in text
    assert "Only 3 images: every figure is rough" in text


@pytest.mark.parametrize(
    ("setting", "value"), [("none_below", float("nan")), ("seed", -1), ("templates", "nothing")]
)
def test_impossible_settings_are_refused(mixed: LabelledImages, setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=setting.partition("_")[0]):
        evaluate(mixed, EvaluateOptions(**{setting: value}))  # type: ignore[arg-type]


def test_classes_that_read_the_same_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,label\na.jpg,fire_truck\nb.jpg,fire truck\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="The label 'fire truck' stands twice"):
        evaluate(read_labelled_images(table))


def test_one_class_proves_nothing(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,label\na.jpg,cat\nb.jpg,cat\n", encoding="utf-8")
    with pytest.raises(DataError, match="All images are of one class, 'cat'"):
        evaluate(read_labelled_images(table))


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_real_models_are_judged_by_what_they_answer(tmp_path: Path, family: str) -> None:
    folder = tmp_path / "all"
    for number in range(12):
        (folder / str("abc"[number % 3])).mkdir(parents=True, exist_ok=True)
        draw_image(folder / "abc"[number % 3] / f"{number}.png", seed=number)
    (folder / "a" / "text.png").write_text("no picture", encoding="utf-8")
    encoder = DualEncoder(str(build_dual_encoder(tmp_path / "model", family)))
    images = read_labelled_images(folder)
    found = evaluate_images(encoder, images, EvaluateOptions(templates="{}", compare=()))
    assert found.images == 12
    assert [Path(each.place).name for each in found.skipped] == ["text.png"]
    options = ZeroShotOptions(templates="{}", none_below=None)
    asked = ZeroShotClassifier(encoder, images.class_names, options)
    answers = {answer.path: answer for answer in asked.label_files(images.paths)}
    for each in found.wrong:
        assert answers[each.path].label == each.given
        assert answers[each.path].score == pytest.approx(each.probability, abs=1e-5)
    read = {path: answer for path, answer in answers.items() if not answer.fault}
    wrong = [path for path, answer in read.items() if answer.label != path.parent.name]
    assert len(found.wrong) == len(wrong)
