"""Sizes of files, as people read them."""

from __future__ import annotations

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """In the largest unit that leaves a digit before the point.

    Args:
        size: Bytes.
    """
    power = 0
    while size >= 999.5 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    digits = 1 if power and size < 99.5 else 0
    return f"{size:.{digits}f} {_UNITS[power]}"
