"""What stands beside embeddings in a .npy file: a row for each, with the path of its image."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number:,} is no JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number:,} is no JSON object")  # noqa: TRY004 - of the file
            yield row


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _text_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        yield from ({"path": os.fsdecode(line.rstrip(b"\r\n"))} for line in file)


READERS = {".jsonl": _json_rows, ".csv": _csv_rows, ".txt": _text_rows}
"""Ending → what reads such a file, and raises OSError, ValueError or csv.Error; in the order in
which they are looked for."""
