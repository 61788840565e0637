"""Paths as they are shown: as text that any file or terminal takes, and as addresses."""

from __future__ import annotations

import os
from pathlib import Path


def path_text(path: str | Path) -> str:
    r"""A path as text; bytes that are no UTF-8 stand as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def file_address(path: str | Path) -> str:
    """The `file://` address of an absolute path, whatever the bytes of its name.

    Raises:
        ValueError: The path is relative.
    """
    return Path(path).as_uri()


def path_line(path: str | Path) -> str:
    r"""A path on one line of a terminal; what cannot be printed stands as an escape: `\n`."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in path_text(path)
    )
