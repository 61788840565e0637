"""What a frozen encoder says of each row, computed once and kept.

With the encoder frozen, every epoch would compute the same features again. Here the encoder runs
over the rows once; the model's own head then trains on what it read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from footwork.errors import ModelError
from footwork.inference.sequences import InferenceConfig, SequenceModel
from footwork.inference.tokens import TokenizedTexts
from footwork.methods.table import methods_where
from footwork.options import Precision

Pooling = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
TOLERANCE = 1e-3  # logits; another pooling is off by orders of magnitude more
PROBE_ROWS = 4


class EncoderOutput(BaseModelOutputWithPooling):
    """States and nothing else: heads also hand on memories, entities, global attentions."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class FrozenEncoder(nn.Module):
    """Stands in for the encoder: answers with features given instead of token ids."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        """Features (B, 1, D), or (B, 2, D) with the encoder's own pooled output second."""
        pooled = input_ids[:, 1] if input_ids.shape[1] > 1 else None
        return EncoderOutput(last_hidden_state=input_ids[:, :1], pooler_output=pooled)


class FeatureReader(nn.Module):
    """The encoder with a pooling; its `logits` are the features, flat."""

    def __init__(self, encoder: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, **batch: torch.Tensor) -> Any:
        """Features (B, K * D) under the name that `SequenceModel` asks for."""
        output = self.encoder(**batch)
        return SimpleNamespace(
            logits=_kept(output, batch["attention_mask"], self.pooling).flatten(1)
        )


def first_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """State of the first token, (B, 1, D)."""
    del mask
    return states[:, :1]


def mean_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens that are no padding, (B, 1, D)."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


def compute_features(
    model: PreTrainedModel, texts: TokenizedTexts, precision: Precision
) -> torch.Tensor:
    """Run the encoder over all texts once and keep what the head reads, in float32.

    Args:
        model: A classifier, its encoder as `base_model`.
        texts: N texts.
        precision: `bf16` or `float32`.

    Returns:
        Shape (N, 1, D) or (N, 2, D), as `FrozenEncoder` takes them.

    Raises:
        ModelError: The head reads more than one pooled state.
    """
    pooling, width = require_features(model, texts)
    reader = SequenceModel(
        FeatureReader(model.base_model, pooling),
        InferenceConfig(precision=precision),
    )
    return torch.from_numpy(reader.logits(texts)).unflatten(1, (-1, width))


def require_features(model: PreTrainedModel, texts: TokenizedTexts) -> tuple[Pooling, int]:
    """Find out what the head of a model reads, on the first of some texts.

    Returns:
        The pooling, and its width D.

    Raises:
        ModelError: The head reads more than one pooled state.
    """
    model.eval()
    batch = texts.batch(range(min(PROBE_ROWS, len(texts))))
    with torch.inference_mode():
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        pooling = _pooling_of(model, batch)
        kept = _kept(model.base_model(**batch), batch["attention_mask"], pooling)
    return pooling, kept.shape[-1]


def _kept(output: Any, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    features = pooling(output.last_hidden_state, mask)
    pooled = getattr(output, "pooler_output", None)
    return features if pooled is None else torch.cat([features, pooled.unsqueeze(1)], dim=1)


def _pooling_of(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Pooling:
    """The pooling with which the head gives the logits that the whole model gives."""
    wanted = model(**batch).logits
    output = model.base_model(**batch)
    for pooling in (first_token, mean_token):
        features = _kept(output, batch["attention_mask"], pooling)
        try:
            logits = head_logits(model, features)
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue
        if logits.shape == wanted.shape and (logits - wanted).abs().max() < TOLERANCE:
            return pooling
    message = (
        f"The head of {type(model).__name__} reads more than one state of the encoder, "
        "so its features cannot be kept. Use --method "
        f"{methods_where(lambda method: not method.features_once)}."
    )
    raise ModelError(message)


def head_logits(model: PreTrainedModel, features: torch.Tensor) -> torch.Tensor:
    """Logits of the model's own head for kept features, (B, C)."""
    with head_only(model):
        mask = torch.ones(features.shape[:2], dtype=torch.long, device=features.device)
        return model(input_ids=features, attention_mask=mask[:, :1]).logits


@contextmanager
def head_only(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Within the block `model` is its head alone; its encoder is back afterwards."""
    encoder = model.base_model
    setattr(model, model.base_model_prefix, FrozenEncoder())
    try:
        yield model
    finally:
        setattr(model, model.base_model_prefix, encoder)
