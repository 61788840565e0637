"""The text half of a model: whole, or refused, and mended; what a kill left of it is cleared."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from footwork.encoder.dual import DualEncoder
from footwork.errors import StoreError
from footwork.files import checksums
from footwork.files.checksums import damage_in, write_checksums
from search import ImageIndex, doctor
from search.options import QueryOptions
from search.place import IndexFolder
from search.query.texts import Texts, embedder_of, open_texts, prepare_texts
from tests.search.commands import process
from tests.search.drawn import draw_photos

pytestmark = pytest.mark.usefixtures("exported_once")
ALL = QueryOptions(all_=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The text half of `tiny`."""
    prepare_texts(DualEncoder("tiny"), tmp_path / "texts")
    return tmp_path / "texts"


def scribble(path: Path, at: float = 0.5) -> None:
    """Over some bytes."""
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * at))
        file.write(b"\x11" * 2000)


def test_overwritten_weights_are_refused_told_and_prepared_anew(tmp_path: Path) -> None:
    place = IndexFolder(tmp_path / "index")
    with ImageIndex.build([draw_photos(tmp_path / "photos")], place.path, "tiny") as index:
        before = index.query("a red circle", options=ALL)
    weights = place.path / "generation-1" / "texts" / "tower" / "text.onnx.data"
    scribble(weights)
    with (
        ImageIndex.open(place.path) as index,
        pytest.raises(StoreError, match=r"text\.onnx\.data is not what was written.*--repair prep"),
    ):
        index.query("a red circle")
    report = doctor.examine(place, with_model=False)
    assert [one.kind for one in report.findings] == ["texts"]
    assert "text.onnx.data is not what was written" in report.to_text()
    report = doctor.repair(place, with_model=False)
    assert report.repaired == ("the text half of the model was prepared anew.",)
    assert doctor.examine(place, with_model=False).is_well
    scribble(weights)
    with ImageIndex.build([], place.path) as index:  # an update mends it as well
        assert index.query("a red circle", options=ALL) == before


def test_the_text_half_of_an_older_version_must_answer_as_when_it_was_made(folder: Path) -> None:
    model = embedder_of(DualEncoder("tiny"))
    (folder / "footwork.json").unlink()
    assert Texts(folder, model).damage() is None
    scribble(folder / "tower" / "text.onnx.data")
    assert Texts(folder, model).damage() in (
        "the text half of the model answers otherwise than when it was made",
        "the text half of the model gives no unit vectors of the index's width",
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (np.zeros((202, 96), np.float32), "holds 202 rows that are no unit vectors"),
        (np.full((202, 96), np.nan, np.float32), "holds 202 rows that are no unit vectors"),
        (
            np.eye(96, 8, dtype=np.float32),
            r"holds float32 of shape \(96, 8\), not float32 of \(R, ",
        ),
        (np.eye(96), r"holds float64 of shape \(96, 96\), not float32 of \(R, 96\)"),
        (np.array([None]), r"lacks what queries in words need \(Object arrays cannot be loaded"),
    ],
)
def test_references_that_are_none_are_refused(folder: Path, rows: object, told: str) -> None:
    np.save(folder / "references.npy", rows)  # type: ignore[arg-type]
    write_checksums(folder, "texts")
    with pytest.raises(StoreError, match=told):
        open_texts(folder, embedder_of(DualEncoder("tiny")))


def test_what_a_killed_process_left_is_cleared_and_a_living_one_waited_for(folder: Path) -> None:
    script = (
        "import sys, pathlib, time; from footwork.files.locks import exclusive_lock\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with exclusive_lock(folder.with_name('texts.lock')):\n"
        "    staging = folder.with_name('.texts.footwork-abc'); staging.mkdir()\n"
        "    print('ready', flush=True); time.sleep(60)"
    )
    encoder = DualEncoder("tiny")
    with process(script, folder) as writer:
        again = Thread(target=prepare_texts, args=(encoder, folder))
        again.start()
        again.join(0.3)
        assert again.is_alive()
        assert folder.with_name(".texts.footwork-abc").is_dir()
        writer.kill()
    again.join()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["texts", "texts.lock"]
    assert damage_in(folder, "texts", whole=True) is None


def test_a_file_changed_after_its_manifest_is_read_whole_another_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_BLOCK", 1000)
    monkeypatch.setattr(checksums, "_LOOKED_AT", 10)
    path = tmp_path / "large"
    path.write_bytes(random.Random(0).randbytes(100_500))
    write_checksums(tmp_path, "kind")
    (tmp_path / "._large").touch()  # of a desktop, which is nobody's work
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[50_500] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    told = "large is not what was written, from byte 50,000 on"
    assert damage_in(tmp_path, "kind", whole=False) == told
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a bad disk leaves it
    assert damage_in(tmp_path, "kind", whole=True) == told
    found = [damage_in(tmp_path, "kind", whole=False) for _ in range(200)]
    assert 3 < sum(one == told for one in found) < 60  # a tenth of the blocks each time
    path.write_bytes(bytes(content[:-1]))
    assert damage_in(tmp_path, "kind", whole=False) == "large has 100,499 bytes in place of 100500"
    assert (
        damage_in(tmp_path, "other", whole=False) == "footwork.json is not of this version's other"
    )
    (tmp_path / "more").touch()
    told = "footwork.json names other files than there are"
    assert damage_in(tmp_path, "kind", whole=False) == told
    (tmp_path / "footwork.json").write_text("[]")
    assert "cannot be read (ValueError" in str(damage_in(tmp_path, "kind", whole=False))
