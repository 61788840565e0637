"""Text files that hold one entry a line."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ConfigError
from runtime.paths import path_line
from runtime.tables.text_lines import open_to_read_once


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, and where it stands."""

    text: str
    place: str
    """As a message names it: `labels.txt, line 3`."""


def read_entries(path: Path, content: bytes | None = None) -> list[Entry]:
    r"""The lines of a UTF-8 file without the space around them; blank lines are skipped.

    A line that begins with `#` is a comment, and one that begins with `\#` an entry that does.

    Args:
        path: Of the file, or `-` for standard input.
        content: What has been read of it; None reads the file.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8, or holds no entry.
    """
    name = "standard input" if content is not None and str(path) == "-" else path_line(path)
    text = read_text(path) if content is None else _decoded(content, name)
    lines = map(str.strip, text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    entries = [
        Entry(line.removeprefix("\\") if line.startswith("\\#") else line, f"{name}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line and not line.startswith("#")
    ]
    if not entries:
        raise ConfigError(f"{name} is empty. Write one entry a line.")
    return entries


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        ConfigError: The file cannot be read or is not UTF-8.
    """
    try:
        with open_to_read_once(path) as stream:
            content = stream.read()
    except OSError as error:
        raise ConfigError(f"Cannot read {path_line(path)}: {error.strerror or error}.") from error
    return _decoded(content, path_line(path))


def _decoded(content: bytes, name: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{name} is UTF-16. Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name} is not UTF-8 (line {line}). Save it as UTF-8.") from error
