"""Dropout whose mask belongs to the row, not to the micro-batch it happens to be computed in.

A batch that is split over micro-batches or processes would draw other masks than the whole batch,
and so train another model. Inside `RowDropout` each part draws the masks of the whole batch from
the same seed and keeps its own rows: accumulation, several processes and an out-of-memory split
change nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_dropout = functional.dropout
_attention = functional.scaled_dot_product_attention


class RowDropout(TorchFunctionMode):
    """Draw every dropout mask for `total` rows and use those of rows `first … first + rows`.

    Rows past the total are fillers without weight; they share the last mask.

    Fused attention kernels on a GPU draw their own attention mask; there the products are
    computed unfused while this mode is active.
    """

    def __init__(self, first: int, rows: int, total: int) -> None:
        super().__init__()
        self.rows, self.total = rows, total
        self.own = torch.arange(first, first + rows).clamp(max=total - 1)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is _dropout:
            return self._drop(*args, **kwargs)
        if func is _attention and kwargs.get("dropout_p", 0.0) > 0.0:
            return self._attend(*args, **kwargs)
        return func(*args, **kwargs)

    def _drop(
        self, states: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p == 0.0 or states.shape[0] != self.rows:
            return _dropout(states, p, training, inplace)
        whole = torch.ones(
            (self.total, *states.shape[1:]), dtype=states.dtype, device=states.device
        )
        return states * _dropout(whole, p)[self.own]

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        scale: float | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        if unused.get("is_causal") or unused.get("enable_gqa"):
            return _attention(query, key, value, attn_mask, dropout_p, scale=scale, **unused)
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(
            -2, -1
        )
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
        return self._drop(scores.softmax(-1).to(value.dtype), dropout_p) @ value
