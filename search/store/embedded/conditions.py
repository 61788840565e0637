"""A filter as SQL over the table `files`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from search.filters import Filter
from search.paths import stored_text

PRESENT = "present AND slot IS NOT NULL"


def condition_of(where: Filter) -> tuple[str, list[Any]]:
    """An expression that holds for the present images that are asked for, and its values."""
    parts, values = [PRESENT], list[Any]()

    def require(expression: str, *given: Any) -> None:
        parts.append(expression)
        values.extend(given)

    def require_any(expression: str, options: Iterable[tuple[Any, ...]]) -> None:
        several = list(options)
        if several:
            joined = " OR ".join([expression] * len(several))
            require(f"({joined})", *(value for option in several for value in option))

    require_any("path = ? OR (path > ? AND path < ?)", map(below, where.folders))
    require_any("format = ?", ((stored_text(name.lower()),) for name in where.formats))
    require_any("(camera_folded >= ? AND camera_folded < ?)", map(_beginning, where.cameras))
    require_any(
        "id IN (SELECT file FROM labels WHERE label = ?)", ((stored_text(n),) for n in where.labels)
    )
    for expression, value in (
        ("date >= ?", where.since),
        ("date < ?", where.until),
        ("width >= ?", where.min_width),
        ("height >= ?", where.min_height),
        ("size >= ?", where.min_bytes),
        ("size <= ?", where.max_bytes),
    ):
        if value is not None:
            require(expression, value)
    return " AND ".join(parts), values


def below(folder: str) -> tuple[str, str, str]:
    """Values of `path = ? OR (path > ? AND path < ?)`: a file or folder, and all below it."""
    stored = stored_text(folder).rstrip("/")
    return stored, f"{stored}/", f"{stored}0"  # 0 comes next after /


def _beginning(text: str) -> tuple[str, str]:
    folded = stored_text(text).casefold()
    return folded, f"{folded}\U0010ffff"
