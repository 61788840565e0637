"""What every engine answers; see test_store_contract.py for writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from footwork.arrays import FloatArray
from footwork.errors import ConfigError
from search.filters import Filter
from search.store.protocol import Changes, Embedded, Move, Store
from tests.search.store_contract import (
    WIDTH,
    EmbeddedEngine,
    Engine,
    EngineOf,
    clustered,
    embedded,
    fault,
    found_paths,
    nearest,
    paths_of,
    record,
    scanned,
    searched,
    unit,
    vector_of,
    write_images,
)

ROWS, MANY_WIDTH = 3000, 32

PHOTOS = [
    record("/p/a.jpg", date=100, camera="Canon EOS 5D", size=10, width=100, height=50),
    record("/p/b.png", date=200, camera="canon powershot", size=20, format="png", height=60),
    record("/p/sub/c.jpg", date=300, camera="NIKON D90", size=30, width=300),
    record("/p2/d.webp", date=None, camera=None, size=40, format="webp", width=None, height=None),
    record("/q/e.jpg", date=-100, camera="Été 3", size=50, width=500, height=500),
]
LABELS = {
    "/p/a.jpg": {"cat": 0.9},
    "/p/b.png": {"cat": 0.2, "dog": 0.8},
    "/q/e.jpg": {'"; drop %_': 0.1},
}


@pytest.fixture
def engine(engine_of: EngineOf) -> Engine:
    return engine_of("each")


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with closing(engine.make()) as made:
        yield made


@pytest.fixture(scope="module")
def photos(engine_of: EngineOf) -> Iterator[Store]:
    """No test changes it."""
    with closing(engine_of("photos").make()) as store:
        store.write(Changes(embedded=embedded(*PHOTOS), unreadable=[fault("/p/broken.jpg")]))
        write_images(store, "/p/absent.jpg")
        store.write_labels(LABELS.items())
        store.write(Changes(absent=["/p/absent.jpg"]))
        yield store


@pytest.fixture(scope="module")
def vectors() -> FloatArray:
    return clustered(ROWS, MANY_WIDTH)


@pytest.fixture(scope="module")
def many(engine_of: EngineOf, vectors: FloatArray) -> Iterator[Store]:
    """No test changes what `fill` wrote; the last one puts it in order."""
    with closing(engine_of("many").make(MANY_WIDTH)) as store:
        fill(store, vectors)
        yield store


def fill(store: Store, vectors: FloatArray) -> None:
    """Row i of `vectors` is /many/i.jpg, of i bytes."""
    for start in range(0, ROWS, 500):
        rows = range(start, start + 500)
        records = [record(f"/many/{row:05}.jpg", size=row) for row in rows]
        pairs = zip(records, vectors[start : start + 500], strict=True)
        store.write(Changes(embedded=[Embedded(one, vector) for one, vector in pairs]))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "abcde"),
        ({"folders": ("/p",)}, "abc"),
        ({"folders": ("/p/",)}, "abc"),
        ({"folders": ("/p/sub", "/q")}, "ce"),
        ({"folders": ("/p/a.jpg",)}, "a"),
        ({"folders": ("/",)}, "abcde"),
        ({"folders": ("/p%", "/_")}, ""),
        ({"since": 200}, "bc"),
        ({"until": 200}, "ae"),
        ({"since": 100, "until": 300}, "ab"),
        ({"since": -(10**12)}, "abce"),
        ({"formats": ("png",)}, "b"),
        ({"formats": ("png", "webp")}, "bd"),
        ({"cameras": ("canon",)}, "ab"),
        ({"cameras": ("CANON EOS",)}, "a"),
        ({"cameras": ("nikon", "canon p")}, "bc"),
        ({"cameras": ("été",)}, "e"),
        ({"cameras": ("eos", "%")}, ""),
        ({"labels": ("cat",)}, "ab"),
        ({"labels": ("cat", "dog")}, "ab"),
        ({"labels": ("dog",)}, "b"),
        ({"labels": ('"; drop %_',)}, "e"),
        ({"labels": ("ca", "Cat", "")}, ""),
        ({"min_width": 300}, "bce"),
        ({"min_height": 60}, "bce"),
        ({"min_width": 0}, "abce"),
        ({"min_bytes": 30}, "cde"),
        ({"max_bytes": 30}, "abc"),
        ({"min_bytes": 20, "max_bytes": 40}, "bcd"),
        ({"folders": ("/p",), "labels": ("cat",), "formats": ("jpeg",)}, "a"),
        ({"folders": ("/p",), "cameras": ("canon",), "since": 150, "min_height": 10}, "b"),
        ({"labels": ("cat",), "folders": ("/q",)}, ""),
    ],
)
def test_a_filter_lets_through_what_it_says(
    photos: Store, conditions: dict[str, Any], expected: str
) -> None:
    found = found_paths(photos, **conditions)
    assert "".join(path.rpartition("/")[2][0] for path in found) == expected


def test_every_image_finds_itself_first(photos: Store) -> None:
    queries = np.stack([vector_of(one.path) for one in PHOTOS])
    answers = photos.search(queries, 2)
    assert [found.records[0].path for found in answers] == [one.path for one in PHOTOS]
    for found in answers:
        assert found.cosines[0] == pytest.approx(1, abs=1e-6)
        assert found.cosines.dtype == found.vectors.dtype == np.float32


def test_what_is_found_comes_with_all_that_is_known_of_it(photos: Store) -> None:
    (found,) = photos.search(vector_of(PHOTOS[0].path)[None], 5)
    assert {one.path: one.labels for one in found.records} == {
        one.path: LABELS.get(one.path, {}) for one in PHOTOS
    }
    assert found.records[0] == record(
        "/p/a.jpg", date=100, size=10, width=100, height=50, labels={"cat": 0.9}
    )
    expected = [vector_of(one.path) for one in found.records]
    assert_allclose(found.vectors, expected, atol=1e-7)
    assert_allclose(found.cosines, found.vectors @ found.vectors[0], atol=1e-6)


def test_more_than_there_are_can_be_asked_for(photos: Store) -> None:
    for top_k in (5, 6, 100, 5000, 100_000):
        found = searched(photos, vector_of("q"), top_k)
        assert paths_of(found.records) == [one.path for one in PHOTOS]
        assert list(found.cosines) == sorted(found.cosines, reverse=True)


def test_one_of_many_queries_is_answered_as_if_it_were_alone(photos: Store) -> None:
    queries = np.stack([vector_of(f"query {number}") for number in range(40)])
    for query, found in zip(queries, photos.search(queries, 3), strict=True):
        alone = searched(photos, query, 3)
        assert [one.path for one in found.records] == [one.path for one in alone.records]
        assert_allclose(found.cosines, alone.cosines, atol=1e-6)
    assert photos.search(queries[:0], 3) == []


@pytest.mark.parametrize("rows", [1, 7, 60, 200, 400])
def test_a_narrow_filter_loses_nothing(many: Store, vectors: FloatArray, rows: int) -> None:
    queries = unit(vectors[::300] + 0.05 * clustered(ROWS, MANY_WIDTH, 1)[::300])
    answers = many.search(queries, 10, Filter(min_bytes=100, max_bytes=99 + rows))
    for query, found in zip(queries, answers, strict=True):
        kept = vectors[100 : 100 + rows]
        best = nearest(kept, query, 10)
        assert [one.size - 100 for one in found.records] == list(best)
        assert_allclose(found.cosines, kept[best] @ query, atol=1e-5)


def test_all_of_many_can_be_asked_for(many: Store, vectors: FloatArray) -> None:
    found = searched(many, vectors[7], 2 * ROWS)
    assert [one.size for one in found.records[:1]] == [7]
    assert sorted(one.size for one in found.records) == list(range(ROWS))


def test_a_scan_brings_each_image_once_in_the_same_order(store: Store, vectors: FloatArray) -> None:
    vectors = unit(vectors[:, :WIDTH])
    fill(store, vectors)
    store.write(Changes(absent=["/many/00100.jpg"], forgotten=["/many/00200.jpg"]))
    again = [record(f"/many/{row:05}.jpg", size=row) for row in (1, 2999)]
    store.write(Changes(embedded=[Embedded(one, vectors[one.size]) for one in again]))
    paths, found = scanned(store)
    expected = sorted({f"/many/{row:05}.jpg" for row in range(ROWS) if row not in (100, 200)})
    assert sorted(paths) == expected
    assert_allclose(found, vectors[[int(path[6:11]) for path in paths]], atol=1e-7)
    assert scanned(store)[0] == paths
    assert all(one.labels is None for block in store.scan() for one in block.records)


def test_a_sample_is_the_same_while_nothing_changes(many: Store, vectors: FloatArray) -> None:
    sample = many.sample(200)
    assert sample.shape == (200, MANY_WIDTH)
    assert_array_equal(many.sample(200), sample)
    rows = [int(np.argmax(vectors @ one)) for one in sample]
    assert len(set(rows)) == 200
    assert np.std(rows) > 0.2 * ROWS  # from all over
    assert_allclose(vectors[rows], sample, atol=1e-6)
    assert many.sample(ROWS + 1).shape == (ROWS, MANY_WIDTH)


def test_words_are_found_or_refused_with_a_sentence(engine: Engine) -> None:
    with closing(engine.make()) as store:
        write_images(store, "/p/a b.jpg")
        if engine.finds_words:
            assert paths_of(store.find_words("b", 10).records) == ["/p/a b.jpg"]
        else:
            with pytest.raises(ConfigError, match=r"cannot be searched on .*\. Leave --hybrid out"):
                store.find_words("b", 10)
        assert found_paths(store) == ["/p/a b.jpg"]


@pytest.fixture
def worded(tmp_path: Path) -> Iterator[Store]:
    """Of the engine that finds words."""
    with closing(EmbeddedEngine(tmp_path).make()) as made:
        yield made


def test_words_are_found_in_folders_and_names(worded: Store) -> None:
    assert worded.find_words("a", 10).vectors.shape == (0, WIDTH)
    write_images(
        worded,
        "/photos/Été 2019/IMG_0001.jpg",
        "/photos/ete 2020/beach_dog.jpg",
        "/photos/Summer/BeachDay.png",
        "/photos/Summer/cat.png",
    )
    first = worded.find_words("beach ete", 10)
    assert first.records[0].path == "/photos/ete 2020/beach_dog.jpg"
    assert first.cosines.tolist() == [0] * len(first.records)
    assert_allclose(first.vectors, [vector_of(one.path) for one in first.records], atol=1e-7)
    for words, expected in {
        "BEACH": {"ete 2020/beach_dog.jpg", "Summer/BeachDay.png"},
        "ÉTÉ": {"Été 2019/IMG_0001.jpg", "ete 2020/beach_dog.jpg"},
        "0001": {"Été 2019/IMG_0001.jpg"},
        "cat.png": {"Summer/cat.png", "Summer/BeachDay.png"},
        "elephant": set(),
        "": set(),
        '" OR -*()%_\\': set(),
    }.items():
        found = worded.find_words(words, 10)
        assert {one.path.removeprefix("/photos/") for one in found.records} == expected
    assert worded.find_words("cat png", 10).records[0].path == "/photos/Summer/cat.png"
    assert len(worded.find_words("photos", 3).records) == 3


def test_words_follow_what_happens_to_images(worded: Store) -> None:
    write_images(worded, "/p/old.jpg", "/p/other.jpg")
    worded.write(Changes(moved=[Move("/p/old.jpg", record("/q/new.jpg"))]))
    assert paths_of(worded.find_words("new", 10).records) == ["/q/new.jpg"]
    assert list(worded.find_words("old", 10).records) == []
    worded.write(Changes(absent=["/p/other.jpg"]))
    assert paths_of(worded.find_words("other new jpg", 10).records) == ["/q/new.jpg"]


def test_all_words_come_first_and_those_of_the_indexed_folder_count_for_nothing(
    worded: Store,
) -> None:
    both = f"/home/sam/{'there/' * 20}cat and dog.jpg"
    write_images(worded, both, "/home/sam/dog.jpg", *(f"/home/sam/cat {n}.jpg" for n in range(20)))
    worded.set_roots(["/home/sam"])
    assert worded.find_words("cat dog", 1).records[0].path == both
    found = worded.find_words("Sam's home with a dog", 99).records
    assert paths_of(found) == ["/home/sam/dog.jpg", both]


def test_words_are_found_under_a_filter(worded: Store) -> None:
    write_images(worded, "/p/a.jpg", "/p/b.png", "/p/sub/c.jpg", "/p2/d.jpg")
    worded.write_labels([("/p/a.jpg", {"cat": 0.9})])
    found = worded.find_words("jpg", 10, Filter(folders=("/p",)))
    assert paths_of(found.records) == ["/p/a.jpg", "/p/sub/c.jpg"]
    found = worded.find_words("jpg", 10, Filter(labels=("cat",)))
    assert [one.labels for one in found.records] == [{"cat": 0.9}]
    many = tuple(map(str, range(1200)))
    where = Filter(folders=(*many, "/p"), labels=(*many, "cat"), cameras=(*many, "canon"))
    assert paths_of(worded.find_words("jpg", 10**20, where).records) == ["/p/a.jpg"]


def test_a_rare_word_counts_for_more_than_a_common_one(worded: Store) -> None:
    write_images(worded, "/p/rare.jpg", *(f"/p/common{number}.png" for number in range(30)))
    write_images(worded, *(f"/p/common/{number}.png" for number in range(30)))
    found = worded.find_words("common rare", 100)
    assert found.records[0].path == "/p/rare.jpg"


def test_equal_vectors_are_all_found(store: Store) -> None:
    same = vector_of("same")
    rows = [Embedded(record(f"/p/{number:02}.jpg"), same) for number in range(30)]
    store.write(Changes(embedded=rows))
    found = searched(store, same, 30)
    assert paths_of(found.records) == [row.record.path for row in rows]
    assert all(first >= second for first, second in pairwise(found.cosines))


def test_a_search_among_many_finds_the_nearest(many: Store, vectors: FloatArray) -> None:
    queries = unit(vectors[::300] + 0.05 * clustered(ROWS, MANY_WIDTH, 2)[::300])
    many.finish(queries)
    for first, where in ((0, Filter()), (300, Filter(min_bytes=300))):
        hits = 0
        for query, found in zip(queries, many.search(queries, 10, where), strict=True):
            best = {first + row for row in nearest(vectors[first:], query, 10)}
            hits += len(best & {one.size for one in found.records})
        assert hits >= 0.98 * 10 * len(queries)
