"""Column names: which are usual, and whether a first row holds names at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

_NAMES = """
    text texts sentence sentences content contents review reviews review_text review_body comment
    comments comment_text message messages question questions document documents body title
    description subject utterance query tweet post abstract summary headline article passage input
    sentence1 sentence2 sentence_1 sentence_2 premise hypothesis question1 question2 text1 text2
    text_1 text_2 text_a text_b sentence_a sentence_b string1 string2 #1_string #2_string
    label labels category categories class classes target targets sentiment intent emotion
    emotions stars star_rating rating ratings score scores quality y gold_label polarity topic tag
    tags is_duplicate genre similarity
    id ids idx index uid guid #1_id #2_id row_id example_id text_id
"""
KNOWN_COLUMN_NAMES = frozenset(_NAMES.split())
"""Names that a column of texts, labels or ids usually bears, normalised."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NAME_CHARACTERS = 40
_NAME_WORDS = 3


def normalise_name(name: str) -> str:
    """A column's name without case, surrounding spaces, and kinds of separators."""
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def is_number(value: str) -> bool:
    """Whether a cell reads as a finite decimal number; Python's `nan`, `inf`, `1_0` do not."""
    return _NUMBER.fullmatch(value.strip()) is not None


def is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether a first row names the columns below it.

    It does if it holds usual names, or if its cells are unlike those below: a word above
    numbers, or a label that never occurs again above a short text.

    Args:
        first: Cells of the first row.
        rest: Rows below it; those of another width are not looked at.
    """
    below = [row for row in rest if len(row) == len(first)]
    if any(is_number(cell) for cell in first) or not any(cell.strip() for cell in first):
        return False
    if not all(len(cell) <= _NAME_CHARACTERS for cell in first):
        return False
    columns = list(zip(*below, strict=True)) if below else [()] * len(first)
    known = [i for i, cell in enumerate(first) if normalise_name(cell) in KNOWN_COLUMN_NAMES]
    if known:
        # A name that occurs again below is a label such as "question".
        return not any(first[i] in columns[i] for i in known)
    return len(first) > 1 and bool(below) and _stands_out(first, columns)


def _stands_out(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    if sum(not cell.strip() for cell in first) > 1 or len(set(first)) < len(first):
        return False
    if any(len(cell.split()) > _NAME_WORDS for cell in first):
        return False
    above_numbers = any(all(map(is_number, column)) for column in columns)
    above_labels = any(
        cell not in column and len(set(column)) * 2 <= len(column)
        for cell, column in zip(first, columns, strict=True)
    )
    above_texts = any(
        len(cell.split()) == 1
        and (median(len(one.split()) for one in column) >= 2 or _is_short(cell, column))
        for cell, column in zip(first, columns, strict=True)
    )
    return above_numbers or (above_labels and above_texts)


def _is_short(cell: str, column: Sequence[str]) -> bool:
    return len(cell) * 2 < median(map(len, column))
