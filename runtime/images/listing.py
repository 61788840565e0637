"""Folders as a user sees them: sorted as people count, without hidden things, each once."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

# What systems and network storages put beside the pictures of a user: copies and bins.
MACHINE_FOLDERS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$RECYCLE.BIN",
        "@Recycle",
        "@eaDir",
        "System Volume Information",
        "__MACOSX",
        "lost+found",
    }
)
_DIGITS = re.compile(r"([0-9]+)")
_PATTERN_SIGNS = re.compile(r"[*?[]")


IsExcluded = Callable[[str, bool], bool]
"""Of a path, and whether it is a folder."""


class FolderReader:
    """Lists folders; what cannot be listed is noted and left out.

    Args:
        is_excluded: What a walk passes over, with all below it.
    """

    def __init__(self, is_excluded: IsExcluded = lambda _path, _is_folder: False) -> None:
        self._notes: dict[str, None] = {}
        self._is_excluded = is_excluded

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read, one sentence each."""
        return tuple(self._notes)

    def walk(self, root: Path) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
        """List a folder and all below it, links followed, none twice.

        Links come after all that really stands below `root`, so that an image is known by its own
        path and not by the one of a link.

        Yields:
            A folder and its visible entries, naturally sorted; `root` first.
        """
        seen: set[tuple[int, int]] = set()
        waiting, links = [root], deque[Path]()
        while waiting or links:
            folder = waiting.pop() if waiting else links.popleft()
            identity = self._identity(folder)
            if identity is None or identity in seen:
                continue
            seen.add(identity)
            entries = [
                entry
                for entry in self._entries(folder)
                if is_visible(entry.name) and not self._is_excluded(entry.path, is_folder(entry))
            ]
            yield folder, entries
            below = [entry for entry in entries if is_folder(entry)]
            links.extend(Path(entry.path) for entry in below if entry.is_symlink())
            waiting.extend(Path(entry.path) for entry in reversed(below) if not entry.is_symlink())

    def expand(self, pattern: Path) -> Iterator[Path]:
        """Find what a pattern names, as a shell does; the case of an ending does not matter.

        `*`, `?` and `[…]` stand for parts of a name, `**` for any number of folders. Hidden names
        match only what begins with a dot.
        """
        parts = pattern.parts
        fixed = next(i for i, part in enumerate(parts) if is_pattern(part))
        yield from self._matches(Path(*parts[:fixed]), parts[fixed:])

    def _matches(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        if not parts:
            yield folder
        elif parts[0] == "**":
            for below, _ in self.walk(folder):
                yield from self._matches(below, parts[1:])
        elif is_pattern(parts[0]):
            for entry in self._entries(folder):
                if is_match(entry.name, parts[0]) and (len(parts) == 1 or is_folder(entry)):
                    yield from self._matches(Path(entry.path), parts[1:])
        elif why_missing(folder / parts[0]) is None:
            yield from self._matches(folder / parts[0], parts[1:])

    def _identity(self, folder: Path) -> tuple[int, int] | None:
        try:
            found = folder.stat()
        except OSError as error:
            self._note(folder, error)
            return None
        return found.st_dev, found.st_ino

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            self._note(folder, error)
            return []

    def _note(self, folder: Path, error: OSError) -> None:
        reason = str(error.strerror).lower()
        self._notes[f"Cannot read {folder}: {reason}; its images are left out."] = None


def is_visible(name: str) -> bool:
    """Whether a user put it there, and wants it seen."""
    return not name.startswith(".") and name not in MACHINE_FOLDERS


def is_folder(found: os.DirEntry[str] | Path) -> bool:
    """Whether it is a folder or leads to one; a link that leads nowhere is none."""
    try:
        return found.is_dir()
    except OSError:
        return False


def why_missing(path: Path) -> str | None:
    """Why nothing can be found at a path; None if something stands there."""
    try:
        path.stat()
    except ValueError:  # a NUL character, or half a letter
        return "no file can have such a name"
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        from runtime.faults import why  # 1 ms, which few queries spend

        return why(error)
    return None


def is_pattern(name: str) -> bool:
    """Whether it holds a sign that stands for others."""
    return _PATTERN_SIGNS.search(name) is not None


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts img2 before img10, and B between a and c."""
    parts = _DIGITS.split(name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def is_match(name: str, pattern: str) -> bool:
    """Whether a pattern of one name, without slashes, means it."""
    if not is_visible(name) and not (name.startswith(".") and pattern.startswith(".")):
        return False
    return fnmatchcase(_one_spelling(name), _one_spelling(pattern))


def _one_spelling(name: str) -> str:
    """With its ending in lower case, and composed: file systems keep either."""
    stem, ending = os.path.splitext(unicodedata.normalize("NFC", name))  # noqa: PTH122 - a name
    return stem + ending.lower()
