"""From queries to their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import StoreError
from search.answer import Answer, Hit
from search.filters import EVERYTHING, Filter
from search.options import QueryOptions
from search.relevance import Term as Measured
from search.relevance import Yardstick
from search.store.protocol import FloatArray, Found, Store
from search.terms import Query, Term
from search.texts import Texts

RELEVANT = 0.5
"""Relevance at which results end."""
_SAMPLED = 1000
"""Images of the collection that terms are balanced by."""
_TIMES, _MORE = 4, 100
"""Images looked at for those asked for: the nearest ones are not always the relevant ones."""
_FUSED = 60
"""Rank constant of reciprocal rank fusion.

Source: Cormack, Clarke and Buettcher 2009, SIGIR."""

EncodeImages = Callable[[Sequence[Path]], FloatArray]


@dataclass(frozen=True)
class Asker:
    """Answers queries from one store.

    Args:
        store: To be searched.
        texts: Of its model.
        encode_images: Embeds pictures that the store does not know.
    """

    store: Store
    texts: Texts
    encode_images: EncodeImages

    def answer(
        self,
        queries: Sequence[Query],
        options: QueryOptions = QueryOptions(),  # noqa: B008 - frozen
        where: Filter = EVERYTHING,
    ) -> list[Answer]:
        """Answer queries, in their order, in one pass over the store.

        Args:
            queries: At least one.
            options: How many images, and which.
            where: Which images are asked for.

        Raises:
            ImageError: A picture that is asked by cannot be read.
            ModelError: The model cannot be loaded.
            StoreError: The index cannot be read.
        """
        vectors = self._vectors(queries)
        measured = [
            _Measured(
                [self._measure(term, vectors[term]) for term in query.wanted],
                [self._measure(term, vectors[term]) for term in query.excluded],
            )
            for query in queries
        ]
        asked = np.stack(
            [self._yardstick.search_vector(one.wanted, self._sample(one)) for one in measured]
        )
        count = _TIMES * options.top_k + _MORE
        everything = self.store.search(asked.astype(np.float32), count, where)
        answers = []
        for query, one, vector, found in zip(queries, measured, asked, everything, strict=True):
            if options.hybrid and query.words:
                by_name = self.store.find_words(query.words, count, where)
                answers.append(self._fused(query, one, vector, [found, by_name], options))
            else:
                answers.append(self._judged(query, one, found, options))
        return answers

    def _judged(
        self, query: Query, measured: _Measured, found: Found, options: QueryOptions
    ) -> Answer:
        relevance, unwanted = self._relevance(measured, found)
        keep = ~unwanted & (options.all_ | (relevance >= RELEVANT))
        hits = tuple(
            Hit(found.records[i], float(found.cosines[i]), float(relevance[i]))
            for i in np.flatnonzero(keep)[: options.top_k]
        )
        best = _best(found, np.where(unwanted, -1.0, relevance))
        matches = best is not None and best.relevance >= RELEVANT
        return Answer(str(query), hits, nothing_matches=not matches, nearest=best)

    def _fused(
        self,
        query: Query,
        measured: _Measured,
        vector: NDArray[np.float64],
        lists: Sequence[Found],
        options: QueryOptions,
    ) -> Answer:
        """Images by what they show and by what they are called, joined by rank.

        An image whose name holds the words is a result whatever it shows.
        """
        ranks: dict[str, float] = {}
        hits: dict[str, Hit] = {}
        named = {record.path for record in lists[1].records}
        for found in lists:
            relevance, unwanted = self._relevance(measured, found)
            for rank, record in enumerate(found.records):
                relevant = options.all_ or relevance[rank] >= RELEVANT or record.path in named
                if relevant and not unwanted[rank]:
                    ranks[record.path] = ranks.get(record.path, 0.0) + 1 / (_FUSED + rank + 1)
                    score = float(found.vectors[rank] @ vector)
                    hits[record.path] = Hit(record, score, float(relevance[rank]))
        best = sorted(hits, key=lambda path: -ranks[path])
        matches = any(hit.relevance >= RELEVANT or path in named for path, hit in hits.items())
        chosen = tuple(hits[path] for path in best[: options.top_k])
        nearest = chosen[0] if chosen else self._judged(query, measured, lists[0], options).nearest
        return Answer(str(query), chosen, nothing_matches=not matches, nearest=nearest)

    def _relevance(
        self, measured: _Measured, found: Found
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Relevance (K,), and which images show what is not wanted, (K,) booleans."""
        vectors = found.vectors
        relevance = self._yardstick.relevance(measured.wanted, vectors, measured.excluded)
        unwanted = np.zeros(len(vectors), bool)
        for term in measured.excluded:
            unwanted |= self._yardstick.relevance([term], vectors) >= RELEVANT
        return relevance, unwanted

    def _vectors(self, queries: Sequence[Query]) -> Mapping[Term, FloatArray]:
        """A unit vector for each term of all queries."""
        terms = list(dict.fromkeys(term for query in queries for term in query.terms))
        texts = [term for term in terms if not term.is_image]
        vectors: dict[Term, FloatArray] = {}
        if texts:
            rows = self.texts.encoder.encode_texts([term.text for term in texts])
            vectors.update(zip(texts, rows, strict=True))
        pictures = [term for term in terms if term.is_image]
        if pictures:
            vectors.update(self._picture_vectors(pictures))
        return vectors

    def _picture_vectors(self, terms: Sequence[Term]) -> dict[Term, FloatArray]:
        """From the store where the file is as it was indexed, else from the model."""
        paths = [term.text for term in terms]
        known = {
            path
            for path, record in self.store.records(paths).items()
            if record.fault is None and _is_unchanged(path, record.size, record.mtime_ns)
        }
        stored = self.store.vectors(sorted(known))
        unknown = sorted({path for path in paths if path not in stored})
        if unknown:
            rows = self.encode_images([Path(path) for path in unknown])
            stored |= dict(zip(unknown, rows, strict=True))
        return {term: stored[term.text] for term in terms}

    def _measure(self, term: Term, vector: FloatArray) -> Measured:
        make = self._yardstick.image if term.is_image else self._yardstick.text
        return make(vector, term.weight)

    def _sample(self, measured: _Measured) -> FloatArray:
        return self._collection if len(measured.wanted) > 1 else self.texts.references[:0]

    @cached_property
    def _yardstick(self) -> Yardstick:
        if not len(self.texts.references):
            raise StoreError("The index lacks the words that answers are measured by.")
        return Yardstick(self.texts.references)

    @cached_property
    def _collection(self) -> FloatArray:
        return self.store.sample(_SAMPLED)


@dataclass(frozen=True, slots=True)
class _Measured:
    """The terms of a query, ready to be judged by."""

    wanted: list[Measured]
    excluded: list[Measured]


def _best(found: Found, relevance: NDArray[np.float64]) -> Hit | None:
    if not len(relevance) or relevance.max() < 0:
        return None
    place = int(relevance.argmax())
    return Hit(found.records[place], float(found.cosines[place]), float(relevance[place]))


def _is_unchanged(path: str, size: int, mtime_ns: int) -> bool:
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return True  # what is offline now is what it was
    return (state.st_size, state.st_mtime_ns) == (size, mtime_ns)
