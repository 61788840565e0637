"""A damaged catalog gives what can still be read of it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from footwork.errors import StoreError
from search.index_folder import IndexFolder
from search.store.embedded.catalog import create_catalog
from tests.search.collections import EMBEDDER, WIDTH, finds_itself, indexed
from tests.search.places import PHOTOS, catalog, examined, faults, holdings, vectors


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_catalog_is_made_anew_from_what_can_be_read(
    place: IndexFolder, original: Path, seed: int
) -> None:
    before = holdings(place)
    generator, path = random.Random(seed), catalog(place)
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        for page in generator.sample(range(2, pages), 6):
            file.seek(page * 4096)
            file.write(generator.randbytes(500))
    assert faults(examined(place)) == {"catalog": 1}
    assert "made anew" in examined(place, repair=True).repaired[0]
    after = holdings(place)
    assert after
    assert after.items() <= before.items()
    assert path.with_name("catalog-damaged.sqlite").is_file()
    assert vectors(place).stat().st_size == PHOTOS * WIDTH * 4
    with closing(place.open()) as store:
        indexed(store, original / "photos")
        assert finds_itself(store)
    assert holdings(place) == before
    assert examined(place).is_well


def test_an_index_of_the_catalog_that_is_wrong_costs_nothing(place: IndexFolder) -> None:
    before = holdings(place)
    with closing(sqlite3.connect(catalog(place), isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        statement = "UPDATE sqlite_schema SET sql = replace(sql, '(size)', '(mtime_ns)') "
        connection.execute(f"{statement} WHERE name = 'files_by_size'")
    assert faults(examined(place)) == {"catalog": 1}
    report = examined(place, repair=True)
    assert "41 files, 10 labels and 1 folder" in report.repaired[0]
    assert holdings(place) == before
    with closing(place.open()) as store:
        labelled = store.records(sorted(before)[:10])
        assert all(one.labels == {"cat": 0.5} for one in labelled.values())
    assert examined(place).is_well


@pytest.mark.parametrize("bytes_", [16, 100, 4096])
def test_a_catalog_whose_beginning_is_gone_loses_nothing(place: IndexFolder, bytes_: int) -> None:
    before = holdings(place)
    with catalog(place).open("r+b") as file:
        file.write(b"x" * bytes_)
    assert faults(examined(place)) == {"catalog": 1}
    assert "41 files, 10 labels and 1 folder" in examined(place, repair=True).repaired[0]
    assert holdings(place) == before
    assert examined(place).is_well


def test_a_catalog_of_which_nothing_can_be_read_is_left_alone(place: IndexFolder) -> None:
    catalog(place).write_bytes(b"nothing" * 5000)
    before = sorted(path.name for path in catalog(place).parent.iterdir())
    assert faults(examined(place)) == {"catalog": 1}
    with pytest.raises(StoreError, match=r"Nothing can be read of .*catalog\.sqlite\. Move"):
        examined(place, repair=True)
    assert sorted(path.name for path in catalog(place).parent.iterdir()) == before


def test_an_emptied_catalog_is_made_anew_for_the_next_update_to_fill(
    place: IndexFolder, original: Path
) -> None:
    before = holdings(place)
    catalog(place).write_bytes(b"")
    with pytest.raises(StoreError, match=r"is empty\. The catalog is damaged: .* --repair saves"):
        place.open()
    assert faults(examined(place)) == {"catalog": 1}
    report = examined(place, repair=True)
    assert "made anew with 0 files, 0 labels and 0 folders" in report.repaired[0]
    with closing(place.open()) as store:
        assert store.embedder == EMBEDDER
        assert indexed(store, original / "photos").embedded == PHOTOS
    assert holdings(place) == before
    assert examined(place).is_well


def test_the_log_of_an_emptied_catalog_is_read(place: IndexFolder) -> None:
    before = holdings(place)
    log = catalog(place).with_name("catalog.sqlite-wal")
    with closing(sqlite3.connect(catalog(place), isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("VACUUM")
        kept = log.read_bytes()  # all pages, before they are brought into the catalog
    catalog(place).write_bytes(b"")
    log.write_bytes(kept)
    assert "41 files, 10 labels and 1 folder" in examined(place, repair=True).repaired[0]
    assert holdings(place) == before


def test_what_a_killed_repair_left_does_not_stand_in_the_way(place: IndexFolder) -> None:
    before, path = holdings(place), catalog(place)
    with path.open("r+b") as file:
        file.write(bytes(100))
    left = path.with_name(".catalog-copy.sqlite")
    for name in (left.name, f"{left.name}-wal", f"{left.name}-fresh"):
        path.with_name(name).write_bytes(b"half of it")
    create_catalog(path.with_name(f"{left.name}-fresh-whole"))
    path.with_name(f"{left.name}-fresh-whole").replace(path.with_name(f"{left.name}-fresh"))
    assert "made anew" in examined(place, repair=True).repaired[0]
    assert holdings(place) == before
    assert not list(path.parent.glob(".catalog-copy*"))
