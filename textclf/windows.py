"""Texts as sequences of bounded length: cut, or seen through a sliding window."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ConfigError

if TYPE_CHECKING:
    from runtime.tokens import TokenizedTexts

LongTexts = Literal["truncate", "windows"]
TextPair = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class WindowedTexts:
    """N texts as S sequences, S at least N."""

    sequences: TokenizedTexts
    """S sequences; those of one text follow each other."""
    counts: NDArray[np.int64]
    """Sequences of each text, (N,), at least 1."""
    weights: NDArray[np.float64]
    """Tokens of the text in each sequence, special ones not counted, (S,), at least 1."""
    cut: NDArray[np.bool_]
    """Which texts lost tokens, (N,)."""

    def pooled(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average the logits of each text's windows, (S, C) to (N, C).

        A window weighs as many tokens as it holds: the last one is as short as chance leaves it,
        and a few words should not outvote a page.
        """
        if len(self.counts) == len(logits):
            return logits
        starts = np.cumsum(self.counts) - self.counts
        weighted = np.add.reduceat(logits * self.weights[:, None], starts, axis=0)
        pooled: NDArray[np.float64] = weighted / np.add.reduceat(self.weights, starts)[:, None]
        return pooled.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One window: its model inputs, and how many of its tokens are the text's."""

    inputs: dict[str, list[int]]
    tokens: int


class TextEncoder:
    """A tokenizer with what to do about long texts.

    Args:
        tokenizer: A fast tokenizer of transformers.
        max_length: Longest sequence, in tokens, special ones counted.
        long: `truncate` keeps the beginning; `windows` covers the whole text.
        overlap: Tokens that neighbouring windows share; None takes a quarter of `max_length`.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        long: LongTexts = "truncate",
        overlap: int | None = None,
    ) -> None:
        if long not in ("truncate", "windows"):
            raise ConfigError(f"`long` must be truncate or windows, got {long!r}.")
        special = tokenizer.num_special_tokens_to_add(pair=True)
        room = max_length - special
        if room < 2:
            raise ConfigError(f"`max_length` must be at least {special + 2}, got {max_length}.")
        # A pair's shorter text may take half of the room.
        widest = (room + 1) // 2 - 1
        overlap = min(max_length // 4, widest) if overlap is None else overlap
        if not 0 <= overlap <= widest:
            raise ConfigError(
                f"`overlap` must be from 0 to {widest} tokens with a `max_length` of "
                f"{max_length}, got {overlap}."
            )
        self.max_length = max_length
        self._tokenizer = tokenizer
        self._long = long
        self._overlap = overlap
        self._room = room
        # Truncation is a setting of the tokenizer itself: two threads would undo each other's.
        self._lock = threading.Lock()

    def encode(self, rows: Sequence[TextPair]) -> WindowedTexts:
        """Tokenise texts or pairs; all rows have a second text, or none has."""
        texts = [whole_characters(text) for text, _ in rows]
        pairs = [whole_characters(pair) for _, pair in rows if pair is not None] or None
        if pairs is not None and len(pairs) < len(rows):
            raise ValueError("Either every row has a second text, or none has.")
        if not rows:
            return self._assembled([], np.zeros(0, np.bool_))
        with self._lock:
            if self._long == "windows" and pairs is None:
                groups = self._sliding(texts, None, "only_first")
                return self._assembled(groups, np.zeros(len(rows), np.bool_))
            groups, cut = self._truncated(texts, pairs)
            if self._long == "windows" and pairs is not None:
                for row in np.flatnonzero(cut).tolist():
                    groups[row], cut[row] = self._sliding_pair(texts[row], pairs[row])
        return self._assembled(groups, cut)

    def _truncated(
        self, texts: list[str], pairs: list[str] | None
    ) -> tuple[list[list[_Sequence]], NDArray[np.bool_]]:
        encoded = self._tokenizer(
            texts,
            pairs,
            truncation=True,
            max_length=self.max_length,
            return_special_tokens_mask=True,
        )
        cut = np.array([len(one.overflowing) > 0 for one in encoded.encodings], np.bool_)
        return [[one] for one in self._sequences(encoded)], cut

    def _sliding(
        self, texts: list[str], pairs: list[str] | None, truncation: str
    ) -> list[list[_Sequence]]:
        """All windows of each text; `truncation` says which of a pair slides."""
        encoded = self._tokenizer(
            texts,
            pairs,
            truncation=truncation,
            max_length=self.max_length,
            stride=self._overlap,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        groups: list[list[_Sequence]] = [[] for _ in texts]
        owners = encoded["overflow_to_sample_mapping"]
        for owner, sequence in zip(owners, self._sequences(encoded), strict=True):
            groups[owner].append(sequence)
        return groups

    def _sliding_pair(self, text: str, pair: str) -> tuple[list[_Sequence], bool]:
        """Windows over the longer text, each beside the shorter one, and whether that was cut."""
        ends = [self._token_ends(one) for one in (text, pair)]
        first_slides = len(ends[0]) >= len(ends[1])
        fixed = ends[1] if first_slides else ends[0]
        half = self._room // 2
        cut = len(fixed) > half
        if cut:
            end = fixed[half - 1] if half else 0
            text, pair = (text, pair[:end]) if first_slides else (text[:end], pair)
        truncation = "only_first" if first_slides else "only_second"
        return self._sliding([text], [pair], truncation)[0], cut

    def _token_ends(self, text: str) -> list[int]:
        """Where each token of `text` ends, in characters."""
        encoded = self._tokenizer(
            text,
            add_special_tokens=False,
            truncation=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        return [end for _, end in encoded["offset_mapping"]]

    def _sequences(self, encoded: Any) -> list[_Sequence]:
        names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
        rows = zip(*(encoded[name] for name in names), encoded["special_tokens_mask"], strict=True)
        filler = self._filler()
        return [
            _Sequence(dict(zip(names, row, strict=False)), len(row[-1]) - sum(row[-1]))
            if row[-1]
            # A tokenizer without special tokens leaves nothing of an empty text.
            else _Sequence({name: [filler[name]] for name in names}, 0)
            for row in rows
        ]

    def _filler(self) -> dict[str, int]:
        tokenizer = self._tokenizer
        return {
            "input_ids": tokenizer.pad_token_id or 0,
            "token_type_ids": tokenizer.pad_token_type_id,
        }

    def _assembled(self, groups: list[list[_Sequence]], cut: NDArray[np.bool_]) -> WindowedTexts:
        from runtime.tokens import TokenizedTexts

        windows = [window for group in groups for window in group]
        names = windows[0].inputs if windows else ["input_ids"]
        inputs = {name: [window.inputs[name] for window in windows] for name in names}
        left = self._tokenizer.padding_side == "left"
        return WindowedTexts(
            TokenizedTexts(inputs, self._filler(), left),
            np.array([len(group) for group in groups], np.int64),
            np.array([max(window.tokens, 1) for window in windows], np.float64),
            cut,
        )


def whole_characters(text: str) -> str:
    """`text` with U+FFFD for halves of characters, which JSON can hold and tokenizers refuse."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
