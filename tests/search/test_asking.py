"""Queries become answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.arrays import FloatArray
from footwork.errors import StoreError
from search.options import QueryOptions
from search.query import asking
from search.query.asking import Asker
from search.query.terms import parse_query
from search.store.embedded import EmbeddedStore
from search.store.protocol import Changes, Embedded
from tests.search.collections import WIDTH, indexed, save_pictures
from tests.search.store_contract import embedder, record, unit, vector_of


class HashedTexts:
    """A text's vector follows from its letters."""

    def __init__(self, references: int = 40, width: int = WIDTH) -> None:
        self.references = unit(np.random.default_rng(0).normal(size=(references, width)))
        self.width = width
        self.encoder = self
        self.known: dict[str, FloatArray] = {}

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self.known.get(text, vector_of(text, self.width)) for text in texts])


def asker(store: EmbeddedStore, folder: Path, texts: Any) -> Asker:
    save_pictures(folder / "photos", 12)
    indexed(store, folder / "photos")
    return Asker(store, texts, lambda paths: pytest.fail(f"{paths} were embedded"))


def test_however_many_are_answered_at_once_each_is_answered_as_if_alone(
    store: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asker(store, tmp_path, HashedTexts())
    queries = [parse_query([word]) for word in ("dog", "cat", "bicycle", "wall", "sea")]
    best = QueryOptions(all_=True, top_k=3)
    together = asked.answer(queries, best)
    monkeypatch.setattr(asking, "_TOGETHER", 2)
    parts, alone = asked.answer(queries, best), [asked.answer([one], best)[0] for one in queries]
    for answers in (parts, alone):
        for answer, expected in zip(answers, together, strict=True):
            assert answer.query == expected.query
            assert [hit.record for hit in answer.hits] == [hit.record for hit in expected.hits]


def test_a_picture_of_the_index_is_asked_by_its_stored_vector(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    asked = asker(store, tmp_path, HashedTexts())
    path = str(tmp_path / "photos" / "0003.png")
    (answer,) = asked.answer([parse_query((), [path])])
    assert answer.hits[0].record.path == path


def test_an_index_without_measures_says_so(store: EmbeddedStore, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"lacks the words that answers are measured by\. .*doctor --repair"
    ):
        asker(store, tmp_path, HashedTexts(references=0)).answer([parse_query(["dog"])])


def test_an_image_is_as_relevant_as_it_shows_what_is_wanted_and_nothing_unwanted(
    store: EmbeddedStore,
    tmp_path: Path,
) -> None:
    asked = asker(store, tmp_path, HashedTexts())
    queries = [["dog"], ["people"], ["dog", "-", "people"]]
    answers = asked.answer([parse_query(one) for one in queries], QueryOptions(all_=True, top_k=12))
    dog, people, both = ({hit.record.path: hit.relevance for hit in one.hits} for one in answers)
    assert both == pytest.approx({path: dog[path] * (1 - people[path]) for path in both})
    assert both.keys() == {path for path in people if people[path] < 0.5}


def test_what_is_left_is_found_behind_many_that_are_excluded(tmp_path: Path) -> None:
    axes, noise = np.eye(64), np.random.default_rng(0).normal(scale=0.02, size=(320, 64))
    with_people = unit(1.5 * axes[0] + axes[1] + noise[:300])
    alone = unit(axes[0] + 0.9 * axes[2] + noise[300:])
    with closing(EmbeddedStore.create(tmp_path / "index", embedder(64))) as store:
        rows = {f"/both/{n}": row for n, row in enumerate(with_people)}
        rows |= {f"/alone/{n}": row for n, row in enumerate(alone)}
        images = [Embedded(record(path), row) for path, row in rows.items()]
        store.write(Changes(embedded=images))
        texts = HashedTexts(200, 64)
        texts.known = {"dog": unit(axes[0]), "people": unit(axes[1])}
        asked = Asker(store, texts, lambda paths: pytest.fail(f"{paths} were embedded"))  # type: ignore[arg-type]
        plain, narrowed = asked.answer([parse_query(["dog"]), parse_query(["dog", "-", "people"])])
        assert {hit.record.path.split("/")[1] for hit in plain.hits} == {"both"}
        assert len(narrowed.hits) == 10
        assert {hit.record.path.split("/")[1] for hit in narrowed.hits} == {"alone"}
