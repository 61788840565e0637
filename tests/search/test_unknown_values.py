"""A filter that lets nothing through is told apart from a query that nothing matches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from search.filters import Filter
from search.query.asking import unknown_values
from search.store.protocol import Store
from tests.search.commands import Command
from tests.search.drawn import draw_photos
from tests.search.store_contract import Engine, paths_of, write_images


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
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
    ({"formats": ("pngg", "jpeg")}, "--format pngg", "the index knows png."),
    ({"cameras": ("Nikon",)}, "--camera Nikon", "the index knows Canon EOS 5D."),
]


def test_a_value_that_no_image_has_is_told_with_those_that_some_have(store: Store) -> None:
    conditions: dict[str, Any]
    for conditions, value, known in KNOWN:
        (sentence,) = unknown_values(store, Filter(**conditions))
        assert sentence.startswith(f"{value} lets no image through; {known}")
    together = Filter(folders=("/photos/2023",), formats=("png",), cameras=("canon",), since=10**10)
    assert list(unknown_values(store, together)) == []  # each of them lets some through
    store.write_labels([("/photos/2024/b.jpg", {})])
    (sentence,) = unknown_values(store, Filter(labels=("cat",)))
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
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.query.asking._LOOKED_AT", 2)
    store.write_labels([("/photos/2024/b.jpg", {})])
    asked = []

    def search(queries: Any, top_k: int, where: Filter) -> Any:
        asked.append(top_k)
        return type(store).search(store, queries, top_k, where)

    monkeypatch.setattr(store, "search", search)
    said = list(unknown_values(store, Filter(labels=("cat", "dog"))))
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
