"""The commands on an index of drawn pictures, and what it holds afterwards."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from search.filters import Filter
from search.place import IndexFolder
from tests.runs import run_here

SHAPES = ("circle", "star", "triangle")
WORDS = ["--labels", ",".join(SHAPES)]
ALWAYS = ["--none-below", "none"]


run = partial(run_here, app="zeroshot")


def answers(*words: object, code: int = 0) -> list[Any]:
    done = run("label", *words, "--json")
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def complaint(*words: object) -> str:
    done = run(*words)
    assert done.returncode in {1, 2}
    return done.stderr


def indexed(folder: Path, index: Path, code: int = 0) -> Path:
    assert (
        run_here("index", folder, "--index", index, "--model", "tiny", app="search").returncode
        == code
    )
    return index


def labelled(index: Path, label: str) -> set[str]:
    with closing(IndexFolder(index).open()) as store:
        blocks = list(store.scan(Filter(labels=(label,))))
    return {Path(record.path).parent.name for block in blocks for record in block.records}


def known_labels(index: Path, path: Path) -> Any:
    with closing(IndexFolder(index).open()) as store:
        return store.records([str(path)])[str(path)].labels
