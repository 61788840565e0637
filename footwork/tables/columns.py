"""Column names: which are usual, which is meant, and whether a first row holds names at all."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import chain
from statistics import median
from typing import Any

from footwork.errors import DataError
from footwork.files.faults import shortened

TEXT_PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("string1", "string2"),
    ("#1_string", "#2_string"),
    ("query", "passage"),
    ("query", "document"),
)
_TEXTS = """
    text texts sentence sentences review_text review_body review reviews comment_text comment
    comments content contents message messages utterance tweet post question questions query
    document documents body article passage input abstract summary
"""
_LABELS = """
    label labels gold_label category categories class classes target targets sentiment intent
    emotion emotions polarity topic is_duplicate quality stars star_rating rating ratings
    similarity score scores tag tags genre y
"""
TEXT_NAMES = tuple(_TEXTS.split())
LABEL_NAMES = tuple(_LABELS.split())
# Weaker than a text beside them: a review has a title too.
SHORT_TEXTS = (("title", "description"), ("headline", "description"), ("subject", "body"))
LAST_TEXTS = ("description", "headline", "title", "subject")
ID_NAMES = ("id", "ids", "uid", "guid", "idx", "index", "row_id", "example_id", "text_id")
KNOWN_COLUMN_NAMES = frozenset(
    (*chain(*TEXT_PAIRS), *TEXT_NAMES, *LAST_TEXTS, *LABEL_NAMES, *ID_NAMES, "#1_id", "#2_id")
)
"""Names that a column of texts, labels or ids usually bears, normalised."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NUMBERED = re.compile(r"column_\d+")
_MISSING = frozenset(("na", "n/a", "nan", "null", "none", "-", "?", "."))
_NAME_CHARACTERS = 40
_NAME_WORDS = 3
_QUESTION_CHARACTERS = 400
_RARE = 0.05


def normalise_name(name: str) -> str:
    """A column's name without case, surrounding spaces, and kinds of separators."""
    return re.sub(r"[\s\-.]+", "_", name.strip().lower())


def unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, by their numbers where they are empty or were there before.

    A name that is made is none that another column bears.
    """
    names: list[str] = []
    taken = set(map(normalise_name, cells))
    for number, cell in enumerate(cells, start=1):
        name = cell.strip()
        if not name or name in names:
            name = name or f"column_{number}"
            while normalise_name(name) in taken:
                name = f"{name}_{number}"
            taken.add(normalise_name(name))
        names.append(name)
    return tuple(names)


def repeated_names(header: Sequence[str]) -> tuple[str, ...]:
    """What columns of one name are read as, a sentence each name."""
    cells = [cell.strip() for cell in header]
    called = list(zip(unique_names(cells), cells, strict=True))
    return tuple(
        f"Warning: {cells.count(name)} columns are called {name!r}; they are read as "
        f"{', '.join(repr(new) for new, cell in called if cell == name)}."
        for name in dict.fromkeys(filter(None, cells))
        if cells.count(name) > 1
    )


def by_normal_name(columns: Iterable[str]) -> dict[str, str]:
    """Columns by their normalised names, the first where several have one."""
    return {normalise_name(column): column for column in reversed(list(columns))}


def unnamed(columns: Iterable[str]) -> bool:
    """Whether columns have numbers in place of names."""
    return all(map(_NUMBERED.fullmatch, columns))


def label_names(columns: Mapping[str, Any], stated: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the label columns: one, or several of 0 and 1.

    Where none is called so, commas divide one of them; quotes protect a comma.
    """
    names: dict[str, None] = {}
    for name in [stated] if isinstance(stated, str) else stated:
        there = find_name(columns, name)
        parts = [name] if there else next(csv.reader([name], skipinitialspace=True), [name])
        names |= dict.fromkeys(part.strip() for part in parts)
    return tuple(names)


def possible_names(stated: str | Sequence[str] | None) -> tuple[str, ...]:
    """All that label columns of an unread table may be called: commas may divide them or not."""
    whole = (stated,) if isinstance(stated, str) else tuple(stated or ())
    return (*whole, *label_names({}, whole))


def joined_names(names: Sequence[str]) -> str:
    """Names of columns as `label_names` divides them."""
    if len(names) == 1:
        return names[0]
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def find_column(columns: Mapping[str, Any], name: str, source: str) -> str:
    """The column of this name, in any case; `2` is the second where no column is called so.

    Where there is none, a `DataError` lists those there are.
    """
    if found := find_name(columns, name):
        return found
    by_key = by_normal_name(columns)
    close = difflib.get_close_matches(normalise_name(name), by_key, n=1)
    hint = f" Did you mean {by_key[close[0]]!r}?" if close else ""
    if unnamed(columns):
        hint = " Its first row was read as data; state --header if it names the columns."
    raise DataError(f"{source} has no column {name!r}; it has {listed_names(columns)}.{hint}")


