"""A CLIP of open_clip as a folder of transformers: the same numbers under other names.

`python -m footwork.models.open_clip CHECKPOINT OUT` writes it. Source of the names: `model.py` and
`transformer.py` of github.com/mlfoundations/open_clip.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from footwork.errors import FootworkError, ModelError, error_text
from footwork.files.folders import published_folder, require_free
from footwork.files.plain_files import read_object
from footwork.models.hub import OPEN_CLIP

_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_RENAMED = (
    *((r"^visual\.proj$", "visual_projection.weight"), ("^text_projection$", r"\g<0>.weight")),
    *((r"^visual\.", "vision_model."), ("^(?!vision_|visual_|text_|logit)", "text_model.")),
    *((r"transformer\.resblocks", "encoder.layers"), (r"\battn\.", "self_attn.")),
    *(("positional_embedding", "embeddings.position_embedding.weight"), ("ln_pre", "pre_layrnorm")),
    *((r"\b(class|token)_embedding", r"embeddings.\g<0>"), ("ln_post", "post_layernorm")),
    *(("conv1", "embeddings.patch_embedding"), ("ln_final", "final_layer_norm")),
    *(("ln_([12])", r"layer_norm\1"), ("c_fc", "fc1"), ("c_proj", "fc2")),
)


def convert(checkpoint: Path, out: Path) -> None:
    """Write a ViT with OpenAI's text tower as `out`; what holds none is a `ModelError`.

    `checkpoint` is a folder as open_clip pushes it to the Hub.
    """
    from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from footwork.models.checkpoints import quiet_transformers

    require_free(out, False, (checkpoint,))
    try:
        stated = read_object(checkpoint / OPEN_CLIP)
        told, seen = stated["model_cfg"], stated["preprocess_cfg"]
        vision, text = (_tower(told, told[name]) for name in ("vision_cfg", "text_cfg"))
        side = vision["image_size"] = told["vision_cfg"]["image_size"]
        vision["patch_size"] = told["vision_cfg"]["patch_size"]
        text["vocab_size"] = told["text_cfg"]["vocab_size"]
        text["eos_token_id"] = text["vocab_size"] - 1
        text["max_position_embeddings"] = told["text_cfg"]["context_length"]
        shared = {"projection_dim": told["embed_dim"]}
        config = CLIPConfig(text_config=text, vision_config=vision, **shared)
        square = {"height": side, "width": side}
        whole = seen.get("resize_mode", "shortest") == "squash"
        processor = CLIPImageProcessorPil(
            size=square if whole else {"shortest_edge": side},
            crop_size=square,
            image_mean=seen["mean"],
            image_std=seen["std"],
        )
        with quiet_transformers():
            model, tokenizer = CLIPModel(config), AutoTokenizer.from_pretrained(checkpoint)
        model.load_state_dict(_renamed(_weights(checkpoint)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{checkpoint} cannot be converted: {error_text(error)}. It must hold a ViT with the "
            f"text tower of OpenAI's, as open_clip pushes it to the Hub: {OPEN_CLIP}, "
            f"{' or '.join(_WEIGHTS)}, and the files of the tokenizer."
        ) from error
    with published_folder(out, overwrite=False) as staging:
        for part in (model, tokenizer, processor):
            part.save_pretrained(staging)


def _tower(model: dict[str, Any], tower: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_size": tower["width"],
        "intermediate_size": int(tower["width"] * tower.get("mlp_ratio", 4)),
        "num_hidden_layers": tower["layers"],
        "num_attention_heads": tower.get("heads") or tower["width"] // tower.get("head_width", 64),
        "hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu",
        "projection_dim": model["embed_dim"],
    }


def _weights(checkpoint: Path) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    if (checkpoint / _WEIGHTS[0]).is_file():
        return load_file(checkpoint / _WEIGHTS[0])
    found: dict[str, Any] = torch.load(checkpoint / _WEIGHTS[1], "cpu", weights_only=True)
    return found


def _renamed(weights: dict[str, Any]) -> dict[str, Any]:
    """In float32; the three projections of an attention stood in one matrix, the last ones turned.

    A causal mask, which older ones keep, is left out.
    """
    named: dict[str, Any] = {}
    for name, tensor in ((name, tensor.float()) for name, tensor in weights.items()):
        for old, new in _RENAMED:
            name = re.sub(old, new, name)
        if "in_proj_" in name:
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                named[re.sub("in_proj_", f"{part}_proj.", name)] = third.contiguous()
        elif not name.endswith("attn_mask"):
            turned = name in ("visual_projection.weight", "text_projection.weight")
            named[name] = tensor.T.contiguous() if turned else tensor
    return named | {"logit_scale": named["logit_scale"].squeeze()}


if __name__ == "__main__":
    try:
        convert(*map(Path, sys.argv[1:]))
    except FootworkError as problem:
        sys.exit(str(problem))
