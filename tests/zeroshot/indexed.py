"""The commands on an index of drawn pictures, and what it holds afterwards."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from footwork.cli import main
from search.filters import Filter
from search.place import IndexFolder
from tests.zeroshot.test_cli import SHAPES

WORDS = ["--labels", ",".join(SHAPES)]
ALWAYS = ["--none-below", "none"]


def answers(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> list[Any]:
    capsys.readouterr()
    assert main(["zeroshot", "label", *map(str, words), "--json"]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def complaint(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["zeroshot", *map(str, words)]) in {1, 2}
    return capsys.readouterr().err


def labelled(index: Path, label: str) -> set[str]:
    with closing(IndexFolder(index).open()) as store:
        blocks = list(store.scan(Filter(labels=(label,))))
    return {Path(record.path).parent.name for block in blocks for record in block.records}


def known_labels(index: Path, path: Path) -> Any:
    with closing(IndexFolder(index).open()) as store:
        return store.records([str(path)])[str(path)].labels
