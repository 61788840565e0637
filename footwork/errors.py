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

import re
from collections.abc import Iterable

_OPTION = re.compile("(?<![^ (`'])--[a-z][a-z-]*[a-z]")
_COMMAND = re.compile(r"\b(footwork|hf|pip) [a-z]+ .*?(?=[`;]|[.,:)](\s|$)|$)", re.DOTALL)
_ARGUMENTS = {
    "--continue": "continue_adapter=True",
    "--delimiter": "TableFormat(delimiter=…)",
    "--encoding": "TableFormat(encoding=…)",
    "--format": "input_format",
    "--header": "TableFormat(header=True)",
    "--in": "folders",
    "--label-column": "label_column",
    "--model": "model_id",
    "--no-header": "TableFormat(header=False)",
    "--overwrite": 'existing="overwrite" (merge, save: overwrite=True)',
    "--resume": 'existing="resume"',
    "--skip-bad-rows": "TableFormat(skip_bad_rows=True)",
    "--text-column": "text_columns=(…,)",
}
"""Those that are not called as their options are."""


class FootworkError(Exception):
    """Anything that the user of a command can cause or mend.

    A message names the options of a command. What they are as arguments is noted, and stands below
    it in the tracebacks of Python and of notebooks.
    """

    exit_code = 1

    def __init__(self, *told: object) -> None:
        """Keep what is told, and note the arguments for the options in it."""
        super().__init__(*told)
        _note_arguments(self, " ".join(map(str, told)))


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
        _note_arguments(self, message)

    def __str__(self) -> str:
        return self.message


def _note_arguments(error: BaseException, message: str) -> None:
    """Note what the options that it names are called from Python; a whole command stays one."""
    noted = []
    for option in dict.fromkeys(_OPTION.findall(_COMMAND.sub("", message))):
        name = option[2:].replace("-", "_")
        negated = f"{name.removeprefix('no_')}=False" if name.startswith("no_") else name
        noted.append(f"{_ARGUMENTS.get(option, negated)} for {option}")
    if noted:
        error.add_note(f"From Python: {', '.join(noted)}.")


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
