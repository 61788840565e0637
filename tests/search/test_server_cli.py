"""The commands against a Milvus server, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from footwork.cli import main
from search.index import ImageIndex
from search.options import ModelOptions, StoreOptions
from search.place import ServerPlace
from search.update.indexing import Indexer
from tests.dual_encoders import build_dual_encoder
from tests.search.collections import held, save_pictures
from tests.search.drawn import draw_photos
from tests.search.milvus import TOKEN
from tests.search.store_contract import ServerEngine

pytestmark = pytest.mark.server


@pytest.fixture
def where(
    milvus_server: ServerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FOOTWORK_STORE_TOKEN", TOKEN)
    return lambda name: ["--store", milvus_server.options("any").store, "--collection", name]


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["search", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.usefixtures("exported_once")
def test_the_same_commands_work_on_a_server(
    where: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, at = draw_photos(tmp_path / "photos"), where("photos")
    assert main(["search", "index", str(photos), "--model", "tiny", *at]) == 0
    found = document(capsys, "query", "a red star", "--in", str(photos / "red"), *at)
    assert found["hits"][0]["path"].endswith("red/star.png")
    assert main(["search", "query", "a red star", "--hybrid", *at]) == 2
    assert "names of files cannot be searched on a Milvus server" in capsys.readouterr().err
    assert document(capsys, "status", *at)["images"] == 12
    assert document(capsys, "index", *at)["unchanged"] == 12
    (photos / "red" / "star.png").rename(photos / "moved.png")
    assert document(capsys, "index", *at)["moved"] == 1
    assert document(capsys, "remove", str(photos / "blue"), *at)["removed"] == 4
    assert document(capsys, "index", *at)["added"] == 0  # after which every reader sees a deletion
    assert document(capsys, "query", "a blue star", "--all", "-k", "20", *at)["hits"][8:] == []


def test_processes_share_the_work_for_a_server(
    where: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pictures(tmp_path / "photos", 7)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = ["index", str(tmp_path / "photos"), "--model", "tiny", *where("shared")]
    done = subprocess.run(
        [*launcher, "-m", "search", *words, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["added"] == 7
    assert document(capsys, "status", *where("shared"))["images"] == 7


def test_a_switch_of_model_changes_what_is_searched_at_its_end(
    milvus_server: ServerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    at = StoreOptions(store=milvus_server.options("any").store, token=TOKEN, collection="switched")
    save_pictures(tmp_path / "photos", 3)
    vectors = []
    for seed in (1, 2):
        model = build_dual_encoder(tmp_path / f"model-{seed}", seed=seed)
        Indexer(ServerPlace(at), ModelOptions(model_id=str(model))).index([tmp_path / "photos"])
        with ImageIndex.connect(at) as index:
            assert index.store.embedder.model_id == str(model)
            vectors.append(held(index.store))
            assert index.query("a dog").nearest is not None
    assert set(vectors[0]) == set(vectors[1])
    assert vectors[0] != vectors[1]


def test_a_refusal_tells_where_to_put_the_token(
    where: Callable[[str], list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOOTWORK_STORE_TOKEN", "root:wrong")
    assert main(["search", "status", *where("photos")]) == 1
    assert "does not let you in" in capsys.readouterr().err
