"""What a query is made of: words and images, with weights, some of them unwanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from footwork.errors import ConfigError
from footwork.files.paths import path_at, path_line, user_path
from footwork.tables.source import read_entries
from search.paths import absolute_path

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+):"
_WEIGHT = re.compile(_NUMBER + r"(?=[^\s\d])")  # 10:30 and 16:9 are words
_WEIGHT_OF_FILE = re.compile(_NUMBER)
_OPTION = re.compile(r"--\S+|-[a-zA-Z]")
_LITERAL = "\\-"
"""Begins a word whose dash is its own, as `\\#` does an entry of a file."""
_TYPOGRAPHIC_DASH = re.compile("[\u2010-\u2015\u2212]+\\S+")
_HEAVIEST = 1_000_000  # beyond it other terms count for nothing, and sums soon for no number
_ADDRESSES = ("file:", "http://", "https://")
_PATH_BEGINNINGS = ("/", "./", "../", "~/", *_ADDRESSES)


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that is asked for."""

    text: str
    """Words, or the path of an image."""
    is_image: bool = False
    weight: float = 1.0
    """Against the other wanted terms; above 0."""
    is_excluded: bool = False
    """Whether images that show it are left out."""
    vector: tuple[float, ...] = ()
    """Of length 1, where it is given in place of words or a file; `text` is then but a name."""

    @property
    def is_words(self) -> bool:
        """Whether it is to be embedded as a text."""
        return not (self.is_image or self.vector)


@dataclass(frozen=True, slots=True)
class Query:
    """Terms that are answered together; at least one is wanted."""

    terms: tuple[Term, ...]

    @property
    def wanted(self) -> tuple[Term, ...]:
        """What the images are to show."""
        return tuple(term for term in self.terms if not term.is_excluded)

    @property
    def excluded(self) -> tuple[Term, ...]:
        """What they are not to show."""
        return tuple(term for term in self.terms if term.is_excluded)

    @property
    def words(self) -> str:
        """The wanted words, without the images and vectors."""
        return " ".join(term.text for term in self.wanted if term.is_words)

    def __str__(self) -> str:
        """As it reads: `a dog + 0.5:at night - people`."""
        parts = []
        for place, term in enumerate(self.terms):
            sign = "- " if term.is_excluded else "+ " if place else ""
            weight = "" if term.weight == 1.0 else f"{term.weight:g}:"
            parts.append(f"{sign}{weight}{term.text}")
        return " ".join(parts)


def parse_query(
    words: Sequence[str], like: Iterable[str] = (), given: Iterable[Term] = ()
) -> Query:
    r"""Read a query as it is typed.

    Args:
        words: `a dog + "at night" - people`, split as a shell does or not at all: `+` adds a term,
            `-` excludes one, with or without a space after it (`\-` begins a word with a dash of
            its own), `0.5:` before a term is its weight, unless a digit follows: `16:9` is a word.
            A term that begins as a path does (`./`, `/`, `~/`, `../`) or is a file: address is an
            image.
        like: Images, each with a weight if need be.
        given: Terms that are told otherwise than in words.

    Raises:
        ConfigError: Nothing is asked for, or a term is empty.
    """
    groups: list[tuple[str, list[str]]] = [("+", [])]
    for part in (part for word in words for part in _parts(word)):
        if part in ("+", "-"):
            groups.append((part, []))
        else:
            groups[-1][1].append(part)
    said = groups if groups[0][1] else groups[1:]
    terms = [_term(" ".join(group).strip(), is_excluded=sign == "-") for sign, group in said]
    for text in like:
        weight, path = (1.0, text) if Path(text).exists() else _weighted(text, _WEIGHT_OF_FILE)
        terms.append(Term(_path_of(path), is_image=True, weight=weight))
    terms += given
    if all(term.is_excluded for term in terms):
        raise ConfigError(
            "Nothing is asked for. Name words, or an image: footwork search query "
            '"a red bicycle" or --like photo.jpg. Only what is asked for can be narrowed by `-`; '
            "words with a dash of their own stand after --."
        )
    return Query(tuple(terms))


def read_queries(file: Path, standard_input: BinaryIO) -> list[Query]:
    """Queries, one a line of a file or, for `-`, of standard input, read as by `parse_query`.

    `ConfigError` where the file cannot be read or holds no query, or one is wrong.
    """
    content = standard_input.read() if str(file) == "-" else None
    queries = []
    for entry in read_entries(file, content):
        try:
            queries.append(parse_query(entry.text.split()))
        except ConfigError as error:
            raise ConfigError(f"{entry.place}: {error}") from error
    return queries


def _parts(word: str) -> list[str]:
    """A word of a shell may be a whole query; a path may hold anything."""
    if word.startswith(_PATH_BEGINNINGS):
        return [word]
    parts = []
    for part in word.split():
        if _OPTION.fullmatch(part):
            raise ConfigError(
                f"{path_line(part)} looks like an option, but stands among the words of the query. "
                "An option is a word of its own, outside of quotes. To leave out what shows "
                f"something, write a space after the sign: - {path_line(part.lstrip('-'))}; the "
                f"word itself is \\{path_line(part)}"
            )
        if _TYPOGRAPHIC_DASH.fullmatch(part):
            raise ConfigError(
                f"{path_line(part)} begins with a dash that no option and no sign has. Type it "
                "anew, with - or --, or put a space after it."
            )
        signed = part[0] in "+-" and len(part) > 1
        literal = part.startswith(_LITERAL)
        parts += [part[0], part[1:]] if signed else [part[1:] if literal else part]
    return parts


def _term(text: str, *, is_excluded: bool) -> Term:
    weight, text = _weighted(text)
    if not text:
        raise ConfigError("A term is empty: words or a picture must follow each `+` and `-`.")
    if is_excluded and weight != 1.0:
        raise ConfigError(
            f"What is left out has no weight, got {weight:g} before {path_line(text)}. Weigh what "
            "is wanted."
        )
    if text.startswith(_PATH_BEGINNINGS):
        return Term(_path_of(text), is_image=True, weight=weight, is_excluded=is_excluded)
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # a byte that could not be read
        raise ConfigError(f"The words {path_line(text)} are no UTF-8. Type them anew.")
    return Term(text, weight=weight, is_excluded=is_excluded)


def _weighted(text: str, form: re.Pattern[str] = _WEIGHT) -> tuple[float, str]:
    stated = form.match(text)
    if stated is None:
        return 1.0, text
    weight = float(stated[1])
    if not 0.0 < weight <= _HEAVIEST:
        raise ConfigError(f"A weight must be above 0 and at most {_HEAVIEST:,}, got {text!r}.")
    return weight, text[stated.end() :]


def _path_of(text: str) -> str:
    """Absolute, of a path or a file: address."""
    if not text.startswith(_ADDRESSES):
        return absolute_path(user_path(text))
    if (path := path_at(text)) is None:
        raise ConfigError(
            f"{text} lies on another machine. Only files of this one can be read: save it here, "
            "and name the file."
        )
    return path
