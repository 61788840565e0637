"""Cut a stream into windows that are answered together, and tokenise one ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from runtime.inference import InferenceConfig

Row = TypeVar("Row")
Encoded = TypeVar("Encoded")

FIRST_WINDOW = 64
"""Rows that are answered before the first result comes out."""
SLOW_SOURCE = 0.5
"""Seconds that reading a window takes where rows are awaited rather than read."""


def windows_of(
    rows: Iterable[Row],
    config: InferenceConfig,
    size: Callable[[Row], int],
    first: int = FIRST_WINDOW,
) -> Iterator[list[Row]]:
    """Cut a stream into the lists that are sorted together.

    The first are short, so that the first answers come soon; each is twice the one before.

    Args:
        rows: Of any number.
        config: Bounds rows and characters.
        size: Characters of a row.
        first: Rows of the first.
    """
    window: list[Row] = []
    limit, characters = min(first, config.look_ahead), 0
    for row in rows:
        window.append(row)
        characters += size(row)
        if len(window) >= limit or characters >= config.look_ahead_characters:
            yield window
            window, characters = [], 0
            limit = min(2 * limit, config.look_ahead)
    if window:
        yield window


def encoded_ahead(
    windows: Iterable[list[Row]], encode: Callable[[list[Row]], Encoded]
) -> Iterator[tuple[list[Row], Encoded]]:
    """Tokenise the next window in a thread while the caller runs the model on this one.

    Where windows come slowly, and for the first one, the next is not waited for: who writes into
    a live pipe wants the answers to what is there.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenize") as pool:
        previous: tuple[list[Row], Future[Encoded]] | None = None
        slow, asked = True, time.monotonic()
        for window in windows:
            slow = slow or time.monotonic() - asked > SLOW_SOURCE
            current = (window, pool.submit(encode, window))
            if previous is not None:
                yield previous[0], previous[1].result()
            previous = current
            if slow:
                yield window, current[1].result()
                previous = None
            slow, asked = False, time.monotonic()
        if previous is not None:
            yield previous[0], previous[1].result()
