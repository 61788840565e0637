"""The folder of a training that is not finished: `OUT.training`, beside what it will publish.

It holds the settings of the run, checkpoints, complete or absent and never unpickled, and in the
end how the training went. A checkpoint is the trainable weights, the optimizer, the schedule and
the trainer's state. Random numbers need no place in it: the loop seeds every step from the run's
seed and the step.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerState

from footwork.accelerator import is_main_process, wait_for_everyone
from footwork.errors import (
    ConfigError,
    DataError,
    Interrupted,
    ModelError,
    TrainingError,
    error_text,
)
from footwork.files import folders
from footwork.files.locks import LockedByOther, exclusive_lock
from footwork.settings import require_kind

Existing = Literal["refuse", "resume", "overwrite"]
SETTINGS = "run.json"
OUTCOME = "outcome.json"
WEIGHTS = "model.safetensors"
MOMENTS = "optimizer.safetensors"
CHECKPOINT_SETTINGS = "training.json"
TRAINER_STATE = "trainer_state.json"
BEFORE = {"decode": "draft", "kind": "training", "continue_adapter": False}
"""What versions did that had no such setting yet."""
MAY_CHANGE = frozenset(
    {
        *("gradient_accumulation_steps", "activation_checkpointing", "save_minutes"),
        *("push_to_hub", "methods", "seeds", "rates", "device", "log_to", "skip", "revision"),
    }
)
"""Settings that change nothing about the result, of which `base_revision` says what was loaded; and
what else is compared."""
_OF_TRAINING = frozenset({"learning_rate", "early_stopping"})
"""May change until the training is done: the rate is what a diverged run needs, and when to stop
the run itself may show to be too soon."""
RUNS = "runs"
"""Folder of a comparison's records and of the run that it is at."""
_OWN_FILES = (
    *(SETTINGS, OUTCOME, "checkpoint-*", ".*"),
    *("pictures*", "features*", "head.json", "trunk*.f32", RUNS, "again-*"),
)
"""What lies in the folder of a run."""
GO_ON = "Run the same command with --resume, in place of --overwrite, to go on from there."


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where a run works, and what it will publish."""

    run: Path
    out: Path
    replaces: bool
    """Whether what stands at `out` is replaced, as was asked when the run began."""


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a training ended."""

    history: list[dict[str, float]]
    """What the loop logged: loss and rates by step, metrics by evaluation."""
    steps: int
    best_step: int | None
    notes: tuple[str, ...] = ()
    """What a reader should know of it, one sentence each."""
    threads: int | None = None
    """Of torch on a CPU; None where that was not noted."""


# The run


def check_run(out: Path, existing: Existing, inputs: Iterable[str | Path | None] = ()) -> RunPlace:
    """Find out whether a run of `out` may begin, or raise a `ConfigError`; writes nothing.

    Args:
        out: What the run will publish.
        existing: What to do where `out` or an unfinished run of it exists.
        inputs: What it reads: data, and a model in a local folder.
    """
    require_kind("existing", existing, Existing)
    out = folders.followed(out)
    run = out.with_name(f"{out.name}.training")
    names = [path.name for path in run.iterdir()] if run.is_dir() else [run.name] * run.exists()
    started = False  # by whom but us, if it holds something else as well
    with suppress(ModelError):
        settings = folders.read_json(run / SETTINGS)
        own = all(any(fnmatchcase(name, kind) for kind in _OWN_FILES) for name in names)
        started = isinstance(settings, dict) and "replaces" in settings and own
    replaces = existing == "overwrite" or (
        existing == "resume" and started and bool(settings["replaces"])
    )
    if existing == "resume" and (out / folders.MANIFEST).exists() and not replaces:
        raise ConfigError(f"{out} is finished: there is nothing to resume.")
    if existing == "resume" and not started:
        raise ConfigError(f"No unfinished run of {out} (no {run}). Start it without --resume.")
    folders.require_free(out, replaces, inputs)
    # Settings half-written are what a kill left before anything was trained.
    if not started and not all(name.startswith(f".{SETTINGS}.") for name in names):
        raise ConfigError(
            f"The training would work in {run}, which holds something else. Move that away, or "
            f"name another folder than {out}."
        )
    if existing == "refuse" and started:
        raise ConfigError(
            f"{run} holds an unfinished run. Add --resume to go on with it, "
            f"or --overwrite to start again."
        )
    return RunPlace(run, out, replaces)


