"""Make sentences from a pattern: `(a|b)` stands for one of its parts, a name for what it names."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

CHOICE = re.compile(r"\(([^()]*)\)")


def fill_in(pattern: str, named: Mapping[str, str], draw: random.Random) -> str:
    """Put in what the names stand for, which may hold choices, and choose every part."""
    for name, part in named.items():
        pattern = pattern.replace(name, part)
    while found := CHOICE.search(pattern):
        chosen = draw.choice(found[1].split("|"))
        pattern = pattern[: found.start()] + chosen + pattern[found.end() :]
    return pattern
