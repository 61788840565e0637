"""An index on a Milvus server, as commands and places use it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import StoreError
from search.index import ImageIndex
from search.options import ModelOptions
from search.place import ServerPlace
from search.update.indexing import Indexer
from tests.dual_encoders import build_dual_encoder
from tests.search.collections import EMBEDDER, WIDTH, held, indexed, save_pictures
from tests.search.commands import Command
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


@pytest.mark.usefixtures("exported_once")
def test_the_same_commands_work_on_a_server(
    where: Callable[[str], list[str]], tmp_path: Path, command: Command
) -> None:
    photos, at = draw_photos(tmp_path / "photos"), where("photos")
    said = command.document
    command("index", photos, "--model", "tiny", *at)
    found = said("query", "a red star", "--in", photos / "red", *at)
    assert found["hits"][0]["path"].endswith("red/star.png")
    command("query", "a red star", "--hybrid", *at, code=2)
    assert "names of files cannot be searched on a Milvus server" in command.err
    assert said("status", *at)["images"] == 12
    assert said("index", *at)["unchanged"] == 12
    (photos / "red" / "star.png").rename(photos / "moved.png")
    assert said("index", *at)["moved"] == 1
    assert said("remove", photos / "blue", *at)["removed"] == 4
    assert said("index", *at)["added"] == 0  # after which every reader sees a deletion
    assert said("query", "a blue star", "--all", "-k", "20", *at)["hits"][8:] == []


def test_a_reader_is_never_answered_with_the_vectors_of_another_model(
    milvus_server: ServerEngine, tmp_path: Path
) -> None:
    place = ServerPlace(milvus_server.options("overtaken"))
    save_pictures(tmp_path / "photos", 3)
    other = replace(EMBEDDER, model_id="another", fingerprint="another")
    asked = np.eye(1, WIDTH, dtype=np.float32)
    for embedder in (EMBEDDER, other):
        with closing(place.begin(embedder)) as store:
            indexed(store, tmp_path / "photos")
    with closing(place.open()) as reader:
        assert reader.embedder == EMBEDDER  # until the other is complete
        assert len(reader.search(asked, 5)[0].records) == 3
        place.publish(other)
        with pytest.raises(StoreError, match="has no collection overtaken"):
            reader.search(asked, 5)
    with closing(place.open()) as reader:
        assert reader.embedder == other
        assert len(reader.search(asked, 5)[0].records) == 3


@pytest.mark.usefixtures("exported_once")
def test_an_index_moves_to_a_server_and_back_and_is_examined_there(
    where: Callable[[str], list[str]], tmp_path: Path, command: Command
) -> None:
    said, server = command.document, where("moved")
    photos, index = draw_photos(tmp_path / "photos"), str(tmp_path / "index")
    (photos / "copy.png").write_bytes((photos / "red" / "star.png").read_bytes())
    said("index", str(photos), "--index", index, "--model", "tiny")
    assert said("index", "--from", index, *server)["copied"] == 13
    assert said("index", "--from", index, *server)["unchanged"] == 13
    assert said("doctor", *server)["is_well"]
    (photos / "blue" / "star.png").unlink()
    kinds = [one["kind"] for one in said("doctor", *server, "--repair", code=3)["findings"]]
    assert kinds == ["missing files"]
    (group,) = said("duplicates", *server)["groups"]
    assert [one["kind"] for one in group["duplicates"]] == ["exact"]
    assert said("export", str(tmp_path / "all.parquet"), *server)["images"] == 13
    back = str(tmp_path / "back")
    assert said("index", "--from", f"{server[1]}/moved", "--index", back)["copied"] == 13
    hits = [said("query", "a red star", *at)["hits"] for at in (["--index", back], server)]
    assert [hit["path"] for hit in hits[0]] == [hit["path"] for hit in hits[1]]


def test_a_switch_of_model_changes_what_is_searched_at_its_end(
    milvus_server: ServerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    at = replace(milvus_server.options("any"), token=TOKEN, collection="switched")
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
