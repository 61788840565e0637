"""The frozen trunk of a model: layers below the lowest that trains, run once a row and remembered.

What they say of a row is the same in every epoch, but for dropout, which they therefore do without.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from footwork.accelerator import is_main_process, resolve_precision, wait_for_everyone
from footwork.files.faults import counted
from footwork.training.job import TrainingJob

_STATES = "trunk_states"
"""Beside what the model takes of a batch: (B, …), what enters the lowest layer that trains."""
_ROWS = 32  # at a time, in the one pass
_SHARE = 0.5  # of the free disk that the file may take


@contextmanager
def frozen_trunk(
    job: TrainingJob, run: Path, precision: str
) -> Iterator[tuple[TrainingJob, str | None]]:
    """Within the block the layers below the lowest that trains answer from a file in `run`.

    The rows of the job are the same in every epoch; `precision`, settled, is that it trains in.
    Yields the job with batches that bring along what the trunk says of their rows, and a sentence
    on it; the job itself, and None, where no layer is frozen below all that trains.
    """
    stack, depth = trunk_of(job.model)
    if not depth:
        yield job, None
        return
    path = run / "trunk.f32"
    try:
        with _Trunk(job.model, stack, depth).in_place() as trunk:
            states = _states_of(job, trunk, path, precision)
            if states is None:
                yield job, "The frozen layers run in every epoch: the disk has no room for more."
                return
            layers = counted(depth, "layer")
            said = f"The lowest {layers} of {len(stack)}, frozen, ran once, without dropout."
            yield _with_states(job, states), said
    finally:
        wait_for_everyone()
        if is_main_process():
            path.unlink(missing_ok=True)


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

    def _enter(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        states = given[0] if given else named["hidden_states"]
        if self._given is None:
            self.heard = states
            return None
        if given:
            return (self._given, *given[1:]), named
        return given, {**named, "hidden_states": self._given}

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
            states = given[0] if given else named["hidden_states"]
            return states if alone else (states, *[None] * further)

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


def _states_of(job: TrainingJob, trunk: _Trunk, path: Path, precision: str) -> _States | None:
    """Run the trunk over all rows, once; None where its answers would take too much of the disk."""
    device = next(job.model.parameters()).device
    bf16 = resolve_precision(precision, device) is torch.bfloat16

    @torch.inference_mode()
    def said(rows: Sequence[int]) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            job.model(**{name: each.to(device) for name, each in job.batch(rows, 0).items()})
        return trunk.heard.float().cpu().numpy()

    job.model.eval()
    lengths = np.asarray(job.lengths)
    order = np.argsort(-lengths, kind="stable").tolist()
    width = said(order[:1]).shape[1:]
    # Of a row of tokens the first number is how many it has.
    shapes = [(length, *width[1:]) if job.pad else width for length in lengths.tolist()]
    size = 4 * sum(map(math.prod, shapes))
    if size > _SHARE * shutil.disk_usage(path.parent).free:
        return None
    if is_main_process():
        with path.open("wb") as file:
            file.truncate(size)
        states = _States(path, shapes)
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            for row, of_row in zip(rows, said(rows), strict=True):
                states.row(row)[...] = of_row[: shapes[row][0]]
    wait_for_everyone()
    return _States(path, shapes)


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
