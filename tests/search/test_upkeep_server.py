"""What looks after an index does so on a server, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from footwork.cli import main
from tests.search.drawn import draw_photos
from tests.search.milvus import TOKEN
from tests.search.store_contract import ServerEngine

pytestmark = pytest.mark.server

Said = Callable[..., Any]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.setenv("FOOTWORK_STORE_TOKEN", TOKEN)

    def run(*words: str | Path, code: int = 0) -> Any:
        assert main(["search", *map(str, words), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.usefixtures("exported_once")
def test_an_index_moves_to_a_server_and_back_and_is_examined_there(
    milvus_server: ServerEngine, tmp_path: Path, said: Said
) -> None:
    url = milvus_server.options("moved").store
    photos, index = draw_photos(tmp_path / "photos"), tmp_path / "index"
    (photos / "copy.png").write_bytes((photos / "red" / "star.png").read_bytes())
    said("index", photos, "--index", index, "--model", "tiny")
    server = ("--store", url, "--collection", "moved")
    assert said("index", "--from", index, *server)["copied"] == 13
    assert said("index", "--from", index, *server)["unchanged"] == 13
    assert said("doctor", *server)["is_well"]
    (photos / "blue" / "star.png").unlink()
    kinds = [one["kind"] for one in said("doctor", *server, "--repair", code=3)["findings"]]
    assert kinds == ["missing files"]
    (group,) = said("duplicates", *server)["groups"]
    assert [one["kind"] for one in group["duplicates"]] == ["exact"]
    assert said("export", tmp_path / "all.parquet", *server)["images"] == 13
    back = tmp_path / "back"
    assert said("index", "--from", f"{url}/moved", "--index", back)["copied"] == 13
    hits = [said("query", "a red star", *where)["hits"] for where in (("--index", back), server)]
    assert [hit["path"] for hit in hits[0]] == [hit["path"] for hit in hits[1]]
