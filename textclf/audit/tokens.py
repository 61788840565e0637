"""How many tokens texts have, and how many of them the tokenizer does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textclf.audit.findings import Finding, splits_of
from textclf.data.loading import Examples, LabelledData

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


_VERY_LONG = 4
_WORST_ROWS = 10


def token_findings(
    data: LabelledData, tokens: Mapping[str, TokenCounts], max_length: int
) -> Iterator[Finding]:
    """Texts that lose their end, and texts in a script that the tokenizer does not know.

    Args:
        data: All splits.
        tokens: Of each split.
        max_length: Longest input, in tokens.
    """
    yield from _length_findings(data, tokens, max_length)
    yield from _unknown_finding(data, tokens)


def _length_findings(
    data: LabelledData, tokens: Mapping[str, TokenCounts], max_length: int
) -> Iterator[Finding]:
    splits = splits_of(data)
    lost = {name: one.lost(max_length) for name, one in tokens.items()}
    rows = {
        name: [splits[name].rows[i] for i in np.flatnonzero(cut)]
        for name, cut in lost.items()
        if cut.any()
    }
    if not rows:
        return
    count, total = sum(map(len, rows.values())), sum(len(one.texts) for one in splits.values())
    tokens_lost = sum(int(cut.sum()) for cut in lost.values())
    share = tokens_lost / sum(int(one.lengths.sum()) for one in tokens.values())
    worst = sorted(
        (
            (int(cut[i]), name, splits[name].rows[i])
            for name, cut in lost.items()
            for i in np.flatnonzero(cut)
        ),
        reverse=True,
    )[:_WORST_ROWS]
    message = (
        f"{count:,} of {total:,} rows ({_share(count / total)}) are longer than {max_length} "
        f"tokens and lose {tokens_lost:,} tokens, {_share(share)} of all; the worst, row "
        f"{worst[0][2]} of {worst[0][1]}, loses {worst[0][0]:,}."
    )
    details = {
        "rows": count,
        "tokens": tokens_lost,
        "share_of_tokens": share,
        "worst": [{"split": name, "row": row, "lost_tokens": cut} for cut, name, row in worst],
    }
    yield Finding("truncated", "warning" if share > 0.01 else "note", message, rows, details)
    yield from _very_long_finding(data, tokens, max_length)


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _very_long_finding(
    data: LabelledData, tokens: Mapping[str, TokenCounts], max_length: int
) -> Iterator[Finding]:
    splits = splits_of(data)
    rows = {
        name: [splits[name].rows[i] for i in np.flatnonzero(one.lengths > _VERY_LONG * max_length)]
        for name, one in tokens.items()
    }
    count = sum(map(len, rows.values()))
    if count:
        message = (
            f"Very long texts: {count:,} have more than {_VERY_LONG} times {max_length} tokens. "
            "The model sees only their beginning."
        )
        yield Finding("very_long", "warning", message, {k: v for k, v in rows.items() if v})


def _unknown_finding(data: LabelledData, tokens: Mapping[str, TokenCounts]) -> Iterator[Finding]:
    splits = splits_of(data)
    rows = {}
    for name, one in tokens.items():
        words = np.maximum(one.lengths - one.special, 1)
        if len(found := np.flatnonzero(one.unknown * 2 > words)):
            rows[name] = [splits[name].rows[i] for i in found]
    count = sum(map(len, rows.values()))
    if count:
        message = (
            f"In {count:,} row{'s' * (count != 1)} more than half of the tokens are unknown to the "
            "tokenizer: another language or script than the model's?"
        )
        yield Finding("unknown_tokens", "warning", message, rows)
