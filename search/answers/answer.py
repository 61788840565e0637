"""What a query brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.paths import missing_files
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
    missing: str | None = None
    """Why its file is not there, a clause; None if it is, or was not looked for."""


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
    fault: str | None = None
    """Why it could not be asked, a clause; None if it was. Without hits it says nothing of what
    matches."""


def looked_for(answers: Sequence[Answer], roots: Sequence[str]) -> list[Answer]:
    """The same answers, which tell what of them is not there.

    Args:
        answers: Of any number.
        roots: The indexed folders.
    """
    shown = [hit for one in answers for hit in (one.hits or filter(None, [one.nearest]))]
    missing = missing_files((hit.record.path for hit in shown), roots)

    def told(hit: Hit) -> Hit:
        return replace(hit, missing=missing.get(hit.record.path))

    return [
        replace(
            one,
            hits=tuple(map(told, one.hits)),
            nearest=None if one.nearest is None else told(one.nearest),
        )
        for one in answers
    ]
