"""Checkpoints of a running training: complete or absent, and never unpickled.

A checkpoint holds the trainable weights, the optimizer, the schedule and the trainer's state.
Random numbers need no place in it: the loop seeds every step from the run's seed and the step.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerState

from footwork.errors import TrainingError
from footwork.files.folders import read_json, renewed_folder, write_json
from footwork.training.job import TrainingOutcome

WEIGHTS = "model.safetensors"
MOMENTS = "optimizer.safetensors"
SETTINGS = "training.json"
TRAINER_STATE = "trainer_state.json"
OUTCOME = "outcome.json"


def save_training_state(
    run: Path, model: nn.Module, optimizer: Any, scheduler: Any, state: TrainerState
) -> Path:
    """Write `checkpoint-<step>` below `run`, complete or not at all.

    Raises:
        TrainingError: The disk is full or read-only; earlier checkpoints stand.
    """
    target = run / f"checkpoint-{state.global_step}"
    moments, groups = _flatten(optimizer.state_dict())
    try:
        with renewed_folder(target) as folder:
            save_file(trainable_weights(model), folder / WEIGHTS)
            save_file(moments, folder / MOMENTS)
            state.save_to_json(str(folder / TRAINER_STATE))
            sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
            settings = {"param_groups": groups, "scheduler": scheduler.state_dict(), "files": sizes}
            write_json(folder / SETTINGS, settings)
    except (OSError, SafetensorError) as error:
        kept = newest_checkpoint(run)
        message = (
            f"Cannot write {target}: {error}. "
            f"{f'{kept.name} is complete' if kept else 'No checkpoint was written before'}; "
            "make room, then run the same command with --resume."
        )
        raise TrainingError(message) from error
    return target


def load_training_state(checkpoint: Path, optimizer: Any, scheduler: Any) -> None:
    """Put the optimizer and the schedule where they stood."""
    settings = read_json(checkpoint / SETTINGS)
    moments = load_file(checkpoint / MOMENTS)
    optimizer.load_state_dict(_unflatten(moments, settings["param_groups"]))
    scheduler.load_state_dict(settings["scheduler"])


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Put the trainable weights of `model` where they stood."""
    weights = load_file(checkpoint / WEIGHTS)
    expected = trainable_weights(model)
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
        message = (
            f"{checkpoint} was made by another configuration: its weights do not fit this model. "
            "Use the command it was made with, or start again with --overwrite."
        )
        raise TrainingError(message)
    with torch.no_grad():
        for name, tensor in weights.items():
            expected[name].copy_(tensor)


def require_room(run: Path, model: nn.Module) -> None:
    """Check that two checkpoints fit on the disk, before the first step and not after the night.

    Raises:
        TrainingError: They do not.
    """
    weights = sum(t.numel() * t.element_size() for t in trainable_weights(model).values())
    needed = 2 * 3 * weights  # the weights and AdamW's two moments
    free = shutil.disk_usage(run).free
    if free < needed:
        message = (
            f"{run} has {free / 2**20:,.0f} MiB free; two checkpoints of this run take "
            f"{needed / 2**20:,.0f} MiB. Make room, or write elsewhere."
        )
        raise TrainingError(message)


def set_peak_rates(optimizer: Any, scheduler: Any, peaks: list[float]) -> None:
    """Let the schedule go on from where it stands, towards other peaks than it was saved with."""
    scheduler.base_lrs = peaks
    for group, peak, share in zip(optimizer.param_groups, peaks, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = peak
        group["lr"] = peak * share(scheduler.last_epoch)


def record_outcome(run: Path, outcome: TrainingOutcome) -> None:
    """Note that training has ended, and how."""
    # JSON has no word for what is not a number; a log entry without it says as much.
    history = [
        {name: value for name, value in entry.items() if math.isfinite(value)}
        for entry in outcome.history
    ]
    write_json(run / OUTCOME, asdict(outcome) | {"history": history})


def finished_outcome(run: Path) -> TrainingOutcome | None:
    """How training ended, None while it has not."""
    path = run / OUTCOME
    return TrainingOutcome(**read_json(path)) if path.exists() else None


def trainable_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter that training moves, by name, as views; buffers that it moves as well."""
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    running = {
        n: b for n, b in model.named_buffers() if n.endswith(("running_mean", "running_var"))
    }
    return {name: tensor.contiguous() for name, tensor in {**weights, **running}.items()}


def newest_checkpoint(run: Path) -> Path | None:
    """The complete checkpoint with the most steps below `run`."""
    complete = [path for path in checkpoints(run) if is_complete(path)]
    return complete[-1] if complete else None


def checkpoints(run: Path) -> list[Path]:
    """All checkpoints below `run`, by step."""
    found = (path for path in run.glob("checkpoint-*") if path.name.split("-")[1].isdigit())
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def is_complete(checkpoint: Path) -> bool:
    """Whether every file that the checkpoint names is there at its full size."""
    try:
        files = read_json(checkpoint / SETTINGS)["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not complete
        return False


def remove_checkpoints(run: Path, keep: set[str]) -> None:
    """Delete all checkpoints but those named, and what a killed run left half-written."""
    for path in checkpoints(run):
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
    for path in run.glob(".checkpoint-*.footwork-*"):
        shutil.rmtree(path, ignore_errors=True)


def _flatten(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """An optimizer's state as tensors named `<parameter>.<moment>`, and its groups."""
    tensors = {
        f"{index}.{name}": value.detach().clone().contiguous()
        for index, moments in state["state"].items()
        for name, value in moments.items()
        if isinstance(value, torch.Tensor)
    }
    return tensors, state["param_groups"]


def _unflatten(tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": groups}
