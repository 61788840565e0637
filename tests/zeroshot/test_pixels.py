from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from footwork.encoder.streaming import Preprocessing
from footwork.images.decoding import decode_image
from footwork.models.image_classifiers import load_image_processor
from tests.runs import finetune_here
from tests.zeroshot.image_towers import build_tower, draw_classes
from zeroshot.options import FinetuneConfig
from zeroshot.pixels import augmented, decode_once
from zeroshot.task import read_images


@pytest.mark.parametrize("family", ["clip", "vit", "resnet"])
def test_what_is_kept_is_what_the_processor_gives(family: str, tmp_path: Path) -> None:
    processor = load_image_processor(str(build_tower(tmp_path / "base", family)))
    paths = sorted(draw_classes(tmp_path / "data", 2).rglob("*.png"))
    paths.append(paths[0])
    file, faults = decode_once(paths, processor, tmp_path / "pictures.bin")
    assert not faults
    assert np.flatnonzero(file.groups == file.groups[0]).tolist() == [0, len(paths) - 1]
    prepare = Preprocessing(processor).prepare
    wanted = [prepare(decode_image(path))["pixel_values"] for path in paths]
    np.testing.assert_allclose(file.batch(range(len(paths))).numpy(), np.stack(wanted), atol=1e-6)
    assert (tmp_path / "pictures.bin").stat().st_size == np.stack(wanted).size  # a byte a value


def test_convolutions_get_channels_last_in_training_and_in_answering(tmp_path: Path) -> None:
    data, base = draw_classes(tmp_path / "data", 6), build_tower(tmp_path / "base", "resnet")
    config = FinetuneConfig(model_id=str(base), method="full", num_epochs=1, augment="flips")
    layouts: list[bool] = []
    convolve = nn.Conv2d.forward

    def noted(layer: nn.Conv2d, pixels: torch.Tensor) -> torch.Tensor:
        if layer.in_channels == 3:
            layouts.append(pixels.is_contiguous(memory_format=torch.channels_last))
        return convolve(layer, pixels)

    with patch.object(nn.Conv2d, "forward", noted):
        run = finetune_here(data, tmp_path / "out", config)
        trained = len(layouts)
        run.classifier.logits(sorted(data.rglob("*.png"))[:3])
    assert 0 < trained < len(layouts)
    assert all(layouts)


def test_a_picture_is_changed_alike_whatever_stands_beside_it() -> None:
    pictures = torch.randn(4, 3, 16, 16)
    seeds = [(0, 1, row) for row in range(4)]
    together = augmented(pictures, seeds, "crops")
    assert torch.equal(together[2:3], augmented(pictures[2:3], seeds[2:3], "crops"))
    assert together.shape == pictures.shape
    later = [(0, 2, row) for row in range(4)]
    assert not torch.equal(together, augmented(pictures, later, "crops"))


def test_a_picture_is_changed_as_far_as_is_wanted() -> None:
    pictures = torch.randn(1, 3, 16, 16).expand(32, -1, -1, -1)
    seeds = [(0, 1, row) for row in range(32)]
    assert augmented(pictures, seeds, "none") is pictures
    shown = augmented(pictures, seeds, "flips")
    mirrored = [torch.equal(each, pictures[0].flip(-1)) for each in shown]
    as_it_is = [torch.equal(each, pictures[0]) for each in shown]
    assert 8 < sum(mirrored) < 24
    assert sum(mirrored) + sum(as_it_is) == 32
    assert len(augmented(pictures, seeds, "crops").unique(dim=0)) > 8


def test_the_same_file_never_stands_on_both_sides(tmp_path: Path) -> None:
    data = draw_classes(tmp_path / "data", 6)
    for path in list(data.rglob("*.png")):
        (path.parent / f"again-{path.name}").write_bytes(path.read_bytes())
    for seed in range(5):
        splits = read_images(data, FinetuneConfig(validation_share=0.3, seed=seed)).splits
        train, validation = (
            {path.read_bytes() for path in splits[name].inputs} for name in ("train", "validation")
        )
        assert not train & validation
        assert set(splits["validation"].targets.tolist()) == {0, 1, 2}
