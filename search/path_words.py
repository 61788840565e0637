"""The words in names of folders and files."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words_of(text: str) -> list[str]:
    """Words in order, lower-case, without accents: `Été/BeachDay_9.JPG` → ete beach day 9 jpg.

    Args:
        text: A path, or what is looked for in paths.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return [word.lower() for part in _WORD.findall(plain) for word in _CAMEL.split(part)]
