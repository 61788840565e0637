"""Paths and sizes as they are shown: as text that any file or terminal takes, and as addresses."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from stat import S_ISREG
from urllib.parse import unquote, urlsplit

EMPTY_PATH = "must be a path, got an empty text. The folder where you are is `.`."
"""What is said where one is empty."""


def user_path(path: str | Path) -> Path:
    """A path whose `~` is the user's home; `~name` is a file's name where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of pathlib raises there


def path_text(path: str | Path) -> str:
    r"""A path as text; bytes that are no UTF-8 stand as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def file_address(path: str | Path) -> str:
    """The `file://` address of an absolute path, whatever the bytes of its name."""
    return Path(path).as_uri()


def path_at(address: str) -> str | None:
    """The path that a `file:` address names; None where it names another machine's, or no file."""
    parts = urlsplit(address)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return unquote(parts.path, errors="surrogateescape")


def path_line(path: str | Path) -> str:
    r"""A path on one line of a terminal; what cannot be printed stands as an escape: `\n`."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in path_text(path)
    )


def shell_word(path: str | Path) -> str:
    r"""A path or a name as one word of a command that can be pasted into a shell.

    What cannot be printed stands as bash and zsh read it: `$'a\x0ab'`.
    """
    text = f"./{path}" if str(path).startswith("-") else str(path)
    if text.isprintable():
        return shlex.quote(text)
    literal = (
        c if c.isprintable() and c not in "\\'" else "".join(f"\\x{b:02x}" for b in os.fsencode(c))
        for c in text
    )
    return f"$'{''.join(literal)}'"


_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Bytes in the largest unit that leaves a digit before the point."""
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
