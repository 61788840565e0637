"""Which images a query is about: by folder, date, format, camera, label and size."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from footwork.errors import ConfigError
from search.paths import spellings

_DAY = 86_400  # seconds
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


def day_bounds(text: str) -> tuple[int, int]:
    """First second of a day, month or year (`2024-05-17`, `2024-05`, `2024`), and the first after.

    Seconds since 1970 of a clock on the wall, whatever its time zone. `ConfigError` for another
    text.
    """
    parts = _DATE.fullmatch(text.strip())
    if parts is None:
        raise ConfigError(f"A date must look like 2024-05-17, 2024-05 or 2024, got {text!r}.")
    month, day = parts[2], parts[3]
    try:
        first = datetime(int(parts[1]), int(month or 1), int(day or 1))
        days = 1
        if month is None:
            days = 366 if isleap(first.year) else 365
        elif day is None:
            days = monthrange(first.year, first.month)[1]
    except ValueError as error:
        raise ConfigError(f"{text!r} is no date: {error}. Name one of the calendar.") from error
    begin = int((first - datetime(1970, 1, 1)).total_seconds())
    return begin, begin + days * _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions that all have to hold; within one, any of several values will do.

    Names are asked for in every spelling, whichever was typed.
    """

    folders: tuple[str, ...] = ()
    """Absolute; the image lies in one of them, or below."""
    since: int | None = None
    """Earliest `ImageRecord.date`, inclusive."""
    until: int | None = None
    """Latest `ImageRecord.date`, exclusive."""
    formats: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    """What the camera's name begins with, in any case."""
    labels: tuple[str, ...] = ()
    """Given by `zeroshot label --index`."""
    min_width: int | None = None
    min_height: int | None = None
    """Pixels."""
    min_bytes: int | None = None
    max_bytes: int | None = None
    """Of the file."""

    def __post_init__(self) -> None:
        for name in ("folders", "cameras", "labels"):
            every = dict.fromkeys(chain.from_iterable(map(spellings, getattr(self, name))))
            object.__setattr__(self, name, tuple(every))

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == EVERYTHING

    def bounds(self) -> Iterator[tuple[str, str, int]]:
        """Field of a record, operator and value of every bound that is set."""
        for name, operator, value in (
            ("date", ">=", self.since),
            ("date", "<", self.until),
            ("width", ">=", self.min_width),
            ("height", ">=", self.min_height),
            ("size", ">=", self.min_bytes),
            ("size", "<=", self.max_bytes),
        ):
            if value is not None:
                yield name, operator, value


EVERYTHING = Filter()
