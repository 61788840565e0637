"""The token that a classifier reads, kept in float32 on its way through an encoder in bf16.

Where weights are random, most of what bf16 adds to an answer comes from that token's own
feed-forward blocks; what other tokens err is averaged by attention. Measured with DeBERTa-v3-small
and 128 texts of 7 to 253 tokens: the difference of two logits errs by 0.011 in place of 0.030
(standard deviation), for 3 % more time. In a trained `tiny` it errs by 0.012 in place of 0.013:
there it is the words that count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class FirstTokenExactly(nn.Module):
    """A feed-forward block with its residual connection; takes the place of a layer's `output`.

    Args:
        layer: With the names of BERT's, in bf16.
        exact: The same in float32.
    """

    def __init__(self, layer: Any, exact: Any) -> None:
        super().__init__()
        self.intermediate, self.dense = layer.intermediate, layer.output.dense
        self.exact_intermediate, self.exact_dense = exact.intermediate, exact.output.dense
        self.LayerNorm = layer.output.LayerNorm

    def forward(self, states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """(B, T, D) and what they are added to, to (B, T, D)."""
        with torch.autocast(states.device.type, enabled=False):
            answer: torch.Tensor = self.exact_dense(self.exact_intermediate(states[:, :1].float()))
        if states.size(1) > 1:
            every = self.dense(self.intermediate(states)).float()
            every[:, :1] = answer
            answer = every
        normed: torch.Tensor = self.LayerNorm(answer + residual)
        return normed


def keep_first_token(model: Any, exact: Any) -> None:
    """Have a model in bf16 compute the first token's feed-forward blocks in float32.

    Args:
        model: Its layers have the names of BERT's; changed in place.
        exact: The same in float32; its weights are shared.
    """
    layers, exact_layers = (one.base_model.encoder.layer for one in (model, exact))
    for layer, exact_layer in zip(layers, exact_layers, strict=True):
        layer.output = FirstTokenExactly(layer, exact_layer)
        layer.intermediate = nn.Identity()
