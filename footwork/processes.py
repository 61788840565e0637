"""The processes of one run: the main one reads and writes, all of them embed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
