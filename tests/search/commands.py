"""Commands as a user runs them, and processes beside the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from footwork.cli import main


class Command:
    """Runs commands of `footwork search`; keeps what the last one wrote."""

    out = err = ""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object, code: int = 0) -> str:
        """What it prints, which has to end with this code."""
        self._capsys.readouterr()
        ended = main(["search", *map(str, words)])
        self.out, self.err = self._capsys.readouterr()
        assert ended == code, self.err
        return self.out

    def document(self, name: str, *words: object, code: int = 0) -> dict[str, Any]:
        """The same, as JSON."""
        return dict(json.loads(self(name, "--json", *words, code=code)))


WRITER = (
    "import sys, pathlib; from search.place import IndexFolder\n"
    "with IndexFolder(pathlib.Path(sys.argv[1])).writing():\n"
    "    print('ready', flush=True); sys.stdin.read()"
)
"""Has an index to itself for as long as it runs."""


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has printed `ready`; it goes on until its input or the block ends."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running
