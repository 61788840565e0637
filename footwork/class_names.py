"""The names of classes: labels as the user wrote them, made comparable and checked."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError
from footwork.tables.columns import is_number
from footwork.tables.source import Entry, read_entries

# The joiners between letters of other scripts, and within an emoji, are spelling.
_JOINERS, _JOINED = "[\u200c\u200d]", "[^\0-\u02ff]"
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
    f"|(?<!{_JOINED}){_JOINERS}|{_JOINERS}(?!{_JOINED})"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_VARIANTS = re.compile("[\ufe00-\ufe0f]")
# What a word processor makes of - ' and ".
_TYPED = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-") | str.maketrans("‘’“”", "''\"\"")  # noqa: RUF001
_LOGICAL = {"true": Decimal(1), "false": Decimal(0)}


def class_name(written: str) -> str:
    """A label without what nobody sees: composed accents, plain spaces, none around it."""
    if written.isascii():
        return written.strip()
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFC", written))
    return _SPACES.sub(" ", visible).strip()


def read_label(value: Any) -> str | None:
    """A cell of a table as a label, None where there is none: whole floats become integers."""
    # A missing number of Parquet is NaN, which is not itself.
    if value is None or value != value:
        return None
    return class_name(str(integer_again(value))) or None


def integer_again(value: Any) -> Any:
    """A whole float as an integer, which it was before its column had a gap in pandas."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return int(value) if whole else value


def look_alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ in case, spaces, dashes, quotes, or in how a value is written.

    `1`, `1.0` and `true` are one value.
    """
    alike: dict[str | Decimal, list[str]] = defaultdict(list)
    for name in names:
        plain = _VARIANTS.sub("", unicodedata.normalize("NFKC", name)).translate(_TYPED)
        key = " ".join(plain.casefold().split())
        # An exponent of many digits is none that a Decimal takes.
        number = Decimal(key) if len(key) < 20 and is_number(key) else _LOGICAL.get(key)
        alike[key if number is None else number].append(name)
    return [group for group in alike.values() if len(group) > 1]


def read_class_names(labels: str | None, labels_file: Path | None) -> tuple[str, ...]:
    """The labels of a command, from the one place or the other, or a `ConfigError`."""
    if (labels is None) == (labels_file is None):
        said = "exclude each other" if labels is not None else "are both missing"
        raise ConfigError(
            f"--labels and --labels-file {said}. Give one: --labels cat,dog or "
            "--labels-file FILE with one label a line."
        )
    return split_labels(labels) if labels is not None else read_labels_file(Path(labels_file or ""))


def split_labels(text: str) -> tuple[str, ...]:
    """The labels of `a,b,"c, with a comma"`, or a `ConfigError`."""
    try:
        [names] = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise ConfigError(
            f"Cannot read the labels {text!r}: they are one line, separated by commas, and a "
            "quote that opens a label must close it. --labels-file takes labels as they stand."
        ) from error
    return _checked(Entry(class_name(name), f"label {n}") for n, name in enumerate(names, start=1))


def read_labels_file(path: Path) -> tuple[str, ...]:
    """The labels of a file, one a line: `007`, `NA` and `"` mean what they say."""
    return _checked(Entry(class_name(one.text), one.place) for one in read_entries(path))


def checked_class_names(class_names: Iterable[str]) -> tuple[str, ...]:
    """Labels that a caller gives, without the space around them, or a `ConfigError`.

    What is no list of texts or the like is a TypeError.
    """
    is_table = isinstance(class_names, Mapping) or hasattr(class_names, "columns")
    if isinstance(class_names, str) or is_table or not isinstance(class_names, Iterable):
        raise TypeError(
            f"Labels must be a list of texts, got {type(class_names).__name__}. Put one label into "
            "a list; of a table take a column, of a mapping its keys."
        )
    names = list(class_names)  # a generator is gone through once
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Labels must be texts, got {name!r}.")
    return _checked(Entry(class_name(name), f"label {n}") for n, name in enumerate(names, 1))


def _checked(entries: Iterable[Entry]) -> tuple[str, ...]:
    places: dict[str, str] = {}
    for entry in entries:
        if not entry.text:
            raise ConfigError(f"{_sentence(entry.place)} is empty. Name it, or take it out.")
        if not re.sub(_JOINERS, "", entry.text).isprintable():
            raise ConfigError(
                f"{_sentence(entry.place)} holds a character that cannot be printed: "
                f"{entry.text!r}. Labels are plain text on one line."
            )
        if entry.text in places:
            raise ConfigError(
                f"The label {entry.text!r} stands twice: {places[entry.text]} and {entry.place}. "
                "Keep one."
            )
        places[entry.text] = entry.place
    if not places:
        raise ConfigError("There are no labels. Give at least one.")
    return tuple(places)


def _sentence(place: str) -> str:
    return place if "," in place else place.capitalize()
