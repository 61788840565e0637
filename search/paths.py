"""Files as an index calls them: absolute, and as text that every store can hold."""

from __future__ import annotations

import os
from pathlib import Path

_SURROGATES = range(0xDC80, 0xDD00)
"""What Python makes of bytes that are no UTF-8 (PEP 383)."""
_PRIVATE = 0x10FE80
"""Where they are kept: code points for private use, which no file name is likely to have."""

_STORED = {code: _PRIVATE + code - _SURROGATES[0] for code in _SURROGATES}
_REAL = {stored: code for code, stored in _STORED.items()}


def absolute_path(path: str | Path) -> str:
    """A path without `..` and `.`; links are kept."""
    return os.path.abspath(path)  # noqa: PTH100 - `Path.absolute` keeps `..`


def is_at_or_below(path: str, folder: str) -> bool:
    """Whether an absolute path is `folder` or lies in it, at any depth."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def stored_text(path: str) -> str:
    """A path, or other text from a file, as valid Unicode; `real_path` undoes it."""
    return path if path.isascii() else path.translate(_STORED)


def real_path(text: str) -> str:
    """The path that `stored_text` was given."""
    return text if text.isascii() else text.translate(_REAL)
