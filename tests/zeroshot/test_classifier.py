"""Labels for pictures from words alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations, repeat
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import ConfigError
from footwork.prompts.class_embeddings import LISTED, near_cosine, near_pairs
from footwork.prompts.none_of_these import NONE_BELOW
from tests.zeroshot.stand_in import WIDTH, StandInEncoder
from zeroshot.classifier import BEST, ZeroShotClassifier, ZeroShotOptions
from zeroshot.cli import _Told
from zeroshot.rows import MANY, LabelledImage, flat_row, label_row, table_lines

LABELS = ["cat", "dog", "fire truck"]
PICTURES = [Path("cat.jpg"), Path("fire truck.jpg"), Path("violet quark.jpg")]


def classifier(
    labels: Sequence[str] = LABELS, bias: float | None = None, **options: object
) -> ZeroShotClassifier:
    encoder = StandInEncoder(logit_bias=bias, logit_scale=30.0)
    return ZeroShotClassifier(encoder, labels, ZeroShotOptions(**options))  # type: ignore[arg-type]


def given(answers: Sequence[LabelledImage]) -> list[str | None]:
    return [answer.label for answer in answers]


def test_a_picture_gets_the_label_that_it_shows_or_none() -> None:
    answers = classifier().predict(PICTURES)
    assert given(answers) == ["cat", "fire truck", None]
    assert [answer.labels for answer in answers] == [("cat",), ("fire truck",), ()]
    assert [answer.path for answer in answers] == PICTURES
    for answer in answers:
        assert answer.score == max(answer.scores.values())
        assert sum(answer.scores.values()) == pytest.approx(1)
        assert list(answer.scores) == LABELS
        assert answer.z_score is not None
        assert (answer.label is None) == (answer.z_score < NONE_BELOW)


def test_one_label_alone_is_not_given_to_every_picture() -> None:
    assert given(classifier(["cat"]).predict(PICTURES)) == ["cat", None, None]


def test_the_bar_can_be_turned_and_taken_away() -> None:
    assert given(classifier(none_below=100.0).predict(PICTURES)) == [None, None, None]
    always = classifier(none_below=None).predict(PICTURES)
    assert given(always)[:2] == ["cat", "fire truck"]
    assert always[2].label in LABELS
    assert given(classifier(none_below=-100.0).predict(PICTURES)) == given(always)


@pytest.mark.parametrize("bias", [None, -12.0])
@pytest.mark.parametrize("multi", [False, True])
def test_every_way_in_gives_the_same_answers(bias: float | None, multi: bool) -> None:
    asked = classifier(bias=bias, multi=multi)
    embeddings = StandInEncoder().encode_images(PICTURES)
    answers = asked.predict(PICTURES)
    proba = asked.predict_proba(PICTURES)
    stretched = embeddings.astype(np.float64) * 7
    embedded = [list(asked.label_embeddings(rows, PICTURES)) for rows in (embeddings, stretched)]
    for way in (list(asked.label_files(PICTURES)), *embedded):
        assert given(way) == given(answers)
        for one, other in zip(way, answers, strict=True):
            assert one.labels == other.labels
            assert one.scores == pytest.approx(other.scores, abs=1e-5)
            assert one.z_score == pytest.approx(other.z_score, abs=1e-4)
    np.testing.assert_allclose(proba, [list(a.scores.values()) for a in answers], atol=1e-9)


def test_many_rows_are_answered_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = np.random.default_rng(0).normal(size=(50, WIDTH))
    whole = list(classifier().label_embeddings(embeddings))
    monkeypatch.setattr("zeroshot.classifier._CELLS", 1000)
    asked = classifier()
    for one, other in zip(asked.label_embeddings(embeddings), whole, strict=True):
        assert one.label == other.label
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert list(asked.label_embeddings(embeddings[:0])) == []


def test_the_order_of_labels_changes_no_answer() -> None:
    forth, back = classifier().predict(PICTURES), classifier(LABELS[::-1]).predict(PICTURES)
    assert given(forth) == given(back)
    for one, other in zip(forth, back, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


def test_with_multi_a_picture_has_any_number_of_labels() -> None:
    pictures = [Path("cat and dog.jpg"), Path("dog.jpg"), Path("violet quark.jpg")]
    answers = classifier(multi=True).predict(pictures)
    assert [set(answer.labels) for answer in answers] == [{"cat", "dog"}, {"dog"}, set()]
    for answer in answers:
        assert set(answer.labels) == {name for name, s in answer.scores.items() if s >= 0.5}
        assert answer.label == (answer.labels[0] if answer.labels else None)


def test_with_multi_a_label_does_not_depend_on_the_others() -> None:
    both = classifier(multi=True).predict_proba(PICTURES)
    alone = classifier(["dog"], multi=True).predict_proba(PICTURES)
    np.testing.assert_allclose(both[:, [1]], alone, atol=1e-5)


def test_with_multi_and_no_bar_the_best_label_is_given_at_least() -> None:
    answers = classifier(multi=True, none_below=None).predict(PICTURES)
    assert all(answer.labels and answer.label == answer.labels[0] for answer in answers)


def test_a_sigmoid_model_keeps_its_own_scores() -> None:
    single, multi = (classifier(bias=-12.0, multi=m).predict(PICTURES) for m in (False, True))
    assert [a.scores for a in single] == [a.scores for a in multi]
    assert given(single) == ["cat", "fire truck", None]
    assert not np.isclose(sum(single[0].scores.values()), 1)


def test_top_k_gives_the_best_scores_first() -> None:
    every = classifier().predict(PICTURES)
    best = classifier(top_k=2).predict(PICTURES)
    for one, other in zip(best, every, strict=True):
        ordered = sorted(other.scores.items(), key=lambda pair: -pair[1])
        assert list(one.scores.items()) == ordered[:2]
        assert one.score == other.score
    assert len(classifier(top_k=99).predict(PICTURES)[0].scores) == 3


def test_of_very_many_labels_the_best_scores_are_given_and_the_note_says_so() -> None:
    names = [*LABELS, *(f"thing{number}" for number in range(MANY - 2))]
    asked = classifier(names)
    assert "Of 1,001 labels only the best 10 scores" in asked.notes[-1]
    (answer,) = asked.predict(PICTURES[:1])
    proba = asked.predict_proba(PICTURES[:1])[0]
    best = sorted(zip(proba.tolist(), names, strict=True), reverse=True)[:BEST]
    assert list(answer.scores) == [name for _, name in best]
    assert len(classifier(names, top_k=MANY + 1).predict(PICTURES[:1])[0].scores) == len(names)
    row = flat_row(label_row(answer), names)
    assert json.loads(row["scores"]) == answer.scores
    assert list(row)[-1] == "scores"
    assert len(classifier(names[:MANY]).predict(PICTURES[:1])[0].scores) == MANY


def test_what_is_kept_to_sort_the_files_has_no_scores() -> None:
    told = _Told(keeps=True)
    assert all(answer.scores for answer in told.passing(classifier().label_files(PICTURES)))
    assert given(told.kept) == ["cat", "fire truck", None]
    assert not any(answer.scores for answer in told.kept)


def test_wide_labels_that_differ_late_are_told_apart() -> None:
    labels = ["黄色的小猫咪在草地上玩", "黄色的小猫咪在沙发上睡"]
    answers = [LabelledImage(Path("a.jpg"), one, 0.5, labels=(one,)) for one in labels]
    rows = map(label_row, answers)
    _, *lines = table_lines(rows, labels)
    assert [line.split()[0] for line in lines] == labels


def test_a_file_that_cannot_be_read_is_an_answer_too() -> None:
    answers = list(classifier().label_files([Path("cat.jpg"), Path("broken.jpg"), Path("dog.jpg")]))
    assert given(answers) == ["cat", None, "dog"]
    assert answers[1] == LabelledImage(Path("broken.jpg"), None, fault="it ends too early")


def test_files_are_answered_as_they_come() -> None:
    stream = classifier().label_files(repeat(Path("cat.jpg")))
    assert [next(stream).label for _ in range(3)] == ["cat"] * 3


def test_the_templates_of_the_options_are_used(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"dog": ["a poodle"]}), encoding="utf-8")
    asked = classifier(templates=str(path))
    assert given(asked.predict([Path("poodle.jpg"), Path("cat.jpg")])) == ["dog", "cat"]
    with pytest.raises(ConfigError, match="name the class 'dog'"):
        classifier(["cat"], templates=str(path))


def test_labels_that_are_nearly_the_same_are_named_before_the_run() -> None:
    # In the stand-in, the order of words means nothing.
    notes = classifier(["cat", "truck of fire", "fire truck"]).notes
    assert len(notes) == 1
    assert "'truck of fire' and 'fire truck' (cosine 1.00)" in notes[0]
    assert classifier().notes == ()


def test_too_many_labels_are_not_compared_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footwork.prompts.class_embeddings.MOST_COMPARED", 2)
    (note,) = classifier(["cat", "truck of fire", "fire truck"]).notes
    assert note == "More than 2 labels are not compared with one another."


def test_a_label_that_the_model_does_not_read_to_its_end_is_named() -> None:
    long = " ".join(f"word{n}" for n in range(20))
    [note] = classifier(["cat", long]).notes
    assert note.startswith("Longer than the model reads")
    assert "'word0 word1" in note
    assert "'cat'" not in note


def test_a_cache_that_cannot_be_used_is_one_note(own_home: Path) -> None:
    own_home.rmdir()
    own_home.write_text("a file, not a folder", encoding="utf-8")
    asked = classifier()
    assert given(asked.predict(PICTURES)) == ["cat", "fire truck", None]
    [note] = asked.notes
    assert "cannot be kept" in note


def test_near_pairs_are_the_same_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [str(n) for n in range(60)]
    whole, number = near_pairs(names, rows, 0.9)
    monkeypatch.setattr("footwork.prompts.class_embeddings._BLOCK", 7)
    assert near_pairs(names, rows, 0.9) == (whole, number)
    cosines = {(i, j): float(rows[i] @ rows[j]) for i, j in combinations(range(60), 2)}
    near = [(cosine, names[i], names[j]) for (i, j), cosine in cosines.items() if cosine >= 0.9]
    near.sort(reverse=True)
    assert number == len(near) > LISTED
    assert list(whole) == [(i, j, pytest.approx(near)) for near, i, j in near[:LISTED]]


def test_of_many_labels_that_are_the_same_the_first_pairs_are_told() -> None:
    count = 2500  # more than a block
    pairs, number = near_pairs([str(n) for n in range(count)], np.ones((count, 1), np.float32), 0.9)
    assert number == count * (count - 1) // 2
    assert [pair[:2] for pair in pairs] == [("0", str(n)) for n in range(1, 6)]


def test_near_is_a_share_of_the_usual_distance() -> None:
    angles = np.array([0.0, 0.4, -0.4])  # all within a narrow cone, as texts are
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert near_cosine(rows) == pytest.approx(1 - 0.25 * (1 - np.cos(0.4)), abs=1e-6)
    assert near_cosine(np.eye(3, dtype=np.float32)) == 0.9


def test_shapes_that_do_not_fit_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match=r"shape \(N, 256\), got \(3, 8\)"):
        list(classifier().label_embeddings(np.zeros((3, 8))))
    with pytest.raises(ValueError, match="`paths` must be 3, got 1"):
        list(classifier().label_embeddings(np.zeros((3, WIDTH)), [None]))


def test_wrong_labels_are_refused_before_a_model_is_loaded() -> None:
    with pytest.raises(ConfigError, match="no labels"):
        ZeroShotClassifier.load("no/such-model")
