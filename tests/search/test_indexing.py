"""Indexes are made, switched to another model, and shared by processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import ModelError, StoreError
from search import ImageIndex
from search.options import ModelOptions
from search.place import IndexFolder
from search.update.indexing import Indexer
from tests.dual_encoders import build_dual_encoder
from tests.search.collections import held, save_pictures


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
        patched.setattr("search.update.update.BATCH", 2)
        with pytest.raises(KeyboardInterrupt):
            switching.index()
    with ImageIndex.open(index) as between:
        assert between.store.embedder == model
        assert held(between.store) == old
        assert between.query("a dog").nearest is not None
    assert indexer(index).index().unchanged == 8  # the old one is kept up to date meanwhile
    done = indexer(index, models[1]).index()
    with ImageIndex.open(index) as switched:
        assert switched.store.embedder.fingerprint != model.fingerprint
        assert switched.store.embedder.model_id == str(models[1])
        new = held(switched.store)
        assert set(new) == set(old)
        assert new != old
        assert switched.query("a dog").nearest is not None
    assert done.added + done.unchanged == 8
    assert len([path for path in index.iterdir() if path.is_dir()]) == 1


def test_an_index_that_was_opened_before_another_model_took_over_answers_by_that(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    save_pictures(tmp_path / "photos", 3)
    indexer(tmp_path / "index", models[0]).index([tmp_path / "photos"])
    with ImageIndex.open(tmp_path / "index") as opened:
        indexer(tmp_path / "index", models[1]).index()
        assert opened.query("a dog").nearest is not None
        assert opened.store.embedder.model_id == str(models[1])
    (tmp_path / "index" / "generation-2" / "vectors.f32").unlink()
    with ImageIndex.open(tmp_path / "index") as spoilt, pytest.raises(StoreError, match="missing"):
        spoilt.query("a dog")


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
