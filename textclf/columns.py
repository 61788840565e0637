"""Which columns of a table hold the texts and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footwork.class_names import integer_again
from footwork.errors import DataError
from footwork.files.paths import shell_word
from footwork.tables.columns import (
    ID_NAMES,
    LABEL_NAMES,
    LAST_TEXTS,
    SHORT_TEXTS,
    TEXT_NAMES,
    TEXT_PAIRS,
    by_normal_name,
    find_column,
    is_number,
    joined_names,
    label_names,
    listed_names,
    normalise_name,
    unnamed,
)
from footwork.tables.labels import BITS

_LABEL_CHARACTERS = 40
_FEWEST_INDICATORS = 3
_LEAST_FILLED = 0.1
_LEAST_LETTERS = 0.3
_SAMPLE_ROWS = 5000


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a classifier is trained on."""

    text: tuple[str, ...]
    """One, or two for pairs."""
    labels: tuple[str, ...]
    """One, or several of 0 and 1."""
    notes: tuple[str, ...] = ()

    @property
    def label_column(self) -> str:
        """The label columns as `StatedColumns.label` takes them."""
        return joined_names(self.labels)


@dataclass(frozen=True, slots=True)
class StatedColumns:
    """What the user states; empty and None are found."""

    text: tuple[str, ...] = ()
    label: str | Sequence[str] | None = None
    """One, or several of 0 and 1; a text may hold several, separated by commas."""
    id: str | None = None
    """Neither text nor label."""


def choose_columns(
    columns: Mapping[str, Sequence[Any]], stated: StatedColumns, source: str
) -> Columns:
    """Find the columns by their names, else by what they hold; `source` is named in errors.

    A `DataError`, which lists them, where a stated one is missing or several would do.
    """
    text = tuple(find_column(columns, name, source) for name in stated.text)
    names = label_names(columns, stated.label) if stated.label else ()
    labels = tuple(dict.fromkeys(find_column(columns, name, source) for name in names))
    identity = find_column(columns, stated.id, source) if stated.id else None
    taken = {*text, *labels, identity}
    free = [name for name in columns if name not in taken]
    text = text or _text_by_name(free)
    free = [name for name in free if name not in text]
    further: tuple[str, ...] = ()
    if not labels and (named := _by_name(free, LABEL_NAMES)):
        labels = (named,)
        like = [name for name in free if normalise_name(name) in LABEL_NAMES and name != named]
        further = (f"Not taken as labels: {_quoted(like)} (--label-column).",) if like else ()
    if not text or not labels:
        usual = _by_name([name for name in free if name not in labels], ID_NAMES)
        if usual and len(set(map(str, columns[usual]))) == len(columns[usual]):
            identity = identity or usual
        profiles = [_Profile(name, cells) for name, cells in columns.items()]
        text, labels = _by_content(profiles, text, labels, identity, source)
    said = f"Texts are taken from {text[0]!r}"
    if len(text) == 2:
        said = f"Texts are pairs of {_quoted(text)}"
    several = f"{len(labels)} columns (--label-column {joined_names(labels)})"
    said += f", labels from {repr(labels[0]) if len(labels) == 1 else several}."
    left = {name: columns[name] for name in columns if name not in {*text, *labels, identity}}
    others = () if stated.text else _texts_left_out(left)
    return Columns(text, labels, (said, *further, *_told(text, others)))


