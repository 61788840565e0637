"""Whatever the files of an index hold: a refusal in our words, or the right answer; never else."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.arrays import FloatArray
from footwork.errors import FootworkError
from search import ImageIndex
from search.options import QueryOptions
from search.place import IndexFolder
from search.query.texts import open_texts
from search.store.embedded import nearest
from tests.mutations import deadline, mutations, outcomes
from tests.search.collections import held
from tests.search.drawn import draw_photos
from tests.search.places import examined, holdings
from tests.search.store_contract import embedder

ALL = QueryOptions(top_k=12, all_=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of drawn pictures with a real text half."""
    folder = tmp_path_factory.mktemp("drawn")
    ImageIndex.build([draw_photos(folder / "photos")], folder / "index", "tiny").close()
    return folder / "index"


def answered(index: Path) -> dict[str, tuple[float, float]]:
    with ImageIndex.open(index) as opened:
        hits = opened.query("a red circle", options=ALL).hits
    return {hit.record.path: (hit.score, hit.relevance) for hit in hits}


TEXT_HALF = (
    *("references.npy", "footwork.json", "tower/text.json", "tower/text.onnx"),
    *("tower/text.onnx.data", "tower/tokenizer.json"),
)


@pytest.mark.parametrize("name", TEXT_HALF)
def test_a_spoilt_text_half_is_refused_or_answers_as_ever(drawn: Path, name: str) -> None:
    right, count = answered(drawn), 0
    for outcome in outcomes(
        drawn / "generation-1" / "texts" / name, lambda: answered(drawn), count=10
    ):
        count += outcome.is_refused
        assert outcome.is_refused or outcome.value == right, outcome.mutation
    assert count > 10


@pytest.mark.parametrize("name", [name for name in TEXT_HALF if name != "footwork.json"])
def test_a_spoilt_text_half_of_an_older_version_gives_unit_vectors_or_none(
    drawn: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(drawn, tmp_path / "index")
    place = IndexFolder(tmp_path / "index")
    with closing(place.open()) as store:
        model = store.embedder
    folder = place.texts_folder(model)
    (folder / "footwork.json").unlink()

    def encoded() -> FloatArray:
        texts = open_texts(folder, model)
        return np.concatenate([texts.references, texts.encoder.encode_texts(["a", "red star"])])

    for outcome in outcomes(folder / name, encoded, count=15):
        if outcome.value is not None:
            assert np.allclose(np.linalg.norm(outcome.value, axis=1), 1, atol=1e-3)
            assert outcome.value.shape[1] == model.width


def test_spoilt_vectors_are_refused(drawn: Path) -> None:
    right, path = answered(drawn), drawn / "generation-1" / "vectors.f32"
    for outcome in outcomes(path, lambda: answered(drawn), count=30):
        assert outcome.is_refused or outcome.value == right, outcome.mutation


def asked(place: IndexFolder, vector: FloatArray) -> dict[str, Any]:
    """All that a reader does, as far as no model is needed."""
    with closing(place.open()) as store:
        store.counts()
        store.roots()
        records = {record.path: record for record in store.files()}
        store.records(sorted(records))
        store.vectors(sorted(records))
        store.sample(10)
        store.find_words("0003", 5)
        found = held(store)
        for hits in store.search(vector[None], 5):
            assert len(hits.records) <= 5
            assert np.isfinite(hits.cosines).all()
            assert (np.abs(hits.cosines) < 1.001).all()
            assert all(record.path.startswith("/") for record in hits.records)
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["footwork.json", "generation-1/catalog.sqlite", "writer.lock"])
def test_a_spoilt_catalog_or_manifest_is_refused_or_read(
    place: IndexFolder, name: str, seed: int
) -> None:
    vector = np.array(next(iter(holdings(place).values())), np.float32)
    for outcome in outcomes(place.path / name, lambda: asked(place, vector), seed=seed, count=40):
        assert outcome.is_refused or outcome.value is not None


@pytest.mark.parametrize("name", ["approximate.json", "approximate-8000.faiss"])
def test_a_spoilt_cache_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from tests.search.test_approximate import add, vectors_of

    monkeypatch.setattr(nearest, "FEWEST", 1000)
    vectors = vectors_of(range(8000))
    place = IndexFolder(tmp_path / "index")
    with closing(place.begin(embedder(16))) as store:
        add(store, range(8000))
        store.finish(vectors[:10])

    def found() -> list[list[str]]:
        with closing(place.open()) as store:
            return [[one.path for one in hits.records] for hits in store.search(vectors[:3], 3)]

    right = found()
    for outcome in outcomes(place.path / "generation-1" / name, found, count=20):
        assert outcome.value == right, outcome.mutation


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "name",
    [
        *("footwork.json", "generation-1/catalog.sqlite", "generation-1/catalog-copy.sqlite"),
        "generation-1/vectors.f32",
    ],
)
def test_a_repair_ends_well_or_says_that_it_cannot(
    original: Path, tmp_path: Path, name: str, seed: int
) -> None:
    index = original / "index"
    for number, mutation in enumerate(mutations(index / name, seed=seed, count=12)):
        place = IndexFolder(tmp_path / f"index-{number}")
        shutil.copytree(index, place.path)
        mutation.apply(place.path / name)
        try:
            with deadline():
                examined(place)
                examined(place, repair=True)
                left = examined(place)
                assert {one.kind for one in left.findings if one.is_fault} <= UPDATED, mutation.name
                asked(place, np.eye(16, dtype=np.float32)[0])
        except FootworkError:
            pass
        except BaseException as error:
            error.add_note(mutation.name)
            raise


UPDATED = {"new files", "changed files", "missing files", "returned files", "folder", "folders"}
"""Kinds that are not for a repair but for an update."""
