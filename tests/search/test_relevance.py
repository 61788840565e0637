"""Relevance means the same in every collection, and "nothing" is an answer."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from footwork.arrays import DoubleArray
from search.query.relevance import Evidence, Relevance, reference_prompts

WIDTH, SIDES, WORDS, SUBJECTS = 256, 60, 120, 12


def unit(rows: DoubleArray) -> DoubleArray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class World:
    """Made-up vectors as two-tower models have them: texts in one cone, images in another."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._generator = generator
        self._text_cone, self._image_cone = generator.normal(size=(2, WIDTH))
        sides = np.linalg.qr(generator.normal(size=(WIDTH, SIDES)))[0].T
        self.meanings = unit(generator.normal(size=(WORDS + SUBJECTS, SIDES)) @ sides)
        self.texts = unit(self._text_cone / 10 + self.meanings)
        self.references, self.queries = self.texts[:WORDS], self.texts[WORDS:]
        self.yardstick = Relevance(self.references)

    def images(self, subject: int, count: int) -> DoubleArray:
        noise = unit(self._generator.normal(size=(count, WIDTH)))
        return unit(self._image_cone / 10 + self.meanings[WORDS + subject] + 0.5 * noise)

    def text(self, subject: int, weight: float = 1.0) -> Evidence:
        return self.yardstick.text(self.queries[subject], weight)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_what_is_shown_is_relevant_and_what_is_not_is_nothing(world: World) -> None:
    shown = np.concatenate([world.images(subject, 5) for subject in range(6)])
    for subject in range(SUBJECTS):
        relevant = world.yardstick.of([world.text(subject)], shown) >= 0.5
        expected = np.zeros(30, bool)
        expected[5 * subject : 5 * subject + 5] = True
        assert_array_equal(relevant, expected)


def test_a_folder_of_nothing_else_is_relevant_as_a_whole(world: World) -> None:
    everything = world.images(3, 40)
    assert (world.yardstick.of([world.text(3)], everything) >= 0.5).all()
    alike = world.yardstick.image(everything[0])
    assert (world.yardstick.of([alike], everything) >= 0.5).all()


def test_an_image_is_judged_alike_alone_and_among_others(world: World) -> None:
    images = np.concatenate([world.images(0, 3), world.images(7, 30)])
    for term in (world.text(0), world.yardstick.image(images[1])):
        together = world.yardstick.of([term], images)
        alone = [world.yardstick.of([term], row[None]).item() for row in images]
        assert_allclose(together, alone, rtol=1e-9)


def test_more_of_what_is_wanted_is_more_relevant(world: World) -> None:
    middle = world.images(5, 1)[0]
    for term in (world.text(2), world.yardstick.image(world.images(2, 1)[0])):
        steps = np.linspace(0, 2, 9)[:, None]
        found = world.yardstick.of([term], unit(middle + steps * term.direction))
        assert (np.diff(found) > 0).all()


def test_an_image_is_most_like_itself(world: World) -> None:
    images = np.concatenate([world.images(subject, 4) for subject in range(SUBJECTS)])
    for row, image in enumerate(images):
        found = world.yardstick.of([world.yardstick.image(image)], images)
        assert found.argmax() == row
        assert found[row] > 0.99


def test_what_all_texts_have_in_common_does_not_matter(world: World) -> None:
    images = world.images(4, 10)
    shift = np.random.default_rng(1).normal(size=WIDTH)
    moved = Relevance(world.references + shift)
    expected = world.yardstick.of([world.text(4)], images)
    term = moved.text(world.queries[4] + shift)
    assert_allclose(moved.of([term], images), expected, rtol=1e-9)


def test_neither_the_height_nor_the_scale_of_the_cosines_matters(world: World) -> None:
    images = world.images(4, 10)
    term = world.text(4)
    expected = world.yardstick.of([term], images)
    assert_allclose(world.yardstick.of([term], 0.3 * images), expected, rtol=1e-9)
    axis = np.linalg.svd(world.references - world.references.mean(axis=0))[2][-1]
    assert np.abs(axis @ term.direction) < 1e-9  # a direction that no text has
    assert_allclose(world.yardstick.of([term], images + axis), expected, rtol=1e-9)


