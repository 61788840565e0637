"""The standard streams, whatever stands behind them: a terminal, a pipe, a full disk, nothing."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


_CONTROLS = (
    *(*range(9), *range(11, 32), *range(127, 160)),
    *(*range(0x202A, 0x202F), *range(0x2066, 0x206A)),
)
_ESCAPED = {code: f"\\u{code:04x}" for code in _CONTROLS}
"""What moves the cursor, changes colours or turns a line around, as JSON and Python escape it."""
_NARROWEST, _USUAL = 20, 80  # columns of a terminal; one that says 0 does not know


def read_as_utf8() -> None:
    """Start the process again where the locale knows nothing but ASCII.

    Paths and words would then be read as halves of characters, and could not be written again.
    """
    if sys.getfilesystemencoding() == "ascii" and sys.executable:
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])


def open_closed_streams() -> None:
    """Put something in the place of standard streams that are closed.

    The next file that is opened, such as the catalog of an index, would otherwise get the number
    of one, and what a library tells its user would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # To write results fails; notes are lost, as the user wants it, and no input is empty.
            flags = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            os.set_inheritable(os.open(os.devnull, flags), True)  # it gets the lowest number free
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def require_width() -> None:
    """Have rich think of a terminal wide enough: in less it lays out a help page for ever."""
    columns = os.environ.get("COLUMNS", "")
    try:
        width = int(columns) if columns.isdecimal() else os.get_terminal_size().columns
    except OSError:  # none
        return
    if width < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST if width else _USUAL)


def escape_what_cannot_be_encoded() -> None:
    """A path or a query in other letters than the terminal's is no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def takes_unicode(stream: TextIO) -> bool:
    """Whether every letter can be written as it is."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def harmless(text: str) -> str:
    """Text that a terminal shows and does not obey, whatever a file is called."""
    return text.translate(_ESCAPED)


def tell(text: str, end: str = "\n") -> None:
    """Say something on standard error; one that cannot be written is no reason to end."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text + end)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Lose what is written from now on, and what is still buffered.

    It would fail once more when the interpreter flushes on its way out.
    """
    # A stream of a test may have no number.
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), stream.fileno())
