"""File names as text that every store can hold, whatever their bytes."""

from __future__ import annotations

_SURROGATES = range(0xDC80, 0xDD00)
"""What Python makes of bytes that are no UTF-8 (PEP 383)."""
_PRIVATE = 0x10FE80
"""Where they are kept: code points for private use, which no file name is likely to have."""

_STORED = {code: _PRIVATE + code - _SURROGATES[0] for code in _SURROGATES}
_REAL = {stored: code for code, stored in _STORED.items()}


def stored_text(path: str) -> str:
    """A path, or other text from a file, as valid Unicode; `real_path` undoes it."""
    return path if path.isascii() else path.translate(_STORED)


def real_path(text: str) -> str:
    """The path that `stored_text` was given."""
    return text if text.isascii() else text.translate(_REAL)
