"""Linear layers whose weights are laid out beforehand as the CPU multiplies them.

A product of torch lays the weights out anew in every call. Measured on one core of an AMD EPYC
(Zen 4) for 768 x 3072 with its GELU and 7, 64 and 1,000 tokens, in GFLOP/s: bf16 167, 197 and 204
packed against 99, 167 and 184; float32 95, 101 and 107 against 41, 79 and 63.

The operators are those that torch.compile emits for a frozen model on a processor.

None of these shortcuts changes an answer beyond rounding: weights are cast to bf16 once instead of
in every call, relative positions are projected once instead of in every batch, and the last layer
computes only the token that the classifier reads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers.activations import GELUActivation
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder

from footwork.models.deberta import FastDisentangledSelfAttention, prefixed

FAMILIES = ("Bert", "Camembert", "DebertaV2", "Electra", "Roberta", "XLMRoberta")
"""Families whose layers keep the names of BERT's, and call their linear layers as modules."""
_LAYERS = frozenset(f"{family}Layer" for family in FAMILIES)


class PackedLinear(nn.Module):
    """A copy of a linear layer, with the activation that follows it; answers in its own dtype."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        # Opaque to everything but the operator, so no buffer.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype))
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self._activation, self._algorithm = "none", ""

    def follow_with_gelu(self) -> None:
        """Apply the exact GELU to each product, before it is rounded to `dtype`."""
        self._activation, self._algorithm = "gelu", "none"

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., D) to (..., E)."""
        return steady_product(self._product, states.to(self.dtype))

    def _product(self, states: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, self._activation, [], self._algorithm
        )
        return product


LEAST_ROWS = 4
"""Of a product on each thread: with fewer, other kernels add up in another order."""


def steady_product(
    product: Callable[[torch.Tensor], torch.Tensor], states: torch.Tensor
) -> torch.Tensor:
    """Multiply (..., D) to (..., E), a row the same to the last bit however many there are.

    Measured with torch 2.13 on AVX2, in float32 and in bf16: from `LEAST_ROWS` on nothing else of
    a model depends on how many rows of one length are answered together, convolutions apart.
    """
    rows, least = states.shape[:-1].numel(), LEAST_ROWS * torch.get_num_threads()
    if rows >= least:
        return product(states)
    flat = states.reshape(rows, states.shape[-1])
    answer = product(functional.pad(flat, (0, 0, 0, least - rows)))[:rows]
    return answer.reshape(*states.shape[:-1], answer.shape[-1])


class SteadyLinear(nn.Linear):
    """A linear layer by `steady_product`."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., D) to (..., E)."""
        return steady_product(super().forward, states)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this CPU, and this build of torch, multiply packed weights of a dtype."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return dtype is torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack_layers(model: nn.Module, dtype: torch.dtype) -> None:
    """Pack the linear layers of a model's encoder, in place, where its family is known.

    Nothing may read the weights of its layers any more.
    """
    for layer in model.modules():
        if type(layer).__name__ in _LAYERS:
            for block in list(layer.modules()):
                for name, child in block.named_children():
                    if type(child) is nn.Linear:
                        setattr(block, name, PackedLinear(child, dtype))
                _fuse_gelu(block)


def _fuse_gelu(block: Any) -> None:
    """Of a block that calls `dense`, then `intermediate_act_fn`."""
    activation = getattr(block, "intermediate_act_fn", None)
    if isinstance(activation, GELUActivation):
        exact = activation.act is functional.gelu
    else:
        exact = isinstance(activation, nn.GELU) and activation.approximate == "none"
    if exact and isinstance(block.dense, PackedLinear):
        block.dense.follow_with_gelu()
        block.intermediate_act_fn = nn.Identity()


READS_FIRST_TOKEN = frozenset(f"{family}ForSequenceClassification" for family in FAMILIES)
"""Classes whose head reads the first token, and whose layers keep the names of BERT's."""


def frozen_model(model: nn.Module, dtype: torch.dtype, *, packed: bool = False) -> nn.Module:
    """Copy `model` for answering only; weights that stay as they are are shared, not copied.

    It is in evaluation mode, answers as `model` does, but gives nothing else than logits.

    Args:
        model: With its attention accelerated; matrices that are in bf16 already ask for bf16.
        dtype: Of the weights of linear layers; everything else stays in float32.
        packed: Copy the weights of the layers too, in the order in which they are multiplied.
    """
    frozen = _copied(model)
    bf16 = dtype is torch.bfloat16
    device = next(frozen.parameters()).device.type
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
        for module in frozen.modules():
            if isinstance(module, DebertaV2Encoder) and module.relative_attention:
                _freeze_positions(module, dtype)
    if packed and can_pack(torch.device(device), dtype):
        pack_layers(frozen, dtype)
    if type(frozen).__name__ in READS_FIRST_TOKEN:
        _narrow_last_layer(frozen)
    if bf16:
        # The encoder alone: the head reads one token a row, and its rounding is all bias.
        whole = frozen.get_base_model() if hasattr(frozen, "get_base_model") else frozen  # of peft
        encoder = getattr(whole, "base_model", whole)
        cast_linear_weights(encoder, dtype)
        in_bf16 = torch.autocast(device, torch.bfloat16)(encoder.forward)
        encoder.forward = convert_outputs_to_fp32(in_bf16)
    if device == "cpu":
        steady_linears(frozen)
    return frozen


