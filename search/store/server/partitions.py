"""The partitions of a collection: which of them has the rows of a path, or of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Thing = TypeVar("_Thing")

DEPTH = 2
"""Of the folders that stay together, in a new collection: `/photos/part-017` and all below."""


@dataclass(frozen=True, slots=True)
class Partitions:
    """Rows lie by the first names of their path, so that a path has one place for good.

    It is told to the server with every request: a partition key of Milvus 2.3 loses rows that are
    written again.
    """

    count: int
    """0 for none: everything then lies in the one that every collection has."""
    depth: int
    """Paths that have so many names in common, from the left, lie together."""

    @property
    def names(self) -> list[str]:
        """Of all of them."""
        return [_name(number) for number in range(self.count)]

    def grouped(
        self, things: Iterable[_Thing], path_of: Callable[[_Thing], str]
    ) -> list[tuple[str | None, list[_Thing]]]:
        """Things by the name of their partition, or None where there are none.

        Args:
            things: To be written, or to be deleted.
            path_of: Gives the path of one, as it is stored.
        """
        groups: dict[str | None, list[_Thing]] = {}
        for thing in things:
            place = self._place(path_of(thing)) if self.count else None
            groups.setdefault(place, []).append(thing)
        return list(groups.items())

    def holding(self, paths: Sequence[str]) -> list[str] | None:
        """Names of those that have all that is at or below any of some paths, as they are stored.

        Returns:
            None where it may be any: there are no paths, or no partitions, or one path has fewer
            names than `depth`.
        """
        if not (self.count and paths) or any(len(_names(path)) < self.depth for path in paths):
            return None
        return sorted({self._place(path) for path in paths})

    def _place(self, path: str) -> str:
        together = "/".join(_names(path)[: self.depth])
        digest = hashlib.blake2b(together.encode(), digest_size=8).digest()
        return _name(int.from_bytes(digest) % self.count)


def _name(number: int) -> str:
    return f"folders_{number}"


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
