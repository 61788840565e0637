"""Small labelled tables that a model of two layers can learn."""

from __future__ import annotations

import csv
from pathlib import Path

GOOD = ("good", "great", "best", "love", "fine", "happy")
BAD = ("bad", "poor", "worst", "hate", "dull", "sad")
THINGS = ("film", "movie", "book", "food", "service", "price")
PLAIN = "".join(f"text number {i},{'pos' if i % 2 else 'neg'}\n" for i in range(10))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sentiment_rows(rows: int) -> list[tuple[str, str]]:
    """Texts and labels: the word decides."""
    return [
        (
            f"the {THINGS[i % 6]} was {(GOOD if i % 2 else BAD)[i // 2 % 6]} {'and' * (i % 3)} {i}",
            "positive" if i % 2 else "negative",
        )
        for i in range(rows)
    ]


def write_table(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...]) -> Path:
    """Write a CSV file; its ending chooses nothing."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def sentiment_table(path: Path, rows: int = 80) -> Path:
    """A table of two classes."""
    return write_table(path, sentiment_rows(rows), ("text", "label"))
