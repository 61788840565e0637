"""Files as an index calls them: absolute, and as text that every store can hold."""

from __future__ import annotations

import os
import unicodedata
from itertools import islice, product
from pathlib import Path

_SURROGATES = range(0xDC80, 0xDD00)
"""What Python makes of bytes that are no UTF-8 (PEP 383)."""
_PRIVATE = 0x10FE80
"""Where they are kept: code points for private use, which no file name is likely to have."""

_MOST_SPELLINGS = 256
"""Of one path: more than eight of its names with accents are of no path that is there."""

_STORED = {code: _PRIVATE + code - _SURROGATES[0] for code in _SURROGATES}
_REAL = {stored: code for code, stored in _STORED.items()}


def absolute_path(path: str | Path) -> str:
    """A path without `..` and `.`; links are kept."""
    return os.path.abspath(path)  # noqa: PTH100 - `Path.absolute` keeps `..`


def is_at_or_below(path: str, folder: str) -> bool:
    """Whether an absolute path is `folder` or lies in it, at any depth."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def spellings(text: str) -> tuple[str, ...]:
    """A text as it stands, composed and decomposed: file systems keep either, and both look alike.

    Args:
        text: Of a path each name is spelt by itself.
    """
    if text.isascii():
        return (text,)
    names = (
        dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
        for name in text.split("/")
    )
    return tuple(islice(map("/".join, product(*names)), _MOST_SPELLINGS))


def composed(text: str) -> str:
    """The one of these that others are compared by."""
    return unicodedata.normalize("NFC", text)


def stored_text(path: str) -> str:
    """A path, or other text from a file, as valid Unicode; `real_path` undoes it."""
    return path if path.isascii() else path.translate(_STORED)


def real_path(text: str) -> str:
    """The path that `stored_text` was given."""
    return text if text.isascii() else text.translate(_REAL)