def begin_run(
    place: RunPlace, settings: dict[str, Any], existing: Existing, notify: Callable[[str], None]
) -> Path | None:
    """Make the run folder, or take it up again: at the checkpoint to go on from, if there is one.

    `settings` are all that determines the run: the resolved configuration, the data's hash. A run
    to resume that was started with others is a `ConfigError`.
    """
    run = place.run
    if is_main_process():
        if existing == "overwrite":
            folders.discard_folder(run, place.out)
        run.mkdir(parents=True, exist_ok=True)
        settings = json.loads(json.dumps(settings | {"replaces": place.replaces}))
        former = settings
        if (run / SETTINGS).exists():
            former = BEFORE | folders.read_json(run / SETTINGS)
        may_change = MAY_CHANGE | (set() if (run / OUTCOME).exists() else _OF_TRAINING)
        changed = {
            name: f"{name} was {former.get(name)!r}, is {value!r}"
            for name, value in settings.items()
            if former.get(name) != value and name not in may_change
        }
        if changed:
            same = "Use the same ones"
            if "base_revision" in changed and former.get("base_revision"):
                same += f" (--revision {former['base_revision']})"
            why = "The model was published anew, or the run is of a version that did not note it. "
            why = why if "base_sha256" in changed else ""
            raise ConfigError(
                f"{run} was started with other settings: {'; '.join(changed.values())}. "
                f"{why}{same} to resume, or --overwrite to start again."
            )
        folders.write_json(run / SETTINGS, settings)
        written = checkpoints(run)
        for damaged in [path for path in written if not is_complete(path)]:
            notify(f"{damaged.name} is damaged and passed over.")
        remove_checkpoints(run, keep={path.name for path in written})
        folders.remove_staging(place.out)
    wait_for_everyone()
    return newest_checkpoint(run)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Within the block no other command trains into `run`, or a `ConfigError` says who does."""
    if not is_main_process():
        yield
        return
    # Beside the folder, which --overwrite deletes; the lock ends with the process at the latest.
    path = run.parent / f".{run.name}.lock"
    with ExitStack() as lock:
        try:
            run.parent.mkdir(parents=True, exist_ok=True)
            lock.enter_context(exclusive_lock(path))
        except LockedByOther as error:
            message = f"{error} trains into {run}. Wait for it, or name another folder."
            raise ConfigError(message[0].upper() + message[1:]) from error
        except OSError as error:
            message = f"{run.parent} cannot be written to: {error.strerror}. Name another folder."
            raise ConfigError(message) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def kept_of(run: Path) -> str | None:
    """How the sentence on a run that was ended goes on: what of it is kept; None if nothing is."""
    outcome, newest = finished_outcome(run), newest_checkpoint(run)
    if outcome is not None:
        return (
            "in the final stage (figures, baselines, report, reload proof): all "
            f"{outcome.steps} steps of the training are done, and the trained weights are "
            f"kept in {run}."
        )
    if newest is not None:
        return f"before the end of the training: {newest.name} is complete in {run}."
    return None


@contextmanager
def resumable(run: Path, kept: Callable[[Path], str | None] = kept_of) -> Iterator[None]:
    """Where a signal ends the block at once, say what of the run is kept, and how to go on.

    A run that was begun in the block and refused before anything was trained leaves no folder: it
    would stand in the way of the command that the refusal recommends.

    The loop within the block keeps the first signal for itself, to save its state. `kept` says what
    stands there, as `kept_of`. SIGINT and SIGTERM become `Interrupted`.
    """
    caught: list[signal.Signals] = []
    begun_before = (run / SETTINGS).exists()

    def end(number: int, _frame: FrameType | None) -> None:
        caught.append(signal.Signals(number))
        raise KeyboardInterrupt

    try:
        with signals_handled(end):
            yield
    except (Exception, KeyboardInterrupt) as error:  # compiled code makes its own of the latter
        refused = isinstance(error, ConfigError | DataError | ModelError) and not begun_before
        standing = kept(run)
        if refused and is_main_process() and standing is None and not checkpoints(run):
            folders.discard_folder(run, run)
        # Without settings the run is not begun, or published: there is nothing to go on with.
        if not caught or not (run / SETTINGS).exists():
            raise
        standing = standing or "before the first checkpoint: nothing is trained yet."
        raise Interrupted(f"{caught[0].name} {standing} {GO_ON}", caught[0]) from error


@contextmanager
def signals_handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM call `handle`."""
    main = threading.current_thread() is threading.main_thread()
    former = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM)
        # What a program around Python has set cannot be put back.
        if main and signal.getsignal(number) is not None
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def record_outcome(run: Path, outcome: TrainingOutcome) -> None:
    """Note that training has ended, and how."""
    # JSON has no word for what is not a number; a log entry without it says as much.
    history = [
        {name: value for name, value in entry.items() if math.isfinite(value)}
        for entry in outcome.history
    ]
    folders.write_json(run / OUTCOME, asdict(outcome) | {"history": history})


