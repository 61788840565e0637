"""Which images a query is about."""

from __future__ import annotations

from dataclasses import dataclass

from search.paths import spellings


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
    """As `ImageRecord.format`."""
    cameras: tuple[str, ...] = ()
    """What the camera's name begins with, in any case."""
    labels: tuple[str, ...] = ()
    """Given by `zeroshot label --index`."""
    min_width: int | None = None
    """Pixels."""
    min_height: int | None = None
    """Pixels."""
    min_bytes: int | None = None
    """Of the file."""
    max_bytes: int | None = None
    """Of the file."""

    def __post_init__(self) -> None:
        """Add the other spellings of names."""
        for name in ("folders", "cameras", "labels"):
            spelt = dict.fromkeys(one for text in getattr(self, name) for one in spellings(text))
            object.__setattr__(self, name, tuple(spelt))

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == EVERYTHING


EVERYTHING = Filter()
