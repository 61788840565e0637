"""The embedded CLIP, through plain transformers, on pictures drawn for the test."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from footwork.models.hub import TINY_CLIP
from scripts.tiny import drawing
from scripts.tiny.captions import full_caption, varied_caption
from scripts.tiny.drawing import SHAPES, UNSEEN_SHAPES, Scene, draw, random_scene
from scripts.tiny.measure_clip import SEED, Embedder, measure, measure_teaching

LARGEST = 4_000_000  # bytes, all files together
PICTURES = 512
SCENE = Scene("star", "blue", "plain", "small", 2, "yellow")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(TINY_CLIP)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)


def test_the_same_seed_draws_the_same_picture() -> None:
    one, same, other = (draw(SCENE, random.Random(seed)) for seed in (1, 1, 2))
    assert np.array_equal(pixels(one), pixels(same))
    assert not np.array_equal(pixels(one), pixels(other))


@pytest.mark.parametrize("shape", drawing.OUTLINES)
def test_a_shape_stays_within_the_central_square(shape: str) -> None:
    assert max(np.hypot(x, y) for outline in drawing.OUTLINES[shape] for x, y in outline) <= 1.0001
    scene = Scene(shape, "black", "plain", "large", 4, "white")
    wide = pixels(draw(scene, random.Random(0), 192, 96))
    assert wide[:, :48].min() > 150
    assert wide[:, 144:].min() > 150
    assert wide[:, 48:144].min() < 60


def test_the_background_stands_out_from_the_shape() -> None:
    scenes = [random_scene(random.Random(seed)) for seed in range(300)]
    assert all(scene.colour != scene.background for scene in scenes)


def test_a_full_caption_tells_two_scenes_apart() -> None:
    generator = random.Random(0)
    scenes = {random_scene(generator) for _ in range(2000)}
    assert len({full_caption(scene) for scene in scenes}) == len(scenes)
    assert full_caption(SCENE) == "two small plain blue stars on a yellow background"


@pytest.mark.parametrize("name", ["shape", "colour", "texture", "size", "background"])
def test_a_caption_depends_only_on_what_it_claims(name: str) -> None:
    other = {"shape": "house", "colour": "pink", "texture": "striped", "size": "large"}
    changed = Scene(**{**asdict(SCENE), name: other.get(name, "white")})
    for seed in range(300):
        caption = varied_caption(SCENE, random.Random(seed))
        same = varied_caption(changed, random.Random(seed)).text == caption.text
        assert same == (name not in caption.claims), caption


def test_the_shapes_to_be_taught_by_example_are_never_spoken_of() -> None:
    generator = random.Random(0)
    texts = [
        text
        for scene in (random_scene(generator) for _ in range(5000))
        for text in (full_caption(scene), varied_caption(scene, generator).text)
    ]
    assert not [text for text in texts if any(shape in text for shape in UNSEEN_SHAPES)]
    assert all(any(shape in text for text in texts) for shape in SHAPES)


def test_the_folder_is_small_and_plain_clip() -> None:
    files = {path.name: path.stat().st_size for path in TINY_CLIP.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} < set(files)
    assert sum(files.values()) <= LARGEST
    config = json.loads((TINY_CLIP / "config.json").read_text("utf-8"))
    assert (config["model_type"], config["dtype"]) == ("clip", "float16")
    assert config["text_config"]["max_position_embeddings"] == 77


def test_any_text_can_be_written_in_its_tokens(embedder: Embedder) -> None:
    tokenizer = embedder.processor.tokenizer
    assert tokenizer.is_fast
    for text in ("a photo of a circle .", "zebra crossing", "Ünïcödé 北京 🙂"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text.lower()
    assert tokenizer.tokenize("a striped circle") == ["a</w>", "striped</w>", "circle</w>"]


def test_a_text_does_not_depend_on_its_padding(embedder: Embedder) -> None:
    alone = embedder.texts(["a circle"])
    beside = embedder.texts(["a circle", "a photo of two small striped circles on red."])
    assert np.allclose(alone[0], beside[0], atol=1e-5)


def test_it_knows_freshly_drawn_pictures(embedder: Embedder) -> None:
    generator = random.Random(SEED)
    scenes = [random_scene(generator) for _ in range(PICTURES)]
    figures = measure(embedder, scenes, [draw(scene, generator) for scene in scenes])
    assert figures["shape"] >= 0.95
    assert figures["colour"] >= 0.95
    assert figures["recall"] >= 0.80


def test_it_knows_pictures_of_other_sizes_and_compressed_ones(embedder: Embedder) -> None:
    generator = random.Random(SEED)
    scenes = [random_scene(generator) for _ in range(256)]
    images = [drawing.draw_as_found(scene, generator, (64, 256)) for scene in scenes]
    figures = measure(embedder, scenes, images)
    assert figures["shape"] >= 0.92
    assert figures["colour"] >= 0.92


@pytest.mark.parametrize("template", ["itap of a {}.", "a blurry photo of the {}.", "{}", "the {}"])
def test_a_template_changes_little(embedder: Embedder, template: str) -> None:
    plain = embedder.texts([f"a photo of a {shape}." for shape in SHAPES])
    wrapped = embedder.texts([template.format(shape) for shape in SHAPES])
    assert np.array_equal((wrapped @ plain.T).argmax(1), np.arange(len(SHAPES)))


def test_few_examples_tell_even_unseen_shapes_apart(embedder: Embedder) -> None:
    found = measure_teaching(embedder, each=12)
    assert np.mean(list(found.values())) >= 0.75
    assert min(found[shape] for shape in UNSEEN_SHAPES) >= 0.4
