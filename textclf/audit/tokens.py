"""How many tokens texts have, and how many of them the tokenizer does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footwork.inference.tokens import whole_characters
from textclf.audit.findings import Finding, counted_rows, splits_of
from textclf.data.loading import Examples, LabelledData

_TEXTS_A_CALL = 1000
PROOF_TEXTS = 1000
"""Texts on which adding words up is tried, of a split of more than four times as many."""
_KNOWN_WORDS = 100_000
_WORD_CHARACTERS = 30  # on average; longer ones are a script without spaces
_UNKNOWN = 1 << 32  # one number holds a word's tokens and, times this, how many are unknown


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of N texts, special tokens included, before truncation."""

    lengths: NDArray[np.int64]
    unknown: NDArray[np.int64]
    """How many are the unknown token."""
    special: int
    """Of each text: how many the tokenizer adds."""
    by_word: bool
    """Whether the tokens of words were added up."""

    def lost(self, max_length: int) -> NDArray[np.int64]:
        """Tokens of each text beyond `max_length`, (N,)."""
        return np.maximum(self.lengths - max_length, 0)


def count_tokens(examples: Examples, tokenizer: Any) -> TokenCounts:
    """Count the tokens of every text, none of them cut.

    Of many texts each distinct word is tokenized once and the words' tokens are added up, as a
    tokenizer that divides texts at spaces does. Whether this one does is seen on texts from all
    over the split: where the sum of a single one differs, every text is tokenized whole.

    Args:
        examples: N texts or pairs.
        tokenizer: A fast one of transformers.
    """
    counter = _Counter(tokenizer)
    columns = [examples.texts] if examples.pairs is None else [examples.texts, examples.pairs]
    size = len(examples.texts)
    step = max(size // PROOF_TEXTS, 1)
    by_word = size > 4 * PROOF_TEXTS and all(
        np.array_equal(counter.add_words(texts[::step]), counter.count_whole(texts[::step]))
        for texts in columns
    )
    count = counter.add_words if by_word else counter.count_whole
    packed = np.zeros(size, np.int64)
    for texts in columns:
        for start in range(0, size, _TEXTS_A_CALL):
            part = slice(start, start + _TEXTS_A_CALL)
            packed[part] += count(texts[part])
    special = int(tokenizer.num_special_tokens_to_add(pair=len(columns) > 1))
    return TokenCounts(packed % _UNKNOWN + special, packed // _UNKNOWN, special, by_word)


class _Counter:
    """Tokens of texts and, times `_UNKNOWN`, how many of them are unknown."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._unknown_id = tokenizer.unk_token_id
        self._known: dict[str, int] = {}
        """Of each word after another one."""
        self._leading: dict[str, int] = {}
        """What a word has more where it begins a text."""

    def count_whole(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokenize each text as it stands."""
        whole = [whole_characters(text) for text in texts]
        encoded = self._backend.encode_batch_fast(whole, add_special_tokens=False)
        ids = (one.ids for one in encoded)
        return np.array([len(i) + _UNKNOWN * i.count(self._unknown_id) for i in ids], np.int64)

    def add_words(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Add the words of each text up, if it is words with one space between."""
        rows = [text.split() for text in texts]
        odd = [
            place
            for place, (text, words) in enumerate(zip(texts, rows, strict=True))
            if len(text) >= _WORD_CHARACTERS * len(words) or " ".join(words) != text
        ]
        for place in odd:
            rows[place] = []
        if new := set().union(*rows) - self._known.keys():
            if len(self._known) + len(new) > _KNOWN_WORDS:
                self._known, self._leading, new = {}, {}, set().union(*rows)
            self._learn(list(new))
        known, leading = self._known.__getitem__, self._leading
        sums = [sum(map(known, words)) + leading[words[0]] if words else 0 for words in rows]
        counts = np.array(sums, np.int64)
        if odd:
            counts[odd] = self.count_whole([texts[place] for place in odd])
        return counts

    def _learn(self, words: list[str]) -> None:
        alone = self.count_whole(words)
        after = self.count_whole([f"a {word}" for word in words]) - self.count_whole(["a"])
        self._known |= zip(words, after.tolist(), strict=True)
        self._leading |= zip(words, (alone - after).tolist(), strict=True)


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
            f"In {counted_rows(count)} more than half of the tokens are unknown to the tokenizer: "
            "another language or script than the model's?"
        )
        yield Finding("unknown_tokens", "warning", message, rows)
