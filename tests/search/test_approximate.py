"""Among many images searches go through a FAISS index, and nobody sees a difference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from footwork.arrays import FloatArray
from footwork.errors import StoreError
from search.filters import EVERYTHING, Filter
from search.store.embedded import nearest, vectors
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Changes, Embedded
from tests.search.store_contract import embedder, record, unit

COUNT, WIDTH, TOP_K = 8000, 16, 10
EARLIEST = 10_000  # seconds; a number of four digits is a year
TYPICAL = np.zeros((0, WIDTH), np.float32)
MIDDLES = np.random.default_rng(0).normal(size=(50, WIDTH))
NOISE = np.random.default_rng(1).normal(size=(COUNT + 1000, WIDTH))


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedStore]:
    """Enough for lists, in clusters; every fourth lies in /a, the others in /b."""
    monkeypatch.setattr(nearest, "FEWEST", COUNT // 2)
    monkeypatch.setattr(nearest, "_NARROW", 100)
    monkeypatch.setattr(nearest, "_FILTERED", 100)
    with closing(EmbeddedStore.create(tmp_path / "index", embedder(WIDTH))) as store:
        add(store, range(COUNT))
        store.finish(TYPICAL)
        yield store


def add(store: EmbeddedStore, numbers: range) -> None:
    vectors = vectors_of(numbers)
    images = [
        Embedded(record(path_of(n), date=EARLIEST + n), vector)
        for n, vector in zip(numbers, vectors, strict=True)
    ]
    store.write(Changes(embedded=images))


def path_of(number: int) -> str:
    return f"/{'b' if number % 4 else 'a'}/{number:05d}.jpg"


def vectors_of(numbers: range) -> FloatArray:
    rows = np.array(numbers)
    return unit(MIDDLES[rows % 50] + 0.3 * NOISE[rows])


def recall(store: EmbeddedStore, where: Filter = EVERYTHING) -> float:
    """Share of the true nearest that is found; what is found has its true cosine."""
    queries = unit(vectors_of(range(0, COUNT, 400)) + 0.01)
    blocks = list(store.scan(where))
    paths = [one.path for block in blocks for one in block.records]
    cosines = queries @ np.concatenate([block.vectors for block in blocks]).T
    shares = []
    for found, row in zip(store.search(queries, TOP_K, where), cosines, strict=True):
        true = dict(zip(paths, row.tolist(), strict=True))
        for one, cosine in zip(found.records, found.cosines.tolist(), strict=True):
            assert cosine == pytest.approx(true[one.path], abs=1e-5)
        best = {paths[place] for place in np.argsort(-row)[:TOP_K]}
        shares.append(len(best & {one.path for one in found.records}) / len(best))
    return float(np.mean(shares))


def built(store: EmbeddedStore) -> str:
    return store.counts().details.get("approximate index", "none")


def test_a_few_images_need_none(tmp_path: Path) -> None:
    with closing(EmbeddedStore.create(tmp_path / "index", embedder(WIDTH))) as store:
        add(store, range(100))
        store.finish(TYPICAL)
        assert built(store) == "none"


@pytest.mark.parametrize(
    "where",
    [
        EVERYTHING,
        Filter(since=EARLIEST + 10, until=EARLIEST + 50),
        Filter(folders=("/b",)),
        Filter(folders=("/a",)),
        Filter(since=EARLIEST + COUNT - 200),
    ],
    ids=["all", "narrow", "broad", "less broad", "elsewhere"],
)
def test_the_nearest_are_found_under_every_filter(many: EmbeddedStore, where: Filter) -> None:
    assert built(many).startswith("8,000 vectors")
    assert recall(many, where) >= 0.97


def test_what_was_deleted_is_not_found_and_what_came_later_is(many: EmbeddedStore) -> None:
    gone = [path_of(n) for n in range(0, COUNT, 3)]
    many.write(Changes(forgotten=gone[::2], absent=gone[1::2]))
    late = range(COUNT, COUNT + 20)
    add(many, late)
    assert built(many).startswith("8,000 vectors")
    assert recall(many) >= 0.97
    assert recall(many, Filter(folders=("/b",))) >= 0.97
    for number, found in zip(late, many.search(vectors_of(late), 1), strict=True):
        assert [one.path for one in found.records] == [path_of(number)]


def test_it_grows_with_the_images_and_follows_a_new_file(
    many: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(many, range(COUNT, COUNT + 900))
    many.finish(TYPICAL)
    assert built(many).startswith("8,900 vectors")
    monkeypatch.setattr(vectors, "FEWEST_HOLES", 10)
    many.write(Changes(forgotten=[path_of(n) for n in range(0, COUNT, 3)]))
    many.finish(TYPICAL)
    assert built(many).startswith("6,233 vectors")
    assert recall(many) >= 0.97
    assert len(list(many.folder.glob("approximate-*.faiss"))) == 1


def test_a_damaged_one_is_passed_over_and_made_again(many: EmbeddedStore) -> None:
    (file,) = many.folder.glob("approximate-*.faiss")
    whole = file.stat().st_size
    file.write_bytes(b"damaged")
    with closing(EmbeddedStore(many.folder)) as store:
        assert recall(store) == 1.0
        store.finish(TYPICAL)
        assert file.stat().st_size == whole
        assert recall(store) >= 0.97


def test_one_that_is_damaged_while_it_is_open_is_made_again(
    many: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "_TRAINED", 20)  # there are not 40 vectors a list
    assert recall(many) >= 0.97  # it is open now
    (file,) = many.folder.glob("approximate-*.faiss")
    file.unlink()
    file.write_bytes(b"damaged")
    add(many, range(COUNT, COUNT + 900))
    many.finish(TYPICAL)
    assert built(many).startswith("8,900 vectors")
    assert recall(many) >= 0.97


def test_a_full_disk_is_told_and_searches_go_on(
    many: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("No space left on device")

    add(many, range(COUNT, COUNT + 900))
    monkeypatch.setattr("faiss.write_index", refuse)
    with pytest.raises(StoreError, match=r"cannot be written\. Make room"):
        many.finish(TYPICAL)
    assert recall(many) >= 0.97


def test_where_few_are_left_it_goes(many: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "FEWEST_HOLES", 10)
    many.write(Changes(forgotten=[path_of(n) for n in range(COUNT - 30)]))
    many.finish(TYPICAL)
    assert not list(many.folder.glob("approximate*"))
    assert recall(many) == 1.0
