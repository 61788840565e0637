"""Texts as token ids, and ids as padded batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from footwork.arrays import IntArray
from footwork.errors import ConfigError

if TYPE_CHECKING:
    import torch


def of_one_length(lengths: IntArray, size: int) -> Iterator[IntArray]:
    """Rows in batches of at most `size`, equally long: none is padded for another's sake."""
    order = np.argsort(lengths, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        yield from (group[start : start + size] for start in range(0, len(group), size))


def require_several(values: Any, name: str = "texts") -> None:
    """Refuse, by a TypeError, what is no list or the like: one text, a whole table."""
    wanted = f"`{name}` must be a list or the like, got"
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{wanted} one text; put it into a list.")
    kind, is_table = type(values).__name__, isinstance(values, Mapping)
    if is_table or hasattr(values, "columns") or hasattr(values, "column_names"):
        raise TypeError(
            f"{wanted} a {kind}: take a column of it, such as data['text']. The rows of a table "
            "are answered by predict_rows(classifier, data)."
        )
    if not isinstance(values, Iterable):
        raise TypeError(f"{wanted} {kind}.")


def held_texts(texts: Iterable[str], name: str = "texts") -> list[str]:
    """Texts as a list; a TypeError where they are not several, or one is no text."""
    require_several(texts, name)
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"Texts must be strings, got {kind} at {place} of `{name}`.")
    return found


MODEL_INPUTS = ("input_ids", "token_type_ids")
Truncation = Literal["longest_first", "only_first", "only_second"]
SIDES = "text_sides"
"""Model input of classifiers that read the two texts of a pair apart, see `Side`."""
_TEXTS_A_CALL = 1000


