"""JPEGs decoded at a fraction or whole: two kinds of vectors, which are never mixed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from footwork.encoder.dual import DualEncoder
from footwork.errors import ConfigError, ModelError
from footwork.finetuning.plan import plan
from footwork.options import EncoderConfig, decoding_of
from footwork.prompts.class_embeddings import EmbeddingCache, cache_key
from scripts.tiny.drawing import Scene, draw
from search import ImageIndex
from search.options import ModelOptions
from search.place import IndexFolder
from search.status import read_status
from search.update.indexing import Indexer
from tests.runs import finetune_here
from tests.zeroshot.indexed import WORDS, answers, complaint
from zeroshot import (
    FinetuneConfig,
    FinetunedClassifier,
    TaughtClassifier,
    ZeroShotClassifier,
    ZeroShotOptions,
)
from zeroshot.labelled_images import read_examples
from zeroshot.options import FinetunedOptions, TeachOptions
from zeroshot.task import ImageTask
from zeroshot.taught import teach_files

SHAPES = ("circle", "star")
DRAFT, EXACT = EncoderConfig(decode="draft"), EncoderConfig(decode="exact", precision="float32")


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for a fraction, and with detail that it loses."""
    folder, generator = tmp_path_factory.mktemp("jpegs"), random.Random(5)
    grain = np.random.default_rng(5).integers(-90, 90, (600, 600, 1))
    for shape in SHAPES:
        (folder / shape).mkdir()
        for number in range(3):
            drawn = draw(Scene(shape, "red", "plain", "large", 1, "white"), generator, 600)
            pixels = np.clip(np.asarray(drawn, np.int16) + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / shape / f"{number}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def exact() -> DualEncoder:
    return DualEncoder("tiny", config=EXACT)


def paths_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def test_exact_is_pillows_decoding_and_the_models_own_resize(
    jpegs: Path, exact: DualEncoder
) -> None:
    paths = paths_of(jpegs)
    whole = [Image.open(path).convert("RGB") for path in paths]
    inputs = exact._preprocessing._processor(images=whole, return_tensors="pt")
    expected = exact._model.get_image_features(**inputs).pooler_output.detach().numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert_allclose(exact.encode_images(paths), expected, atol=1e-5)
    streamed = [encoded.embedding for encoded in exact.encode_files(paths)]
    assert_allclose(streamed, expected, atol=1e-5)
    quick = DualEncoder("tiny", config=EncoderConfig(precision="float32"))
    assert np.abs(quick.encode_images(paths) - expected).max() > 1e-3
    options = ZeroShotOptions(multi=True)
    asked = [ZeroShotClassifier(one, SHAPES, options) for one in (quick, exact)]
    scores = [one.predict_proba(paths) for one in asked]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_a_fingerprint_tells_the_decoding_and_no_cached_row_serves_both(
    exact: DualEncoder,
) -> None:
    quick = DualEncoder("tiny", config=DRAFT)
    assert quick.fingerprint == DualEncoder("tiny").fingerprint
    assert exact.fingerprint == f"{quick.fingerprint}-exact"
    assert [decoding_of(one.fingerprint) for one in (quick, exact)] == ["draft", "exact"]
    keys = [cache_key(one.fingerprint, ["a star"]) for one in (quick, exact)]
    cache, row = EmbeddingCache(), np.eye(1, 8, dtype=np.float32)
    cache.write(keys[:1], row)
    assert cache.read(keys, np.zeros((2, 8), np.float32)).tolist() == [True, False]


def test_an_index_keeps_its_decoding_until_it_is_switched_whole(
    jpegs: Path,
    exact: DualEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # To export the text half takes seconds, and is tested elsewhere.
    refuse = Mock(side_effect=ModelError("The text half cannot be made to run without torch."))
    monkeypatch.setattr("footwork.encoder.onnx_export.export_text_tower", refuse)
    folder, paths = tmp_path / "photos.index", paths_of(jpegs)

    def index(**asked: str) -> np.ndarray:
        Indexer(IndexFolder(folder), ModelOptions(precision="float32", **asked)).index([jpegs])
        with ImageIndex.open(folder) as opened:
            vectors = opened.store.vectors([str(path) for path in paths])
            return np.stack([vectors[str(path)] for path in paths])

    quick = index(model_id="tiny")
    assert_allclose(index(decode="draft"), quick)
    refused = complaint("label", "--index", folder, *WORDS, "--decode", "exact")
    assert "was made with `--decode draft`, but --decode exact is asked for" in refused
    whole = index(decode="exact")
    assert_allclose(whole, exact.encode_images(paths), atol=1e-5)
    assert np.abs(whole - quick).max() > 1e-3
    assert_allclose(index(), whole)  # whatever is not said stays as it is
    assert_allclose(index(model_id="tiny", decode="exact"), whole)
    place = IndexFolder(folder)
    assert "every pixel decoded" in read_status(place).to_text()
    with ImageIndex(place, place.open(), EncoderConfig(precision="float32")) as opened:
        assert_allclose(opened.encode_images(paths), whole, atol=1e-5)
    with (
        ImageIndex(place, place.open(), DRAFT) as opened,
        pytest.raises(ConfigError, match="The index was made with `--decode exact`"),
    ):
        opened.encode_images(paths)
    copy = tmp_path / "copy.jpg"  # of no indexed content: the model has to look at it
    Image.open(paths[0]).save(copy, quality=90)
    [row] = answers(copy, "--index", folder, *WORDS, "--precision", "float32")
    direct = ZeroShotClassifier(exact, list(row["scores"])).predict([copy])[0]
    assert row["scores"] == pytest.approx(direct.scores, abs=1e-4)


def test_what_is_taught_is_asked_with_the_decoding_of_its_examples(
    jpegs: Path, exact: DualEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "taught"
    teach_files(exact, read_examples(jpegs), out, TeachOptions())
    manifest = json.loads((out / "footwork.json").read_text())
    assert manifest["model"]["fingerprint"].endswith("-exact")
    loaded = TaughtClassifier.load(out)
    assert decoding_of(loaded.encoder.fingerprint) == "exact"
    rows = answers(jpegs, "--taught", out, "--precision", "float32")
    told = TaughtClassifier.load(out, exact).predict(paths_of(jpegs))
    assert [row["score"] for row in rows] == pytest.approx([one.score for one in told], abs=1e-4)
    said = complaint("label", jpegs, "--taught", out, "--decode", "draft")
    assert f"What was taught in {out} was made with `--decode exact`" in said


def test_a_fine_tuned_model_decodes_as_it_did_in_training(jpegs: Path, tmp_path: Path) -> None:
    settings = {"method": "head", "num_epochs": 1, "validation_share": 0.4, "decode": "exact"}
    out = tmp_path / "tuned"
    finetune_here(jpegs, out, FinetuneConfig(model_id="tiny", **settings))
    paths = paths_of(jpegs)
    loaded = FinetunedClassifier.load(out, FinetunedOptions(precision="float32"))
    with_pixels = loaded.logits([Image.open(path).convert("RGB") for path in paths])
    assert_allclose(loaded.logits(paths), with_pixels, atol=1e-5)
    with pytest.raises(ConfigError, match=r"fine-tuned model in .* was made with `--decode exact`"):
        FinetunedClassifier.load(out, FinetunedOptions(decode="draft"))
    manifest = json.loads((out / "footwork.json").read_text())
    assert manifest["config"]["decode"] == "exact"
    for stated, then, notes in (({}, "exact", 1), ({"decode": "draft"}, "draft", 0)):
        config = FinetuneConfig(model_id=str(out), **(settings | {"decode": None} | stated))
        told: list[str] = []
        planned = plan(ImageTask(), jpegs, config, told.append)
        assert planned.config.decode == then
        assert sum("Every pixel is decoded, as" in line for line in told) == notes