def finished_outcome(run: Path) -> TrainingOutcome | None:
    """How training ended, None while it has not."""
    path = run / OUTCOME
    if not path.exists():
        return None
    found = folders.read_json(path)
    return TrainingOutcome(**{**found, "notes": tuple(found.get("notes", ()))})


@contextmanager
def logged_beside(run: Path, loggers: Collection[str]) -> Iterator[str]:
    """Within the block loggers of transformers write into `OUT.logs`; yields the name of the run.

    These are TensorBoard and wandb; others have stores of their own, of many runs. What the user
    has set in the environment holds. A `TrainingError` where a logger itself fails.
    """
    inside = next((place for place in (run, *run.parents) if place.suffix == ".training"), run)
    below = [part for part in run.relative_to(inside).parts if part != RUNS]
    logs = inside.with_suffix(".logs").joinpath(*below)
    places = {"tensorboard": "TENSORBOARD_LOGGING_DIR", "wandb": "WANDB_DIR"}
    ours = [name for logger, name in places.items() if logger in loggers and name not in os.environ]
    try:
        if ours:
            logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Loggers would write into {logs}: {error.strerror}. Move what is there, or name "
            "another OUT."
        ) from error
    os.environ.update(dict.fromkeys(ours, str(logs)))
    was_running = getattr(sys.modules.get("wandb"), "run", None) is not None
    try:
        yield "-".join((inside.stem, *below))
    except Exception as error:
        frames = (frame for frame, _ in walk_tb(error.__traceback__))
        modules = (frame.f_globals.get("__name__", "").partition(".")[0] for frame in frames)
        if failed := next((module for module in modules if module in loggers), None):
            raise TrainingError(
                f"{failed} failed: {error_text(error)}. Mend that, then run the same command with "
                f"--resume; or leave out --log-to {failed}."
            ) from error
        raise
    finally:
        for name in ours:
            del os.environ[name]
        wandb: Any = sys.modules.get("wandb") if "wandb" in loggers else None
        if wandb is not None and wandb.run is not None and not was_running:
            wandb.finish()  # or the next training would go on with this run
            wandb.teardown()  # or it would write into this folder


# Its checkpoints


def save_training_state(
    run: Path, model: nn.Module, optimizer: Any, scheduler: Any, state: TrainerState
) -> Path:
    """Write `checkpoint-<step>` below `run`, complete or not at all.

    On a full or read-only disk a `TrainingError`; earlier checkpoints stand.
    """
    target = run / f"checkpoint-{state.global_step}"
    optimizer_state = optimizer.state_dict()
    moments = {
        f"{index}.{name}": value.detach().clone().contiguous()
        for index, of_parameter in optimizer_state["state"].items()
        for name, value in of_parameter.items()
        if isinstance(value, torch.Tensor)
    }
    try:
        with folders.renewed_folder(target) as folder:
            save_file(trainable_weights(model), folder / WEIGHTS)
            save_file(moments, folder / MOMENTS)
            state.save_to_json(str(folder / TRAINER_STATE))
            settings = {
                "param_groups": optimizer_state["param_groups"],
                "scheduler": scheduler.state_dict(),
                "threads": torch.get_num_threads(),
                "files": {path.name: path.stat().st_size for path in folder.iterdir()},
            }
            folders.write_json(folder / CHECKPOINT_SETTINGS, settings)
    except (OSError, SafetensorError) as error:
        kept = newest_checkpoint(run)
        raise TrainingError(
            f"Cannot write {target}: {error}. "
            f"{f'{kept.name} is complete' if kept else 'No checkpoint was written before'}; "
            f"make room, then run the same command with --resume."
        ) from error
    return target


