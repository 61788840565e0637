"""The frozen trunk of a model: layers below the lowest that trains, run once a row and remembered.

What they say of a row is the same in every epoch, but for dropout, which they therefore do without.
Rows that judge the model on the way are remembered as well.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from footwork.accelerator import (
    autocast_to,
    is_main_process,
    share_from_main,
    shared_over_processes,
    wait_for_everyone,
)
from footwork.arrays import FloatArray
from footwork.files.faults import counted
from footwork.inference.halving import run_in_batches
from footwork.models.pairs import reads_apart
from footwork.training.job import TrainingJob

_STATES = "trunk_states"
"""Beside what the model takes of a batch: (B, …), what enters the lowest layer that trains."""
_ROWS = 32  # at a time, in the one pass
_NEAR = 0.02  # relative to the greatest logit; bf16 rounds states
_SHARE = 0.5  # of the free disk that the file may take


Batch = Callable[[Sequence[int]], dict[str, torch.Tensor]]
"""Rows to what the model takes of them."""


@dataclass(frozen=True, slots=True)
class JudgingRows:
    """Rows that a training is judged on as it goes."""

    batch: Batch
    lengths: Sequence[int]
    """As of `TrainingJob`."""
    metrics: Callable[[FloatArray], dict[str, float]]
    """Of the logits of all, (V, C)."""


@contextmanager
def frozen_trunk(
    job: TrainingJob, judging: JudgingRows, run: Path, precision: str
) -> Iterator[tuple[TrainingJob, str | None]]:
    """Within the block the layers below the lowest that trains answer from files in `run`.

    The rows of the job are the same in every epoch; `precision`, settled, is that it trains in.
    Yields the job with batches that bring along what the trunk says of their rows, judged on rows
    that do so too, and a sentence on it; the job itself, and None, where no layer is frozen below
    all that trains.
    """
    stack, depth = trunk_of(job.model)
    depth = 0 if reads_apart(job.model) else depth  # a row of a batch is two of the layers
    if not depth:
        yield job, None
        return
    _remove_files(run)  # those of a killed run take nothing of the disk's room
    try:
        with _Trunk(job.model, stack, depth).in_place() as trunk:
            remembered = partial(_remembered, job, trunk, precision)
            of_job = remembered(run / "trunk.f32", lambda rows: job.batch(rows, 0), job.lengths)
            if of_job is None:
                yield job, "The frozen layers run in every epoch: the disk has no room for more."
                return
            of_judging = remembered(run / "trunk-judging.f32", judging.batch, judging.lengths)
            layers = counted(depth, "layer")
            said = f"The lowest {layers} of {len(stack)}, frozen, ran once, without dropout."
            fed = _with_states(job, of_job)
            if not _says_the_same(job, fed, precision):
                yield (
                    job,
                    "The frozen layers run in every epoch: nothing can stand in for them here.",
                )
                return
            if of_judging is not None:
                fed = replace(fed, measure=partial(_measure, judging, of_judging, precision))
            yield fed, said
    finally:
        _remove_files(run)


def _remove_files(run: Path) -> None:
    wait_for_everyone()
    if is_main_process():
        for path in run.glob("trunk*.f32"):
            path.unlink()


def trunk_of(model: nn.Module) -> tuple[nn.ModuleList, int]:
    """A model's list of layers, and how many of them are below all that trains, from the lowest.

    None are where something trains that stands before the list.
    """
    lists = (
        (sum(weight.numel() for weight in part.parameters()), name, part)
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList)
    )
    _, name, stack = max(lists, key=lambda each: each[0], default=(0, "", nn.ModuleList()))
    part, before = model, []
    for step in name.split(".") if name else ():
        names = [child for child, _ in part.named_children()]
        before += [part.get_submodule(child) for child in names[: names.index(step)]]
        part = part.get_submodule(step)
    trains = [any(w.requires_grad for w in layer.parameters()) for layer in (*before, *stack)]
    if not any(trains) or any(trains[: len(before)]):
        return stack, 0
    return stack, min(trains.index(True) - len(before), len(stack) - 1)


class _Trunk:
    """Stands in for the layers below `stack[depth]`, where a batch brings their answer along."""

    def __init__(self, model: nn.Module, stack: nn.ModuleList, depth: int) -> None:
        self._model, self._below, self._above = model, stack[:depth], stack[depth]
        self._given: torch.Tensor | None = None
        self.heard = torch.empty(0)
        """What entered the lowest layer that trains, (B, …)."""

    @contextmanager
    def in_place(self) -> Iterator[_Trunk]:
        """Within the block it listens to batches without the answer, and answers the others."""
        hooks = [
            self._model.register_forward_pre_hook(self._begin, with_kwargs=True),
            self._model.register_forward_hook(self._end, always_call=True),
            self._above.register_forward_pre_hook(self._enter, with_kwargs=True),
        ]
        for layer in self._below:
            layer.forward = self._passing(layer.forward)
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()
            for layer in self._below:
                del layer.forward  # the class has one

    def _begin(self, _: nn.Module, given: Any, named: dict[str, Any]) -> Any:
        self._given = named.pop(_STATES, None)
        return given, named

    def _end(self, *_: Any) -> None:
        self._given = None

    def _enter(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._given is None:
            self.heard = given[0] if given else named["hidden_states"]

    def _passing(self, run: Callable[..., Any]) -> Callable[..., Any]:
        further = 0  # that a layer answers beside its states, None if it answers them alone
        alone = True

        def forward(*given: Any, **named: Any) -> Any:
            nonlocal alone, further
            if self._given is None:
                output = run(*given, **named)
                alone = not isinstance(output, tuple)
                further = 0 if alone else len(output) - 1
                return output
            # As an argument of the next layer they are there when that is computed a second time.
            return self._given if alone else (self._given, *[None] * further)

        return forward


class _States:
    """What the trunk says of all rows, in a file, one after the other."""

    def __init__(self, path: Path, shapes: Sequence[tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._ends = np.cumsum([math.prod(shape) for shape in shapes])
        mode: Any = "r+" if is_main_process() else "r"
        self._file = np.memmap(path, np.float32, mode, shape=(int(self._ends[-1]),))

    def row(self, row: int) -> Any:
        """Of one, in the file."""
        end, shape = self._ends[row], self._shapes[row]
        return self._file[end - math.prod(shape) : end].reshape(shape)

    def of(self, rows: Sequence[int]) -> torch.Tensor:
        """Of some, (B, …), padded with zeros to the longest."""
        longest = max(self._shapes[row][0] for row in rows)
        states = np.zeros((len(rows), longest, *self._shapes[rows[0]][1:]), np.float32)
        for place, row in enumerate(rows):
            states[place, : self._shapes[row][0]] = self.row(row)
        return torch.from_numpy(states)


def _remembered(
    job: TrainingJob,
    trunk: _Trunk,
    precision: str,
    path: Path,
    batch: Batch,
    lengths: Sequence[int],
) -> _States | None:
    """Run the trunk over some rows, once; None where its answers would take too much of the disk.

    `batch` and `lengths` are theirs.
    """
    device = next(job.model.parameters()).device

    @torch.inference_mode()
    def said(rows: Sequence[int]) -> Any:
        with autocast_to(precision, device):
            job.model(**{name: each.to(device) for name, each in batch(rows).items()})
        return trunk.heard.float().cpu().numpy()

    job.model.eval()
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    width = said(order[:1]).shape[1:]
    # Of a row of tokens the first number is how many it has.
    shapes = [(length, *width[1:]) if job.pad else width for length in lengths]
    size = 4 * sum(map(math.prod, shapes))
    if not share_from_main(is_main_process() and _has_made(path, size)):
        return None
    if is_main_process():
        states = _States(path, shapes)
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            for row, of_row in zip(rows, said(rows), strict=True):
                states.row(row)[...] = of_row[: shapes[row][0]]
    wait_for_everyone()
    return _States(path, shapes)


def _has_made(path: Path, size: int) -> bool:
    """Make a file of zeros, unless it would take too much of the disk: whether it is there."""
    if size <= _SHARE * shutil.disk_usage(path.parent).free:
        with suppress(OSError), path.open("wb") as file:  # a quota tells nothing before
            file.truncate(size)
            if sys.platform == "linux":  # where a hole has no room, writing to its map is SIGBUS
                os.posix_fallocate(file.fileno(), 0, size)
            return True
        path.unlink(missing_ok=True)
    return False


def _with_states(job: TrainingJob, states: _States) -> TrainingJob:
    """The job, with what the trunk says of its rows in every batch."""
    pad = job.pad

    def batch(rows: Sequence[int], epoch: int) -> dict[str, torch.Tensor]:
        return {**job.batch(rows, epoch), _STATES: states.of(rows)}

    def widened(inputs: dict[str, torch.Tensor], longest: int) -> dict[str, torch.Tensor]:
        own = inputs[_STATES]
        wide = functional.pad(own, (0, 0, 0, longest - own.shape[1]))
        others = {name: each for name, each in inputs.items() if name != _STATES}
        return {**(pad(others, longest) if pad else others), _STATES: wide}

    return replace(job, batch=batch, pad=pad and widened)


@torch.inference_mode()
def _says_the_same(job: TrainingJob, fed: TrainingJob, precision: str) -> bool:
    """Whether the model answers its longest and its shortest row as it does without the states.

    It does not where rows are padded on the left, or where something else is read of the layers
    below than what enters the next one.
    """
    device, order = next(job.model.parameters()).device, np.argsort(job.lengths)
    rows = sorted({int(order[0]), int(order[-1])})
    try:
        with autocast_to(precision, device):
            plain, by_states = (
                job.model(**{name: each.to(device) for name, each in some.items()}).logits.float()
                for some in (job.batch(rows, 0), fed.batch(rows, 0))
            )
    except (TypeError, IndexError, RuntimeError, ValueError):
        return False
    return torch.allclose(plain, by_states, rtol=_NEAR, atol=_NEAR * float(plain.abs().max()))


def _measure(
    judging: JudgingRows, states: _States, precision: str, model: nn.Module
) -> dict[str, float]:
    """The model's metrics, by what the trunk says of the rows that judge it."""

    def batch(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        return {**judging.batch(rows), _STATES: states.of(rows)}

    answer = partial(run_in_batches, model, batch, judging.lengths, precision)
    return judging.metrics(shared_over_processes(answer, range(len(judging.lengths))))
