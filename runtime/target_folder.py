"""Free names in a folder that files are to be put into."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from runtime.errors import ConfigError
from runtime.faults import why
from runtime.placing import are_identical

_NUMBERED = re.compile(r"(.+)-[0-9]+(\.[^.]*)?", re.DOTALL)


class TargetFolder:
    """What stands in a folder, and what is to come; it need not exist.

    Names that differ only in case, or in how accents are composed, count as one, since they are
    one on some file systems.

    Args:
        path: The folder.

    Raises:
        ConfigError: It is no folder, or cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken: set[str] = set()
        self._there: dict[str, dict[int, list[str]]] = {}
        self._numbers: defaultdict[str, int] = defaultdict(lambda: 1)
        for standing, size in _standing(path):
            self._taken.add(name_key(standing))
            for name in _possible_names(standing):
                sizes = self._there.setdefault(name_key(name), {})
                sizes.setdefault(size, []).append(standing)

    def place(
        self, source: Path, companions: Callable[[Path], Iterable[Path]] = lambda _: ()
    ) -> Path | None:
        """Claim a name for a file: its own, or one with a number.

        Args:
            source: The file.
            companions: What else has to be free for a target, and is claimed with it.

        Returns:
            None if the same content stands there already, under one of these names.
        """
        key = name_key(source.name)
        if key in self._there and self._holds(source, self._there[key]):
            return None
        for number in count(self._numbers[key]):
            name = source.stem + (f"-{number}" if number > 1 else "") + source.suffix
            target = self.path / name
            keys = {name_key(path.name) for path in (target, *companions(target))}
            if not keys & self._taken:
                break
        self._numbers[key] = number + 1
        self._taken |= keys
        return target

    def _holds(self, source: Path, sizes: dict[int, list[str]]) -> bool:
        with suppress(OSError):  # what cannot be read fails when it is placed
            names = sizes.get(source.stat().st_size, [])
            for name in names:
                if _is_copy(source, self.path / name):
                    names.remove(name)  # it stands for one source only
                    return True
        return False


def name_key(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_copy(source: Path, standing: Path) -> bool:
    with suppress(OSError):
        return are_identical(source, standing)
    return False


def _standing(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes in bytes, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(
            f"Cannot put files into {folder}: {why(error)}. Name another folder, or mend this one."
        ) from error


def _possible_names(name: str) -> list[str]:
    """What a source may have been called that stands here as `name`."""
    numbered = _NUMBERED.fullmatch(name)
    return [name, numbered[1] + (numbered[2] or "")] if numbered else [name]