def load_training_state(checkpoint: Path, optimizer: Any, scheduler: Any) -> None:
    """Put optimizer and schedule where they stood; a rate that was changed holds from here on."""
    peaks = [group["initial_lr"] for group in optimizer.param_groups]
    settings = folders.read_json(checkpoint / CHECKPOINT_SETTINGS)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(checkpoint / MOMENTS).items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = tensor
    try:
        optimizer.load_state_dict({"state": moments, "param_groups": settings["param_groups"]})
    except ValueError as error:
        raise ConfigError(
            f"{checkpoint} is of another version of Footwork, which grouped the weights otherwise: "
            f"{error}. Resume with that version, or --overwrite to start again."
        ) from error
    scheduler.load_state_dict(settings["scheduler"])
    scheduler.base_lrs = peaks
    for group, peak, share in zip(optimizer.param_groups, peaks, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = peak
        group["lr"] = peak * share(scheduler.last_epoch)


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Put the trainable weights of `model` where they stood, unless they are another model's."""
    weights = load_file(checkpoint / WEIGHTS)
    expected = trainable_weights(model)
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
        raise TrainingError(
            f"{checkpoint} was made by another configuration: its weights do not fit this model. "
            f"Use the command it was made with, or start again with --overwrite."
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            expected[name].copy_(tensor)


def trainable_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter that training moves, by name, as views; buffers that it moves as well.

    These are those of norms, and of methods (`Adaptation.begin`).
    """
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    running = {
        name: buffer
        for name, buffer in model.named_buffers()
        if name.rpartition(".")[2].startswith("running_")
    }
    return {name: tensor.contiguous() for name, tensor in {**weights, **running}.items()}


def require_room(run: Path, model: nn.Module) -> None:
    """Check that all checkpoints fit on the disk, before the first step and not after the night.

    At most four are there at once: the newest two, the best, and one that is being written.
    """
    weights = sum(t.numel() * t.element_size() for t in trainable_weights(model).values())
    needed = 4 * 3 * weights  # the weights and AdamW's two moments
    free = shutil.disk_usage(run).free
    if free < needed:
        raise TrainingError(
            f"{run} has {free / 2**20:,.0f} MiB free; the four checkpoints of this run take "
            f"{needed / 2**20:,.0f} MiB. Make room, or write elsewhere."
        )


def checkpoints(run: Path) -> list[Path]:
    """All checkpoints below `run`, by step."""
    named = (path for path in run.glob("checkpoint-*") if path.name.split("-")[1].isdigit())
    return sorted(named, key=lambda path: int(path.name.split("-")[1]))


def newest_checkpoint(run: Path) -> Path | None:
    """The complete checkpoint with the most steps below `run`."""
    return next((path for path in reversed(checkpoints(run)) if is_complete(path)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether every file that it names is there at its full size, and none that is a pickle."""
    try:
        files = folders.read_json(checkpoint / CHECKPOINT_SETTINGS)["files"]
        whole = all((checkpoint / name).stat().st_size == size for name, size in files.items())
        # Trainer would load an `optimizer.pt` or an `rng_state.pth`.
        return whole and not any(checkpoint.glob("*.pt*"))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not complete
        return False


def remove_checkpoints(run: Path, keep: set[str]) -> None:
    """Delete all checkpoints but those named, and what a killed run left half-written."""
    unwanted = [path for path in checkpoints(run) if path.name not in keep]
    for path in (*unwanted, *run.glob(".checkpoint-*.footwork-*")):
        shutil.rmtree(path, ignore_errors=True)
