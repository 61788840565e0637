"""Conditions in Milvus' filter language, safe whatever the names and labels are.

`like` is not used: Milvus 2.3 has no way to take % and _ in it for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from search.filters import Filter
from search.paths import stored_text
from search.store.server.rows import MISSING, State

_MOST_VALUES = 1000
_MOST_CHARACTERS = 1_000_000


def literal(text: str) -> str:
    """A string as the filter language writes it.

    Args:
        text: Of `stored_text`.
    """
    return '"' + "".join(_escaped(character) for character in text) + '"'


def any_path(texts: Iterable[str]) -> Iterator[str]:
    """Conditions that together hold for some paths, each short enough for a request.

    Args:
        texts: The paths as they are stored.
    """
    values: list[str] = []
    length = 0
    for text in texts:
        value = literal(text)
        if values and (len(values) == _MOST_VALUES or length + len(value) > _MOST_CHARACTERS):
            yield f"path in [{', '.join(values)}]"
            values, length = [], 0
        values.append(value)
        length += len(value)
    if values:
        yield f"path in [{', '.join(values)}]"


def any_size(sizes: Iterable[int]) -> Iterator[str]:
    """Conditions that together hold for images, present or not, of some sizes in bytes."""
    every = sorted(set(sizes))
    for start in range(0, len(every), _MOST_VALUES):
        chosen = ", ".join(map(str, every[start : start + _MOST_VALUES]))
        yield f"state in [{State.PRESENT:d}, {State.ABSENT:d}] and size in [{chosen}]"


def known_files(under: str | None) -> str:
    """A condition that holds for every file, or for one path and all below it."""
    files = f"state != {State.ROOT:d}"
    if under is None:
        return files
    return f"{files} and {_at_or_below(under)}"


def present_images(where: Filter) -> str:
    """A condition that holds for the present images that a filter lets through."""
    return " and ".join([f"state == {State.PRESENT:d}", *_conditions(where)])


def _conditions(where: Filter) -> Iterator[str]:
    if where.folders:
        yield _any(map(_at_or_below, where.folders))
    if where.cameras:
        yield _any(_starts("camera_key", name.casefold()) for name in where.cameras)
    if where.formats:
        yield f"format in [{_list([name.lower() for name in where.formats])}]"
    if where.labels:
        yield f"array_contains_any(labels, [{_list(where.labels)}])"
    yield from _bounds(where)


def _bounds(where: Filter) -> Iterator[str]:
    if where.until is not None:
        yield f"date > {MISSING}"
    for name, operator, value in (
        ("date", ">=", where.since),
        ("date", "<", where.until),
        ("width", ">=", where.min_width),
        ("height", ">=", where.min_height),
        ("size", ">=", where.min_bytes),
        ("size", "<=", where.max_bytes),
    ):
        if value is not None:
            yield f"{name} {operator} {value}"


def _at_or_below(path: str) -> str:
    path = path.rstrip("/")
    return f"(path == {literal(stored_text(path))} or {_starts('path', f'{path}/')})"


def _starts(field: str, prefix: str) -> str:
    """Strings are compared byte by byte, and UTF-8 keeps the order of code points."""
    prefix = stored_text(prefix)
    if not prefix:
        return f'{field} != ""'
    after = ord(prefix[-1]) + 1
    if 0xD800 <= after <= 0xDFFF:
        after = 0xE000  # what lies between is for surrogates
    if after > 0x10FFFF:
        return f"{field} >= {literal(prefix)}"  # nothing comes after
    return f"({field} >= {literal(prefix)} and {field} < {literal(prefix[:-1] + chr(after))})"


def _any(conditions: Iterable[str]) -> str:
    return f"({' or '.join(conditions)})"


def _list(texts: Sequence[str]) -> str:
    return ", ".join(literal(stored_text(text)) for text in texts)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return f"\\{ord(character):03o}" if ord(character) < 32 or character == "\x7f" else character