class Side(IntEnum):
    """Which text of a pair a token belongs to."""

    BOTH = 0
    """Before the first text, or after the second: so does a single text begin and end."""
    FIRST = 1
    SECOND = 2
    BETWEEN = 3
    """Between the two, and what fills up a batch."""


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

    def take(self, rows: slice | Sequence[int]) -> TokenizedTexts:
        """Some of the texts, in their order."""
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        inputs = {name: [ids[row] for row in chosen] for name, ids in self.inputs.items()}
        return TokenizedTexts(inputs, self.pad, self.left)

    def without_sides(self) -> TokenizedTexts:
        """The same for a model that reads both texts of a pair as one."""
        inputs = {name: ids for name, ids in self.inputs.items() if name != SIDES}
        return TokenizedTexts(inputs, self.pad, self.left)

    def batch(self, rows: Sequence[int], multiple: int = 1) -> dict[str, torch.Tensor]:
        """The texts in `rows` as tensors (B, T), T the longest rounded up to `multiple`."""
        import torch

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
        from torch.nn import functional

        wide = dict(batch)
        for name in (*self.inputs, "attention_mask"):
            more = width - batch[name].shape[1]
            sides = (more, 0) if self.left else (0, more)
            wide[name] = functional.pad(batch[name], sides, value=self.pad.get(name, 0))
        return wide

    def _fill(self, ids: list[int], value: int, width: int) -> list[int]:
        filling = [value] * (width - len(ids))
        return filling + ids if self.left else ids + filling


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A text, or one window of it, as it fits into a model."""

    inputs: dict[str, list[int]]
    """Model input → ids."""
    tokens: int
    """Of the text itself, special ones not counted."""
    cut: bool
    """Whether the text has tokens that stand in none of its sequences."""


def tokenize(
    tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
) -> TokenizedTexts:
    """Cut texts (with their pairs) to `max_length` tokens, special ones counted."""
    sequences: list[TokenSequence] = []
    for start in range(0, len(texts), _TEXTS_A_CALL):
        part = slice(start, start + _TEXTS_A_CALL)
        seconds = None if pairs is None else pairs[part]
        sequences += chain.from_iterable(sequences_of(tokenizer, texts[part], seconds, max_length))
    return assembled(tokenizer, sequences)


def sequences_of(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
    truncation: Truncation = "longest_first",
    overlap: int | None = None,
) -> list[list[TokenSequence]]:
    """The sequences of each text: its beginning alone, or windows over all of it.

    Those of pairs have `SIDES` among their inputs.

    `max_length` is always passed on: DeBERTa's tokenizer states none, and would cut nothing.

    Args:
        tokenizer: A fast one of transformers.
        texts: N texts, at least one.
        pairs: N second texts, or None.
        max_length: In tokens, special ones counted.
        truncation: What is cut of a pair.
        overlap: Tokens that neighbouring windows share; None keeps the beginning.
    """
    encoded = tokenizer(
        [whole_characters(text) for text in texts],
        None if pairs is None else [whole_characters(pair) for pair in pairs],
        truncation=truncation,
        max_length=max_length,
        stride=overlap or 0,
        return_overflowing_tokens=overlap is not None,
        return_special_tokens_mask=True,
        return_attention_mask=False,
    )
    names = _input_names(tokenizer)
    between = _special_tokens(tokenizer, pair=True) - _special_tokens(tokenizer, pair=False)
    owners = range(len(texts)) if overlap is None else encoded["overflow_to_sample_mapping"]
    groups: list[list[TokenSequence]] = [[] for _ in texts]
    for index, (owner, special) in enumerate(
        zip(owners, encoded["special_tokens_mask"], strict=True)
    ):
        # A tokenizer without special tokens leaves nothing of an empty text.
        inputs = {name: encoded[name][index] or [_filler(tokenizer)[name]] for name in names}
        if pairs is not None:
            inputs[SIDES] = sides_of(encoded.sequence_ids(index), between) or [Side.BOTH]
        cut = overlap is None and bool(encoded.encodings[index].overflowing)
        groups[owner].append(TokenSequence(inputs, len(special) - sum(special), cut))
    return groups


def assembled(tokenizer: Any, sequences: Iterable[TokenSequence]) -> TokenizedTexts:
    """Sequences of one tokenizer, in their order, ready to be padded."""
    inputs: dict[str, list[list[int]]] = {name: [] for name in _input_names(tokenizer)}
    for sequence in sequences:
        for name, ids in sequence.inputs.items():
            inputs.setdefault(name, []).append(ids)
    return TokenizedTexts(inputs, _filler(tokenizer), tokenizer.padding_side == "left")


def sides_of(texts: Sequence[int | None], between: int) -> list[int]:
    """The side of each token, given which text it is of, 0 or 1; None of a special one.

    `between` special tokens part two texts. Where one is empty, they stand beside those before or
    after both.
    """
    own = [place for place, text in enumerate(texts) if text is not None]
    if not own:
        return [Side.BOTH] * len(texts)
    first = own[0] - (0 if 0 in texts else between)
    last = own[-1] + (0 if 1 in texts else between)
    outside = Side.BOTH, Side.BETWEEN
    return [
        outside[first <= place <= last] if text is None else (Side.FIRST, Side.SECOND)[text]
        for place, text in enumerate(texts)
    ]


def _special_tokens(tokenizer: Any, *, pair: bool) -> int:
    return int(tokenizer.num_special_tokens_to_add(pair))


def room_for_texts(tokenizer: Any, max_length: int) -> int:
    """Tokens that `max_length` leaves to a pair of texts beside the special ones, at least two."""
    special = int(tokenizer.num_special_tokens_to_add(True))
    if max_length < special + 2:
        raise ConfigError(f"`max_length` must be at least {special + 2}, got {max_length}.")
    return max_length - special


def whole_characters(text: str) -> str:
    """`text` with U+FFFD for halves of characters, which JSON can hold and tokenizers refuse."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _input_names(tokenizer: Any) -> list[str]:
    return [name for name in MODEL_INPUTS if name in tokenizer.model_input_names]


def _filler(tokenizer: Any) -> dict[str, int]:
    return {
        "input_ids": tokenizer.pad_token_id or 0,
        "token_type_ids": tokenizer.pad_token_type_id,
        SIDES: Side.BETWEEN,
    }
