"""Sizes of files, as people read them."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISREG

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


def files_bytes(folder: Path, pattern: str = "*") -> int:
    """Of the files in a folder, without those below; ones that go meanwhile take nothing."""
    total = 0
    for path in folder.glob(pattern):
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue
        total += state.st_size if S_ISREG(state.st_mode) else 0
    return total
