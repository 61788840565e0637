"""Queries become answers, and a filter that lets nothing through is told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from footwork.arrays import FloatArray
from footwork.errors import StoreError
from search.filters import Filter
from search.options import QueryOptions
from search.query import asking
from search.query.asking import Asker, unknown_values
from search.query.terms import parse_query
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Changes, Embedded, Store
from tests.search.collections import WIDTH, indexed, save_pictures
from tests.search.commands import Command
from tests.search.drawn import draw_photos
from tests.search.store_contract import (
    Engine,
    embedder,
    paths_of,
    record,
    unit,
    vector_of,
    write_images,
)


class HashedTexts:
    """A text's vector follows from its letters."""

    def __init__(self, references: int = 40, width: int = WIDTH) -> None:
        self.references = unit(np.random.default_rng(0).normal(size=(references, width)))
        self.width = width
        self.encoder = self
        self.known: dict[str, FloatArray] = {}

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self.known.get(text, vector_of(text, self.width)) for text in texts])

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        return [i for i, text in enumerate(texts) if len(text) > 1000]


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


def test_what_is_left_is_found_behind_many_that_are_excluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        monkeypatch.setattr(asking, "_FARTHEST", 30)  # nearer than is looked at to begin with
        (many,) = asked.answer([parse_query(["dog", "-", "people"])], QueryOptions(top_k=310))
        assert len(many.hits) == 20


@pytest.fixture
def labelled(engine: Engine) -> Iterator[Store]:
    with closing(engine.make()) as made:
        write_images(made, "/photos/2023/a.jpg", "/photos/2024/b.jpg")
        write_images(made, "/photos/2024/c.png", format="png", camera=None)
        made.write_labels([("/photos/2024/b.jpg", {"a cat": 0.9, "a dog": 0.1})])
        made.set_roots(["/photos"])
        yield made


KNOWN = [
    ({"folders": ("/photos/2042",)}, "--in /photos/2042", "the index knows /photos/2024, /photos"),
    ({"folders": ("/elsewhere",)}, "--in /elsewhere", "the index knows /photos."),
    ({"labels": ("a catt",)}, "--label a catt", "the index knows a cat"),
    ({"labels": ("sofa",)}, "--label sofa", "the index knows a cat, a dog."),
    ({"formats": ("gif", "jpeg")}, "--format gif", "the index knows jpeg, png."),
    ({"cameras": ("Nikon",)}, "--camera Nikon", "the index knows Canon EOS 5D."),
]


def test_a_value_that_no_image_has_is_told_with_those_that_some_have(labelled: Store) -> None:
    conditions: dict[str, Any]
    for conditions, value, known in KNOWN:
        (sentence,) = unknown_values(labelled, Filter(**conditions))
        assert sentence.startswith(f"{value} lets no image through; {known}")
    together = Filter(folders=("/photos/2023",), formats=("png",), cameras=("canon",), since=10**10)
    assert list(unknown_values(labelled, together)) == []  # each of them lets some through
    labelled.write_labels([("/photos/2024/b.jpg", {})])
    (sentence,) = unknown_values(labelled, Filter(labels=("cat",)))
    assert sentence == "--label cat lets no image through; no image of the index has one."


@pytest.mark.parametrize(("stored", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_found_in_either_spelling(engine: Engine, stored: str, asked: str) -> None:
    there, typed = (lambda text: normalize(stored, text)), (lambda text: normalize(asked, text))
    with closing(engine.make()) as store:
        write_images(store, there("/phötos/Été/a.jpg"), camera=there("Câmera X"))
        store.write_labels([(there("/phötos/Été/a.jpg"), {there("pâté"): 0.9})])
        store.set_roots([there("/phötos")])
        for conditions in (
            {"folders": (typed("/phötos/Été"),)},
            {"folders": (there("/phötos/") + typed("Été"),)},
            {"cameras": (typed("Câm"),)},
            {"labels": (typed("pâté"),)},
        ):
            assert list(unknown_values(store, Filter(**conditions))) == []
        (sentence,) = unknown_values(store, Filter(folders=(typed("/phötos/Éte"),)))
        assert normalize("NFC", sentence) == sentence
        assert sentence.startswith("--in /phötos/Éte lets no image through; the index knows /phö")
        if engine.finds_words:
            assert paths_of(store.find_words(typed("été"), 9).records) == [
                there("/phötos/Été/a.jpg")
            ]


def test_what_only_some_images_were_asked_for_is_not_said_of_all(
    labelled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.query.asking._LOOKED_AT", 2)
    labelled.write_labels([("/photos/2024/b.jpg", {})])
    asked = []

    def search(queries: Any, top_k: int, where: Filter) -> Any:
        asked.append(top_k)
        return type(labelled).search(labelled, queries, top_k, where)

    monkeypatch.setattr(labelled, "search", search)
    said = list(unknown_values(labelled, Filter(labels=("cat", "dog"))))
    assert said == ["--label cat lets no image through.", "--label dog lets no image through."]
    assert asked == [1, 1, 2]


@pytest.mark.usefixtures("exported_once")
def test_the_commands_tell_it_and_end_as_before(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, index = draw_photos(tmp_path / "photos"), ["--index", tmp_path / "index"]
    command("index", photos, *index, "--model", "tiny")
    for words in (["query", "a star"], ["duplicates"], ["export", tmp_path / "none.npy"]):
        command(*words, *index, "--format", "gif")
        assert "--format gif lets no image through; the index knows png." in command.err
    asking = "search.query.asking.unknown_values"
    monkeypatch.setattr(asking, lambda *_: pytest.fail("asked"))
    command("query", "a red star", *index, "--format", "png")
    assert command.err == ""
    command("query", "a yellow heart", *index)  # nothing matches, but is there
    assert command.err == ""
