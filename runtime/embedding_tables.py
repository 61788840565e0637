"""The tables that a text model looks tokens and positions up in, whatever its family calls them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_POSITIONS = ("position_embeddings", "embed_positions", "wpe")


def token_table(model: Any) -> nn.Module | None:
    """The input embedding; None where there is no table of tokens, as in CANINE."""
    try:
        found: nn.Module = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return found


def position_limit(model: nn.Module) -> int | None:
    """Tokens that the model has learned positions for; None where positions are relative."""
    for name, module in model.named_modules():
        table = getattr(module, "weight", None)
        if name.rpartition(".")[2] in _POSITIONS and isinstance(table, torch.Tensor):
            return len(table) - _first_position(module)
    return None


def _first_position(table: nn.Module) -> int:
    """Rows before the first token's: BART says how many, RoBERTa counts on from the padding's."""
    padding = getattr(table, "padding_idx", None)
    return int(getattr(table, "offset", 0 if padding is None else padding + 1))
