"""What a query brings."""

from __future__ import annotations

from dataclasses import dataclass

from search.records import ImageRecord


@dataclass(frozen=True, slots=True)
class Hit:
    """An image that was found."""

    record: ImageRecord
    score: float
    """Cosine with the query; of several terms, their balanced sum."""
    relevance: float
    """Estimated probability that the image shows what was asked for, judged against this
    collection; results end where it falls below 0.5."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its images, best first."""

    query: str
    """As it reads: `a dog + at night - people`."""
    hits: tuple[Hit, ...]
    nothing_matches: bool
    """Whether no image of the index is relevant. There may be hits all the same, if all were
    asked for."""
    nearest: Hit | None = None
    """The best image, relevant or not; None where there is none at all."""
