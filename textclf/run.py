"""The folder of a training that is not finished: `OUT.training`, beside what it will publish."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runtime.accelerator import is_main_process, wait_for_everyone
from runtime.errors import ConfigError
from runtime.folders import MANIFEST, read_json, remove_staging, require_free, write_json
from runtime.training.state import (
    checkpoints,
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


def check_run(out: Path, existing: Existing) -> RunPlace:
    """Find out whether a run of `out` may begin; writes nothing.

    Args:
        out: What the run will publish.
        existing: What to do where `out` or an unfinished run of it exists.

    Raises:
        ConfigError: Something is in the way, or there is nothing to resume.
    """
    out = out.absolute()
    run = run_folder(out)
    started = (run / SETTINGS).exists()
    if existing == "resume" and not started:
        if (out / MANIFEST).exists():
            raise ConfigError(f"{out} is finished: there is nothing to resume.")
        raise ConfigError(f"No unfinished run of {out} (no {run}). Start it without --resume.")
    replaces = existing == "overwrite" or (
        existing == "resume" and bool(read_json(run / SETTINGS)["replaces"])
    )
    require_free(out, overwrite=replaces)
    if existing == "refuse" and started:
        message = (
            f"{run} holds an unfinished run. Add --resume to go on with it, "
            "or --overwrite to start again."
        )
        raise ConfigError(message)
    return RunPlace(run, out, replaces)


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
    run.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, which --overwrite deletes; the lock ends with the process at the latest.
    path = run.parent / f".{run.name}.lock"
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"Another process trains into {run}. Wait for it, or name another folder."
            raise ConfigError(message) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


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