def steady_linears(model: nn.Module) -> None:
    """Multiply by `steady_product` in all linear layers, in place."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = SteadyLinear


def cast_linear_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Once, in place, and not in each call as autocast would; nothing trains them any more."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)


def _copied(model: nn.Module) -> Any:
    """Modules of its own, the same parameters; in evaluation mode."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters()}
    shared |= {id(tensor): tensor for tensor in model.buffers()}
    # Activation checkpointing leaves handles of its hooks, alone or in lists: no copy takes them.
    for module in model.modules():
        for value in vars(module).values():
            several = value if isinstance(value, list) else [value]
            if any(isinstance(one, RemovableHandle) for one in several):
                shared[id(value)] = value
    copied: Any = copy.deepcopy(model, shared).eval()
    if hasattr(copied, "config"):
        copied.config.use_cache = False  # of keys and values, which nobody reads
    return copied


def _narrow_last_layer(model: Any) -> None:
    layers = model.base_model.encoder.layer
    for layer in layers:
        layer.chunk_size_feed_forward = 0  # chunks save memory, and must divide all lengths
    if len(layers) > 1:  # DeBERTa may add a convolution over all tokens to its first layer
        layers[-1].attention.output.register_forward_pre_hook(
            lambda _, states: tuple(state[:, :1] for state in states)  # (B, T, D) to (B, 1, D)
        )
        if isinstance(layers[-1].attention.self, FrozenDisentangledSelfAttention):
            layers[-1].attention.self.first_only = True


def _freeze_positions(encoder: DebertaV2Encoder, dtype: torch.dtype) -> None:
    table = encoder.get_rel_embedding()
    for module in encoder.modules():
        if type(module) is FastDisentangledSelfAttention:
            module.__class__ = FrozenDisentangledSelfAttention
            module.frozen_positions = {
                role: module._position_heads(table, role).transpose(-1, -2).contiguous().to(dtype)
                for role, kind in (("key", "c2p"), ("query", "p2c"))
                if kind in module.pos_att_type
            }


class FrozenDisentangledSelfAttention(FastDisentangledSelfAttention):
    """`FastDisentangledSelfAttention` that projected every relative position beforehand."""

    frozen_positions: dict[str, torch.Tensor]
    """Role → projected buckets, (heads, D / heads, buckets)."""
    first_only = False
    """Whether only the first token asks: in the last layer nobody reads the others."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        output_attentions: bool = False,  # noqa: ARG002 - the parent's signature
        query_states: torch.Tensor | None = None,  # noqa: ARG002
        relative_pos: torch.Tensor | None = None,  # noqa: ARG002
        rel_embeddings: torch.Tensor | None = None,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, T, D) with `attention_mask` (B, 1, T, T) to (B, T, D)."""
        asking = hidden_states[:, :1] if self.first_only else hidden_states
        query = self._heads(self.query_proj(asking))
        key, value = (
            self._heads(projection(hidden_states))
            for projection in (self.key_proj, self.value_proj)
        )
        scale = (query.size(-1) * (1 + len(self.frozen_positions))) ** -0.5
        if self.first_only:
            attention_mask = attention_mask[:, :, :1]
        bias = self._position_scores(query, key).mul_(scale)
        bias.masked_fill_(attention_mask.logical_not(), torch.finfo(bias.dtype).min)
        if query.device.type == "cpu" and query.dtype is torch.bfloat16:
            # Quicker than the fused kernel of CPUs, by a third up to 250 tokens.
            scores = (query @ key.transpose(-1, -2)).mul_(scale).add_(bias)
            context = scores.softmax(-1) @ value
        else:
            context = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, scale=scale
            )
        context = prefixed(self, context, query, scale)
        return context.transpose(1, 2).flatten(2), None

    def _position_scores(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Scores of relative positions before scaling, (B, heads, Q, T), in memory of their own."""
        length = key.size(-2)
        rows = self._bucket_rows(length, key.device)
        parts: list[torch.Tensor] = []
        if (table := self.frozen_positions.get("key")) is not None:
            positions = table.index_select(2, rows.flip(0))
            if self.first_only:
                parts.append(query @ positions[..., length - 1 :])
            else:
                parts.append(pair_view(query @ positions))
        if (table := self.frozen_positions.get("query")) is not None:
            positions = table.index_select(2, rows)
            if self.first_only:
                own = positions[..., :length].flip(-1).transpose(-1, -2)
                parts.append((key * own).sum(-1).unsqueeze(-2))
            else:
                parts.append(pair_view(key @ positions).transpose(-1, -2))
        if not parts:
            return query.new_zeros(*query.shape[:-1], length)
        return parts[0] + parts[1] if len(parts) == 2 else parts[0].clone()


def pair_view(scores: torch.Tensor) -> torch.Tensor:
    """See scores by distance, (..., T, 2T - 1), as scores by pair, (..., T, T), without a copy.

    Column c of `scores`, contiguous, holds the distance c - (T - 1); element (i, j) of the view is
    `scores[..., i, j - i + T - 1]`.
    """
    scores = scores.contiguous()
    length, distances = scores.shape[-2:]
    size = (*scores.shape[:-1], length)
    # One row further down, the same pair stands one column further left.
    strides = (*scores.stride()[:-2], distances - 1, 1)
    return scores.as_strided(size, strides, scores.storage_offset() + length - 1)
