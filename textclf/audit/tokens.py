"""How many tokens texts have, and how many of them the tokenizer does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from footwork.arrays import BoolArray, IntArray
from footwork.files.faults import counted
from footwork.inference.tokens import whole_characters
from textclf.audit.findings import Finding
from textclf.data import Examples, TextData

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS_A_CALL = 1000
_PROOF_TEXTS = 1000  # on which adding words up is tried, of more than four times as many
_KNOWN_WORDS = 100_000
_WORD_CHARACTERS = 30  # on average; longer ones are a script without spaces
_UNKNOWN = 1 << 32  # one number holds a word's tokens and, times this, how many are unknown


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a model divides texts into tokens."""

    tokenizer: Tokenizer
    unknown_id: int
    """Of the token for what no other stands for; -1 where there is none."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of N texts, special tokens included, before truncation."""

    lengths: IntArray
    unknown: IntArray
    """How many are the unknown token."""
    special: int
    """Of each text: how many the tokenizer adds."""
    proven: int = 0
    """Texts on which adding words up gave the same, where that was done; else 0."""

    def lost(self, max_length: int) -> IntArray:
        """Tokens of each text beyond `max_length`, (N,)."""
        return np.maximum(self.lengths - max_length, 0)


def count_tokens(examples: Examples, vocabulary: Vocabulary) -> TokenCounts:
    """Count the tokens of every text, none of them cut.

    Of many texts each distinct word is tokenized once and the words' tokens are added up, as a
    tokenizer that divides texts at spaces does. Whether this one does is seen on texts from all
    over the split: where the sum of a single one differs, every text is tokenized whole.

    Args:
        examples: N texts or pairs.
        vocabulary: The model's.
    """
    counter = _Counter(vocabulary)
    columns = [examples.texts] if examples.pairs is None else [examples.texts, examples.pairs]
    size = len(examples.texts)
    step = max(size // _PROOF_TEXTS, 1)
    proofs = [texts[::step] for texts in columns] if size > 4 * _PROOF_TEXTS else []
    both = [(counter.add_words(texts), counter.count_whole(texts)) for texts in proofs]
    by_word = bool(both) and all(np.array_equal(*counts) for counts in both)
    count = counter.add_words if by_word else counter.count_whole
    packed = np.zeros(size, np.int64)
    for texts in columns:
        for start in range(0, size, _TEXTS_A_CALL):
            part = slice(start, start + _TEXTS_A_CALL)
            packed[part] += count(texts[part])
    special = vocabulary.tokenizer.num_special_tokens_to_add(len(columns) > 1)
    unknown, lengths = np.divmod(packed, _UNKNOWN)
    proven = len(proofs[0]) if by_word else 0
    return TokenCounts(lengths + special, unknown, special, proven)


class _Counter:
    """Tokens of texts and, times `_UNKNOWN`, how many of them are unknown."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._backend = vocabulary.tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._unknown_id = vocabulary.unknown_id
        self._known: dict[str, int] = {}
        """Of each word after another one."""
        self._leading: dict[str, int] = {}
        """What a word has more where it begins a text."""

    def count_whole(self, texts: Sequence[str]) -> IntArray:
        """Tokenize each text as it stands."""
        whole = [whole_characters(text) for text in texts]
        encoded = self._backend.encode_batch_fast(whole, add_special_tokens=False)
        ids, unknown = (one.ids for one in encoded), self._unknown_id
        return np.array([len(i) + _UNKNOWN * i.count(unknown) for i in ids], np.int64)

    def add_words(self, texts: Sequence[str]) -> IntArray:
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
    data: TextData, tokens: Mapping[str, TokenCounts], max_length: int
) -> Iterator[Finding]:
    """Texts that lose their end, and texts in a script that the tokenizer does not know."""
    lost = {name: counts.lost(max_length) for name, counts in tokens.items()}
    if rows := _rows_where(data, {name: cut > 0 for name, cut in lost.items()}):
        yield _truncated(data, tokens, lost, rows, max_length)
    very_long = {name: counts.lengths > _VERY_LONG * max_length for name, counts in tokens.items()}
    if rows := _rows_where(data, very_long):
        count = sum(map(len, rows.values()))
        message = (
            f"Very long texts: {counted(count, 'row has', 'rows have')} more than {_VERY_LONG} "
            f"times {max_length} tokens. The model sees only their beginning."
        )
        yield Finding("very_long", "warning", message, rows)
    own = {name: np.maximum(each.lengths - each.special, 1) for name, each in tokens.items()}
    strange = {name: counts.unknown * 2 > own[name] for name, counts in tokens.items()}
    if rows := _rows_where(data, strange):
        count = sum(map(len, rows.values()))
        message = (
            f"In {counted(count, 'row')} more than half of the tokens are unknown to the "
            "tokenizer: another language or script than the model's?"
        )
        yield Finding("unknown_tokens", "warning", message, rows)


def _truncated(
    data: TextData,
    tokens: Mapping[str, TokenCounts],
    lost: Mapping[str, IntArray],
    rows: Mapping[str, Sequence[int]],
    max_length: int,
) -> Finding:
    count, total = sum(map(len, rows.values())), sum(len(cut) for cut in lost.values())
    tokens_lost = sum(int(cut.sum()) for cut in lost.values())
    share = tokens_lost / sum(int(counts.lengths.sum()) for counts in tokens.values())
    worst = sorted(
        (
            (int(cut[i]), name, data.splits[name].rows[i])
            for name, cut in lost.items()
            for i in np.flatnonzero(cut)
        ),
        reverse=True,
    )[:_WORST_ROWS]
    message = (
        f"Of {counted(total, 'row')}, {count:,} ({_share(count / total)}) "
        f"{'is' if count == 1 else 'are'} longer than {max_length} tokens: "
        f"{counted(tokens_lost, 'token')}, {_share(share)} of all, not read; the worst, row "
        f"{worst[0][2]} of {worst[0][1]}, loses {worst[0][0]:,}."
    )
    details = {
        "rows": count,
        "tokens": tokens_lost,
        "share_of_tokens": share,
        "worst": [{"split": name, "row": row, "lost_tokens": cut} for cut, name, row in worst],
    }
    return Finding("truncated", "warning" if share > 0.01 else "note", message, rows, details)


def _rows_where(data: TextData, chosen: Mapping[str, BoolArray]) -> dict[str, list[int]]:
    """The row numbers of what is chosen, of each split that has any."""
    splits = data.splits
    return {
        name: [splits[name].rows[i] for i in np.flatnonzero(mask)]
        for name, mask in chosen.items()
        if mask.any()
    }


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"
