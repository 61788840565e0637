"""Each way to learn from examples, on embeddings alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from footwork.fewshot import contrastive as siamese
from footwork.fewshot.discriminant import discriminants, prototypes
from footwork.fewshot.examples import Examples, group_copies, leave_one_out, make_folds
from footwork.fewshot.heads import head_from_tensors, head_tensors
from footwork.fewshot.methods import METHODS, Method, tip_adapter
from footwork.prompts.class_embeddings import unit_rows
from tests.zeroshot.clouds import accuracy, clouds

EVERY_METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def centred(scores: np.ndarray) -> np.ndarray:
    return scores - scores.mean(axis=1, keepdims=True)


@EVERY_METHOD
def test_new_images_are_told_apart(method: Method) -> None:
    new = clouds((100, 100, 100), seed=1)
    head = method.fit_all(clouds((12, 12, 12)), 0)[-1]
    assert accuracy(head.scores(new.embeddings), new.labels) > 0.9


@EVERY_METHOD
def test_the_order_of_the_examples_changes_nothing(method: Method) -> None:
    examples, new = clouds((6, 9, 4)), clouds((20, 20, 20), seed=1)
    order = np.random.default_rng(3).permutation(len(examples))
    other = Examples(examples.embeddings[order], examples.labels[order], 3)
    scores, held_out = [], []
    for each in (examples, other):
        scores.append(method.fit_all(each, 0)[-1].scores(new.embeddings))
        folds = make_folds(each, group_copies(each.embeddings), method.most_folds)
        held_out.append(method.held_out_scores(each, folds, 0))
    np.testing.assert_allclose(*map(centred, scores), atol=2e-3 * np.abs(scores[0]).max())
    first, second = held_out
    np.testing.assert_allclose(first[:, order], second, atol=2e-3 * np.abs(first).max())


@EVERY_METHOD
def test_a_label_that_is_left_out_is_not_known(method: Method) -> None:
    examples = clouds((6, 6, 6))
    folds = [np.array([0, 7]), *(np.array([i]) for i in range(1, 18) if i != 7)]
    changed = examples.labels.copy()
    changed[[0, 7]] = 2, 0
    before = method.held_out_scores(examples, folds, 0)
    lied = Examples(examples.embeddings, changed, 3)
    after = method.held_out_scores(lied, folds, 0)
    for first, second in zip(before, after, strict=True):
        difference = centred(first[[0, 7]]) - centred(second[[0, 7]])
        assert np.abs(difference).max() < 1e-4 * np.abs(first).max()


@EVERY_METHOD
def test_a_head_survives_being_taken_apart(method: Method) -> None:
    examples = clouds((5, 5))
    head = method.fit_all(examples, 0)[0]
    again = head_from_tensors(method.head, head_tensors(head))
    first, second = (each.scores(examples.embeddings) for each in (head, again))
    np.testing.assert_array_equal(first, second)
    assert all(array.dtype == np.float32 for array in head_tensors(head).values())


@EVERY_METHOD
def test_one_example_a_class_is_enough_to_answer(method: Method) -> None:
    new = clouds((50, 50, 50), seed=1, apart=3.0)
    head = method.fit_all(clouds((1, 1, 1), apart=3.0), 0)[-1]
    assert accuracy(head.scores(new.embeddings), new.labels) > 0.8


@EVERY_METHOD
def test_a_class_left_without_an_example_has_no_score(method: Method) -> None:
    examples = clouds((1, 4, 4))
    folds = leave_one_out(np.arange(9))
    scores = method.held_out_scores(examples, folds, 0)
    assert np.isnan(scores[:, 0, 0]).all()
    assert np.isfinite(np.delete(scores.reshape(len(scores), -1), 0, axis=1)).all()


def test_the_discriminant_comes_near_the_best_possible_answer() -> None:
    # Gaussians of one shape in few dimensions: the best rule is known.
    generator = np.random.default_rng(0)
    shape = np.array([0.3, 0.3, 1.0, 1.0, 2.0, 2.0])
    centres = generator.normal(size=(3, 6)) * 0.6
    labels = generator.integers(0, 3, 6000)
    rows = centres[labels] + generator.normal(size=(6000, 6)) * shape
    distances = (((rows[:, None] - centres) / shape) ** 2).sum(axis=2)
    best = accuracy(-distances, labels)
    head = discriminants(Examples(rows[:1500], labels[:1500], 3))[0]
    reached = accuracy(head.scores(rows[1500:]), labels[1500:])
    nearest = prototypes(Examples(rows[:1500], labels[:1500], 3))
    assert reached > best - 0.015
    assert accuracy(nearest.scores(rows[1500:]), labels[1500:]) < best - 0.05


def test_the_discriminant_does_not_favour_the_larger_class() -> None:
    examples, new = clouds((3, 60)), clouds((300, 300), seed=1)
    taken = discriminants(examples)[0].scores(new.embeddings).argmax(axis=1)
    assert 0.35 < taken.mean() < 0.65


def test_copies_of_one_image_leave_no_scatter_and_the_nearest_mean_decides() -> None:
    once = clouds((1, 1, 1), apart=3.0)
    rows = np.repeat(once.embeddings, 3, axis=0)
    copies = Examples(rows, np.repeat(once.labels, 3), 3)
    new = clouds((40, 40, 40), seed=1, apart=3.0).embeddings
    scores = discriminants(copies)[0].scores(new)
    np.testing.assert_allclose(centred(scores), centred(prototypes(once).scores(new)), atol=1e-5)


def test_the_nearest_mean_is_sought_from_the_middle_of_the_classes() -> None:
    # What all images share must not count: the first class is longest in that direction.
    shared, first, second = np.eye(3)
    means = unit_rows(np.stack([3 * shared + 0.2 * first, 3 * shared + second]))
    head = prototypes(Examples(means, np.array([0, 1]), 2))
    new = unit_rows(np.stack([3 * shared + 0.3 * second, 3 * shared + 0.9 * second]))
    assert head.scores(new).argmax(axis=1).tolist() == [0, 1]


@EVERY_METHOD
def test_many_classes_of_few_examples_are_learned_in_silence(method: Method) -> None:
    new = clouds((4,) * 30, seed=1, apart=3.0)
    head = method.fit_all(clouds((1,) * 30, apart=3.0), 0)[-1]
    assert accuracy(head.scores(new.embeddings), new.labels) > 0.8


def test_votes_of_a_class_are_averaged() -> None:
    examples = clouds((2, 40), apart=0.0)
    scores = tip_adapter(examples, 4.0).scores(clouds((50, 50), seed=1, apart=0.0).embeddings)
    assert 0.9 < scores[:, 0].mean() / scores[:, 1].mean() < 1.1


def test_near_copies_are_one_picture_and_stay_together() -> None:
    examples = clouds((4, 4))
    rows = examples.embeddings.copy()
    noise = np.random.default_rng(0).normal(size=rows.shape[1]) * 1e-4
    rows[5] = unit_rows((rows[2] + noise)[None])[0]
    pictures = group_copies(rows)
    assert pictures[5] == pictures[2]
    assert len(set(pictures.tolist())) == 7
    assert any(set(fold.tolist()) == {2, 5} for fold in leave_one_out(pictures))


def test_few_folds_hold_every_row_once_and_every_class_alike() -> None:
    examples = clouds((20, 10, 30))
    folds = make_folds(examples, np.arange(60), 5)
    assert sorted(np.concatenate(folds).tolist()) == list(range(60))
    for fold in folds:
        assert np.bincount(examples.labels[fold]).tolist() == [4, 2, 6]


def test_one_example_of_each_class_is_left_out_at_a_time() -> None:
    # One alone would leave its class poorer than the others, which then win.
    examples = clouds((4, 2, 4))
    folds = make_folds(examples, np.arange(10), 10)
    counts = [np.bincount(examples.labels[fold], minlength=3).tolist() for fold in folds]
    assert len(folds) == 4
    assert np.max(counts) == 1


def test_the_contrastive_loss_is_that_of_the_paper() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    loss = siamese.contrastive_loss(rows, torch.tensor([0, 0, 1]))
    lacks = [max(0.0, siamese.MARGIN - np.sqrt(2 - 2 * cosine)) ** 2 for cosine in (0.6, 0.8)]
    assert float(loss) == pytest.approx(2.0 + np.mean(lacks), rel=1e-5)


def test_the_siamese_head_draws_a_class_together_the_same_for_the_same_seed() -> None:
    examples = clouds((10, 10, 10), apart=0.5)
    heads = [siamese.fit(examples, steps, seed=1) for steps in (0, 40, 40)]
    labels = torch.from_numpy(examples.labels)
    untaught, taught = (
        float(
            siamese.contrastive_loss(
                torch.from_numpy(unit_rows(examples.embeddings @ head.projection.T)), labels
            )
        )
        for head in heads[:2]
    )
    assert taught < 0.5 * untaught
    np.testing.assert_array_equal(heads[1].projection, heads[2].projection)


def test_without_training_the_siamese_head_gives_cosines_with_the_class_means() -> None:
    examples = clouds((8, 8, 8))
    np.testing.assert_allclose(
        siamese.fit(examples, 0).scores(examples.embeddings),
        examples.embeddings @ unit_rows(examples.class_means()).T,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("labels", "said"), [([0, 1, 2], "must have shape"), ([0, 4], "must be from 0 to 1")]
)
def test_examples_that_do_not_fit_are_refused(labels: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Examples(np.eye(2, dtype=np.float32), np.array(labels), 2)
