"""Pictures are made ready by threads while the caller is busy with those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from footwork.errors import ImageError
from footwork.files.faults import why

Source = TypeVar("Source")
T = TypeVar("T")

_AHEAD_PER_WORKER = 4
DISK_READERS = 4
"""Threads for what waits for the disk most of the time."""


def decoded_ahead(
    paths: Iterable[Source],
    prepare: Callable[[Source], T],
    workers: int,
    ahead: int | None = None,
) -> Generator[tuple[Source, T | ImageError], None, None]:
    """Prepare pictures in threads, a bounded number ahead of the caller.

    Pillow leaves the interpreter to others while it decodes or resizes. Paths, or whatever else
    `prepare` takes, are taken one by one, as they are needed. Closing it early cancels what has not
    begun, and waits for what has.

    Args:
        paths: In whose order the pictures come.
        prepare: Decodes a picture, and does what else may be done in a thread.
        workers: Threads.
        ahead: Pictures that may be under way or wait, ready, at once; it bounds the memory. To be
            more than the caller takes between two pauses. None is four a worker.

    Yields:
        Each path, with what `attempt` made of it.
    """
    return made_ahead(paths, partial(attempt, prepare), workers, ahead)


def made_ahead(
    sources: Iterable[Source], make: Callable[[Source], T], workers: int, ahead: int | None = None
) -> Generator[tuple[Source, T], None, None]:
    """As `decoded_ahead`, of what is no single file: what `make` raises ends it, in its turn."""
    ahead = workers * _AHEAD_PER_WORKER if ahead is None else ahead
    if workers < 1 or ahead < 1:
        raise ValueError(f"`workers` and `ahead` must be at least 1, got {workers} and {ahead}.")
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[tuple[Source, Future[T]]] = deque()
    try:
        for source in sources:
            waiting.append((source, pool.submit(make, source)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def attempt(prepare: Callable[[Source], T], source: Source) -> T | ImageError:
    """What comes of a file, or why nothing does, as `why`: no other file suffers."""
    try:
        return prepare(source)
    except Exception as error:  # noqa: BLE001 - a file's own fault, whatever it is
        # A fresh one: a traceback would keep the half-decoded picture in memory.
        name = error.name if isinstance(error, ImageError) else str(source)
        return ImageError(name, why(error))
