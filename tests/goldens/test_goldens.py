"""What users and scripts see of every command is what was recorded.

`RECORD=1 python -m pytest tests/goldens` records anew; figures that are near enough stay.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.metadata import entry_points
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

import pytest

from tests.goldens.material import lay_out
from tests.goldens.shapes import content, dumped, printed, scrub, settled

HERE = Path(__file__).parent
PARTS = [part.strip().splitlines() for part in (HERE / "commands.txt").read_text().split("\n## ")]
STORIES = {name: commands for name, *commands in PARTS[1:]}
CASES = [(name, command) for name, commands in STORIES.items() for command in commands]
RUN = subprocess.run
PASSING = re.compile(r"^home/|-(shm|wal)$|\.(lock|sqlite)$")
"""Files that Footwork keeps for itself, and may write at any moment."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each command gives, all of them having been run in their order."""
    place = tmp_path_factory.mktemp("goldens").resolve()
    lay_out(place)
    known: dict[str, str] = {}
    with (
        chdir(place),
        patch.dict(os.environ, FOOTWORK_HOME=str(place / "home"), COLUMNS="500"),
        patch("subprocess.run", run_module_here),
        patch("footwork.accelerator.matrix_rate", return_value=1e11),
    ):
        answers = {command: answer(command, place, known) for _, command in CASES}
    for name, commands in STORIES.items() if "RECORD" in os.environ else ():
        old = recorded(name) if (HERE / f"{name}.json").exists() else {}
        new = settled({command: answers[command] for command in commands}, old)
        (HERE / f"{name}.json").write_text(dumped(new) + "\n", "utf-8")
    return answers


@pytest.mark.parametrize(("name", "command"), CASES, ids=[command for _, command in CASES])
def test_a_command_gives_what_was_recorded(name: str, command: str, found: dict[str, Any]) -> None:
    expected = recorded(name)[command]
    assert settled(found[command], expected) == expected


def test_nothing_is_recorded_of_commands_that_are_gone() -> None:
    assert {name: sorted(recorded(name)) for name in STORIES} == {
        name: sorted(commands) for name, commands in STORIES.items()
    }


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((HERE / f"{name}.json").read_text("utf-8")))


def answer(command: str, place: Path, known: dict[str, str]) -> dict[str, Any]:
    """Run one command: exit code, stdout, the files that it wrote and those that it removed.

    Args:
        command: A line of commands.txt.
        place: The folder in which it runs.
        known: What was found in a file before, and its name; filled in.
    """
    before = files(place)
    done = run(command)
    after = files(place)
    shown = printed(done.stdout, place, command)
    contents: dict[str, Any] = {}
    for name in sorted(path for path, state in after.items() if before.get(path) != state):
        kept = content(place / name, place)
        same = "stdout" if kept == shown else known.setdefault(json.dumps(kept), name)
        contents[name] = kept if not kept or same == name else f"as {same}"
    told = re.findall(r"^(?:footwork: \S+|skipped \S+)", done.stderr, re.MULTILINE)
    found = {
        "exit": done.returncode,
        "stdout": shown,
        "stderr": [scrub(line, place) for line in told],
        "files": contents,
        "removed": sorted(before.keys() - after.keys()),
    }
    return {name: value for name, value in found.items() if value not in ([], {}, None)}


def run(command: str) -> CompletedProcess[str]:
    """Run it in this process, or in one of its own if it begins with `python`."""
    line, _, given = command.partition(" < ")
    program, *words = shlex.split(line)
    if program == "python":
        return RUN([sys.executable, *words], capture_output=True, text=True, check=False)
    [module] = {point.module for point in entry_points(name="footwork")}
    stdin = TextIOWrapper(BytesIO(Path(given).read_bytes() if given else b""))
    shown, said = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with patch("sys.stdin", stdin), redirect_stdout(shown), redirect_stderr(said):
        code = import_module(module).main(words)
    texts = [stream.buffer.getvalue().decode() for stream in (shown, said)]  # type: ignore[attr-defined]
    return CompletedProcess(words, code, *texts)


def run_module_here(command: list[str], **options: Any) -> CompletedProcess[str]:
    """As `subprocess.run`, but a module runs here: a fresh process imports for seconds."""
    if command[0] != sys.executable or "-m" not in command:
        return RUN(command, **options)
    words = command[command.index("-m") + 1 :]
    with patch("sys.argv", words), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*found in sys.modules after import", RuntimeWarning)
        runpy.run_module(words[0], run_name="__main__")
    return CompletedProcess(command, 0, "", "")


def files(place: Path) -> dict[str, tuple[int, int]]:
    """Every file, with what tells that it was written."""
    states = {str(path.relative_to(place)): path.stat() for path in place.rglob("*.*")}
    return {
        name: (state.st_mtime_ns, state.st_ino)
        for name, state in states.items()
        if not PASSING.search(name) and (place / name).is_file()
    }
