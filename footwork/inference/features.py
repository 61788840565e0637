"""What a frozen encoder says of each row, computed once and kept.

With the encoder frozen, every epoch would compute the same features again. Here the encoder runs
over the rows once; the model's own head then trains on what it read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


class _EncoderOutput(BaseModelOutputWithPooling):
    """States and nothing else: heads also hand on memories, entities, global attentions."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class _FrozenEncoder(nn.Module):
    """Stands in for the encoder: answers with features given instead of token ids.

    They are (B, 1, D), or (B, 2, D) with the encoder's own pooled output second.
    """

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        pooled = input_ids[:, 1] if input_ids.shape[1] > 1 else None
        return _EncoderOutput(last_hidden_state=input_ids[:, :1], pooler_output=pooled)


class _FeatureReader(nn.Module):
    """The encoder with a pooling; its `logits` are the features, flat: (B, K * D)."""

    def __init__(self, encoder: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, **batch: torch.Tensor) -> Any:
        features = _kept(self.encoder(**batch), batch["attention_mask"], self.pooling)
        return SimpleNamespace(logits=features.flatten(1))


def _first_token(states: torch.Tensor, _mask: torch.Tensor) -> torch.Tensor:
    return states[:, :1]


def _mean_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Over the tokens that are no padding, (B, 1, D)."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


def compute_features(
    model: PreTrainedModel, texts: TokenizedTexts, precision: Precision
) -> torch.Tensor:
    """Run the encoder of a classifier over N texts once and keep what the head reads, in float32.

    Returns:
        Shape (N, 1, D), or (N, 2, D) with the encoder's own pooled output second.

    Raises:
        ModelError: The head reads more than one pooled state.
    """
    pooling, width = require_features(model, texts)
    reader = SequenceModel(
        _FeatureReader(model.base_model, pooling), InferenceConfig(precision=precision)
    )
    return torch.from_numpy(reader.logits(texts)).unflatten(1, (-1, width))


def require_features(model: PreTrainedModel, texts: TokenizedTexts) -> tuple[Pooling, int]:
    """Find out on some texts with which pooling the head gives what the whole model gives.

    Returns:
        The pooling, and its width D.

    Raises:
        ModelError: The head reads more than one pooled state.
    """
    model.eval()
    batch = texts.batch(range(min(PROBE_ROWS, len(texts))))
    with torch.inference_mode():
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        wanted, output = model(**batch).logits, model.base_model(**batch)
        for pooling in (_first_token, _mean_token):
            features = _kept(output, batch["attention_mask"], pooling)
            with suppress(RuntimeError, ValueError, TypeError, IndexError):  # of another head
                logits = head_logits(model, features)
                if logits.shape == wanted.shape and (logits - wanted).abs().max() < TOLERANCE:
                    return pooling, features.shape[-1]
    raise ModelError(
        f"The head of {type(model).__name__} reads more than one state of the encoder, so its "
        "features cannot be kept. Use --method "
        f"{methods_where(lambda method: not method.features_once)}."
    )


def _kept(output: Any, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    features = pooling(output.last_hidden_state, mask)
    pooled = getattr(output, "pooler_output", None)
    return features if pooled is None else torch.cat([features, pooled.unsqueeze(1)], dim=1)


def head_logits(model: PreTrainedModel, features: torch.Tensor) -> torch.Tensor:
    """Logits of the model's own head for kept features, (B, C)."""
    with head_only(model):
        mask = torch.ones(features.shape[:2], dtype=torch.long, device=features.device)
        return model(input_ids=features, attention_mask=mask[:, :1]).logits


@contextmanager
def head_only(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Within the block `model` is its head alone; its encoder is back afterwards."""
    encoder = model.base_model
    setattr(model, model.base_model_prefix, _FrozenEncoder())
    try:
        yield model
    finally:
        setattr(model, model.base_model_prefix, encoder)
