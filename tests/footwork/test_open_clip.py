"""A checkpoint of open_clip, converted, answers as its architecture does."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from torch import nn

from footwork.encoder.dual import DualEncoder
from footwork.errors import ModelError
from footwork.images.decoding import decode_image
from footwork.inference.halving import unit_embeddings
from footwork.models import open_clip
from footwork.models.open_clip import convert
from footwork.options import EncoderConfig
from tests.dual_encoders import SIDE, build_dual_encoder, draw_image

WIDTH, HEADS, PATCH = 32, 4, 8
LAYERS = 2


class Block(nn.Module):
    """As `ResidualAttentionBlock` of open_clip."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(WIDTH, 2 * WIDTH), "c_proj": nn.Linear(2 * WIDTH, WIDTH)}
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        inner = nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x)))
        return x + self.mlp["c_proj"](inner)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block() for _ in range(LAYERS))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Vision(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        patches = (SIDE // PATCH) ** 2
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(patches + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer, self.proj = Transformer(), nn.Parameter(torch.randn(WIDTH, width))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
        x = self.transformer(self.ln_pre(x + self.positional_embedding))
        return self.ln_post(x[:, 0]) @ self.proj


class OpenClip(nn.Module):
    """As `CLIP` of open_clip, whose names a checkpoint has."""

    def __init__(self, vocabulary: int, context: int, width: int = 16) -> None:
        super().__init__()
        self.visual, self.transformer = Vision(width), Transformer()
        self.token_embedding = nn.Embedding(vocabulary, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(context, WIDTH))
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, width))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        mask = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
        x = self.ln_final(self.transformer(x, mask))
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(build_dual_encoder(tmp_path_factory.mktemp("clip")))


@pytest.fixture
def model(tokenizer: Any) -> OpenClip:
    torch.manual_seed(0)
    return OpenClip(len(tokenizer), tokenizer.model_max_length).eval()


@pytest.fixture
def checkpoint(model: OpenClip, tokenizer: Any, tmp_path: Path) -> Path:
    """As `push_to_hf_hub` of open_clip leaves it."""
    folder = tmp_path / "checkpoint"
    tokenizer.save_pretrained(folder)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    tower = {"layers": LAYERS, "width": WIDTH, "mlp_ratio": 2}
    vision = {**tower, "image_size": SIDE, "patch_size": PATCH, "head_width": WIDTH // HEADS}
    text = {
        **tower,
        "heads": HEADS,
        "vocab_size": len(tokenizer),
        "context_length": tokenizer.model_max_length,
    }
    stated = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    return folder


@pytest.mark.parametrize("pickled", [False, True])
def test_a_converted_checkpoint_gives_the_same_vectors(
    model: OpenClip, checkpoint: Path, tokenizer: Any, pickled: bool, tmp_path: Path
) -> None:
    if pickled:  # as older ones are, with a mask and a scale of one row
        weights = load_file(checkpoint / "open_clip_model.safetensors")
        (checkpoint / "open_clip_model.safetensors").unlink()
        weights |= {"attn_mask": torch.zeros(4, 4), "logit_scale": weights["logit_scale"][None]}
        torch.save(weights, checkpoint / "open_clip_pytorch_model.bin")
    convert(checkpoint, tmp_path / "out")
    encoder = DualEncoder(str(tmp_path / "out"), config=EncoderConfig(precision="float32"))
    image = draw_image(tmp_path / "a.png", (SIDE, SIDE))
    levels = torch.tensor(np.asarray(decode_image(image))) / 255
    pixels = (levels - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.3, 0.4])
    texts = ["a cat", "the service and the food"]
    with torch.no_grad():
        expected = model.visual(pixels.permute(2, 0, 1)[None])
        rows = [
            model.encode_text(torch.tensor(tokenizer(each)["input_ids"])[None]) for each in texts
        ]
    assert_allclose(encoder.encode_images(image), unit_embeddings(expected), atol=1e-5)
    assert_allclose(encoder.encode_texts(texts), unit_embeddings(torch.cat(rows)), atol=1e-5)
    assert encoder.logit_scale == pytest.approx(np.exp(2.5))


def test_another_architecture_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "open_clip_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "visual.trunk.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"cannot be converted: .*trunk.* It must hold"):
        convert(checkpoint, tmp_path / "out")
    (checkpoint / "open_clip_config.json").unlink()
    with pytest.raises(ModelError, match=r"cannot be converted: .*open_clip_config"):
        convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_such_a_checkpoint_says_how_to_convert_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ModelError, match=r"without config\.json.* open_clip: .*: python -m"
    ) as told:
        DualEncoder(str(checkpoint))
    command = str(told.value).rstrip(".").rpartition("python -m ")[2].split()
    monkeypatch.setattr(sys, "argv", [*command[:-1], str(tmp_path / "out")])
    path = open_clip.__file__
    assert command[0] == open_clip.__name__
    runpy.run_path(path, run_name="__main__")
    assert DualEncoder(str(tmp_path / "out")).width == 16
    with pytest.raises(SystemExit, match="exists"):
        runpy.run_path(path, run_name="__main__")
