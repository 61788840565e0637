"""Hits of files that need not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.answers.answer import Answer, Hit
from search.records import ImageRecord


def hit(path: str | Path, relevance: float = 0.9, score: float = 0.3, **known: Any) -> Hit:
    details = {"size": 1234, "mtime_ns": 0} | known
    return Hit(ImageRecord(path=str(path), **details), score, relevance)


def answer(
    *hits: Hit, query: str = "a dog", nothing_matches: bool = False, nearest: Hit | None = None
) -> Answer:
    return Answer(query, hits, nothing_matches, nearest or next(iter(hits), None))
