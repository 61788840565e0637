"""Days, months and years as a user writes them, as spans of wall-clock seconds."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from datetime import datetime

from footwork.errors import ConfigError

_DAY = 86_400  # seconds
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


def day_bounds(text: str) -> tuple[int, int]:
    """First second of a day, month or year, and the first after it.

    Args:
        text: `2024-05-17`, `2024-05` or `2024`.

    Returns:
        Seconds since 1970 of a clock on the wall, whatever its time zone.

    Raises:
        ConfigError: It is no such date.
    """
    parts = _DATE.fullmatch(text.strip())
    if parts is None:
        raise ConfigError(f"A date must look like 2024-05-17, 2024-05 or 2024, got {text!r}.")
    year, month, day = (None if part is None else int(part) for part in parts.groups())
    try:
        first = datetime(year or 0, 1 if month is None else month, 1 if day is None else day)
        if day is not None:
            days = 1
        else:
            days = _days_of(first.year) if month is None else monthrange(first.year, month)[1]
    except ValueError as error:
        raise ConfigError(f"{text!r} is no date: {error}. Name one of the calendar.") from error
    begin = int((first - datetime(1970, 1, 1)).total_seconds())
    return begin, begin + days * _DAY


def _days_of(year: int) -> int:
    return 366 if isleap(year) else 365
