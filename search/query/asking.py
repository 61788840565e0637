"""From queries to their answers; and what is said where a filter lets nothing through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from footwork.arrays import DoubleArray, FloatArray
from footwork.errors import ImageError, StoreError
from footwork.files.paths import path_line
from search.answers.answer import Answer, Hit
from search.filters import EVERYTHING, Filter
from search.options import QueryOptions
from search.paths import composed
from search.query.relevance import RELEVANT, Evidence, Relevance
from search.query.terms import Query, Term
from search.query.texts import Texts
from search.records import ImageRecord
from search.store.protocol import Found, Store

_SAMPLED = 1000
"""Images of the collection that terms are balanced by."""
_TIMES, _MORE, _MOST_MORE = 3, 100, 1000
"""Images looked at beyond those asked for: the nearest are not always the relevant ones."""
_FARTHEST = 4096
"""Images looked at where most of the nearest show what is not wanted."""
_TOGETHER = 256
"""Queries of one pass: of each, the vectors of all that is found are held."""
_FUSED = 60
"""Rank constant of reciprocal rank fusion.

Source: Cormack, Clarke and Buettcher 2009, SIGIR."""


@dataclass(frozen=True)
class Asker:
    """Answers queries from one store."""

    store: Store
    texts: Texts
    encode_images: Callable[[Sequence[Path]], FloatArray]
    """Embeds images that the store does not know."""

    def answer(
        self,
        queries: Sequence[Query],
        options: QueryOptions = QueryOptions(),  # noqa: B008 - frozen
        where: Filter = EVERYTHING,
    ) -> list[Answer]:
        """Answer queries, in their order, hundreds in one pass over the store.

        Of several, one that asks by an image that cannot be read is answered with its `fault`.

        Raises:
            ImageError: An image that the only query asks by cannot be read.
            ModelError: The model cannot be loaded.
            StoreError: The index cannot be read.
        """
        known = self._vectors(queries)
        faults = {term: one for term, one in known.items() if isinstance(one, ImageError)}
        vectors = {term: one for term, one in known.items() if not isinstance(one, ImageError)}
        wrong = [next((faults[t] for t in query.terms if t in faults), None) for query in queries]
        if len(queries) == 1 and wrong[0] is not None:
            raise wrong[0]
        sound = [query for query, fault in zip(queries, wrong, strict=True) if fault is None]
        found = self._answered(sound, vectors, options, where)
        is_empty = not any(answer.nearest for answer in found)
        unknown = tuple(unknown_values(self.store, where)) if is_empty else ()
        answers = iter(found)
        return [
            replace(next(answers), notes=(*self._cut(query), *unknown))
            if fault is None
            else Answer(str(query), (), nothing_matches=False, fault=fault.reason, notes=unknown)
            for query, fault in zip(queries, wrong, strict=True)
        ]

    def _cut(self, query: Query) -> Iterator[str]:
        texts = [term.text for term in query.terms if term.is_words]
        for place in self.texts.encoder.cut_texts(texts) if texts else ():
            yield f"Too long, and cut by the model: {texts[place]}"

    def is_image(self, vector: FloatArray) -> bool:
        """Whether a unit vector, (D,), is an image's, not a text's.

        It is one that is nearer to an image of the index than to any everyday word. Of 2,068 texts
        and 125 photographs of CLIP ViT-B/32 none was taken for the other.
        """
        by_image, by_text = (rows @ vector for rows in (self._sample, self.texts.references))
        return bool(by_image.max(initial=-1.0) > by_text.max())

    def _vectors(self, queries: Iterable[Query]) -> dict[Term, FloatArray | ImageError]:
        """A unit vector for each term of all queries, or why an image has none."""
        terms = list(dict.fromkeys(term for query in queries for term in query.terms))
        words = [term for term in terms if term.is_words]
        images = [term for term in terms if term.is_image and not term.vector]
        given = {term: np.array(term.vector, np.float32) for term in terms if term.vector}
        rows = self.texts.encoder.encode_texts([term.text for term in words]) if words else ()
        by_path = self._image_vectors([term.text for term in images]) if images else {}
        by_image = {term: by_path[term.text] for term in images}
        return given | dict(zip(words, rows, strict=True)) | by_image

    def _image_vectors(self, paths: Sequence[str]) -> dict[str, FloatArray | ImageError]:
        """From the store where the file is as it was indexed, else from the model."""
        records = self.store.records(paths)
        known = [p for p, one in records.items() if one.fault is None and _is_unchanged(one)]
        vectors: dict[str, FloatArray | ImageError] = {**self.store.vectors(sorted(known))}
        unknown = sorted({path for path in paths if path not in vectors})
        try:
            rows = self.encode_images(list(map(Path, unknown))) if unknown else ()
            vectors |= dict(zip(unknown, rows, strict=True))
        except ImageError:  # one of them cannot be read: which?
            from footwork.images.ahead import attempt  # which few queries need

            for path in unknown:
                vectors[path] = attempt(lambda path: self.encode_images([Path(path)])[0], path)
        return vectors

    def _answered(
        self,
        queries: Sequence[Query],
        vectors: Mapping[Term, FloatArray],
        options: QueryOptions,
        where: Filter,
    ) -> list[Answer]:
        measured = [self._measured(query, vectors) for query in queries]
        count = options.top_k + min(_TIMES * options.top_k + _MORE, _MOST_MORE)
        answers = []
        for start in range(0, len(queries), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            asked = np.stack([terms.vector for terms in measured[part]]).astype(np.float32)
            nearest = self.store.search(asked, count, where)
            for query, terms, found in zip(queries[part], measured[part], nearest, strict=True):
                by_look = self._left(terms, found, options.top_k, where)
                by_name = None
                if options.hybrid and query.words:
                    by_name = self._judged(terms, self.store.find_words(query.words, count, where))
                answers.append(_answer(query, by_look, by_name, options))
        return answers

    def _measured(self, query: Query, vectors: Mapping[Term, FloatArray]) -> _Measured:
        def evidence(term: Term) -> Evidence:
            make = self._relevance.image if term.is_image else self._relevance.text
            return make(vectors[term], term.weight)

        wanted, excluded = map(evidence, query.wanted), map(evidence, query.excluded)
        terms = list(wanted)
        sample = self._sample if len(terms) > 1 else self.texts.references[:0]
        return _Measured(terms, list(excluded), self._relevance.search_vector(terms, sample))

    def _left(self, measured: _Measured, found: Found, top_k: int, where: Filter) -> dict[str, Hit]:
        """What is left of the nearest; farther ones are looked at if much of them is excluded."""
        hits, seen = self._judged(measured, found), len(found.records)
        while measured.excluded and len(hits) < top_k and seen < _FARTHEST:
            last = self._relevance.of(measured.wanted, found.vectors[-1:])
            if not (last >= RELEVANT).any():  # what is farther shows nothing that is wanted
                break
            asked = measured.vector[None].astype(np.float32)
            [found] = self.store.search(asked, min(4 * seen, _FARTHEST), where)
            hits = self._judged(measured, found)
            if len(found.records) == seen:
                break
            seen = len(found.records)
        return hits

    def _judged(self, measured: _Measured, found: Found) -> dict[str, Hit]:
        """What is found and shows nothing that is not wanted, by path, in the order found.

        Relevance is multiplied by the probability that an image shows nothing unwanted.
        """
        relevance = self._relevance.of(measured.wanted, found.vectors)
        keep = np.ones(len(relevance), bool)
        for term in measured.excluded:
            shown = self._relevance.of([term], found.vectors)
            keep &= shown < RELEVANT
            relevance = relevance * (1 - shown)
        scores = found.vectors @ measured.vector
        return {
            found.records[i].path: Hit(found.records[i], float(scores[i]), float(relevance[i]))
            for i in np.flatnonzero(keep).tolist()
        }

    @cached_property
    def _relevance(self) -> Relevance:
        if not len(self.texts.references):
            raise StoreError(
                "The index lacks the words that answers are measured by. "
                "footwork search doctor --repair prepares them anew."
            )
        return Relevance(self.texts.references)

    @cached_property
    def _sample(self) -> FloatArray:
        return self.store.sample(_SAMPLED)


@dataclass(frozen=True, slots=True)
class _Measured:
    wanted: Sequence[Evidence]
    excluded: Sequence[Evidence]
    vector: DoubleArray
    """Shape (D,): whose nearest images are looked at."""


def _answer(
    query: Query,
    by_look: Mapping[str, Hit],
    by_name: dict[str, Hit] | None,
    options: QueryOptions,
) -> Answer:
    """Images by what they show; in a hybrid query also by what they are called, joined by rank.

    An image whose name holds the words is a result whatever it shows.
    """
    best = sorted(by_look.values(), key=lambda hit: -hit.relevance)
    relevant = [hit for hit in best if hit.relevance >= RELEVANT]
    shown, nearest = best if options.all_ else relevant, best[:1]
    if by_name is not None:
        every = {hit.record.path: hit for hit in shown} | by_name
        points: dict[str, float] = defaultdict(float)
        for ranked in ([hit.record.path for hit in shown], by_name):
            for rank, path in enumerate(ranked, 1):
                points[path] += 1 / (_FUSED + rank)
        shown = sorted(every.values(), key=lambda hit: -points[hit.record.path])
        nearest = shown[:1] or nearest
    return Answer(
        str(query),
        tuple(shown[: options.top_k]),
        nothing_matches=not (relevant or by_name),
        nearest=next(iter(nearest), None),
    )


def _is_unchanged(record: ImageRecord) -> bool:
    try:
        return record.is_state_of(Path(record.path).stat())
    except (OSError, ValueError):
        return True  # what is offline now is what it was


_VALUES: dict[str, tuple[str, Callable[[ImageRecord], Iterable[str | None]]]] = {
    "folders": ("--in", lambda record: [str(Path(record.path).parent)]),
    "formats": ("--format", lambda record: [record.format]),
    "cameras": ("--camera", lambda record: [record.camera]),
    "labels": ("--label", lambda record: record.labels or ()),
}
"""Field of a filter → its option, and what an image has of it."""
_LOOKED_AT, _TOLD = 1000, 5
"""Images whose values are named in place of unknown ones (all would take long), and how many."""


def unknown_values(store: Store, where: Filter) -> Iterator[str]:
    """Tell which values of a filter no image has, a sentence each, and which are like them.

    To be asked where nothing was found: it takes a search for each value.
    """
    from difflib import get_close_matches  # what other queries do not wait for

    from footwork.files.faults import shortened

    unknown = [
        (field, value)
        for field in _VALUES
        for value in dict.fromkeys(map(composed, getattr(where, field)))
        if not _some_images(store, 1, Filter(**{field: (value,)}))  # type: ignore[arg-type]
    ]
    images = _some_images(store, _LOOKED_AT, Filter()) if unknown else ()
    for field, value in unknown:
        option, values_of = _VALUES[field]
        there = {composed(one) for image in images for one in values_of(image) if one}
        others = get_close_matches(value, there, _TOLD)
        if not others:
            others = list(map(composed, store.roots())) if field == "folders" else sorted(there)
        known = ""
        if others:
            known = f"; the index knows {shortened(map(path_line, others), _TOLD)}"
        elif len(images) < _LOOKED_AT:  # all that there are
            known = "; no image of the index has one"
        yield f"{option} {path_line(value)} lets no image through{known}."


def _some_images(store: Store, count: int, where: Filter) -> Sequence[ImageRecord]:
    anything = np.full((1, store.embedder.width), store.embedder.width**-0.5, np.float32)
    return store.search(anything, count, where)[0].records
