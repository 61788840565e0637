"""How many tokens texts have, and how many of them the tokenizer does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.data.loading import Examples

_BATCH_TEXTS = 1000


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of N texts, special tokens included, before truncation."""

    lengths: NDArray[np.int64]
    unknown: NDArray[np.int64]
    """How many are the unknown token."""
    special: int
    """Of each text: how many the tokenizer adds."""

    def lost(self, max_length: int) -> NDArray[np.int64]:
        """Tokens of each text beyond `max_length`, (N,)."""
        return np.maximum(self.lengths - max_length, 0)


def count_tokens(examples: Examples, tokenizer: Any) -> TokenCounts:
    """Tokenize every text whole.

    Args:
        examples: N texts or pairs.
        tokenizer: Of transformers.
    """
    lengths: list[int] = []
    unknown: list[int] = []
    unknown_id = tokenizer.unk_token_id
    for start in range(0, len(examples.texts), _BATCH_TEXTS):
        stop = start + _BATCH_TEXTS
        encoded = tokenizer(
            examples.texts[start:stop],
            None if examples.pairs is None else examples.pairs[start:stop],
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            # Otherwise it warns of every text that is longer than the model takes.
            verbose=False,
        )
        lengths.extend(map(len, encoded["input_ids"]))
        unknown.extend(ids.count(unknown_id) for ids in encoded["input_ids"])
    special = tokenizer.num_special_tokens_to_add(pair=examples.pairs is not None)
    return TokenCounts(np.array(lengths, np.int64), np.array(unknown, np.int64), special)
