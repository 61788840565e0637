"""What a query brings."""

from __future__ import annotations

from dataclasses import dataclass

from search.records import ImageRecord

RELEVANT = 0.5
"""Relevance at which results end."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An image that was found."""

    record: ImageRecord
    score: float
    """Cosine with what is the query's own: see `search.query.relevance`."""
    relevance: float
    """Estimated probability that the image shows what was asked for; results end at `RELEVANT`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its images, the most relevant first."""

    query: str
    """As it reads: `a dog + at night - people`."""
    hits: tuple[Hit, ...]
    nothing_matches: bool
    """Whether no image of the index is relevant. There may be hits all the same, if all were
    asked for."""
    nearest: Hit | None = None
    """The best image, relevant or not; None where there is none at all."""
