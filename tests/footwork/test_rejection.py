"""None of these: a picture is measured against itself."""

from __future__ import annotations

import numpy as np
import pytest

from footwork.prompts.none_of_these import NONE_BELOW, presence, reference_words, z_scores


def drawn(rows: int = 20, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(0.2, 0.02, (rows, labels)), generator.normal(0.18, 0.015, (rows, 200))


def test_neither_the_scale_nor_the_height_of_the_cosines_matters() -> None:
    cosines, null = drawn()
    expected = z_scores(cosines, null)
    per_picture = np.linspace(0.1, 0.4, len(cosines))[:, None]
    np.testing.assert_allclose(z_scores(cosines * 3 + 1, null * 3 + 1), expected)
    np.testing.assert_allclose(z_scores(cosines + per_picture, null + per_picture), expected)


def test_a_standing_depends_on_its_own_picture_and_label_alone() -> None:
    cosines, null = drawn()
    expected = z_scores(cosines, null)
    np.testing.assert_array_equal(z_scores(cosines[:1], null[:1]), expected[:1])
    np.testing.assert_array_equal(z_scores(cosines[:, 1:2], null), expected[:, 1:2])


def test_labels_that_are_like_any_word_are_rarely_above_the_bar() -> None:
    generator = np.random.default_rng(1)
    null = generator.normal(0.18, 0.015, (5000, 200))
    above = z_scores(generator.normal(0.18, 0.015, (5000, 1)), null) >= NONE_BELOW
    assert 0.005 < above.mean() < 0.035


def test_presence_is_even_at_the_bar_and_rises() -> None:
    values = presence(np.linspace(-5, 9, 50), NONE_BELOW)
    assert (np.diff(values) > 0).all()
    assert presence(np.array([NONE_BELOW]), NONE_BELOW).item() == pytest.approx(0.5)


def test_words_that_a_model_cannot_tell_apart_give_finite_z_scores() -> None:
    assert np.isfinite(z_scores(np.array([[0.3, 0.2]]), np.full((1, 9), 0.2))).all()


@pytest.mark.parametrize(
    ("model_id", "least"), [("openai/clip-vit-base-patch32", 200), ("tiny", 150)]
)
def test_the_reference_words_are_many_and_different(model_id: str, least: int) -> None:
    words = reference_words(model_id)
    assert len(set(words)) == len(words) >= least
    assert all(word == word.strip().lower() for word in words)
