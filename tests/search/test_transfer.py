"""What is known of images moves between indexes and files, which others read, as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from footwork.errors import ConfigError, DataError, FootworkError, StoreError
from footwork.files.locks import lock_holder
from search.exclusions import Exclusions
from search.filters import Filter
from search.options import ModelOptions, StoreOptions
from search.place import IndexFolder
from search.records import ImageRecord
from search.store.protocol import Changes, Embedder, Store
from search.transfer.export import NUMPY_ENDINGS, export_images
from search.transfer.sources import IndexSource, NumpySource
from search.transfer.transfer import copy_index, find_source
from search.update.indexing import remove_images
from tests.search.collections import EMBEDDER, again, indexed, save_pictures
from tests.search.commands import Command
from tests.search.places import index_of
from tests.search.store_contract import Engine, embedded, fault, known, record, write_images

ODD = os.fsdecode(b"/p/caf\xe9 \xf0\x9f\x90\xb1\n.jpg")


def model(width: int) -> Embedder:
    return Embedder(model_id="/no/model", revision=None, fingerprint="f-1", width=width)


@pytest.fixture
def place(tmp_path: Path) -> IndexFolder:
    """An index with every kind of file."""
    made = IndexFolder(tmp_path / "source")
    with closing(made.begin(model(8))) as store:
        write_images(store, "/p/a.jpg", "/p/deep/b.jpg", "/q/c.jpg", ODD)
        plain = record("/p/bare.jpg", format=None, width=None, height=None, date=None, camera=None)
        old = record("/p/old.jpg", date=-(10**10), camera=os.fsdecode(b"caf\xe9"))
        store.write(Changes(embedded=embedded(plain, old)))
        store.write(Changes(absent=["/q/c.jpg"], unreadable=[fault("/p/broken.jpg")]))
        store.write_labels([("/p/a.jpg", {"cat": 0.75, "dög": 0.25}), ("/q/c.jpg", {"dog": 0.5})])
        store.set_roots(["/p", "/q"])
        texts = made.texts_folder(store.embedder)
        (texts / "tower").mkdir(parents=True)
        (texts / "tower" / "model.onnx").write_bytes(b"tower")
        np.save(texts / "references.npy", np.eye(8, dtype=np.float32))
    return made


def everything(store: Store) -> dict[str, tuple[ImageRecord, tuple[float, ...]]]:
    """All that a store knows, with labels and vectors."""
    records = store.records(list(known(store)))
    vectors = store.vectors(list(records))
    return {
        path: (
            replace(one, labels=dict(one.labels or {})),
            tuple(np.round(vectors[path], 6).tolist()) if path in vectors else (),
        )
        for path, one in records.items()
    }


def test_a_copy_knows_all_that_the_original_knows(place: IndexFolder, tmp_path: Path) -> None:
    target = IndexFolder(tmp_path / "target")
    done = copy_index(IndexSource(place), target)
    assert (done.copied, done.unreadable, done.unchanged, done.notes) == (6, 1, 0, [])
    with closing(place.open()) as old, closing(target.open()) as new:
        assert everything(new) == everything(old)
        assert new.roots() == old.roots()
        assert new.embedder == old.embedder
        texts = target.texts_folder(new.embedder)
    assert (texts / "tower" / "model.onnx").read_bytes() == b"tower"


def test_texts_are_copied_under_the_lock_of_those_who_prepare_them(
    place: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = IndexFolder(tmp_path / "target")

    def watched(old: Path, new: Path, **options: Any) -> Any:
        assert lock_holder(new.with_name("texts.lock")) is not None
        assert not target.left_over()
        monkeypatch.undo()
        return shutil.copytree(old, new, **options)

    monkeypatch.setattr(shutil, "copytree", watched)
    copy_index(IndexSource(place), target)


def test_a_second_copy_writes_nothing(place: IndexFolder, tmp_path: Path) -> None:
    target = IndexFolder(tmp_path / "target")
    copy_index(IndexSource(place), target)
    with closing(target.open()) as store:
        counted = store.counts().details
    done = copy_index(IndexSource(place), target)
    assert (done.copied, done.unreadable, done.unchanged) == (0, 0, 7)
    with closing(target.open()) as store:
        assert store.counts().details == counted


def test_labels_that_only_the_copy_has_stay(place: IndexFolder, tmp_path: Path) -> None:
    target, added = IndexFolder(tmp_path / "target"), ("/p/deep/b.jpg", {"dog": 0.5})
    copy_index(IndexSource(place), target)
    with closing(target.open()) as store:
        store.write_labels([added])
    assert copy_index(IndexSource(place), target).unchanged == 7
    with closing(target.open()) as store:
        assert store.records([added[0]])[added[0]].labels == added[1]


def test_what_comes_along_to_be_left_out_of_an_index_is_told(
    place: IndexFolder, tmp_path: Path
) -> None:
    target = IndexFolder(tmp_path / "target")
    copy_index(IndexSource(place), target)
    with closing(place.open()) as store:
        store.set_exclusions(Exclusions(("*.tif",)))
    [note] = copy_index(IndexSource(place), target).notes
    assert "as it is of the source: *.tif. The next update forgets" in note
    assert copy_index(IndexSource(place), target).notes == []


def test_what_was_removed_or_is_excluded_does_not_come_back_with_a_copy(
    place: IndexFolder, tmp_path: Path
) -> None:
    target = IndexFolder(tmp_path / "target")
    copy_index(IndexSource(place), target)
    remove_images(target, ["/p/deep"], gone=False)
    with closing(target.open()) as store:
        store.set_exclusions(replace(store.exclusions(), patterns=("broken*",)))
        store.write(Changes(forgotten=["/p/broken.jpg"]))
    done = copy_index(IndexSource(place), target)
    assert (done.copied, done.unchanged, done.unreadable, done.left_out) == (0, 5, 0, 2)
    assert done.notes == [
        "2 files stayed away, as this index leaves them out. footwork search status lists what; "
        "take it back with --include, and copy once more."
    ]


def test_a_copy_that_was_interrupted_is_completed(
    place: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.transfer.sources.BATCH", 2)
    target = IndexFolder(tmp_path / "target")

    def interrupt(done: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_index(IndexSource(place), target, on_progress=interrupt)
    done = copy_index(IndexSource(place), target)
    assert (done.copied + done.unreadable, done.unchanged) == (3, 4)
    with closing(place.open()) as old, closing(target.open()) as new:
        assert everything(new) == everything(old)


def test_an_index_moves_to_every_engine_and_back(
    engine: Engine, place: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    there, back = engine.place("copied"), IndexFolder(tmp_path / "back")
    assert copy_index(IndexSource(place), there).copied == 6
    copy_index(IndexSource(there), back)
    with closing(place.open()) as old, closing(there.open()) as new, closing(back.open()) as last:
        assert everything(last) == everything(new) == everything(old)


def test_what_was_copied_is_not_embedded_again(tmp_path: Path) -> None:
    save_pictures(tmp_path / "photos", 5)
    target = IndexFolder(tmp_path / "target")
    copy_index(IndexSource(index_of(tmp_path / "index", tmp_path / "photos")), target)
    with closing(target.open()) as store:
        assert again(store, tmp_path / "photos").unchanged == 5
        save_pictures(tmp_path / "photos", 2, first=50)
        assert indexed(store, tmp_path / "photos").embedded == 2


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_a_file_holds_all_of_the_present_images(
    place: IndexFolder, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"all{ending}"
    with closing(place.open()) as old:
        old.set_exclusions(Exclusions(("*.tif",), (os.fsdecode(b"/p/caf\xe9"),)))
        assert export_images(old, out) == 5
        left_out = old.exclusions()
        wanted = {
            path: value
            for path, value in everything(old).items()
            if value[0].present and value[0].fault is None
        }
    source = find_source(str(out), StoreOptions())
    assert (source.embedder, tuple(source.roots)) == (model(8), ("/p", "/q"))
    target = IndexFolder(tmp_path / "target")
    done = copy_index(source, target)
    assert "Queries in words need the model" in done.notes[0]
    with closing(target.open()) as new:
        assert everything(new) == wanted
        assert new.exclusions() == left_out


def test_an_index_of_another_model_is_not_mixed_in(place: IndexFolder, tmp_path: Path) -> None:
    save_pictures(tmp_path / "photos", 1)
    other = index_of(tmp_path / "other", tmp_path / "photos")
    with pytest.raises(StoreError, match=r"is of thumb \(16 wide\); .* /no/model \(8 wide"):
        copy_index(IndexSource(place), other)
    with pytest.raises(ConfigError, match="cannot be copied from itself"):
        copy_index(IndexSource(other), IndexFolder(other.path))


def test_vectors_of_others_are_normalised_and_their_model_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo,) = save_pictures(tmp_path / "photos", 1)
    path = tmp_path / "foreign.npy"
    np.save(path, np.full((2, 16), 3.0))
    lines = (json.dumps({"path": one}) + "\n" for one in (str(photo), "/gone.jpg"))
    path.with_suffix(".jsonl").write_text("".join(lines), "utf-8")
    target = IndexFolder(tmp_path / "target")
    with pytest.raises(ConfigError, match="Name the model with --model"):
        copy_index(NumpySource(path), target)
    monkeypatch.setattr("search.transfer.transfer._stated_embedder", lambda *_: EMBEDDER)
    copy_index(NumpySource(path), target, ModelOptions(model_id="thumb"))
    with closing(target.open()) as store:
        assert np.allclose(store.vectors([str(photo)])[str(photo)], 0.25)
        assert {one.path: one.present for one in store.files()} == {
            str(photo): True,
            "/gone.jpg": False,
        }
        assert again(store, tmp_path / "photos").unchanged == 1
        store.write_labels([(str(photo), {"cat": 0.5})])
        before = everything(store)
        photo.unlink()
        np.save(path, np.eye(2, 16))  # a path alone takes the place of nothing that is known
        assert copy_index(NumpySource(path), target).copied == 1
        assert everything(store)[str(photo)] == before[str(photo)]


def test_the_command_skips_and_tells_what_is_no_image(
    place: IndexFolder, tmp_path: Path, command: Command
) -> None:
    out, text = tmp_path / "all.npy", tmp_path / "shadow"
    text.write_text("root:$6$salt$hash:19000:0:99999:7:::\n")
    with closing(place.open()) as store:
        export_images(store, out)
    rows = out.with_suffix(".jsonl")
    rows.write_text(rows.read_text("utf-8").replace('"/p/a.jpg"', json.dumps(str(text))), "utf-8")
    document = command.document("index", "--from", out, "--index", tmp_path / "target", code=3)
    assert (document["copied"], document["unreadable"]) == (4, 1)
    reason = "it is no picture of a known kind"
    assert document["skipped"] == [{"path": str(text), "reason": reason}]
    assert f"Skipped, as they are no images (1 file):\n  {text}: {reason}" in command.err
    with closing(IndexFolder(tmp_path / "target").open()) as store:
        assert str(text) not in [one.path for block in store.scan() for one in block.records]


def test_the_command_copies_and_exports(
    place: IndexFolder, tmp_path: Path, command: Command
) -> None:
    to, source = ["--index", tmp_path / "target"], ["--from", place]
    document = command.document("index", *source, *to)
    assert (document["copied"], document["unreadable"]) == (6, 1)
    assert "0 copied, 7 there already" in command("index", *source, *to)
    out = tmp_path / "all.parquet"
    assert "5 images with their embeddings" in command("export", out, *to)
    command("index", "/photos", *source, *to, code=2)
    assert "--from copies an index as it is" in command.err
    command("index", "--from", tmp_path / "no", code=1)
    assert "No index in" in command.err


def test_a_filter_chooses_what_is_exported(place: IndexFolder, tmp_path: Path) -> None:
    with closing(place.open()) as store:
        out = tmp_path / "deep.parquet"
        assert export_images(store, out, Filter(folders=("/p/deep",))) == 1
        assert export_images(store, tmp_path / "none.npy", Filter(folders=("/none",))) == 0
    assert pyarrow.parquet.read_table(out).column("path").to_pylist() == ["/p/deep/b.jpg"]
    assert np.load(tmp_path / "none.npy").shape == (0, 8)


def test_other_programs_read_the_files(place: IndexFolder, tmp_path: Path) -> None:
    with closing(place.open()) as store:
        export_images(store, tmp_path / "all.parquet")
        export_images(store, tmp_path / "all.npy")
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    told = json.loads(table.schema.metadata[b"footwork"])
    assert told["model"]["width"] == 8
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), 8)
    rows = table.to_pylist()
    assert json.loads(rows[0]["labels"]) == {"cat": 0.75, "dög": 0.25}
    assert os.fsencode(ODD) in [row["path_bytes"] for row in rows]
    lines = (tmp_path / "all.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row["path"] for row in rows]
    assert np.array_equal(np.load(tmp_path / "all.npy"), [row["embedding"] for row in rows])


def test_an_export_that_fails_leaves_what_was_there(place: IndexFolder, tmp_path: Path) -> None:
    class Failing:
        def __init__(self, store: Store) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        def scan(self, where: Filter) -> Iterator[Any]:
            yield from self._store.scan(where)
            raise StoreError("The server is gone.")

    for name in ("all.parquet", "all.npy"):
        with closing(place.open()) as store:
            export_images(store, tmp_path / name)
            before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
            with pytest.raises(StoreError, match="is gone"):
                export_images(Failing(store), tmp_path / name)  # type: ignore[arg-type]
        assert before == {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


@pytest.mark.parametrize("ending", NUMPY_ENDINGS[:2])
def test_an_export_that_is_killed_leaves_no_embeddings_beside_images_of_another(
    place: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    def replace_until_killed(path: Path, target: Path) -> Path:
        if target.suffix == ending and path.stat().st_size:
            raise KeyboardInterrupt
        os.rename(path, target)  # noqa: PTH104 - which it stands for
        return target

    out = tmp_path / "all.npy"
    with closing(place.open()) as store:
        export_images(store, out)
        monkeypatch.setattr(Path, "replace", replace_until_killed)
        with pytest.raises(KeyboardInterrupt):
            export_images(store, out, Filter(folders=("/p",)))
        monkeypatch.undo()
        with pytest.raises(DataError, match=r"Cannot read .*all.npy"):
            NumpySource(out)
        export_images(store, out)
    assert len(list(NumpySource(out).batches())) == 1


def test_an_export_replaces_what_an_export_wrote_and_nothing_else(
    place: IndexFolder, tmp_path: Path
) -> None:
    vectors, rows, model = (tmp_path / f"all{ending}" for ending in NUMPY_ENDINGS)
    with closing(place.open()) as store:
        for foreign in (vectors, tmp_path / "all.parquet"):
            foreign.write_bytes(b"mine")
            with pytest.raises(ConfigError, match=rf"{foreign.name} is not replaced"):
                export_images(store, foreign)
            assert foreign.read_bytes() == b"mine"
        export_images(store, tmp_path / "all.NPY")
        assert (vectors.read_bytes(), len(np.load(tmp_path / "all.NPY"))) == (b"mine", 5)
        vectors.unlink()
        for where in (Filter(), Filter(folders=("/none",)), Filter()):
            export_images(store, vectors, where)
        assert len(np.load(vectors)) == 5
        before = vectors.read_bytes()
        for path, own in ((rows, '{"path": "/a", "caption": "x"}\n'), (model, '{"kind": "mine"}')):
            kept = path.read_bytes()
            path.write_text(own)
            with pytest.raises(ConfigError, match=r"all\.\w+ is not replaced"):
                export_images(store, vectors)
            assert (path.read_text(), vectors.read_bytes()) == (own, before)
            path.unlink()
            os.mkfifo(path)
            with pytest.raises(
                FootworkError, match=r"no file but a pipe or a device\. Name|is not replaced"
            ):
                export_images(store, vectors)
            path.unlink()
            path.write_bytes(kept)


def test_another_ending_and_a_missing_folder_are_refused(
    place: IndexFolder, tmp_path: Path
) -> None:
    with closing(place.open()) as store:
        with pytest.raises(ConfigError, match=r"must be \.parquet or \.npy, got '\.csv'"):
            export_images(store, tmp_path / "all.csv")
        with pytest.raises(
            DataError, match=r"Cannot write .*/no/all\.npy: no such folder\. Name a file in"
        ):
            export_images(store, tmp_path / "no" / "all.npy")
