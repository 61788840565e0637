"""Indexes are made, switched to another model, shared by processes, and follow their folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import ConfigError, DataError, ModelError, StoreError
from search import ImageIndex
from search.options import ModelOptions
from search.place import IndexFolder
from search.update import watching
from search.update.indexing import Indexer, remove_images
from search.update.summary import Summary
from search.update.watching import own_files, watched_updates
from tests.dual_encoders import build_dual_encoder
from tests.search.collections import held, save_pictures
from tests.search.places import holdings, index_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return (
        build_dual_encoder(folder / "one", seed=1),
        build_dual_encoder(folder / "other", seed=2),
    )


@pytest.fixture(autouse=True)
def no_text_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model that cannot be exported: queries load it whole."""

    def refuse(*_: object) -> None:
        raise ModelError("The text half cannot be made to run without torch.")

    monkeypatch.setattr("footwork.encoder.onnx_export.export_text_tower", refuse)


def indexer(index: Path, model: Path | str | None = None) -> Indexer:
    return Indexer(IndexFolder(index), ModelOptions(model_id=None if model is None else str(model)))


def test_another_model_takes_over_only_when_it_is_complete(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pictures(tmp_path / "photos", 8)
    index = tmp_path / "index"
    summary = indexer(index, models[0]).index([tmp_path / "photos"])
    assert summary.notes == ["The text half cannot be made to run without torch."]
    with ImageIndex.open(index) as first:
        old, model = held(first.store), first.store.embedder

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    switching = indexer(index, models[1])
    switching.on_progress = interrupt
    with monkeypatch.context() as patched:
        patched.setattr("search.update.indexing.BATCH", 2)
        with pytest.raises(KeyboardInterrupt):
            switching.index()
    with ImageIndex.open(index) as between:
        assert between.store.embedder == model
        assert held(between.store) == old
        assert between.query("a dog").nearest is not None
    assert indexer(index).index().unchanged == 8  # the old one is kept up to date meanwhile
    with closing(IndexFolder(index).open()) as store:
        store.write_labels((path, {"dog": 0.5, "cat": 0.4}) for path in list(old)[:3])
    done = indexer(index, models[1]).index()
    assert f"labels of 3 images went with {models[0]}" in "".join(done.notes)
    with ImageIndex.open(index) as switched:
        assert switched.store.embedder.fingerprint != model.fingerprint
        assert switched.store.embedder.model_id == str(models[1])
        new = held(switched.store)
        assert set(new) == set(old)
        assert new != old
        assert switched.query("a dog").nearest is not None
    assert done.added + done.unchanged == 8
    assert len([path for path in index.iterdir() if path.is_dir()]) == 1


def test_a_switch_waits_for_folders_that_cannot_be_read_and_brings_back_nothing_removed(
    tmp_path: Path, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, private, index = tmp_path / "kept", tmp_path / "private", tmp_path / "index"
    paths = [*save_pictures(kept / "kids", 1), *save_pictures(kept, 1, first=1)]
    save_pictures(private, 1)
    indexer(index, models[0]).index([kept, private])
    with monkeypatch.context() as closed:
        listed = os.scandir
        closed.setattr(os, "scandir", lambda at: listed("/-" if at == kept / "kids" else at))
        done = indexer(index, models[1]).index()
    assert done.notes[-1].startswith(f"{models[0]} goes on answering: make these folders readable")
    assert len(holdings(IndexFolder(index))) == 3
    private.rename(tmp_path / "away")
    with pytest.raises(
        DataError,
        match=f"Cannot find {private}. {models[1]} takes over only where every .*"
        f"{models[0]} goes on .*: footwork search remove {private} --index {index}$",
    ):
        indexer(index, models[1]).index()
    remove_images(IndexFolder(index), [private], gone=False)
    indexer(index, models[1]).index()
    with ImageIndex.open(index) as switched:
        assert switched.store.embedder.model_id == str(models[1])
        assert switched.store.roots() == [str(kept)]
        assert {one.path for one in switched.store.files()} == set(map(str, paths))
    remove_images(IndexFolder(index), [kept], gone=False)
    with pytest.raises(ConfigError, match="No folder is named"):
        indexer(index, models[0]).index()


def test_an_index_that_was_opened_before_another_model_took_over_answers_by_that(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    photo, *_ = save_pictures(tmp_path / "photos", 3)
    indexer(index := tmp_path / "index", models[0]).index([tmp_path / "photos"])
    with ExitStack() as several:
        opened, other, adding = (several.enter_context(ImageIndex.open(index)) for _ in range(3))
        indexer(index, models[1]).index()
        assert opened.query("a dog").nearest is not None
        assert opened.store.embedder.model_id == str(models[1])
        with pytest.raises(StoreError, match=f"is of {models[1]} .* are of {models[0]} .* Embed"):
            adding.add(photo, adding.encode_images(photo))
        assert adding.add(photo, adding.encode_images(photo)).copied == 1
        save_pictures(tmp_path / "photos", 1, first=3)
        assert (other.update().added, len(other)) == (1, 4)
    (tmp_path / "index" / "generation-2" / "vectors.f32").unlink()
    with ImageIndex.open(tmp_path / "index") as spoilt, pytest.raises(StoreError, match="missing"):
        spoilt.query("a dog")


def test_what_comes_after_a_switch_by_another_process_is_embedded_by_the_new_model(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    [old] = save_pictures(tmp_path / "photos", 1)
    indexer(tmp_path / "index", models[0]).index([old.parent])
    following = indexer(tmp_path / "index")
    save_pictures(old.parent, 1, first=1)
    assert following.index().added == 1  # by the old model, which stays loaded
    indexer(tmp_path / "index", models[1]).index()
    [new] = save_pictures(old.parent, 1, first=2)
    assert following.index().added == 1
    with ImageIndex.open(tmp_path / "index") as index:
        np.testing.assert_allclose(index.vectors([new]), index.encode_images(new), atol=1e-5)


def test_the_same_model_by_another_name_is_no_switch(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    save_pictures(tmp_path / "photos", 2)
    indexer(tmp_path / "index", models[0]).index([tmp_path / "photos"])
    shutil.copytree(models[0], tmp_path / "copy")
    assert indexer(tmp_path / "index", tmp_path / "copy").index().unchanged == 2


def test_a_model_that_is_no_longer_what_it_was_is_refused(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    model = Path(shutil.copytree(models[0], tmp_path / "model"))
    save_pictures(tmp_path / "photos", 2)
    indexer(tmp_path / "index", model).index([tmp_path / "photos"])
    shutil.copy(models[1] / "model.safetensors", model / "model.safetensors")
    save_pictures(tmp_path / "photos", 1, first=50)
    with pytest.raises(ModelError, match=r"made with .*model \(16 wide.*embed anew"):
        indexer(tmp_path / "index").index()
    assert indexer(tmp_path / "index", model).index().added == 3


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos, 9)
    (photos / "bad.png").write_bytes(b"no picture")
    indexer(tmp_path / "alone", "tiny").index([photos])
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = ["-m", "search", "index", photos, "--index", tmp_path / "both", "--model", "tiny"]
    done = subprocess.run(
        [sys.executable, *command, *map(str, words), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (told["added"], len(told["unreadable"])) == (9, 1)
    with ImageIndex.open(tmp_path / "alone") as one, ImageIndex.open(tmp_path / "both") as two:
        alone, both = held(one.store), held(two.store)
        assert set(alone) == set(both)
        for path, vector in alone.items():
            np.testing.assert_allclose(both[path], vector, atol=1e-5)
        assert two.counts().unreadable == 1


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[IndexFolder, Path]:
    """An index within the folder that it is of, and its only picture; copies need no model."""
    monkeypatch.setattr(watching, "QUIET", 20)
    monkeypatch.setattr(watching, "AGAIN", 100)
    [picture] = save_pictures(tmp_path / "photos", 1)
    return index_of(tmp_path / "photos" / "index", tmp_path / "photos"), picture


@pytest.fixture
def elsewhere(tmp_path: Path, watched: tuple[IndexFolder, Path]) -> tuple[IndexFolder, Path]:
    """The same, the index beside its folder."""
    _, picture = watched
    shutil.rmtree(picture.parent / "index")
    return index_of(tmp_path / "index", picture.parent), picture


def test_what_changed_before_and_since_watching_began_is_indexed(
    watched: tuple[IndexFolder, Path],
) -> None:
    place, picture = watched
    early, late = picture.with_name("early.png"), picture.with_name("late.png")
    shutil.copy(picture, early)
    with closing(watched_updates(Indexer(place), [str(picture.parent)])) as updates:
        assert next(updates).added == 1
        shutil.copy(picture, late)
        assert next(updates).added == 1
    assert set(holdings(place)) == {str(picture), str(early), str(late)}


def test_an_index_that_another_writes_is_updated_after_it(
    watched: tuple[IndexFolder, Path],
) -> None:
    place, picture = watched
    shutil.copy(picture, picture.with_name("copy.png"))
    with closing(watched_updates(Indexer(place), [str(picture.parent)])) as updates:
        with place.writing():
            assert "is being written" in next(updates).notes[0]
        assert next(updates).added == 1


@pytest.fixture
def kept(tmp_path: Path, elsewhere: tuple[IndexFolder, Path]) -> Path:
    """A copy of the root as it was indexed."""
    return Path(shutil.copytree(elsewhere[1].parent, tmp_path / "kept"))


def test_a_missing_root_does_not_hold_up_the_others(
    elsewhere: tuple[IndexFolder, Path], tmp_path: Path
) -> None:
    _, picture = elsewhere
    other = shutil.copytree(picture.parent, tmp_path / "other")
    shutil.rmtree(tmp_path / "index")
    place = index_of(tmp_path / "index", picture.parent, other)
    other.rename(tmp_path / "unmounted")
    with closing(watched_updates(Indexer(place), [str(picture.parent), str(other)])) as updates:
        shutil.copy(picture, picture.with_name("new.png"))
        summary = next(updates)
        assert (summary.added, summary.missing_roots) == (1, [str(other)])
        (tmp_path / "unmounted").rename(other)
        shutil.copy(picture, other / "there.png")
        assert next(updates).added == 1
    assert len(holdings(place)) == 4


def test_a_root_that_is_removed_while_it_is_watched_stays_away(
    elsewhere: tuple[IndexFolder, Path], kept: Path
) -> None:
    place, picture = elsewhere
    with closing(place.open()) as store:
        store.set_roots(roots := [str(kept), str(picture.parent)])
    with closing(watched_updates(Indexer(place), roots)) as updates:
        assert next(updates).added == 1
        remove_images(place, [kept], gone=False)
        shutil.copy(picture, picture.with_name("new.png"))
        assert next(updates).added == 1
    assert {Path(path).parent for path in holdings(place)} == {picture.parent}


def _deleted(root: Path, kept: Path, updates: Iterator[Summary]) -> None:
    shutil.rmtree(root)
    away = next(updates)
    assert away.is_put_off
    assert "Cannot find" in away.notes[0]
    shutil.copytree(kept, root)


def _made_anew(root: Path, kept: Path, _: Iterator[Summary]) -> None:
    shutil.rmtree(root)
    shutil.copytree(kept, root)


def _moved_over(root: Path, kept: Path, _: Iterator[Summary]) -> None:
    root.rename(root.with_name("old"))
    shutil.copytree(kept, root)


@pytest.mark.parametrize("replaced", [_deleted, _made_anew, _moved_over])
def test_a_root_that_is_replaced_at_once_or_later_is_watched_again(
    elsewhere: tuple[IndexFolder, Path],
    kept: Path,
    replaced: Callable[[Path, Path, Iterator[Summary]], None],
) -> None:
    place, picture = elsewhere
    root = picture.parent
    with closing(watched_updates(Indexer(place), [str(root)])) as updates:
        shutil.copy(picture, picture.with_name("before.png"))
        assert next(updates).added == 1
        replaced(root, kept, updates)
        back = next(updates)
        assert (back.is_put_off, back.removed) == (False, 1)
        shutil.copy(picture, picture.with_name("since.png"))
        assert next(updates).moved == 1  # the index knows what it shows
    assert set(holdings(place)) == {str(picture), str(picture.with_name("since.png"))}


def test_what_was_away_and_comes_back_as_it_was_is_told(
    elsewhere: tuple[IndexFolder, Path],
) -> None:
    place, picture = elsewhere
    root, away = picture.parent, picture.parent.with_name("away")
    root.rename(away)
    with closing(watched_updates(Indexer(place), [str(root)])) as updates:
        summary = next(updates)
        text = summary.to_text("photos/index")
        assert text == "Put off; tried again every 5 s\nThe index is in photos/index"
        away.rename(root)
        assert next(updates).unchanged == 1


def test_what_an_update_writes_calls_for_no_other(watched: tuple[IndexFolder, Path]) -> None:
    place, picture = watched
    written = place.path / "generation-1" / "catalog.sqlite-wal"
    ignored = own_files(place)
    assert any(str(written).startswith(str(path)) for path in ignored)
    assert not any(str(picture).startswith(str(path)) for path in ignored)
