"""Real two-tower models, tiny: built from configs, each with its family's tokenizer and processor.

Weights are random and wide, so that different pictures and texts end far apart.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from footwork.encoder.dual import DualEncoder
from footwork.options import EncoderConfig
from tests.models import FREQUENT, build_tokenizer

SIDE = 32  # pixels
WIDTH = 16  # of an embedding
LAYERS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
VISION = {**LAYERS, "image_size": SIDE, "patch_size": 8}
CLIP_TOKENS = 24
SIGLIP_TOKENS = 12


def build_dual_encoder(folder: Path, family: str = "clip", seed: int = 0) -> Path:
    """Save a model of one of `FAMILIES` as the Hub ships them.

    Returns:
        `folder`.
    """
    import torch
    from transformers import AutoModel

    from footwork.models.checkpoints import quiet_transformers

    folder.mkdir(parents=True, exist_ok=True)
    config, tokenizer, processor = FAMILIES[family](folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        model.logit_scale.data.fill_(2.5)
        if hasattr(model, "logit_bias"):
            model.logit_bias.data.fill_(-3.0)
    with quiet_transformers():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> DualEncoder:
    """The encoder in a folder, in float32."""
    config = EncoderConfig(**{"precision": "float32", **options})
    return DualEncoder(str(folder), config=config)


def draw_image(path: Path, size: tuple[int, int] = (60, 40), seed: int = 0) -> Path:
    """Save a picture of smooth random colours, `size` pixels wide and high.

    Returns:
        `path`; its ending decides the format.
    """
    from PIL import Image

    colours = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def _clip(_folder: Path) -> tuple[Any, Any, Any]:
    from transformers import CLIPConfig, CLIPImageProcessorPil

    tokenizer = clip_tokenizer()
    config = CLIPConfig(
        text_config={**_clip_text(tokenizer), "eos_token_id": tokenizer.eos_token_id},
        vision_config=VISION,
        projection_dim=WIDTH,
    )
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    return config, tokenizer, CLIPImageProcessorPil(**size)


def _old_clip(folder: Path) -> tuple[Any, Any, Any]:
    """As on the Hub: the config's end token is wrong, and the one with the highest id is meant."""
    config, tokenizer, processor = _clip(folder)
    config.text_config.eos_token_id = 2
    return config, tokenizer, processor


def _clipseg(folder: Path) -> tuple[Any, Any, Any]:
    from transformers import CLIPSegConfig, ViTImageProcessorPil

    clip, tokenizer, _ = _clip(folder)
    text = {**_clip_text(tokenizer), "eos_token_id": clip.text_config.eos_token_id}
    config = CLIPSegConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    return config, tokenizer, ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


def _chinese_clip(_folder: Path) -> tuple[Any, Any, Any]:
    from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessorPil

    tokenizer = build_tokenizer("bert")
    text = {**LAYERS, "vocab_size": len(tokenizer), "max_position_embeddings": 24}
    config = ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    size = {"size": {"height": SIDE, "width": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    return config, tokenizer, ChineseCLIPImageProcessorPil(**size)


def _altclip(folder: Path) -> tuple[Any, Any, Any]:
    from transformers import AltCLIPConfig

    tokenizer = build_tokenizer("roberta")
    text = {
        **LAYERS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 26,
        "project_dim": WIDTH,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    return config, tokenizer, _clip(folder)[2]


def _siglip(folder: Path) -> tuple[Any, Any, Any]:
    import sentencepiece
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipTokenizer

    lines = iter([FREQUENT] * 20 + [" ".join(string.ascii_letters + string.digits)] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=str(folder / "spiece"),
        vocab_size=150,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"), model_max_length=SIGLIP_TOKENS)
    tokenizer.model_input_names = ["input_ids"]
    config = SiglipConfig(text_config=_siglip_text(len(tokenizer)), vision_config=VISION)
    return config, tokenizer, SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})


def _siglip2(_folder: Path) -> tuple[Any, Any, Any]:
    """Of a fixed resolution: SigLIP's classes, but Gemma's tokenizer, which keeps capitals."""
    from transformers import GemmaTokenizer, SiglipConfig, SiglipImageProcessorPil

    tokenizer = _gemma_tokenizer(GemmaTokenizer)
    config = SiglipConfig(text_config=_siglip_text(len(tokenizer)), vision_config=VISION)
    return config, tokenizer, SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})


def _siglip2_naflex(_folder: Path) -> tuple[Any, Any, Any]:
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Tokenizer

    tokenizer = _gemma_tokenizer(Siglip2Tokenizer)
    vision = {**LAYERS, "patch_size": 8, "num_patches": 16}
    config = Siglip2Config(text_config=_siglip_text(len(tokenizer)), vision_config=vision)
    return config, tokenizer, Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)


FAMILIES: dict[str, Callable[[Path], tuple[Any, Any, Any]]] = {
    "clip": _clip,
    "old-clip": _old_clip,
    "clipseg": _clipseg,
    "chinese-clip": _chinese_clip,
    "altclip": _altclip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "siglip2-naflex": _siglip2_naflex,
}


def clip_tokenizer() -> Any:
    """CLIP's own class over single bytes and a few merges; the end token has the highest id."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = [("t", "h"), ("th", "e</w>"), ("a", "t</w>")]
    pieces += ["".join(merge) for merge in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _gemma_tokenizer(tokenizer_class: Any) -> Any:
    letters = [c for c in string.printable if not c.isspace()]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters, "at", "▁at"]
    return tokenizer_class(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[("a", "t"), ("▁", "at")],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
    )


def _clip_text(tokenizer: Any) -> dict[str, Any]:
    return {
        **LAYERS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CLIP_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _siglip_text(vocabulary: int) -> dict[str, Any]:
    return {
        **LAYERS,
        "vocab_size": vocabulary,
        "max_position_embeddings": SIGLIP_TOKENS,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    }
