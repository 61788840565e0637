"""What an index leaves out: names and folders by patterns, and what was removed from it by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from footwork.errors import ConfigError
from footwork.files.faults import shortened
from footwork.files.paths import path_line
from footwork.images.finding import IsExcluded, is_match
from search.paths import absolute_path, composed, is_at_or_below


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What is left out of an index, whichever run comes across it."""

    patterns: tuple[str, ...] = ()
    """As the user wrote them, relative to each indexed folder: `*.tif`, `private/`, `2019/**/raw`.
    With a slash at the beginning or within, the whole path is meant, else a name at any depth; with
    one at the end, only folders. The case of an ending does not matter."""
    removed: tuple[str, ...] = ()
    """Absolute files and folders."""

    def with_patterns(self, more: Sequence[str]) -> Exclusions:
        """With some added; `ConfigError` for one that would leave out everything, or nothing."""
        for pattern in more:
            if pattern.startswith(("./", "../", "~")) or (
                pattern.startswith("/") and pattern.count("/") > 1 and os.path.lexists(pattern)
            ):
                raise ConfigError(
                    f"--exclude {path_line(pattern)} must be relative to the indexed folder: "
                    "'private/' or '2019/**/raw', not where that lies on this machine."
                )
            is_every = not pattern.strip("*/") and _means(pattern, ["any"], is_folder=False)
            if is_every or not pattern.strip("/ "):
                named = "everything" if is_every else "nothing"
                raise ConfigError(
                    f"--exclude {pattern!r} names {named}. Write a name or a path with *, ? and "
                    "**, relative to the indexed folder: '*.tif', 'private/', '2019/**/raw'."
                )
        return Exclusions(tuple(dict.fromkeys((*self.patterns, *more))), self.removed)

    def joined(self, others: Exclusions) -> Exclusions:
        """With those of another index."""
        return Exclusions(
            tuple(dict.fromkeys((*self.patterns, *others.patterns))),
            tuple(dict.fromkeys((*self.removed, *others.removed))),
        )

    def without(self, named: Sequence[str]) -> Exclusions:
        """With some taken back: patterns as they were written, or paths of what was removed.

        `ConfigError` for one that is not left out.
        """
        names = set(map(composed, named))
        paths = {composed(absolute_path(name)) for name in named}
        known = set(map(composed, (*self.patterns, *self.removed)))
        for name in named:
            if not known & {composed(name), composed(absolute_path(name))}:
                every = shortened(map(path_line, (*self.patterns, *self.removed))) or "nothing"
                raise ConfigError(
                    f"--include {path_line(name)}: that is not left out. Left out: {every}."
                )
        return Exclusions(
            tuple(one for one in self.patterns if composed(one) not in names),
            tuple(one for one in self.removed if composed(one) not in paths),
        )

    def below(self, root: str) -> IsExcluded:
        """Tells of files and folders at or below an indexed folder whether they are left out."""
        if not (self.patterns or self.removed):
            return lambda _path, _is_folder: False
        found: dict[str, bool] = {root: False}
        removed, start = frozenset(self.removed), len(root.rstrip("/")) + 1

        def names(path: str, *, is_folder: bool) -> bool:
            parts = path[start:].split("/")
            return path in removed or any(_means(one, parts, is_folder) for one in self.patterns)

        def is_excluded(path: str, is_folder: bool) -> bool:
            above = []  # folders of which it is not known yet, the lowest first
            folder = os.path.dirname(path)  # noqa: PTH120 - of many
            while folder not in found and is_at_or_below(folder, root):
                above.append(folder)
                folder = os.path.dirname(folder)  # noqa: PTH120 - the same
            known = found.get(folder, False)
            for folder in reversed(above):
                known = found[folder] = known or names(folder, is_folder=True)
            return known or (path != root and names(path, is_folder=is_folder))

        return is_excluded


def told_exclusions(value: Any) -> Exclusions | None:
    """What a file tells is left out, which anybody may have written; None for none."""
    match value:
        case {"patterns": [*patterns], "removed": [*removed]}:
            if all(isinstance(one, str) and "\0" not in one for one in (*patterns, *removed)):
                return Exclusions(tuple(patterns), tuple(removed))
    return None


def _means(pattern: str, parts: Sequence[str], is_folder: bool) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    wanted = pattern.rstrip("/")
    if "/" not in wanted:
        return is_match(parts[-1], wanted)
    reached = {0}  # how many parts what stands before may take
    for want in wanted.split("/"):
        if want == "**":
            reached = set(range(min(reached, default=len(parts) + 1), len(parts) + 1))
        elif want not in ("", "."):
            reached = {n + 1 for n in reached if n < len(parts) and is_match(parts[n], want)}
    return len(parts) in reached
