"""What a fine-tuning works with: a model, its pictures, its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from footwork.accelerator import gather_shares, process_share, resolve_precision
from footwork.errors import ModelError
from footwork.fewshot.heads import LinearHead
from footwork.inference.halving import ElasticBatch, FloatArray
from footwork.methods.adaptation import encoder_of, head_names
from footwork.methods.table import methods_where
from footwork.models.heads import HeadOrigin
from zeroshot.finetuning.config import FinetuneConfig
from zeroshot.finetuning.examples import FinetuneImages, ImageSplit
from zeroshot.finetuning.pixels import PixelFile

Notify = Callable[[str], None]
BATCH = {"cpu": 16}
ACCELERATOR_BATCH = 64


@dataclass(frozen=True, slots=True)
class Learner:
    """What is to be trained."""

    model: PreTrainedModel
    processor: Any
    images: FinetuneImages
    config: FinetuneConfig
    base_id: str
    """What an adapter names as its base."""
    revision: str | None
    """Commit of the base on the Hub."""
    head: HeadOrigin


@dataclass(frozen=True, slots=True)
class Pictures:
    """Every readable picture of a run."""

    file: PixelFile
    first: dict[str, int]
    """Row of the file that each split begins at."""

    def rows(self, split: str, part: ImageSplit) -> NDArray[np.int64]:
        """Rows of a split in the file."""
        return self.first[split] + np.arange(len(part))


class HeadAlone(nn.Module):
    """A classifier without its encoder: features in, logits out."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.classifier = head

    def forward(self, pixel_values: torch.Tensor) -> Any:
        """Features (B, …), as `features_of` gives them, to an object with logits (B, C)."""
        return SimpleNamespace(logits=self.classifier(pixel_values))


def encoder_size(model: PreTrainedModel) -> int:
    """Parameters of the image tower."""
    return sum(p.numel() for p in encoder_of(model).parameters())


def has_one_head(model: PreTrainedModel) -> bool:
    """Whether one module turns features into logits: they can be kept, and probed."""
    return len(head_names(model)) == 1


def head_of(model: PreTrainedModel) -> nn.Module:
    """The one module that turns features into logits.

    Raises:
        ModelError: There are several.
    """
    heads = head_names(model)
    if not has_one_head(model):
        message = (
            f"The head of {type(model).__name__} is no single module ({', '.join(heads)}), so its "
            "features cannot be kept. Use --method "
            f"{methods_where(lambda method: not method.features_once)}."
        )
        raise ModelError(message)
    return model.get_submodule(heads[0])


def start_head(model: PreTrainedModel, probe: LinearHead) -> None:
    """Let the head begin as a linear probe, where it is linear: a random one spoils the tower.

    Source: LP-FT, Kumar et al. 2022, section 3 (arXiv:2202.10054).
    """
    layers = [one for one in head_of(model).modules() if any(True for _ in one.parameters(False))]
    if len(layers) != 1 or type(layers[0]) is not nn.Linear or layers[0].bias is None:
        return
    with torch.no_grad():
        layers[0].weight.copy_(torch.from_numpy(probe.weights))
        layers[0].bias.copy_(torch.from_numpy(probe.bias))


def logits_of(
    model: nn.Module, pictures: PixelFile, rows: NDArray[np.int64], precision: str
) -> FloatArray:
    """Logits of a model for rows of a file, the work divided over the processes; on each all.

    Returns:
        Shape (N, C).
    """
    return _answers(
        lambda batch: model(pixel_values=batch).logits, model, pictures, rows, precision
    )


def features_of(
    model: PreTrainedModel, pictures: PixelFile, rows: NDArray[np.int64], precision: str
) -> FloatArray:
    """What the head of a model reads, as `logits_of`; shape (N, …)."""
    read: list[torch.Tensor] = []
    hook = head_of(model).register_forward_pre_hook(lambda _, given: read.append(given[0]))

    def answer(batch: torch.Tensor) -> torch.Tensor:
        model(pixel_values=batch)
        return read.pop()

    try:
        return _answers(answer, model, pictures, rows, precision)
    finally:
        hook.remove()


def _answers(
    answer: Callable[[torch.Tensor], torch.Tensor],
    model: nn.Module,
    pictures: PixelFile,
    rows: NDArray[np.int64],
    precision: str,
) -> FloatArray:
    device = next(model.parameters()).device
    bf16 = resolve_precision(precision, device) is torch.bfloat16
    batch = ElasticBatch(BATCH.get(device.type, ACCELERATOR_BATCH), "image")

    def forward(part: Sequence[int]) -> FloatArray:
        pixels = pictures.batch(part).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return answer(pixels).float().cpu().numpy()

    model.eval()
    own, found = rows[process_share(len(rows))].tolist(), []
    start = 0
    while start < len(own):
        part = own[start : start + batch.size]
        found.append(batch.run(forward, part))
        start += len(part)
    return np.concatenate([one for shares in gather_shares(found) for one in shares])
