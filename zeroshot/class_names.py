"""The labels of a run, as the user wrote them, checked before anything costs time."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.entry_lines import Entry, read_entries
from runtime.errors import ConfigError


def read_class_names(labels: str | None, labels_file: Path | None) -> tuple[str, ...]:
    """The labels of a command, from the one place or the other.

    Args:
        labels: Separated by commas; a label with a comma stands in double quotes.
        labels_file: One label a line, taken as it stands.

    Raises:
        ConfigError: Both or neither are given, or they cannot be used.
    """
    if (labels is None) == (labels_file is None):
        said = "exclude each other" if labels is not None else "are both missing"
        raise ConfigError(
            f"--labels and --labels-file {said}. Give one: --labels cat,dog or "
            "--labels-file FILE with one label a line."
        )
    return split_labels(labels) if labels is not None else read_labels_file(Path(labels_file or ""))


def split_labels(text: str) -> tuple[str, ...]:
    """The labels of `a,b,"c, with a comma"`.

    Raises:
        ConfigError: One is empty or stands twice, or a quote is not closed.
    """
    try:
        [names] = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise ConfigError(
            f"Cannot read the labels {text!r}: they are one line, separated by commas, and a "
            "quote that opens a label must close it. --labels-file takes labels as they stand."
        ) from error
    return _checked(Entry(name.strip(), f"label {n}") for n, name in enumerate(names, start=1))


def read_labels_file(path: Path) -> tuple[str, ...]:
    """The labels of a file, one a line: `007`, `NA` and `"` mean what they say.

    Raises:
        ConfigError: The file cannot be read or is empty, or a label stands twice.
    """
    return _checked(read_entries(path))


def checked_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Labels that a caller gives, without the space around them.

    Raises:
        ConfigError: There is none, or one is empty or stands twice.
        TypeError: They are no strings, or one string.
    """
    if isinstance(class_names, str):
        raise TypeError("Labels must be a sequence of texts, got one text; put it into a list.")
    for name in class_names:
        if not isinstance(name, str):
            raise TypeError(f"Labels must be texts, got {name!r}.")
    return _checked(Entry(name.strip(), f"label {n}") for n, name in enumerate(class_names, 1))


def _checked(entries: Iterable[Entry]) -> tuple[str, ...]:
    places: dict[str, str] = {}
    for entry in entries:
        if not entry.text:
            raise ConfigError(f"{_sentence(entry.place)} is empty. Name it, or take it out.")
        if not entry.text.isprintable():
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
