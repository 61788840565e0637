"""A broken catalog gives way to its last good copy, and no row ever gets another's vector."""

from __future__ import annotations

import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import StoreError
from search.place import IndexFolder
from search.status import read_status
from search.store.embedded.catalog import empty_log, keep_copy
from search.store.embedded.repair import mend_folder, restore_catalog
from search.store.embedded.vectors import compact
from search.store.protocol import Changes
from search.update.indexing import remove_images
from tests.mutations import mutations
from tests.search.collections import (
    EMBEDDER,
    WIDTH,
    finds_itself,
    held,
    indexed,
    new_store,
    save_pictures,
)
from tests.search.places import (
    PHOTOS,
    catalog,
    copy,
    examined,
    execute,
    faults,
    holdings,
    index_of,
    vectors,
)

TYPICAL = np.zeros((0, WIDTH), np.float32)


def noise(path: Path, seed: int = 0) -> None:
    """Some pages of a catalog are spoilt."""
    generator = random.Random(seed)
    with path.open("r+b") as file:
        for page in generator.sample(range(2, path.stat().st_size // 4096), 6):
            file.seek(page * 4096)
            file.write(generator.randbytes(500))


def beginning_gone(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x" * 100)


def other_schema(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        statement = "UPDATE sqlite_schema SET sql = replace(sql, '(size)', '(mtime_ns)') "
        connection.execute(f"{statement} WHERE name = 'files_by_size'")


def everything_gone(path: Path) -> None:
    for one in path.parent.glob("catalog.sqlite*"):
        one.unlink()


WAYS: list[Callable[[Path], object]] = [
    *(lambda path, seed=seed: noise(path, seed) for seed in range(3)),
    *(beginning_gone, other_schema, everything_gone),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"nothing" * 5000),
]


@pytest.mark.parametrize("spoil", WAYS)
def test_a_spoilt_catalog_is_its_copy_again_and_answers_as_before(
    place: IndexFolder, original: Path, spoil: Callable[[Path], object]
) -> None:
    before = holdings(place)
    spoil(catalog(place))
    broken = catalog(place).read_bytes() if catalog(place).exists() else None
    report = examined(place)
    assert faults(report) == {"catalog": 1}
    assert "goes back to its copy of 20" in report.to_text()
    assert "with 41 files, 10 labels and 1 folder; what has come since" in report.to_text()
    told = examined(place, repair=True).repaired[0]
    assert "the catalog is its copy of 20" in told
    assert "again, with 41 files, 10 labels and 1 folder; what it lacks" in told
    aside = catalog(place).with_name("catalog-damaged.sqlite")
    assert (aside.read_bytes() if aside.exists() else None) == broken
    assert (str(aside) in told) == aside.exists()
    assert holdings(place) == before
    with closing(place.open()) as store:
        assert finds_itself(store)
        labelled = store.records(sorted(before)[:10])
        assert all(one.labels == {"cat": 0.5} for one in labelled.values())
        assert indexed(store, original / "photos").embedded == 0
    assert examined(place).is_well


@pytest.fixture
def small(tmp_path: Path) -> IndexFolder:
    """An index of twelve photos, which may change."""
    save_pictures(tmp_path / "photos", 12)
    return index_of(tmp_path / "index", tmp_path / "photos")


def test_only_what_came_after_the_copy_is_embedded_again(
    small: IndexFolder, tmp_path: Path
) -> None:
    save_pictures(tmp_path / "photos", 3, first=50)
    with closing(small.open()) as store:
        assert indexed(store, tmp_path / "photos").embedded == 3
        whole = held(store)
    beginning_gone(catalog(small))
    examined(small, repair=True)
    assert len(holdings(small)) == 12
    with closing(small.open()) as store:
        assert indexed(store, tmp_path / "photos").embedded == 3
        assert held(store) == whole
        assert finds_itself(store)


def spoilt_after(place: IndexFolder, old: bytes) -> None:
    """The catalog is gone, and somebody has put an old copy back by hand."""
    everything_gone(catalog(place))
    copy(place).write_bytes(old)


@pytest.mark.parametrize("checksums", [True, False])
def test_a_copy_whose_vectors_were_overwritten_since_is_never_believed(
    small: IndexFolder, tmp_path: Path, checksums: bool
) -> None:
    if not checksums:
        execute(copy(small), "UPDATE files SET checksum = NULL")
    old, right = copy(small).read_bytes(), holdings(small)
    with closing(small.open()) as store:
        store.write(Changes(forgotten=sorted(right)[4:]))
    mend_folder(small.current(), shrink=True)
    save_pictures(tmp_path / "photos" / "others", 8, first=70)
    with closing(small.open()) as store:
        indexed(store, tmp_path / "photos" / "others")
    spoilt_after(small, old)
    told = examined(small, repair=True).repaired[0]
    assert ("without 12 files of no checksum" in told) == (not checksums)
    kept = sorted(right)[:4] if checksums else []
    assert holdings(small) == {path: right[path] for path in kept}
    with closing(small.open()) as store:
        assert indexed(store, tmp_path / "photos").embedded == 20 - len(kept)
        assert held(store).items() >= right.items()
        assert finds_itself(store)


def test_a_copy_from_before_a_compaction_gives_no_row_a_vector(
    small: IndexFolder, tmp_path: Path
) -> None:
    old, right = copy(small).read_bytes(), holdings(small)
    with closing(small.open()) as store:
        store.write(Changes(forgotten=sorted(right)[:6]))
    assert compact(small.current()) == 6
    assert not copy(small).exists()
    spoilt_after(small, old)
    examined(small, repair=True)
    assert holdings(small) == {}
    with closing(small.open()) as store:
        assert indexed(store, tmp_path / "photos").embedded == 12
        assert held(store) == right


def test_whoever_counts_fewer_vectors_drops_the_copy_first(
    place: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with closing(place.open()) as store:
        last = [record.path for block in store.scan() for record in block.records][-1]
        store.write(Changes(forgotten=[last]))
    assert copy(place).exists()
    monkeypatch.setattr("search.store.embedded.repair._add_checksums", killed)
    with pytest.raises(KeyboardInterrupt):
        mend_folder(place.current(), shrink=False)
    assert not copy(place).exists()


def test_what_was_removed_does_not_come_back_with_the_copy(
    place: IndexFolder, original: Path
) -> None:
    gone = sorted(holdings(place))[:5]
    remove_images(place, gone, gone=False)
    beginning_gone(catalog(place))
    examined(place, repair=True)
    with closing(place.open()) as store:
        assert store.exclusions().removed == tuple(gone)
        assert not held(store).keys() & set(gone)
        assert indexed(store, original / "photos").embedded == 0
        assert not held(store).keys() & set(gone)
    remove_images(place, [original / "photos"], gone=False)
    beginning_gone(catalog(place))
    examined(place, repair=True)
    with closing(place.open()) as store:
        assert (list(store.roots()), held(store)) == ([], {})


def test_a_copy_is_made_where_something_changed_and_not_for_every_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pictures(tmp_path / "photos", 250)
    place = index_of(tmp_path / "index", tmp_path / "photos")

    def update(photo: int | None) -> bool:
        """Whether there is another copy once that photo is there."""
        before = copy(place).stat().st_ino
        if photo is not None:
            save_pictures(tmp_path / "photos", 1, first=photo)
        with closing(place.open()) as store:
            indexed(store, tmp_path / "photos")
            assert store.finish(TYPICAL) is None
        return copy(place).stat().st_ino != before

    assert not update(300)  # young, and one photo short
    before = copy(place).stat().st_ino
    assert keep_copy(place.current(), at_once=True) is None
    assert copy(place).stat().st_ino != before
    assert not update(301)
    assert update(302)  # two of 250
    monkeypatch.setattr("search.store.embedded.catalog.APART", 0.0)
    assert update(303)
    assert not update(None)
    details = read_status(place).counts.details
    size = copy(place).stat().st_size / 1e6
    assert details["copy of the catalog"].startswith(f"{size:.1f} MB, of 20")


@pytest.mark.parametrize("moment", ["_back_up", "os.utime"])
def test_a_kill_during_the_copy_leaves_the_last_good_one(place: IndexFolder, moment: str) -> None:
    script = (
        "import os, sys, pathlib\n"
        "from search.store.embedded import catalog\n"
        "from tests.search.test_catalog_copy import TYPICAL\n"
        "from search.place import IndexFolder\n"
        f"catalog.{moment} = lambda *_, **__: os._exit(9)\n"
        "IndexFolder(pathlib.Path(sys.argv[1])).open().finish(TYPICAL)"
    )
    before, kept = holdings(place), copy(place).read_bytes()
    with closing(place.open()) as store:
        store.write_labels([(min(before), {"dog": 1.0})])
    killed = subprocess.run([sys.executable, "-c", script, str(place.path)], check=False)
    assert killed.returncode == 9
    assert copy(place).read_bytes() == kept
    assert faults(examined(place)) == {"temporary": 1}
    with place.writing():
        pass
    assert examined(place).is_well
    beginning_gone(catalog(place))
    examined(place, repair=True)
    assert holdings(place) == before


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_and_keeps_the_last_good_copy(place: IndexFolder) -> None:
    kept, before = copy(place).read_bytes(), holdings(place)
    with closing(place.open()) as store:
        store.write_labels([(min(before), {"dog": 1.0})])
        empty_log(catalog(place))
        with full_disk(catalog(place).stat().st_size // 2):
            note = store.finish(TYPICAL)
        assert note is not None
        assert note.startswith("The catalog was not copied. ")
        assert copy(place).read_bytes() == kept
        assert not list(place.current().glob(".catalog-copy*"))
        assert store.finish(TYPICAL) is None
        assert copy(place).read_bytes() != kept


def test_a_damaged_catalog_is_not_copied(place: IndexFolder) -> None:
    kept = copy(place).read_bytes()
    noise(catalog(place))
    note = keep_copy(place.current())
    assert note is not None
    assert "The catalog was not copied. " in note
    assert "damaged: footwork search doctor --repair puts its last good copy in" in note
    assert copy(place).read_bytes() == kept


def test_an_index_of_the_version_before_is_begun_anew_and_loses_nothing_of_what_was_there(
    small: IndexFolder, tmp_path: Path
) -> None:
    copy(small).unlink()
    before, stored = holdings(small), vectors(small).read_bytes()
    report = examined(small)
    assert report.is_well
    assert "no copy of the catalog: 1, to go back to if the catalog breaks" in report.to_text()
    beginning_gone(catalog(small))
    broken = catalog(small).read_bytes()
    text = examined(small).to_text()
    assert "its copy cannot be taken either (it is missing), so that --repair begins" in text
    report = examined(small, repair=True)
    assert "was begun anew and knows no file, label or folder: name the fol" in report.repaired[0]
    generation = small.current()
    assert (generation / "catalog-damaged.sqlite").read_bytes() == broken
    with closing(small.open()) as store:
        assert store.embedder == EMBEDDER
        assert indexed(store, tmp_path / "photos").embedded == 12
        assert held(store) == before
    kept = {one.kind: one.paths for one in examined(small).findings}["damaged catalog"]
    assert kept == tuple(
        str(generation / name) for name in ("catalog-damaged.sqlite", "vectors.f32")
    )
    examined(small, repair=True)
    assert vectors(small).read_bytes() == stored
    assert examined(small).is_well


def test_a_broken_copy_is_kept_beside_with_the_vectors_that_it_may_name(
    place: IndexFolder, original: Path
) -> None:
    before, stored = holdings(place), vectors(place).read_bytes()
    beginning_gone(copy(place))
    broken = copy(place).read_bytes()
    everything_gone(catalog(place))
    assert "its copy cannot be taken either (file is not a data" in examined(place).to_text()
    examined(place, repair=True)
    examined(place, repair=True)
    aside = copy(place).with_name("catalog-damaged-copy.sqlite")
    assert aside.read_bytes() == broken
    assert vectors(place).read_bytes() == stored
    with closing(place.open()) as store:
        assert indexed(store, original / "photos").embedded == PHOTOS
    assert holdings(place) == before
    assert examined(place).is_well


def test_without_a_copy_or_a_model_everything_is_left_as_it_is(place: IndexFolder) -> None:
    copy(place).write_bytes(b"nothing")
    beginning_gone(catalog(place))
    (place.path / "footwork.json").write_text("{")
    files = [path for path in catalog(place).parent.iterdir() if path.is_file()]
    before = [path.read_bytes() for path in files]
    with pytest.raises(StoreError, match=r"no good copy of it, and nothing tells the model\. Move"):
        examined(place, repair=True)
    assert [path.read_bytes() for path in files] == before
    assert not list(catalog(place).parent.glob("*damaged*"))


def test_a_spoilt_copy_changes_no_answer_is_told_and_is_made_anew(
    place: IndexFolder, tmp_path: Path
) -> None:
    before, sound = holdings(place), shutil.copytree(place.path, tmp_path / "sound")
    for mutation in mutations(copy(place), count=12):
        shutil.rmtree(place.path)
        shutil.copytree(sound, place.path)
        mutation.apply(copy(place))
        assert holdings(place) == before, mutation.name
        was_told = faults(examined(place)) == {"copy of the catalog": 1}
        assert was_told or examined(place).is_well, mutation.name
        if not copy(place).is_dir():
            assert examined(place, repair=True).left is not None
            assert examined(place).is_well, mutation.name
            assert copy(place).is_file(), mutation.name
            assert not copy(place).is_symlink(), mutation.name


@pytest.mark.parametrize("seed", range(2))
def test_a_repair_from_a_spoilt_copy_gives_every_row_its_own_vector(
    place: IndexFolder, tmp_path: Path, original: Path, seed: int
) -> None:
    right, sound = holdings(place), shutil.copytree(place.path, tmp_path / "sound")
    for mutation in mutations(copy(place), seed=seed, count=12):
        shutil.rmtree(place.path)
        shutil.copytree(sound, place.path)
        mutation.apply(copy(place))
        everything_gone(catalog(place))
        examined(place, repair=True)
        with closing(place.open()) as store:
            found = {path: vector for path, vector in held(store).items() if path in right}
            assert found.items() <= right.items(), mutation.name
            indexed(store, original / "photos")
            assert finds_itself(store), mutation.name


@pytest.mark.parametrize("moves", [1, 2])
def test_a_repair_that_was_killed_between_two_renames_goes_on(
    place: IndexFolder, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    before, broken, replace = holdings(place), b"nothing" * 5000, Path.replace
    log = catalog(place).with_name("catalog.sqlite-wal")
    catalog(place).write_bytes(broken)
    log.write_bytes(b"log")
    left = [None] * moves

    def rename(path: Path, target: Path) -> Path:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", rename)
        with pytest.raises(KeyboardInterrupt):
            restore_catalog(place.current(), None)
    assert not catalog(place).exists()
    examined(place, repair=True)
    aside = catalog(place).with_name("catalog-damaged.sqlite")
    assert aside.read_bytes() == broken
    assert aside.with_name("catalog-damaged.sqlite-wal").read_bytes() == b"log"
    assert holdings(place) == before


def test_a_store_without_a_change_writes_nothing(tmp_path: Path) -> None:
    save_pictures(tmp_path / "photos", 3)
    with closing(new_store(tmp_path / "index")) as store:
        indexed(store, tmp_path / "photos")
        store.finish(TYPICAL)
        before = (tmp_path / "index" / "catalog.sqlite").stat().st_mtime_ns
        indexed(store, tmp_path / "photos")
        store.finish(TYPICAL)
        assert (tmp_path / "index" / "catalog.sqlite").stat().st_mtime_ns == before