def test_a_single_term_searches_by_itself(world: World) -> None:
    sample = world.images(1, 5)
    text, image = world.text(1), world.yardstick.image(sample[0])
    assert_array_equal(world.yardstick.search_vector([text], sample), text.direction)
    assert_array_equal(world.yardstick.search_vector([image], sample), sample[0])


def test_several_terms_find_what_shows_all_of_them(world: World) -> None:
    both = unit(world.images(0, 4) + world.images(1, 4))
    images = np.concatenate([world.images(0, 8), world.images(1, 8), both])
    pairs = (
        [world.text(0), world.text(1)],
        [world.text(0), world.yardstick.image(world.images(1, 1)[0])],
    )
    for terms in pairs:
        vector = world.yardstick.search_vector(terms, images)
        assert set(np.argsort(-images @ vector)[:10]) >= {16, 17, 18, 19}
        assert set(np.argsort(-world.yardstick.of(terms, images))[:4]) == {16, 17, 18, 19}


def test_the_order_of_terms_does_not_matter_and_their_weights_do(world: World) -> None:
    images = np.concatenate([world.images(subject, 3) for subject in range(4)])
    terms = [world.text(0, 3.0), world.yardstick.image(images[4]), world.text(2)]
    for measure in (world.yardstick.of, world.yardstick.search_vector):
        assert_allclose(measure(terms, images), measure(terms[::-1], images), rtol=1e-9)
        doubled = [replace(term, weight=2 * term.weight) for term in terms]
        assert_allclose(measure(terms, images), measure(doubled, images), rtol=1e-9)
    heavier = [replace(terms[0], weight=30.0), *terms[1:]]
    more = world.yardstick.of(heavier, images) - world.yardstick.of(terms, images)
    assert (more[:3] > 0).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_smallest_collections_and_degenerate_vectors_give_numbers(
    world: World, count: int
) -> None:
    same = np.ones((5, WIDTH)) / np.sqrt(WIDTH)
    for yardstick in (world.yardstick, Relevance(same), Relevance(same[:1])):
        for images in (world.images(0, count), same[:count]):
            terms = [yardstick.text(world.queries[0]), yardstick.image(world.images(1, 1)[0])]
            terms += [yardstick.text(same[0]), yardstick.image(same[0])]
            assert np.isfinite(yardstick.search_vector(terms, images)).all()
            relevance = yardstick.of(terms, images)
            assert relevance.shape == (count,)
            assert ((relevance >= 0) & (relevance <= 1)).all()


def test_the_embedded_model_finds_shapes_and_says_where_there_are_none() -> None:
    from footwork.encoder.dual import DualEncoder
    from scripts.tiny.drawing import Scene, draw

    generator = random.Random(0)
    kinds = [("red", "circle"), ("blue", "star"), ("green", "triangle"), ("yellow", "heart")]
    scenes = [Scene(shape, colour, "plain", "large", 1, "gray") for colour, shape in kinds * 4]
    encoder = DualEncoder("tiny")
    images = encoder.encode_images([draw(scene, generator) for scene in scenes])
    yardstick = Relevance(encoder.encode_texts(reference_prompts("tiny")))

    def found(text: str) -> set[tuple[str, str]]:
        term = yardstick.text(encoder.encode_texts([text])[0])
        relevant = yardstick.of([term], images) >= 0.5
        assert relevant.sum() % 4 == 0
        return {(scenes[row].colour, scenes[row].shape) for row in np.nonzero(relevant)[0]}

    assert found("a red circle") == {("red", "circle")}
    assert found("a blue star") == {("blue", "star")}
    assert found("a black cross") == set()
    assert found("a purple arrow") == set()


def test_reference_prompts_are_texts_that_the_model_knows() -> None:
    assert "a dog" in reference_prompts("openai/clip-vit-base-patch32")
    assert "a red circle" in reference_prompts("tiny")
