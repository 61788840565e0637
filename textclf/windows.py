"""Texts as sequences of tokens: long ones are cut, or seen through a sliding window."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from footwork.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from footwork.errors import ConfigError, DataError
from footwork.inference.tokens import (
    TokenizedTexts,
    TokenSequence,
    Truncation,
    assembled,
    room_for_texts,
    sequences_of,
    whole_characters,
)

LongTexts = Literal["truncate", "windows"]
TextPair = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class WindowedTexts:
    """N texts as S sequences, S at least N."""

    sequences: TokenizedTexts
    """S sequences; those of one text follow each other."""
    counts: IntArray
    """Sequences of each text, (N,), at least 1."""
    weights: DoubleArray
    """Tokens of the text in each sequence, special ones not counted, (S,), at least 1."""
    cut: BoolArray
    """Which texts lost tokens, (N,)."""

    def pooled(self, logits: FloatArray) -> FloatArray:
        """Average the logits of each text's windows, (S, C) to (N, C).

        A window weighs as many tokens as it holds: the last one is as short as chance leaves it,
        and a few words should not outvote a page.
        """
        if len(self.counts) == len(logits):
            return logits
        starts = np.cumsum(self.counts) - self.counts
        weighted = np.add.reduceat(logits * self.weights[:, None], starts, axis=0)
        pooled: DoubleArray = weighted / np.add.reduceat(self.weights, starts)[:, None]
        return pooled.astype(np.float32)


class TextEncoder:
    """A tokenizer with what to do about long texts; a `ConfigError` where that is impossible.

    With `sides` the sequences say which token is of which text of a pair.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        long: LongTexts = "truncate",
        overlap: int | None = None,
        *,
        sides: bool = False,
    ) -> None:
        room = room_for_texts(tokenizer, max_length)
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
        self._sides = sides
        # Truncation is a setting of the tokenizer itself: two threads would undo each other's.
        self._lock = threading.Lock()

    def encode(self, rows: Sequence[TextPair]) -> WindowedTexts:
        """Tokenise texts or pairs; all rows have a second text, or none has."""
        texts = [text for text, _ in rows]
        pairs = [pair for _, pair in rows if pair is not None] or None
        if pairs is not None and len(pairs) < len(rows):
            raise ValueError("Either every row has a second text, or none has.")
        if self._sides and rows and pairs is None:
            raise DataError("The model compares two texts: give the second ones as `pairs`.")
        with self._lock:
            groups = self._sequences(texts, pairs) if rows else []
        windows = [window for group in groups for window in group]
        sequences = assembled(self._tokenizer, windows)
        return WindowedTexts(
            sequences if self._sides else sequences.without_sides(),
            np.array([len(group) for group in groups], np.int64),
            np.array([max(window.tokens, 1) for window in windows], np.float64),
            np.array([any(window.cut for window in group) for group in groups], np.bool_),
        )

    def _sequences(self, texts: list[str], pairs: list[str] | None) -> list[list[TokenSequence]]:
        if self._long == "windows" and pairs is None:
            return self._sliding(texts, None, "only_first")
        groups = sequences_of(self._tokenizer, texts, pairs, self.max_length)
        if self._long == "windows" and pairs is not None:
            for row, (beginning,) in enumerate(groups):
                if beginning.cut:
                    groups[row] = self._sliding_pair(texts[row], pairs[row])
        return groups

    def _sliding(
        self, texts: list[str], pairs: list[str] | None, slides: Truncation
    ) -> list[list[TokenSequence]]:
        """All windows of each text; `slides` says which of a pair does."""
        return sequences_of(
            self._tokenizer, texts, pairs, self.max_length, slides, overlap=self._overlap
        )

    def _sliding_pair(self, text: str, pair: str) -> list[TokenSequence]:
        """Windows over the longer text, each beside the shorter one or its first half room."""
        text, pair = whole_characters(text), whole_characters(pair)
        told = {"truncation": False, "return_offsets_mapping": True, "verbose": False}
        both = self._tokenizer([text, pair], add_special_tokens=False, **told)["offset_mapping"]
        first_slides = len(both[0]) >= len(both[1])
        fixed = both[1] if first_slides else both[0]
        half = self._room // 2
        if cut := len(fixed) > half:
            end = fixed[half - 1][1] if half else 0  # in characters
            text, pair = (text, pair[:end]) if first_slides else (text[:end], pair)
        slides: Truncation = "only_first" if first_slides else "only_second"
        return [replace(one, cut=cut) for one in self._sliding([text], [pair], slides)[0]]