def _texts_left_out(columns: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """Of columns that nothing is taken from, those that seem to hold texts as well."""
    profiles = [
        _Profile(name, cells)
        for name, cells in columns.items()
        if normalise_name(name) not in ID_NAMES
    ]
    return tuple(p.name for p in profiles if p.is_text and p.filled >= _LEAST_FILLED)


def _told(text: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    if not others:
        return ()
    holds = "holds texts, too, and is" if len(others) == 1 else "hold texts, too, and are"
    both = " ".join(f"--text-column {shell_word(name)}" for name in (*text, *others))
    how = f"; {both} takes pairs" if len(text) == len(others) == 1 else " (--text-column)"
    return (f"{_quoted(others)} {holds} left out{how}.",)


def find_text_columns(
    columns: Sequence[str],
    trained: Sequence[str],
    label: str | Sequence[str] | None,
    source: str,
) -> tuple[tuple[str, ...], str | None]:
    """The text columns of a table to be classified: those of the training, else what is obvious.

    `trained` are the model's columns, empty where not known; `label` is as of `StatedColumns`.

    Returns:
        One, or two for pairs, and what is to be said of the choice.

    Raises:
        DataError: They are missing, and there is not exactly one candidate for them.
    """
    by_key = by_normal_name(columns)
    found = tuple(name if name in columns else _alike(columns, name) for name in trained)
    if trained and all(found):
        taken = f"texts are taken from {_quoted(trained)}, as trained."
        note = f"{source} has no names of columns: {taken}"
        # Numbers in place of names tell little.
        told = unnamed(trained) and len(columns) != len(trained)
        return tuple(map(str, found)), note if told else None
    labels = label_names(dict.fromkeys(columns), label) if label else ()
    other = (*LABEL_NAMES, *ID_NAMES, *map(normalise_name, labels))
    free = [name for name in columns if normalise_name(name) not in other]
    usual = [name for name in free if normalise_name(name) in TEXT_NAMES]
    pairs = [pair for pair in TEXT_PAIRS if set(pair) <= by_key.keys()]
    plain = [by_key["text"]] if "text" in by_key and not trained else []
    text: tuple[str, ...] = ()
    if len(trained) != 1 and len(pairs) == 1:
        text = tuple(by_key[key] for key in pairs[0])
    elif len(trained) != 2 and not pairs:
        text = next((tuple(some) for some in (plain, free, usual) if len(some) == 1), ())
    if not text:
        raise DataError(_no_texts(columns, trained, source))
    if list(columns) == ["text"]:
        return text, None  # as lines are read, which have no names
    taken = f"exts are taken from {_quoted(text)} (--text-column)."
    if not trained:
        return text, f"T{taken}"
    return text, f"{source} lacks {_quoted(trained)}, which the model was trained on: t{taken}"


def id_column(
    columns: Mapping[str, Any], stated: str | None, taken: Sequence[str], source: str
) -> str | None:
    """The column of the rows' own names: the one that is stated, else a usual one, if any.

    One that is `taken` for something else is none.
    """
    if stated:
        return find_column(columns, stated, source)
    free = (name for name in columns if name not in taken)
    return next((name for name in free if normalise_name(name) in ID_NAMES), None)


def row_id(value: Any, row: int) -> str:
    """What a row is called: what stands in its id column, or its number where nothing does."""
    return str(row if value is None or value != value or value == "" else integer_again(value))


def _alike(columns: Sequence[str], name: str) -> str | None:
    """The one column of this name in other letters."""
    alike = [column for column in columns if normalise_name(column) == normalise_name(name)]
    return alike[0] if len(alike) == 1 else None


def _no_texts(columns: Sequence[str], trained: Sequence[str], source: str) -> str:
    has = f"it has {listed_names(columns)}"
    if not trained:
        return (
            f"The text column of {source} is not clear; {has}. "
            f"Name it with --text-column, twice for pairs."
        )
    how = "twice, in the order of the training" if len(trained) == 2 else "once"
    lacking = [name for name in trained if name not in columns and not _alike(columns, name)]
    return (
        f"{source} lacks {_quoted(lacking)}: the model was trained on {_quoted(trained)}; {has}. "
        f"Name what takes its place with --text-column, {how}."
    )


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))


def _text_by_name(names: Sequence[str]) -> tuple[str, ...]:
    by_key = by_normal_name(names)
    for pair in TEXT_PAIRS:
        if all(name in by_key for name in pair):
            return tuple(by_key[name] for name in pair)
    for name in TEXT_NAMES:
        if name in by_key and not any(
            name in pair and set(pair) <= by_key.keys() for pair in SHORT_TEXTS
        ):
            return (by_key[name],)
    for pair in SHORT_TEXTS:
        if all(name in by_key for name in pair):
            return tuple(by_key[name] for name in pair)
    last = next((by_key[name] for name in LAST_TEXTS if name in by_key), None)
    return (last,) if last else ()


