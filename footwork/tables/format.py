"""How a table is written down: what the user states of it, and what was found of it."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from footwork.errors import ConfigError

FIRST_SPACE = "first-space"
"""Delimiter of `label text` lines: the first space of a line, and no other."""

_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """What the user states of a table; what is None is detected, as are options not given."""

    delimiter: str | None = None
    """One character, `tab`, or `first-space` for lines of `label text`; if not given, it is found
    out."""
    header: bool | None = None
    """Whether the first row names the columns; if not given, it is found out."""
    encoding: str | None = None
    """A codec of Python, such as utf-8, latin-1 or utf-16; if not given, it is found out."""
    skip_bad_rows: bool = False
    """List unreadable rows instead of stopping at the first."""

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", _resolve_delimiter(self.delimiter))
        if self.encoding is not None:
            _check_encoding(self.encoding)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a delimited line are told apart."""

    delimiter: str
    quoted: bool = True
    """Quote characters enclose cells; False leaves them in the text."""
    escaped: bool = False
    """A backslash before a quote keeps it in the cell."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a text file are read."""

    kind: str
    """`delimited`, `first-space`, `fasttext` or `lines` (one text a line)."""
    columns: tuple[str, ...]
    header_rows: int = 0
    """Rows up to the one that names the columns; 0 where none does."""
    dialect: Dialect | None = None
    """Only for `delimited`."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is known of a table before it is looked at."""

    names: tuple[str, ...] = ()
    """Of columns, stated or trained on; a row that holds one is the header."""
    beside: Layout | None = None
    """Of a table without a header that this one belongs to; of as many columns, it has none."""
    labelled: bool = False
    """Each line holds a label, so that `label text` with nothing but a space between may be
    looked for; otherwise such a line is one text."""


ANYTHING = Expected()
DETECT = TableFormat()
"""Everything is detected, and the first bad row stops the reading."""


def _resolve_delimiter(delimiter: str) -> str:
    resolved = _DELIMITER_NAMES.get(delimiter.lower(), delimiter)
    if resolved != FIRST_SPACE and (len(resolved) != 1 or resolved in '\r\n"'):
        raise ConfigError(
            f"`delimiter` must be one character, `tab` or `{FIRST_SPACE}`, got {delimiter!r}."
        )
    return resolved


def _check_encoding(encoding: str) -> None:
    try:
        text_codec = codecs.lookup(encoding)._is_text_encoding
    except LookupError:
        text_codec = False
    if not text_codec:
        raise ConfigError(
            f"`encoding` must be a codec of Python such as utf-8, latin-1 or utf-16, "
            f"got {encoding!r}."
        )
