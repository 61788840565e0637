"""The folder of a training that is not finished: `OUT.training`, beside what it will publish."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runtime.accelerator import is_main_process, wait_for_everyone
from runtime.errors import ConfigError
from runtime.folders import MANIFEST, read_json, remove_staging, require_free, write_json
from runtime.training.state import newest_checkpoint, remove_checkpoints

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


def begin_run(place: RunPlace, settings: dict[str, Any], existing: Existing) -> Path | None:
    """Make the run folder, or take it up again.

    Args:
        place: The run's.
        settings: All that determines the run: the resolved configuration, the data's hash.
        existing: What to do with what stands there.

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
        remove_checkpoints(run, keep={path.name for path in run.glob("checkpoint-*")})
        remove_staging(place.out)
    wait_for_everyone()
    return newest_checkpoint(run)


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
