"""The processes of one run, of which the main one reads and writes; and what a process has once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

Block = AbstractContextManager[None]


def entered_once(block: Callable[[], Block]) -> Callable[[], Block]:
    """Have a block entered by the first of the threads that are within at once, left by the last.

    So what it changes for all threads of the process is in the end what the first one found.
    """
    lock, entered, inside = Lock(), ExitStack(), 0

    @contextmanager
    def joined() -> Iterator[None]:
        nonlocal inside
        with lock:
            if not inside:
                entered.enter_context(block())
            inside += 1
        try:
            yield
        finally:
            with lock:
                inside -= 1
                if not inside:
                    entered.close()

    return joined


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
