"""Pictures are prepared ahead: in order, in bounds, and no longer than they are wanted."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from footwork.errors import ImageError, StoreError
from footwork.images.ahead import decoded_ahead

PATHS = [Path(f"{i}.jpg") for i in range(40)]
PATIENCE = 60  # seconds, only reached where a test fails


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


class Counted(Iterator[Path]):
    """Paths that know how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __next__(self) -> Path:
        if self.taken == len(PATHS):
            raise StopIteration
        self.taken += 1
        return PATHS[self.taken - 1]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [None, 1, 100])
def test_every_path_comes_back_in_order(workers: int, ahead: int | None) -> None:
    answers = decoded_ahead(PATHS, lambda path: path.stem, workers, ahead)
    assert list(answers) == [(path, path.stem) for path in PATHS]
    assert not decoding_threads()


def test_a_slow_picture_keeps_its_place() -> None:
    second_is_done = threading.Event()

    def prepare(path: Path) -> int:
        number = int(path.stem)
        if number == 1:
            second_is_done.set()
        elif number == 0:
            assert second_is_done.wait(PATIENCE)
        return number

    assert [answer for _, answer in decoded_ahead(PATHS, prepare, 2)] == list(range(40))


def test_workers_stay_within_their_bound() -> None:
    paths = Counted()
    for i, _ in enumerate(decoded_ahead(paths, lambda path: path, workers=2, ahead=5), start=1):
        assert paths.taken == min(i + 4, len(PATHS))


def test_whatever_a_file_raises_is_an_answer_like_others() -> None:
    def prepare(path: Path) -> int:
        if path.stem == "1":
            raise ImageError(str(path), "it is truncated")
        return 10 // (3 - int(path.stem))

    answers = [answer for _, answer in decoded_ahead(PATHS[:5], prepare, 2)]
    assert [answers[row] for row in (0, 2, 4)] == [3, 10, -10]
    assert all(isinstance(answers[row], ImageError) for row in (1, 3))
    assert str(answers[1]) == "1.jpg: it is truncated."
    assert str(answers[3]) == "3.jpg: ZeroDivisionError: integer division or modulo by zero."


def test_a_reason_does_not_keep_the_picture_in_memory() -> None:
    class Picture: ...

    alive: list[weakref.ref[Picture]] = []

    def prepare(path: Path) -> None:
        picture = Picture()
        alive.append(weakref.ref(picture))
        try:
            (path / str(picture)).read_bytes()
        except OSError as error:
            raise ImageError(str(path), "it is truncated") from error

    answers = list(decoded_ahead(PATHS[:4], prepare, 2))
    gc.collect()
    assert len(answers) == 4
    assert not any(reference() for reference in alive)


@pytest.mark.parametrize("error", [MemoryError(), StoreError("the index is damaged")])
def test_what_is_no_fault_of_the_file_is_raised_when_its_turn_comes(error: Exception) -> None:
    def prepare(path: Path) -> str:
        if path.stem == "3":
            raise error
        return path.stem

    answers = decoded_ahead(PATHS, prepare, 2)
    assert [answer for _, answer in (next(answers) for _ in range(3))] == ["0", "1", "2"]
    with pytest.raises(type(error)):
        next(answers)
    assert not decoding_threads()


def test_closing_early_stops_the_workers() -> None:
    paths, prepared = Counted(), []
    answers = decoded_ahead(paths, prepared.append, workers=2, ahead=4)
    next(answers)
    answers.close()
    assert not decoding_threads()
    assert len(prepared) <= paths.taken == 4


def test_nothing_starts_before_the_first_is_asked_for() -> None:
    paths = Counted()
    decoded_ahead(paths, lambda path: path, 2)
    assert paths.taken == 0
    assert not decoding_threads()


@pytest.mark.parametrize(("workers", "ahead"), [(0, None), (-1, 4), (2, 0)])
def test_there_is_at_least_one_worker(workers: int, ahead: int | None) -> None:
    with pytest.raises(ValueError, match="must be at least 1, got"):
        next(decoded_ahead(PATHS, lambda path: path, workers, ahead))
