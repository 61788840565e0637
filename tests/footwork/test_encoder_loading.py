"""Two-tower models are found, named and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Blip2Config

from footwork.encoder.dual import DualEncoder
from footwork.errors import ModelError
from footwork.inference.halving import unit_embeddings
from footwork.models.hub import IMAGE_PRESETS
from tests.dual_encoders import build_dual_encoder, draw_image
from tests.models import build_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dual_encoder(tmp_path_factory.mktemp("clip"))


def test_the_fingerprint_names_weights_and_preprocessing_wherever_they_lie(
    folder: Path, tmp_path: Path
) -> None:
    original = DualEncoder(str(folder)).fingerprint
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("nothing that counts")
    assert DualEncoder(str(copy)).fingerprint == original
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    settings["resample"] = 2
    (copy / "preprocessor_config.json").write_text(json.dumps(settings))
    assert DualEncoder(str(copy)).fingerprint != original
    other = build_dual_encoder(tmp_path / "other", "clip", seed=1)
    assert DualEncoder(str(other)).fingerprint != original
    assert "CLIPImageProcessorPil" in original


def test_a_model_of_another_kind_is_told_what_is_supported(tmp_path: Path) -> None:
    bert = build_base(tmp_path / "bert", "bert")
    with pytest.raises(ModelError, match=r"is a BertModel, .* Supported are .*SigLIP 2"):
        DualEncoder(str(bert))
    Blip2Config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a Blip2Model, which writes texts\. Supported are"):
        DualEncoder(str(tmp_path))


def test_a_tower_that_gives_no_single_vector_is_refused() -> None:
    with pytest.raises(ModelError, match=r"gives \(2, 5, 8\) where one vector a row is wanted"):
        unit_embeddings(torch.ones(2, 5, 8))


def test_missing_weights_and_such_that_are_no_numbers_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    weights = load_file(copy / "model.safetensors")
    projection = weights.pop("visual_projection.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weight of the encoder, visual_projection\.w"):
        DualEncoder(str(copy))
    weights["visual_projection.weight"] = torch.zeros(3, 3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"of 1 weight: visual_projection\.weight is 3 × 3 and"):
        DualEncoder(str(copy))
    weights["visual_projection.weight"] = torch.full_like(projection, float("nan"))
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    encoder = DualEncoder(str(copy))
    with pytest.raises(ModelError, match="embeddings that are no numbers"):
        encoder.encode_images([draw_image(tmp_path / "a.png")])


def test_a_folder_without_a_processor_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json"):
        DualEncoder(str(copy))


def test_presets_name_models_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests keep stand-ins of these.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert set(IMAGE_PRESETS) == {"tiny", "fast", "accurate", "multilingual"}
    for preset in ("fast", "accurate", "multilingual"):
        with pytest.raises(ModelError, match=f"holds no copy of {IMAGE_PRESETS[preset]}"):
            DualEncoder(preset)
