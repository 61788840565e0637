"""Real image models, tiny: built from configs, each with an image processor of 32 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.dual_encoders import SIDE, build_dual_encoder

CLASSES = {"amber": (230, 160, 20), "navy": (20, 30, 120), "olive": (90, 110, 20)}
LABELS = sorted(CLASSES)
QUICK: dict[str, Any] = {
    "num_epochs": 3,
    "learning_rate": 3e-3,
    "batch_size": 8,
    "mixed_precision": "float32",
}
"""Of a training on `draw_classes`, enough to learn them."""


def build_tower(folder: Path, family: str) -> Path:
    """Save a pretrained model of a family, as the Hub ships them.

    Returns:
        `folder`.
    """
    if family in ("clip", "siglip"):
        return build_dual_encoder(folder, family)
    import torch
    from transformers import AutoModel, ConvNextImageProcessorPil, ViTImageProcessorPil

    from footwork.models.checkpoints import quiet_transformers

    processor: Any = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    if family == "resnet":
        processor = ConvNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_pct=0.875)
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(0)
        model = AutoModel.from_config(_config(family))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
        model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _config(family: str) -> Any:
    from transformers import BeitConfig, EfficientNetConfig, ResNetConfig, ViTConfig

    if family == "efficientnet":
        small = {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128}
        return EfficientNetConfig(image_size=SIDE, **small)
    if family == "resnet":
        small = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
        return ResNetConfig(layer_type="basic", **small)
    kind = BeitConfig if family == "beit" else ViTConfig
    return kind(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=8,
        hidden_dropout_prob=0.1,
    )


def draw_classes(folder: Path, each: int = 10, seed: int = 0) -> Path:
    """Save noisy pictures, not square, of one colour a class, each class in a sub-folder.

    Returns:
        `folder`.
    """
    from PIL import Image

    random = np.random.default_rng(seed)
    for name, colour in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            noise = random.normal(0, 12, (40, 56, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
