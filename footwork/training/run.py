"""The folder of a training that is not finished: `OUT.training`, beside what it will publish."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from footwork.accelerator import is_main_process, wait_for_everyone
from footwork.errors import ConfigError, DataError, Interrupted, ModelError
from footwork.files.folders import (
    MANIFEST,
    followed,
    read_json,
    remove_staging,
    require_free,
    write_json,
)
from footwork.files.locks import LockedByOther, exclusive_lock
from footwork.training.state import (
    checkpoints,
    finished_outcome,
    is_complete,
    newest_checkpoint,
    remove_checkpoints,
)

Existing = Literal["refuse", "resume", "overwrite"]
SETTINGS = "run.json"
MAY_CHANGE = frozenset(
    {
        "gradient_accumulation_steps",
        "activation_checkpointing",
        "save_minutes",
        "push_to_hub",
        "learning_rate",
    }
)
"""Settings that change nothing about the result, and the rate: it is what a diverged run needs."""

_OWN_FILES = (SETTINGS, "outcome.json", "checkpoint-*", ".*", "pictures*", "features*")
"""What lies in the folder of a run."""
GO_ON = "Run the same command with --resume (in place of --overwrite) to go on from there."


def run_folder(out: Path) -> Path:
    """Where the checkpoints of the run that will become `out` lie."""
    return out.with_name(f"{out.name}.training")


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where a run works, and what it will publish."""

    run: Path
    out: Path
    replaces: bool
    """Whether what stands at `out` is replaced, as was asked when the run began."""


def check_run(out: Path, existing: Existing, inputs: Iterable[str | Path | None] = ()) -> RunPlace:
    """Find out whether a run of `out` may begin; writes nothing.

    Args:
        out: What the run will publish.
        existing: What to do where `out` or an unfinished run of it exists.
        inputs: What it reads: data, and a model in a local folder.

    Raises:
        ConfigError: Something is in the way, or there is nothing to resume.
    """
    out = followed(out)
    run = run_folder(out)
    started = _is_run(run)
    replaces = existing == "overwrite" or (
        existing == "resume" and started and bool(read_json(run / SETTINGS)["replaces"])
    )
    if existing == "resume" and (out / MANIFEST).exists() and not replaces:
        raise ConfigError(f"{out} is finished: there is nothing to resume.")
    if existing == "resume" and not started:
        raise ConfigError(f"No unfinished run of {out} (no {run}). Start it without --resume.")
    require_free(out, replaces, inputs)
    if not started and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ConfigError(
            f"The training would work in {run}, which holds something else. Move that away, or "
            f"name another folder than {out}."
        )
    if existing == "refuse" and started:
        message = (
            f"{run} holds an unfinished run. Add --resume to go on with it, "
            "or --overwrite to start again."
        )
        raise ConfigError(message)
    return RunPlace(run, out, replaces)


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of an unfinished run, and holds nothing else."""
    with suppress(ModelError):
        settings = read_json(folder / SETTINGS)
        names = [path.name for path in folder.iterdir()]
        own = all(any(fnmatchcase(name, one) for one in _OWN_FILES) for name in names)
        return isinstance(settings, dict) and "replaces" in settings and own
    return False


def begin_run(
    place: RunPlace,
    settings: dict[str, Any],
    existing: Existing,
    notify: Callable[[str], None],
) -> Path | None:
    """Make the run folder, or take it up again.

    Args:
        place: The run's.
        settings: All that determines the run: the resolved configuration, the data's hash.
        existing: What to do with what stands there.
        notify: Takes what the user should know, one line each.

    Returns:
        The checkpoint to go on from, None for a run without one.

    Raises:
        ConfigError: The run to resume was started with other settings.
    """
    run = place.run
    if is_main_process():
        if existing == "overwrite":
            shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True, exist_ok=True)
        _record(run, json.loads(json.dumps(settings | {"replaces": place.replaces})))
        found = checkpoints(run)
        for damaged in [path for path in found if not is_complete(path)]:
            notify(f"{damaged.name} is damaged and passed over.")
        remove_checkpoints(run, keep={path.name for path in found})
        remove_staging(place.out)
    wait_for_everyone()
    return newest_checkpoint(run)


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Within the block no other command trains into `run`.

    Raises:
        ConfigError: Another one is at it.
    """
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


@contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Where a signal ends the block at once, say what of the run is kept, and how to go on.

    A run that was begun in the block and refused before anything was trained leaves no folder: it
    would stand in the way of the command that the refusal recommends.

    The loop within the block keeps the first signal for itself, to save its state.

    Raises:
        Interrupted: SIGINT or SIGTERM came.
    """
    caught: list[signal.Signals] = []
    begun_before = (run / SETTINGS).exists()

    def end(number: int, _frame: FrameType | None) -> None:
        caught.append(signal.Signals(number))
        raise KeyboardInterrupt

    try:
        with _handled(end):
            yield
    except (Exception, KeyboardInterrupt) as error:  # compiled code makes its own of the latter
        refused = isinstance(error, ConfigError | DataError | ModelError) and not begun_before
        if refused and is_main_process() and finished_outcome(run) is None and not checkpoints(run):
            shutil.rmtree(run, ignore_errors=True)
        # Without settings the run is not begun, or published: there is nothing to go on with.
        if not caught or not (run / SETTINGS).exists():
            raise
        raise Interrupted(f"{caught[0].name} {_kept(run)} {GO_ON}", caught[0]) from error


@contextmanager
def _handled(end: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    former = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _kept(run: Path) -> str:
    """What a run that was ended at once has left, as the rest of a sentence."""
    outcome, newest = finished_outcome(run), newest_checkpoint(run)
    if outcome is not None:
        return (
            f"in the final stage (figures, baselines, report, reload proof): all {outcome.steps} "
            f"steps of the training are done, and the trained weights are kept in {run}."
        )
    if newest is not None:
        return f"before the end of the training: {newest.name} is complete in {run}."
    return "before the first checkpoint: nothing is trained yet."


def _record(run: Path, settings: dict[str, Any]) -> None:
    path = run / SETTINGS
    if not path.exists():
        write_json(path, settings)
        return
    former = read_json(path)
    changed = [
        f"{name} was {former.get(name)!r}, is {value!r}"
        for name, value in settings.items()
        if former.get(name) != value and name not in MAY_CHANGE
    ]
    if changed:
        message = (
            f"{run} was started with other settings: {'; '.join(changed)}. "
            "Use the same ones to resume, or --overwrite to start again."
        )
        raise ConfigError(message)
