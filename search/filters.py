"""Which images a query is about: by folder, date, format, camera, label and size."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from footwork.errors import ConfigError
from footwork.settings import Settings
from search.paths import absolute_path, spellings

_DAY = 86_400  # seconds
_LARGEST = 2**63 - 1  # that a store can hold
_FORMATS = {"mpo": "jpeg", "heic": "heif", "heif": "heif", "hif": "heif"}
"""Ending → what an image is said to be of, where Pillow alone says nothing, or otherwise."""
_LISTED = ("folders", "formats", "cameras", "labels")
_LEAST = {
    **dict.fromkeys(("min_width", "min_height", "min_bytes", "max_bytes"), 0),
    **dict.fromkeys(("since", "until"), -_LARGEST),
}
"""Field → the least whole number that it can be."""
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
class Filter(Settings):
    """Which images are asked for: conditions that all have to hold.

    Within one, any of several values will do; one alone need be in no tuple. Names are asked for in
    every spelling, whichever was typed. `ConfigError` where a value is none that an image can have.

        Filter(folders="photos/2024", formats=("jpg", "heic"), since="2024-05", min_width=1000)

    Args:
        folders: The image lies in one of them, or below; relative ones begin where you are.
        since: First day, month or year, such as "2024-05-17", "2024-05" or "2024", or a `date`; of
            a `datetime` the day. A number of four digits is a year, any other the earliest
            `ImageRecord.date`, inclusive.
        until: Last day, month or year, inclusive; a number that is no year is the latest date,
            exclusive.
        formats: Of files: jpeg, png, webp, …, also as the names of files end.
        cameras: What the camera's name begins with, in any case.
        labels: Given by `zeroshot label --index`.
        min_width: Pixels of the image, as it is viewed.
        min_height: The same.
        min_bytes: Least size of the file.
        max_bytes: Greatest size of the file.
    """

    folders: tuple[str, ...] = ()
    since: str | date | int | None = None
    until: str | date | int | None = None
    formats: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    min_width: int | None = None
    min_height: int | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in _LISTED:
            given: Any = getattr(self, name)
            alone = isinstance(given, str | Path)
            object.__setattr__(self, name, (given,) if alone else given)
        Settings.__post_init__(self)  # not `super()`: slots make another class of this one
        read = {
            "folders": map(absolute_path, self.folders),
            "formats": _formats_of(self.formats),
        }
        for name in _LISTED:
            values = map(spellings, read.get(name, getattr(self, name)))
            object.__setattr__(self, name, tuple(dict.fromkeys(chain.from_iterable(values))))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, int) and not least <= value <= _LARGEST:
                raise ConfigError(f"`{name}` must be from {least:,} to {_LARGEST:,}, got {value}.")
        if (self.min_bytes or 0) > (_LARGEST if self.max_bytes is None else self.max_bytes):
            raise ConfigError(
                f"`min_bytes` {self.min_bytes} is above `max_bytes` {self.max_bytes}: no image can "
                "be found."
            )
        first, end = _moment(self.since), _moment(self.until, end=True)
        if first is not None and end is not None and first >= end:
            raise ConfigError(
                f"`since` {self.since} is after `until` {self.until}: no image can be found."
            )

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == EVERYTHING

    def bounds(self) -> Iterator[tuple[str, str, int]]:
        """Field of a record, operator and value of every bound that is set."""
        for name, operator, value in (
            ("date", ">=", _moment(self.since)),
            ("date", "<", _moment(self.until, end=True)),
            ("width", ">=", self.min_width),
            ("height", ">=", self.min_height),
            ("size", ">=", self.min_bytes),
            ("size", "<=", self.max_bytes),
        ):
            if value is not None:
                yield name, operator, value


def _formats_of(named: Iterable[str]) -> Iterator[str]:
    """As of `ImageRecord.format`, of what Pillow calls formats or their files end with."""
    known: dict[str, str] = {}
    for one in named:
        if not known:
            from PIL import Image  # which few queries need

            endings = Image.registered_extensions().items()
            known = {ending[1:]: name.lower() for ending, name in endings} | _FORMATS
        ending = one.lower().removeprefix(".")
        if known.get(ending, ending) not in known.values():
            raise ConfigError(
                f"`formats` must be of images, such as jpeg, png, webp or heic, got {one!r}."
            )
        yield known.get(ending, ending)


def _moment(day: str | date | int | None, *, end: bool = False) -> int | None:
    """As of `ImageRecord.date`: where a day, month or year begins, or the next one."""
    if day is None or (isinstance(day, int) and not 1000 <= day <= 9999):
        return day
    return day_bounds(f"{day:%Y-%m-%d}" if isinstance(day, date) else str(day))[end]


EVERYTHING = Filter()
