"""Faults are told, and mended without losing what can be kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import ModelError, StoreError
from footwork.files.locks import exclusive_lock
from search import doctor
from search.place import IndexFolder
from search.store.protocol import Changes, Embedder
from tests.search.collections import (
    EMBEDDER,
    WIDTH,
    finds_itself,
    indexed,
    save_picture,
    save_pictures,
)
from tests.search.commands import WRITER, Command, process
from tests.search.places import (
    PHOTOS,
    age,
    catalog,
    examined,
    execute,
    executing,
    faults,
    holdings,
    index_of,
    vectors,
)


def test_a_sound_index_is_well_and_stays_as_it_is(place: IndexFolder) -> None:
    before = holdings(place)
    report = examined(place)
    assert report.is_well
    assert [one.kind for one in report.findings] == ["unreadable files"]
    assert examined(place, repair=True).is_well
    assert holdings(place) == before


def spoilt_rows(place: IndexFolder, number: float) -> None:
    rows = np.memmap(vectors(place), "<f4", "r+", shape=(PHOTOS, WIDTH))
    rows[[3, 17]] = number
    rows.flush()


def flipped_bit(place: IndexFolder) -> None:
    """The last one of a number: still a unit vector."""
    data = bytearray(vectors(place).read_bytes())
    data[WIDTH * 4 * 7] ^= 1
    vectors(place).write_bytes(data)


def stale_cache(place: IndexFolder) -> None:
    told = {"file": "a.faiss", "vectors": "old", "slots": 1, "trained": 1, "probes": 1}
    path = place.current() / "approximate.json"
    path.write_text(json.dumps(told | {"recall": 1.0}))


@pytest.mark.parametrize(
    ("kind", "count", "lost", "spoil"),
    [
        ("lost embeddings", 15, 15, lambda place: os.truncate(vectors(place), WIDTH * 4 * 25 + 7)),
        *(
            ("spoilt embeddings", 2, 2, partial(spoilt_rows, number=number))
            for number in (np.nan, np.inf, 0.0, 3.0)
        ),
        ("spoilt embeddings", 1, 1, flipped_bit),
        ("no embedding", 1, 1, executing("UPDATE files SET slot = NULL WHERE slot = 5")),
        (
            "miscounted vectors",
            1,
            0,
            executing("UPDATE facts SET value = 1000 WHERE name = 'slots'"),
        ),
        ("approximate index", 1, 0, stale_cache),
    ],
)
def test_what_is_wrong_is_told_and_mended_and_what_is_lost_embedded_again(
    place: IndexFolder,
    original: Path,
    kind: str,
    count: int,
    lost: int,
    spoil: Callable[[IndexFolder], object],
) -> None:
    before = holdings(place)
    spoil(place)
    assert faults(examined(place)) == {kind: count}
    assert f"{kind}: {count}." in examined(place, repair=True).repaired
    after = holdings(place)
    assert len(after) == PHOTOS - lost
    assert after.items() <= before.items()
    assert faults(examined(place)) == ({"new files": lost} if lost else {})
    with closing(place.open()) as store:
        assert indexed(store, original / "photos").embedded == lost
        assert finds_itself(store)
    assert holdings(place) == before
    assert examined(place).is_well


@pytest.mark.parametrize("text", [None, "{", "[]", '{"kind": "index", "format": 1}'])
def test_a_manifest_is_written_again(place: IndexFolder, text: str | None) -> None:
    before, manifest = holdings(place), place.path / "footwork.json"
    told = json.loads(manifest.read_text())
    if text is None:
        manifest.unlink()
        (place.path / "writer.lock").unlink()
    else:
        manifest.write_text(text)
    assert faults(examined(place)) == {"manifest": 1}
    examined(place, repair=True)
    assert json.loads(manifest.read_text()) == told
    assert holdings(place) == before
    assert examined(place).is_well


def test_what_happened_to_the_files_is_told(tmp_path: Path) -> None:
    photos = save_pictures(tmp_path / "photos", 4)
    place = index_of(tmp_path / "index", tmp_path / "photos")
    photos[0].unlink()
    save_picture(photos[1], 99)
    age(photos[1])
    save_picture(tmp_path / "photos" / "new.png", 100)
    assert faults(examined(place)) == {"changed files": 1, "new files": 1, "missing files": 1}
    shutil.rmtree(tmp_path / "photos")
    assert faults(examined(place)) == {"folder": 1}


def test_files_that_nobody_names_are_deleted(place: IndexFolder) -> None:
    generation = catalog(place).parent
    names = ("vectors-2.f32", "approximate-9.faiss", ".approximate-9.faiss.12")
    left = [*(generation / name for name in names), place.path / ".footwork.json.abc"]
    for path in left:
        path.write_bytes(b"left")
    (generation / ".texts.footwork-abc").mkdir()
    with exclusive_lock(generation / "texts.lock"):  # of a query that prepares them
        assert faults(examined(place)) == {"left over": 2, "temporary": 2}
    assert faults(examined(place)) == {"left over": 2, "temporary": 3}
    examined(place, repair=True)
    assert not any(path.exists() for path in left)
    assert examined(place).is_well


def test_an_older_generation_is_deleted_and_an_unfinished_one_kept(place: IndexFolder) -> None:
    generation = place.path / "generation-1"
    shutil.copytree(generation, place.path / "generation-2")
    assert examined(place).is_well
    kinds = [finding.kind for finding in examined(place).findings]
    assert kinds == ["unfinished generation", "unreadable files"]
    place.name_current(place.path / "generation-2", EMBEDDER)
    assert faults(examined(place)) == {"old generations": 1}
    examined(place, repair=True)
    assert not generation.exists()
    assert (place.path / "generation-2").is_dir()


def test_a_model_that_is_another_by_now_is_told(
    place: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Embedder) -> None:
        raise ModelError("The index was made with another.")

    elsewhere = doctor.examine(place, with_model=True)
    assert elsewhere.is_well
    assert "thumb is not on this machine" in elsewhere.to_text()
    monkeypatch.setattr(doctor, "is_on_this_machine", lambda *_: True)
    monkeypatch.setattr(doctor, "load_model", refuse)
    assert faults(doctor.examine(place, with_model=True)) == {"model": 1}


def test_no_index_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No index in"):
        examined(IndexFolder(tmp_path))


def test_an_index_that_is_being_written_is_not_repaired(place: IndexFolder) -> None:
    with place.writing(), pytest.raises(StoreError, match="is being written by process"):
        examined(place, repair=True)


def test_the_command_tells_by_its_exit_code(
    place: IndexFolder, original: Path, command: Command
) -> None:
    words = ["doctor", "--index", place, "--no-model"]
    assert "All is well." in command(*words)
    with closing(place.open()) as store:
        store.write(Changes(forgotten=[str(original / "photos" / "0003.png")]))
    document = command.document(*words, code=3)
    assert {one["kind"] for one in document["findings"]} >= {"holes", "new files"}
    assert "repaired: holes: 1." in command(*words, "--repair", code=3)
    command("doctor", "--index", place.path / "none", code=1)


def test_one_flipped_bit_of_a_vector_is_seen_by_who_reads_it(place: IndexFolder) -> None:
    flipped_bit(place)
    with pytest.raises(
        StoreError, match=r"1 of \d+ vectors that were read are not what was .*--re"
    ):
        holdings(place)


def test_a_catalog_of_another_format_is_told_and_left_alone(place: IndexFolder) -> None:
    execute(catalog(place), "PRAGMA user_version = 7")
    for work in (place.open, lambda: examined(place), lambda: examined(place, repair=True)):
        with pytest.raises(StoreError, match="has format 7; this version of Footwork reads format"):
            work()


def test_vectors_and_texts_without_checksums_are_given_them(
    place: IndexFolder, original: Path
) -> None:
    before = holdings(place)
    execute(catalog(place), "UPDATE files SET checksum = NULL")
    (catalog(place).parent / "texts" / "footwork.json").unlink()
    with closing(place.open()) as store:
        assert finds_itself(store)
    assert holdings(place) == before
    report = examined(place)
    told = {one.kind: one.count for one in report.findings}
    assert report.is_well
    assert told["missing checksums"] == PHOTOS
    assert told["unchecked texts"] == 1
    with closing(place.open()) as store:  # and goes on being written
        assert indexed(store, original / "photos").embedded == 0
        store.write_labels([(min(before), {"cat": 1.0})])
    assert "missing checksums: 40." in examined(place, repair=True).repaired
    assert [one.kind for one in examined(place).findings] == ["unreadable files"]
    assert holdings(place) == before
    test_one_flipped_bit_of_a_vector_is_seen_by_who_reads_it(place)


def test_what_a_living_process_writes_is_not_left_over(place: IndexFolder) -> None:
    generation = catalog(place).parent
    (generation / ".texts.footwork-abc").mkdir()
    (generation / "vectors-2.f32").write_bytes(b"half")
    assert faults(examined(place)) == {"temporary": 1, "left over": 1}
    with process(WRITER, place) as writer:
        (generation / ".texts.footwork-abc").mkdir()
        report = examined(place)
        assert report.is_well
        assert f"unfinished files: 1, being written by process {writer.pid} on" in report.to_text()
        writer.communicate("")
    assert faults(examined(place)) == {"temporary": 1, "left over": 1}
    examined(place, repair=True)
    assert examined(place).is_well


def test_of_damaged_catalogs_the_newest_is_kept_and_told(place: IndexFolder) -> None:
    generation = catalog(place).parent
    for number in (1, 2):
        old = generation / f"catalog-damaged-{number}.sqlite"
        old.write_bytes(b"old")
        age(old)
    for _ in range(2):
        with catalog(place).open("r+b") as file:
            file.write(b"x" * 100)
        examined(place, repair=True)
    assert [path.name for path in generation.glob("*damaged*")] == ["catalog-damaged.sqlite"]
    report = examined(place)
    assert report.is_well
    assert "damaged catalog: 1, of 0.1 MB, kept by a repair; delete it once" in report.to_text()
    with closing(place.open()) as store:
        assert store.counts().details["damaged catalogs, kept"] == "0.1 MB"


def test_a_text_half_that_is_missing_is_told_but_is_no_fault_beside_a_writer(
    place: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(place.current() / "texts")
    assert faults(examined(place)) == {"texts": 1}
    monkeypatch.setattr(IndexFolder, "writer", lambda _: "process 7")
    report = examined(place)
    assert faults(report) == {}
    assert "texts: 1, not yet seen to by process 7" in report.to_text()


def test_files_of_others_are_not_left_over(place: IndexFolder) -> None:
    for name in ("vectors-2024.parquet", "vectors.npy", "approximately.txt", "catalog-damaged.md"):
        (place.current() / name).touch()
    assert examined(place).is_well


def test_what_stands_in_the_way_of_a_repair_is_told(place: IndexFolder) -> None:
    (place.path / "footwork.json").unlink()
    (place.path / "footwork.json").mkdir()
    with pytest.raises(StoreError, match=r"footwork\.json.* stands in the way: .*\. Move it away"):
        examined(place, repair=True)
