"""Learned keys and values, to which every attention attends beside those of its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention

from footwork.methods.insertion import Insertion, run_once
from footwork.models.deberta import accelerate_attention, prefixed

USUAL, HEARD, PREFIXED = "sdpa", "footwork_heard", "footwork_prefixed"
"""Names of attention functions: that of transformers, one that notes shapes, and ours."""


_PACE = 10.0
"""A prefix learns at this multiple of the rate: where it learns well, a head beside it would not.
Equalised rates: Karras et al. 2018, section 4.1 (arXiv:1710.10196)."""


class Prefix(nn.Module):
    """P keys and values a head, and a gate that is shut at first.

    Args:
        shape: Heads, width of a key, width of a value.
        length: P.
    """

    def __init__(self, shape: tuple[int, int, int], length: int) -> None:
        super().__init__()
        heads, key, value = shape
        self.key = nn.Parameter(torch.empty(heads, length, key).normal_(std=0.2 / _PACE))
        self.value = nn.Parameter(torch.empty(heads, length, value).normal_(std=0.2 / _PACE))
        self.gate = nn.Parameter(torch.zeros(heads))

    def forward(self, query: torch.Tensor, scale: float | None) -> torch.Tensor:
        """What is added to the context of queries (B, heads, T, width): (B, heads, T, width)."""
        key, value = (
            _PACE * each.expand(len(query), *each.shape) for each in (self.key, self.value)
        )
        said = functional.scaled_dot_product_attention(query, key, value, scale=scale)
        return (_PACE * self.gate).tanh()[:, None, None] * said


class Prefixes(Insertion):
    """A prefix in every attention of the encoder's layers.

    Its part is normalised by itself and gated from 0, so that training begins with what the base
    answers, and no mask of the input knows of it.

    Source: prefix-tuning, Li & Liang 2021 (arXiv:2101.00190), for classifiers P-tuning v2, Liu et
    al. 2022 (arXiv:2110.07602); the gate: LLaMA-Adapter, Zhang et al. 2023, section 3.2
    (arXiv:2303.16199).
    """

    module = Prefix
    file = "prefix_adapter.json"
    setting = "prefix_length"
    called = "prefix-tuning"
    needs = "attention by the interface of transformers"

    def places(self, model: Any) -> dict[str, Any]:
        """Attentions that are heard to ask transformers' interface, and those of DeBERTa-v2."""
        found = {
            name: (module.num_attention_heads, *[module.attention_head_size] * 2)
            for name, module in model.named_modules()
            if isinstance(module, DisentangledSelfAttention) and module.relative_attention
        }
        if found:
            return found
        _reroute(model, USUAL, HEARD)
        try:
            run_once(model)
        finally:
            _reroute(model, HEARD, USUAL)
        modules = model.named_modules()
        return {name: vars(each).pop(HEARD) for name, each in modules if HEARD in vars(each)}

    def insert(self, model: Any, name: str, known: tuple[int, int, int], size: int) -> None:
        """Beside what the attention has."""
        _reroute(model, USUAL, PREFIXED)
        accelerate_attention(model.get_submodule(name))  # that of transformers knows no prefix
        model.get_submodule(name).learned_prefix = Prefix(known, size)


def _reroute(model: nn.Module, before: str, after: str) -> None:
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(config, PreTrainedConfig) and config._attn_implementation == before:
            config._attn_implementation = after


def _heard(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    vars(module)[HEARD] = query.shape[1], query.shape[-1], value.shape[-1]
    return sdpa_attention_forward(module, query, key, value, mask, **options)


def _prefixed(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
    context, weights = sdpa_attention_forward(module, query, key, value, mask, **options)
    by_head = prefixed(module, context.transpose(1, 2), query, options.get("scaling"))
    return by_head.transpose(1, 2), weights


for _name, _function in ((HEARD, _heard), (PREFIXED, _prefixed)):
    AttentionInterface.register(_name, _function)
    AttentionMaskInterface.register(_name, sdpa_mask)

PREFIXES = Prefixes()
