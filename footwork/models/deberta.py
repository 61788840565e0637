"""Exact, faster disentangled attention for DeBERTa-v2 and -v3.

transformers projects every relative position in every layer, repeats the result for every row of
the batch and picks from it with a gather. A text of T tokens touches at most 2T - 1 distances, so
here only their buckets are projected, once a layer, broadcast over the batch, and laid out by a
shift instead of a gather. Same parameters, same numbers up to rounding.

Source: disentangled attention, He et al. 2020 (arXiv:2006.03654); the shift is the one of
Transformer-XL, Dai et al. 2019, appendix B (arXiv:1901.02860).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    DisentangledSelfAttention,
    make_log_bucket_position,
)


def accelerate_attention(model: nn.Module) -> int:
    """Swap every disentangled attention of `model` for the faster one, in place.

    Returns:
        How many were swapped; 0 for a model of another family.
    """
    swapped = 0
    for module in model.modules():
        if type(module) is DisentangledSelfAttention and module.relative_attention:
            module.__class__ = FastDisentangledSelfAttention
            swapped += 1
    return swapped


class FastDisentangledSelfAttention(DisentangledSelfAttention):
    """`DisentangledSelfAttention` with the same parameters and the same result."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        output_attentions: bool = False,
        query_states: torch.Tensor | None = None,
        relative_pos: torch.Tensor | None = None,
        rel_embeddings: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As in the parent, which answers what is asked for seldom; the mask is (B, 1, T, T)."""
        if query_states is not None or output_attentions or rel_embeddings is None:
            return super().forward(
                hidden_states,
                attention_mask,
                output_attentions,
                query_states,
                relative_pos,
                rel_embeddings,
            )
        query, key, value = (
            self._heads(projection(hidden_states))
            for projection in (self.query_proj, self.key_proj, self.value_proj)
        )
        scale = (query.size(-1) * (1 + len({"c2p", "p2c"} & set(self.pos_att_type)))) ** -0.5
        query = query * scale
        bias = self._position_bias(query, key * scale, self.pos_dropout(rel_embeddings))
        bias = bias.masked_fill(~attention_mask.bool(), torch.finfo(bias.dtype).min)
        context = prefixed(self, self._attend(query, key, value, bias), query, 1.0)
        return context.transpose(1, 2).flatten(2), None

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Weighted values, (B, heads, T, D / heads); the queries are scaled."""
        if self.training and self.dropout.p > 0:
            # With dropout SDPA is unfused on a CPU, and keeps everything in float32.
            scores = query @ key.transpose(-1, -2) + bias
            return self.dropout(scores.softmax(-1).to(value.dtype)) @ value
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, heads, T, D / heads)."""
        return states.unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)

    def _position_bias(
        self, query: torch.Tensor, key: torch.Tensor, table: torch.Tensor
    ) -> torch.Tensor:
        """Content-to-position plus position-to-content scores, (B, heads, T, T).

        Args:
            query: Scaled queries, (B, heads, T, D / heads).
            key: Scaled keys, the same shape.
            table: Embeddings of all buckets, (2 * span, D).
        """
        length = query.size(-2)
        # Row r of `rows` is the bucket of the distance r - (T - 1), query minus key.
        rows = self._bucket_rows(length, query.device)
        first, last = int(rows[0]), int(rows[-1])
        table, rows = table[first : last + 1], rows - first
        bias = query.new_zeros(())
        if "c2p" in self.pos_att_type:
            positions = self._position_heads(table, "key").index_select(1, rows.flip(0))
            bias = bias + shift(query @ positions.transpose(-1, -2))
        if "p2c" in self.pos_att_type:
            # transformers picks bucket -(key - query) for the pair, then transposes.
            positions = self._position_heads(table, "query").index_select(1, rows)
            bias = bias + shift(key @ positions.transpose(-1, -2)).transpose(-1, -2)
        return bias

    def _position_heads(self, table: torch.Tensor, role: str) -> torch.Tensor:
        """The used buckets as keys or queries, (heads, R, D / heads)."""
        name = f"{role}_proj" if self.share_att_key else f"pos_{role}_proj"
        return self._heads(getattr(self, name)(table)[None])[0]

    def _bucket_rows(self, length: int, device: torch.device) -> torch.Tensor:
        """Rows of the embedding table for the distances -(T - 1) ... T - 1, ascending."""
        distances = torch.arange(1 - length, length, device=device)
        if self.position_buckets > 0:
            distances = make_log_bucket_position(
                distances, self.position_buckets, self.max_relative_positions
            ).long()
        span = self.pos_ebd_size
        return (distances + span).clamp(0, 2 * span - 1)


def prefixed(
    module: nn.Module, context: torch.Tensor, query: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """The context of an attention, with what its learned prefix adds, if it has one.

    Args:
        module: The attention; see `footwork.methods.prefix`.
        context: Weighted values, (B, heads, T, D / heads).
        query: The same shape.
        scale: Of a product with a key; None is one by the root of its width.
    """
    prefix = getattr(module, "learned_prefix", None)
    return context if prefix is None else context + prefix(query, scale).to(context.dtype)


def shift(scores: torch.Tensor) -> torch.Tensor:
    """Lay out scores by distance as scores by pair.

    Args:
        scores: (..., T, 2T - 1); column c holds the distance c - (T - 1) from row to column.

    Returns:
        Shape (..., T, T); element (i, j) is `scores[..., i, j - i + T - 1]`.
    """
    length, distances = scores.shape[-2:]
    flat = functional.pad(scores, (0, 1)).flatten(-2)
    flat = functional.pad(flat, (0, distances - length))
    return flat.unflatten(-1, (length + 1, distances))[..., :length, length - 1 :]


__all__: list[Any] = ["FastDisentangledSelfAttention", "accelerate_attention", "prefixed", "shift"]
