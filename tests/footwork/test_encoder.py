"""Laws of embedding pictures and texts with two-tower models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from footwork.arrays import FloatArray
from footwork.encoder.dual import DualEncoder
from tests.dual_encoders import FAMILIES, SIGLIP_TOKENS, build_dual_encoder, draw_image, load

SIGLIPS = ("siglip", "siglip2", "siglip2-naflex")
TEXTS = (
    *("a cat", "what a good book", "the", "at the"),
    *("who hated the service", "the price and the food"),
)
SHAPES = ((60, 40), (37, 90), (32, 32), (20, 50))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {family: build_dual_encoder(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("pictures")
    return [
        draw_image(root / f"{seed}.png", SHAPES[seed % len(SHAPES)], seed) for seed in range(23)
    ]


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, DualEncoder]:
    return {family: load(folder) for family, folder in folders.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Any]:
    """As transformers has them."""
    return {family: AutoModel.from_pretrained(folder).eval() for family, folder in folders.items()}


@pytest.fixture
def clip(encoders: dict[str, DualEncoder]) -> DualEncoder:
    return encoders["clip"]


def unit(output: Any) -> FloatArray:
    features = output.pooler_output
    return (features / features.norm(dim=-1, keepdim=True)).numpy()


def tokens_for(folder: Path, texts: Sequence[str]) -> Any:
    """As the documentation of each family has it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if folder.name in SIGLIPS:
        return tokenizer(
            [text.lower() for text in texts],
            padding="max_length",
            max_length=SIGLIP_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
    return tokenizer(list(texts), padding=True, return_tensors="pt")


def pixels_for(folder: Path, paths: Sequence[Path]) -> Any:
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return processor(images=[Image.open(path) for path in paths], return_tensors="pt")


@torch.inference_mode()
def test_pictures_and_texts_embed_as_transformers_has_it(
    folders: dict[str, Path],
    encoders: dict[str, DualEncoder],
    models: dict[str, Any],
    family: str,
    pictures: list[Path],
) -> None:
    model, encoder = models[family], encoders[family]
    expected = unit(model.get_image_features(**pixels_for(folders[family], pictures)))
    found = encoder.encode_images(pictures)
    assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert (found @ found.T)[0, 1:].max() < 0.999  # the law would hold for equal rows, too
    expected = unit(model.get_text_features(**tokens_for(folders[family], TEXTS)))
    found = encoder.encode_texts(TEXTS)
    assert_allclose(found, expected, atol=1e-5)
    assert (found @ found.T)[0, 1:].max() < 0.999


@torch.inference_mode()
@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2-naflex"])
def test_scores_are_the_models_own(
    folders: dict[str, Path],
    encoders: dict[str, DualEncoder],
    models: dict[str, Any],
    family: str,
    pictures: list[Path],
) -> None:
    folder, encoder = folders[family], encoders[family]
    inputs = {**tokens_for(folder, TEXTS), **pixels_for(folder, pictures)}
    expected = models[family](**inputs).logits_per_image
    cosines = encoder.encode_images(pictures) @ encoder.encode_texts(TEXTS).T
    scores = encoder.logit_scale * cosines + (encoder.logit_bias or 0)
    assert_allclose(scores, expected, atol=1e-4)
    assert (encoder.logit_bias is None) == (family == "clip")


def test_a_text_does_not_depend_on_what_else_is_in_its_batch(
    encoders: dict[str, DualEncoder], family: str
) -> None:
    encoder = encoders[family]
    texts = [*TEXTS, "x" * 40, *reversed(TEXTS)]
    together = encoder.encode_texts(texts)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    assert_allclose(together, alone, atol=1e-6)


def test_a_picture_does_not_depend_on_its_batch_nor_on_how_many_threads_there_are(
    folders: dict[str, Path], clip: DualEncoder, pictures: list[Path]
) -> None:
    alone = np.concatenate([clip.encode_images([path]) for path in pictures])
    for settings in ({"batch_size": 5, "workers": 3}, {"batch_size": 100, "workers": 1}):
        found = load(folders["clip"], **settings).encode_images(pictures)
        assert_allclose(found, alone, atol=1e-6)


def test_half_precision_hardly_turns_a_picture_and_leaves_texts_alone(
    folders: dict[str, Path], encoders: dict[str, DualEncoder], pictures: list[Path]
) -> None:
    for family in ("clip", "siglip"):
        exact, fast = encoders[family], load(folders[family], precision="bf16")
        cosines = (exact.encode_images(pictures) * fast.encode_images(pictures)).sum(axis=1)
        assert 0.99 < cosines.min() < 1 - 1e-7
        assert_array_equal(fast.encode_texts(TEXTS), exact.encode_texts(TEXTS))


@pytest.mark.parametrize("family", SIGLIPS)
def test_siglip_reads_capitals_as_it_learned_to(
    encoders: dict[str, DualEncoder], family: str
) -> None:
    encoder = encoders[family]
    assert_array_equal(encoder.encode_texts(["A Good BOOK"]), encoder.encode_texts(["a good book"]))


@torch.inference_mode()
def test_a_long_text_is_cut_before_its_end_token(
    folders: dict[str, Path], encoders: dict[str, DualEncoder], models: dict[str, Any], family: str
) -> None:
    folder, encoder = folders[family], encoders[family]
    long = "the service and the food " * 9
    assert encoder.cut_texts(["a cat", long, "the"]) == [1]
    ids = AutoTokenizer.from_pretrained(folder)(long)["input_ids"]
    cut = torch.tensor([[*ids[: encoder.max_text_tokens - 1], ids[-1]]])
    expected = unit(models[family].get_text_features(cut))
    assert_allclose(encoder.encode_texts([long]), expected, atol=1e-5)


def test_an_open_picture_embeds_as_its_file_does(
    clip: DualEncoder, pictures: list[Path], tmp_path: Path
) -> None:
    turned = tmp_path / "turned.png"
    with Image.open(pictures[0]) as picture:
        exif = Image.Exif()
        exif[274] = 6  # orientation: a quarter turn
        picture.save(turned, exif=exif)
    files = [*pictures[:3], turned]
    opened = [Image.open(path) for path in files]
    assert_allclose(clip.encode_images(opened), clip.encode_images(files), atol=1e-6)
    upright, on_its_side = clip.encode_images([pictures[0], turned])
    assert upright @ on_its_side < 0.999


def test_nothing_embeds_as_no_rows(clip: DualEncoder) -> None:
    assert clip.encode_images([]).shape == clip.encode_texts([]).shape == (0, clip.width)
    assert clip.cut_texts([]) == []
    assert list(clip.encode_files([])) == []


def test_a_single_text_is_not_taken_for_many(clip: DualEncoder) -> None:
    for ask in (clip.encode_texts, clip.cut_texts):
        with pytest.raises(
            TypeError, match="`texts` must be a list or the like, got one text; put it"
        ):
            ask("cat")
