"""Words in the names of files, found without a full-text index, which Milvus 2.3 lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import log

from search.path_words import words_of
from search.store.server.collection import Collection
from search.store.server.expressions import literal
from search.store.server.rows import Row

_MOST_WORDS = 8
_CANDIDATES = 1024  # rows that hold as many words as each other


def paths_with_words(collection: Collection, words: str, top_k: int, condition: str) -> list[str]:
    """Paths that hold words, best first: those with more of them, then with rarer ones.

    Like BM25, a path counts for less the more other words it has.

    Args:
        collection: What is searched.
        words: As they were typed.
        top_k: At most so many.
        condition: What else has to hold.

    Returns:
        As they are stored.
    """
    asked = list(dict.fromkeys(words_of(words)))[:_MOST_WORDS]
    found: dict[str, None] = {}
    for of_them in _fewer_and_fewer(asked):
        limit = max(_CANDIDATES, 2 * top_k)
        rows = collection.fetch(f"{condition} and {of_them}", ["path", "words"], limit=limit)
        found |= dict.fromkeys(_ranked([row for row in rows if row["path"] not in found], asked))
        if len(found) >= top_k:
            break
    return list(found)[:top_k]


def _fewer_and_fewer(words: Sequence[str]) -> Iterator[str]:
    """Conditions that all words are held, then all but one, down to any of them."""
    for size in range(len(words), 0, -1):
        held = [
            f"array_contains_all(words, [{', '.join(map(literal, some))}])"
            for some in combinations(words, size)
        ]
        yield f"({' or '.join(held)})"


def _ranked(rows: Sequence[Row], asked: Sequence[str]) -> list[str]:
    """Paths by how rare among these rows the words are that each holds."""
    holders = {word: sum(word in row["words"] for row in rows) for word in asked}
    worth = {word: log(1 + len(rows) / max(1, count)) for word, count in holders.items()}

    def score(row: Row) -> float:
        return sum(worth[word] for word in asked if word in row["words"])

    return [
        row["path"]
        for row in sorted(rows, key=lambda row: (-score(row), len(row["words"]), row["path"]))
    ]
