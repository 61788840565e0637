"""Folders of small files, looked at as a whole, and a disk that fails or a process that dies."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest

from footwork.files.placing import How
from zeroshot.sorting.plan import SortingPlan, apply_plan, plan_sorting

FILES = {"a/1.jpg": "one", "a/1.jpg.xmp": "of one", "b/1.jpg": "other", "b/2.jpg": "two"}
LABELS = {"a/1.jpg": "cat", "b/1.jpg": "cat", "b/2.jpg": None}
CALLS = ["link", "unlink", "rename", "replace", "mkdir", "rmdir", "fsync", "utime", "fchmod"]


class Labelled(NamedTuple):
    path: Path | None
    label: str | None
    fault: str | None = None


class Killed(BaseException):
    """What a kill is to a test."""


def planted(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def tree(root: Path) -> dict[str, bytes | None]:
    """Every file with its content, every folder with None."""
    paths = sorted(root.rglob("*"))
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in paths}


def labelled(root: Path, labels: dict[str, str | None]) -> list[Labelled]:
    return [Labelled(root / name, label) for name, label in labels.items()]


def planned(root: Path, labels: dict[str, str | None], how: How = "copy") -> SortingPlan:
    return plan_sorting(labelled(root, labels), root / "sorted", how)


def sort(root: Path, labels: dict[str, str | None], how: How = "copy") -> Path:
    """Sort into `sorted`; gives the undo file."""
    outcome = apply_plan(planned(root, labels, how))
    assert not outcome.failed
    return root / "sorted" / "footwork-undo.jsonl"


@contextmanager
def killed_at(moment: int) -> Iterator[list[int]]:
    """Die at one call to the system; the dead make no further one.

    Gives the number of calls so far.
    """
    calls = [0]

    def dying(real: Callable[..., Any], torn: Callable[..., Any] | None = None) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == moment and torn is not None:
                torn(*arguments)
            if calls[0] >= moment:
                raise Killed
            return real(*arguments, **options)

        return call

    def half_a_copy(source: BinaryIO, target: BinaryIO, _: int) -> None:
        target.write(source.read(2))

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(shutil, "copyfileobj", dying(shutil.copyfileobj, half_a_copy))
        yield calls


def after_every_kill(
    root: Path, prepare: Callable[[Path], Any], act: Callable[[Path], Any]
) -> Iterator[Path]:
    """Folders in which `act` was killed, at each of its calls to the system; once it was not."""
    for moment in count(1):
        place = root / str(moment)
        prepare(place)
        with suppress(Killed), killed_at(moment) as calls:
            act(place)
        yield place
        if calls[0] < moment:
            return


@contextmanager
def failing(call: str, at: str, code: int) -> Iterator[None]:
    """Let a call of `os` fail for paths that hold `at`."""
    real = getattr(os, call)

    def fails(*arguments: Any, **options: Any) -> Any:
        if any(at in str(argument) for argument in arguments):
            raise OSError(code, os.strerror(code), str(arguments[0]))
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fails)
        yield


@contextmanager
def two_disks(mark: str) -> Iterator[None]:
    """What holds `mark` in its path lies on another disk than what does not."""

    def parting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(source: Any, target: Any, **options: Any) -> Any:
            if (mark in str(source)) != (mark in str(target)):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return real(source, target, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("link", "rename"):
            patch.setattr(os, name, parting(getattr(os, name)))
        yield
