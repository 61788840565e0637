"""Texts as token ids, and ids as padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

MODEL_INPUTS = ("input_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """N texts, or pairs of texts, as a model takes them, not yet padded."""

    inputs: dict[str, list[list[int]]]
    """Model input → one list of ids a text; the attention mask follows from the lengths."""
    pad: dict[str, int]
    """Model input → what fills it up."""
    left: bool
    """Whether the filling goes before the text, as decoders want it."""

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text, special ones counted."""
        return [len(ids) for ids in self.inputs["input_ids"]]

    def take(self, rows: slice) -> TokenizedTexts:
        """Some of the texts, in their order."""
        inputs = {name: ids[rows] for name, ids in self.inputs.items()}
        return TokenizedTexts(inputs, self.pad, self.left)

    def batch(self, rows: Sequence[int], multiple: int = 1) -> dict[str, torch.Tensor]:
        """The texts in `rows` as tensors (B, T), T the longest rounded up to `multiple`."""
        longest = max(len(self.inputs["input_ids"][row]) for row in rows)
        width = -(-longest // multiple) * multiple
        filled = {
            name: torch.tensor([self._fill(ids[row], self.pad[name], width) for row in rows])
            for name, ids in self.inputs.items()
        }
        ones = [[1] * len(self.inputs["input_ids"][row]) for row in rows]
        filled["attention_mask"] = torch.tensor([self._fill(one, 0, width) for one in ones])
        return filled

    def widen(self, batch: Mapping[str, torch.Tensor], width: int) -> dict[str, torch.Tensor]:
        """Pad a batch on to `width` tokens; what has no token axis stays."""
        wide = dict(batch)
        for name in (*self.inputs, "attention_mask"):
            more = width - batch[name].shape[1]
            sides = (more, 0) if self.left else (0, more)
            wide[name] = functional.pad(batch[name], sides, value=self.pad.get(name, 0))
        return wide

    def _fill(self, ids: list[int], value: int, width: int) -> list[int]:
        filling = [value] * (width - len(ids))
        return filling + ids if self.left else ids + filling


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
) -> TokenizedTexts:
    """Cut texts (with their pairs) to `max_length` tokens, special ones counted.

    `max_length` is always passed on: DeBERTa's tokenizer states none, and would cut nothing.
    """
    second: dict[str, Any] = {} if pairs is None else {"text_pair": list(pairs)}
    encoded = tokenizer(
        list(texts), **second, truncation=True, max_length=max_length, return_attention_mask=False
    )
    inputs = {name: encoded[name] for name in MODEL_INPUTS if name in encoded}
    pad = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}
    return TokenizedTexts(inputs, pad, tokenizer.padding_side == "left")
