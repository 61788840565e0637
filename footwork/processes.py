"""The processes of one run, of which the main one reads and writes; and what a process has once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

Before = TypeVar("Before")


@dataclass(slots=True)
class ProcessSetting(Generic[Before]):
    """What holds for all threads of the process, and is another while some are within a block.

    The first one to enter remembers what it found, and the last one to leave puts that back.
    """

    change: Callable[[], Before]
    """Gives what was found."""
    restore: Callable[[Before], Any]
    _before: list[Before] = field(default_factory=list)
    _lock: Any = field(default_factory=Lock)

    @contextmanager
    def changed(self) -> Iterator[None]:
        """Within the block it is changed."""
        with self._lock:
            self._before.append(self._before[0] if self._before else self.change())
        try:
            yield
        finally:
            with self._lock:
                before = self._before.pop()
                if not self._before:
                    self.restore(before)


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """What a process knows of the others."""

    is_main: bool
    from_main: Callable[[Any], Any]
    """Gives every process what the main one has; all of them must call it."""


ALONE = ProcessGroup(is_main=True, from_main=lambda value: value)


def launched_processes() -> ProcessGroup:
    """Those that `accelerate launch` or torchrun started, or this one alone: torch then waits."""
    if "RANK" not in os.environ:
        return ALONE
    from footwork.accelerator import is_main_process, share_from_main

    return ProcessGroup(is_main=is_main_process(), from_main=share_from_main)