def _by_name(names: Sequence[str], known: Sequence[str]) -> str | None:
    by_key = by_normal_name(names)
    return next((by_key[name] for name in known if name in by_key), None)


class _Profile:
    """What a column's cells look like, over the first rows."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        sample = values[:_SAMPLE_ROWS]
        cells = [str(value) for value in sample if value is not None]
        count = max(len(cells), 1)
        self.name = name
        self.characters = sum(map(len, cells)) / count
        self.numbers = all(map(is_number, cells))
        self.bits = bool(cells) and all(cell.lower() in BITS for cell in cells)
        self.filled = sum(bool(cell.strip()) for cell in cells) / max(len(sample), 1)
        self.distinct = len(set(cells)) / count
        words = sum(len(cell.split()) for cell in cells) / count
        letters = sum(map(str.isalpha, "".join(cells))) / max(sum(map(len, cells)), 1)
        lists = any(isinstance(value, list) for value in sample)
        short = self.characters <= _LABEL_CHARACTERS
        # Of a point in time hardly a character is a letter.
        worded = not self.numbers and letters >= _LEAST_LETTERS
        self.holds_texts = worded and not lists and (words >= 2 or self.characters > 15)
        key = self.distinct == 1.0 and words <= 1 and short
        self.holds_ids = key and all(map(str.isascii, cells))
        self.holds_labels = (self.distinct <= 0.5 and short) or lists
        self.is_text = self.holds_texts and not self.holds_ids and not self.holds_labels


def _by_content(
    profiles: Sequence[_Profile],
    text: tuple[str, ...],
    labels: tuple[str, ...],
    identity: str | None,
    source: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is found of texts and labels already, and the rest by what columns hold."""
    # Spreadsheets leave columns beside the table in which hardly a cell holds anything.
    filled = [p for p in profiles if p.filled >= _LEAST_FILLED]
    free = [p for p in filled if p.name not in (*text, *labels, identity)]
    if not labels:
        labels = _label_by_content(free, wanted=2 if not text else 1)
        free = [p for p in free if p.name not in labels]
    if not text and labels:
        texts = [p for p in free if p.holds_texts and not p.holds_ids]
        plain = [p for p in free if not p.holds_ids]
        text = tuple(p.name for p in texts or plain or (free if len(free) == 1 else ()))
    if labels and 1 <= len(text) <= 2:
        return text, labels
    missing = "text" if labels else "label" if text else "text or label"
    bits = tuple(p.name for p in profiles if p.bits)
    several = f", all that are labels as --label-column {joined_names(bits)}" if bits[1:] else ""
    raise DataError(
        f"The {missing} column of {source} is not clear; it has "
        f"{listed_names(p.name for p in profiles)}. Name the columns with --text-column, twice for "
        f"pairs, and --label-column{several}."
    )


def _label_by_content(free: Sequence[_Profile], wanted: int) -> tuple[str, ...]:
    """The one column that recurs, or several of 0 and 1; of two columns, the shorter one."""
    labels = [p for p in free if p.holds_labels]
    bits = [p.name for p in free if p.bits]
    if len(labels) == 1:
        return (labels[0].name,)
    if len(bits) >= _FEWEST_INDICATORS and all(p.bits for p in labels):
        return tuple(bits)
    if len(free) != wanted:
        return ()
    # A score recurs in no row, a class with one row neither; what is left is the length.
    candidates = sorted(free, key=lambda p: (p.characters, p.distinct))
    if len(candidates) == 1:
        return (candidates[0].name,) if candidates[0].numbers else ()
    shorter, longer = candidates
    clear = shorter.numbers or shorter.distinct < 1 or shorter.characters * 3 < longer.characters
    return (shorter.name,) if clear and not longer.numbers else ()
