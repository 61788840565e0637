"""SIGINT and SIGTERM, kept until the work can be put down safely."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from runtime.accelerator import largest_over_processes
from runtime.errors import Interrupted


class SignalWatch:
    """While active, the first SIGINT or SIGTERM is noted; a second one takes its usual course."""

    def __init__(self) -> None:
        self.caught = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.caught = number
        signal.signal(number, self._former[number])

    def agreed(self) -> int:
        """The signal that any process has caught, 0 for none; all processes must ask together."""
        self.caught = largest_over_processes(self.caught)
        return self.caught

    def raise_if_caught(self, step: int) -> None:
        """End the run after its state was saved.

        Raises:
            Interrupted: A signal was caught.
        """
        if self.caught:
            name = signal.Signals(self.caught).name
            message = (
                f"{name} after step {step}: the state is saved. "
                "Run the same command with --resume (in place of --overwrite) to go on from there."
            )
            raise Interrupted(message, self.caught)
