"""Text files that hold one entry a line."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ConfigError
from runtime.tables.text_lines import open_to_read_once


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, and where it stands."""

    text: str
    place: str
    """As a message names it: `labels.txt, line 3`."""


def read_entries(path: Path) -> list[Entry]:
    """The lines of a UTF-8 file without the space around them; blank lines are skipped.

    There are no comments: every other character belongs to an entry.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8, or holds no entry.
    """
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    entries = [
        Entry(line.strip(), f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not entries:
        raise ConfigError(f"{path} is empty. Write one entry a line.")
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
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path} is UTF-16. Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path} is not UTF-8 (line {line}). Save it as UTF-8.") from error