def find_name(columns: Mapping[str, Any], name: str) -> str | None:
    """As `find_column`, but None if there is none."""
    if name in columns:
        return name
    by_key = by_normal_name(columns)
    return by_key.get(normalise_name(name)) or by_key.get(f"column_{name}")


def listed_names(columns: Iterable[str]) -> str:
    """The columns of a table, in a sentence of what it has."""
    listed = shortened(map(repr, columns), 50)
    return f"the columns {listed}" if listed else "no columns"


def is_number(value: str) -> bool:
    """Whether a cell reads as a finite decimal number; Python's `nan`, `inf`, `1_0` do not."""
    return _NUMBER.fullmatch(value.strip()) is not None


def holds_names(
    first: Sequence[str], rest: Sequence[Sequence[str]], stated: Sequence[str] = ()
) -> bool:
    """Whether a row holds names of columns: one that is stated, or usual ones.

    Of the `rest`, the rows below it, those of another width are not looked at. `stated` are names,
    or numbers, of columns that the table is known to have.
    """
    keys = [normalise_name(cell) for cell in first]
    # Column 2 is the second one.
    names = (name for name in stated if not (name.isdecimal() and int(name) <= len(first)))
    if any(name.strip() and normalise_name(name) in keys for name in names):
        return True
    columns = _columns_below(first, rest)
    known = [i for i, key in enumerate(keys) if key in KNOWN_COLUMN_NAMES]
    # A name that occurs again below is a label such as "question".
    again = any(first[i] in columns[i] for i in known)
    if len(known) > 1:
        return not again or list(first) in rest  # files that were joined, each with its header
    # One may be a text such as "Review", beside a label that others have, too.
    beside = zip(first, columns, strict=True)
    if not known or again or any(cell in column and _recurs(column) for cell, column in beside):
        return False
    if any(is_number(cell) for cell in first):  # the years of a survey, or amounts
        return any(_is_above_texts(first[i], columns[i]) for i in known)
    return all(len(cell) <= _NAME_CHARACTERS for cell in first)


def stands_out(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether a row is so unlike those below it that it must be their names.

    Its cells are words above amounts, or labels that never occur again; empty ones say nothing.
    Short ones above longer texts are believed at once; whole questions, as surveys have them, only
    where at most one row in twenty is as odd.
    """
    columns = _columns_below(first, rest)
    named = [(cell.strip(), column) for cell, column in zip(first, columns, strict=True)]
    named = [(cell, column) for cell, column in named if cell]
    cells = [cell for cell, _ in named]
    if len(named) < 2 or not columns[0] or len(set(cells)) < len(cells):
        return False
    if any(len(cell) > _QUESTION_CHARACTERS for cell in cells):
        return False
    recurring = [(cell, column) for cell, column in named if _recurs(column)]
    if any(cell in column for cell, column in recurring):
        return False
    # Of each column that tells: how many rows below are as unlike the others as the first.
    odd = [list(Counter(column).values()).count(1) for _, column in recurring]
    amounts = [column for cell, column in named if _is_word(cell) and _holds_amounts(column)]
    odd += [sum(map(_is_word, column)) for column in amounts]
    if any(count + 1 <= _RARE * (len(columns[0]) + 1) for count in odd):
        return True
    short = all(len(c) <= _NAME_CHARACTERS and len(c.split()) <= _NAME_WORDS for c in cells)
    if not short or any(map(is_number, cells)):
        return False
    above_amounts = any(not any(map(_is_word, column)) for column in amounts)
    return above_amounts or (bool(recurring) and any(_is_above_texts(*one) for one in named))


def _columns_below(first: Sequence[str], rest: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    below = [row for row in rest if len(row) == len(first)]
    return list(zip(*below, strict=True)) if below else [()] * len(first)


def _is_above_texts(cell: str, column: Sequence[str]) -> bool:
    if len(cell.split()) != 1 or not column:
        return False
    longer = len(cell) * 2 < median(map(len, column))
    return longer or median(len(one.split()) for one in column) >= 2


def _is_word(cell: str) -> bool:
    """Whether a cell holds letters, and neither a number nor a mark of what is missing."""
    letters = any(map(str.isalpha, cell))
    return letters and not is_number(cell) and cell.strip().lower() not in _MISSING


def _holds_amounts(column: Sequence[str]) -> bool:
    """Whether most cells are numbers, dates or the like."""
    return 2 * sum(bool(cell.strip()) and not _is_word(cell) for cell in column) > len(column)


def _recurs(column: Sequence[str]) -> bool:
    """Whether cells are repeated, as labels are."""
    return bool(column) and len(set(column)) * 2 <= len(column)
