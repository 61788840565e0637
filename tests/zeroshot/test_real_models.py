"""Side by side with transformers, on the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, SiglipImageProcessorPil, SiglipModel, pipeline

from footwork.encoder.dual import DualEncoder
from footwork.errors import ImageError
from footwork.models.checkpoints import quiet_transformers
from footwork.options import EncoderConfig
from footwork.prompts.templates import NAMED
from tests.dual_encoders import SIGLIP_TOKENS, build_dual_encoder, draw_image
from zeroshot import ZeroShotClassifier, ZeroShotOptions

LABELS = ["cat", "dog", "NA", "007"]
FAMILIES = ("clip", "siglip")
SHORT = ZeroShotOptions(templates="{}")  # these models read some twelve tokens


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {family: build_dual_encoder(place / family, family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("pictures")
    sizes = [(60, 40), (40, 70), (32, 32), (90, 33)]
    return [draw_image(place / f"{n}.png", size, seed=n) for n, size in enumerate(sizes)]


def load(folder: Path, options: ZeroShotOptions = SHORT) -> ZeroShotClassifier:
    exact = EncoderConfig(precision="float32")
    return ZeroShotClassifier.load(str(folder), LABELS, options, config=exact)


def test_clip_scores_as_the_pipeline_does(folders: dict[str, Path], pictures: list[Path]) -> None:
    with quiet_transformers():
        peer = pipeline("zero-shot-image-classification", model=str(folders["clip"]), device="cpu")
    answers = load(folders["clip"]).predict(pictures)
    for path, answer in zip(pictures, answers, strict=True):
        found = peer(Image.open(path), candidate_labels=LABELS, hypothesis_template="{}")
        expected = {row["label"]: row["score"] for row in found}
        assert answer.scores == pytest.approx(expected, abs=1e-4)


def test_siglip_scores_as_its_own_forward_pass_does(
    folders: dict[str, Path], pictures: list[Path]
) -> None:
    # The pipeline pads to 64 tokens whatever the model has positions for.
    folder = folders["siglip"]
    with quiet_transformers():
        model = SiglipModel.from_pretrained(folder)
    lower = [label.lower() for label in LABELS]
    tokenize = AutoTokenizer.from_pretrained(folder)
    texts = tokenize(lower, padding="max_length", max_length=SIGLIP_TOKENS, return_tensors="pt")
    prepare = SiglipImageProcessorPil.from_pretrained(folder)
    images = prepare([Image.open(path) for path in pictures], return_tensors="pt")
    with torch.no_grad():
        logits = model(**texts, **images).logits_per_image
    found = load(folder).predict_proba(pictures)
    np.testing.assert_allclose(found, logits.sigmoid().numpy(), atol=1e-4)


def test_a_file_that_is_no_picture_ends_no_run(
    folder: Path, pictures: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture", encoding="utf-8")
    asked = load(folder)
    answers = list(asked.label_files([pictures[0], text, pictures[1]]))
    assert [answer.fault is None for answer in answers] == [True, False, True]
    assert answers[1].scores == {}
    for answer, alone in zip(answers[::2], asked.predict(pictures[:2]), strict=True):
        assert answer.scores == pytest.approx(alone.scores, abs=1e-5)
    with pytest.raises(ImageError):
        asked.predict([text])


def test_ensembled_classes_are_what_the_model_makes_of_each_prompt(folder: Path) -> None:
    asked = load(folder, ZeroShotOptions(templates="short"))
    encoder = DualEncoder(str(folder))
    for name, row in zip(LABELS, asked.class_embeddings, strict=True):
        mean = encoder.encode_texts([t.replace("{}", name) for t in NAMED["short"]]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_label_beyond_the_token_limit_is_named(folder: Path) -> None:
    long = "very " * 100 + "long"
    notes = ZeroShotClassifier.load(str(folder), ["cat", long], SHORT).notes
    assert any(note.startswith("Longer than the model reads") for note in notes)
    assert not any("reads" in note and "'cat'" in note for note in notes)


def test_the_embedded_model_labels_what_it_has_learned(tmp_path: Path) -> None:
    from PIL import ImageDraw

    paths = []
    for colour in ("red", "blue"):
        picture = Image.new("RGB", (120, 90), "white")
        ImageDraw.Draw(picture).ellipse((35, 20, 85, 70), fill=colour)
        paths.append(tmp_path / f"{colour}.png")
        picture.save(paths[-1])
    asked = ZeroShotClassifier.load("tiny", ["red circle", "blue circle", "green star"])
    assert [answer.label for answer in asked.predict(paths)] == ["red circle", "blue circle"]
