"""What can go wrong, as the user of a command sees it.

FootworkError         exit code 1
├── ConfigError       the command or its configuration is wrong; exit code 2
├── DataError         a table, a text or an image is wrong
│   └── ImageError    a file ends as no image; a run lists it and goes on
├── ModelError        a model cannot be found, loaded, saved or trusted
│   └── HubUnreachable  the Hub gives no answer, and this machine has no copy
├── StoreError        an index cannot be opened, read or written
└── TrainingError     training cannot go on; what was learned is kept

KeyboardInterrupt
└── Interrupted       a signal ended a run; exit code 128 + the signal's number

A message says what was wrong (with the value), what is allowed, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable


class FootworkError(Exception):
    """Anything that the user of a command can cause or mend."""

    exit_code = 1


class ConfigError(FootworkError):
    """The command or its configuration is wrong."""

    exit_code = 2


class DataError(FootworkError):
    """A table, a text or an image is wrong."""


class ImageError(DataError):
    """A file ends as no image; a run lists it and goes on."""

    def __init__(self, name: str, reason: str) -> None:
        """Say which and why.

        Args:
            name: What was to be read, as its user knows it.
            reason: A clause such as "it is truncated".
        """
        super().__init__(name, reason)  # both, or it could not be sent to another process
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}."


class ModelError(FootworkError):
    """A model cannot be found, loaded, saved or trusted."""


class HubUnreachable(ModelError):  # noqa: N818 - it is the Hub's state
    """The Hub gives no answer, and this machine holds no copy of the model."""


class StoreError(FootworkError):
    """An index cannot be opened, read or written."""


class TrainingError(FootworkError):
    """Training cannot go on; what was learned is kept."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run, whose state is saved: `--resume` goes on with it.

    As for any Ctrl-C, a loop over runs that catches `Exception` ends with it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, signal_number)  # both, or it could not be sent to a process
        self.message, self.exit_code = message, 128 + signal_number

    def __str__(self) -> str:
        return self.message


def either(option: str, argument: str) -> str:
    """How a message names what a command has as an option, and Python as an argument."""
    return f"{option} (from Python {argument})"


def require_one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a setting that is none of those allowed, by a `ConfigError`."""
    names = tuple(allowed)
    if value not in names:
        raise ConfigError(f"`{name}` must be one of {', '.join(names)}, got {value!r}.")


def require_at_least(least: float, settings: object, *names: str) -> None:
    """Refuse a setting that is given and below the least, by a `ConfigError`."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= least:
            raise ConfigError(f"`{name}` must be at least {least}, got {value}.")


def require_probability(name: str, value: float | None) -> None:
    """Refuse a setting that is given and no probability, by a `ConfigError`."""
    if value is not None and not 0 <= value <= 1:
        raise ConfigError(f"`{name}` must be a probability from 0 to 1, got {value}.")


def first_line(error: Exception) -> str:
    """What an error says, without the lines that follow; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def error_text(error: object) -> str:
    """What an error says, on one line and without a full stop; its kind where it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
