"""What leaves this machine, and what is refused to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigError, ModelError
from tests.models import build_adapter, build_base, build_classifier
from textclf.config import TrainConfig
from textclf.publish import push_folder, require_publishable


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the Hub would have got, by name."""
    import huggingface_hub

    files: dict[str, str] = {}

    class Hub:
        def create_repo(self, repository: str, exist_ok: bool) -> None:
            assert (repository, exist_ok) == ("owner/name", True)

        def upload_folder(self, repo_id: str, folder_path: str) -> None:
            assert repo_id == "owner/name"
            for path in Path(folder_path).glob("**/*"):
                if path.is_file():
                    name = path.relative_to(folder_path).as_posix()
                    files[name] = path.read_text("latin-1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return files


def private(folder: Path) -> Path:
    """A plain folder whose documents name folders of this machine."""
    build_classifier(folder)
    facts = {"path": str(folder / "data" / "d.csv"), "text_columns": ["text"]}
    document: dict[str, Any] = {
        "model": {"id": str(folder / "base"), "revision": None},
        "data": facts,
        "config": {"model_id": str(folder / "base"), "table_format": {"delimiter": "/"}},
        "labels": ["/home", "b"],
    }
    manifest = json.loads((folder / "footwork.json").read_text()) | document
    (folder / "footwork.json").write_text(json.dumps(manifest))
    (folder / "report").mkdir()
    note = f"{facts['path']}: 3 rows are skipped."
    (folder / "report" / "metrics.json").write_text(json.dumps(document | {"notes": [note]}))
    return folder


def test_no_path_of_this_machine_is_uploaded(tmp_path: Path, uploaded: dict[str, str]) -> None:
    folder = private(tmp_path / "model")
    push_folder(folder, "owner/name")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(uploaded) == names
    assert not [name for name, text in uploaded.items() if str(tmp_path) in text]
    public = json.loads(uploaded["footwork.json"])
    assert public["data"]["path"] == "d.csv"
    assert public["model"]["id"] == public["config"]["model_id"] == "base"
    assert public["labels"] == ["/home", "b"]
    assert public["config"]["table_format"] == {"delimiter": "/"}
    assert json.loads(uploaded["report/metrics.json"])["notes"] == ["d.csv: 3 rows are skipped."]
    assert str(tmp_path) in (folder / "footwork.json").read_text()


def test_an_adapter_whose_base_is_here_alone_is_not_pushed(
    tmp_path: Path, uploaded: dict[str, str]
) -> None:
    base = build_base(tmp_path / "base", "bert")
    adapter = build_adapter(tmp_path / "adapter", base)
    with pytest.raises(ConfigError, match=r"only on this machine.*add --merge"):
        push_folder(adapter, "owner/name")
    assert not uploaded


def test_what_cannot_be_pushed_is_refused_before_the_training(tmp_path: Path) -> None:
    for local in ("tiny", str(tmp_path)):
        with pytest.raises(ConfigError, match="add --merge"):
            require_publishable(TrainConfig(model_id=local, push_to_hub="owner/name"))
        require_publishable(TrainConfig(model_id=local, push_to_hub="owner/name", merge=True))
        require_publishable(TrainConfig(model_id=local, push_to_hub="owner/name", method="full"))
        require_publishable(TrainConfig(model_id=local))
    for public in ("fast", "gpt2", "microsoft/deberta-v3-base"):
        require_publishable(TrainConfig(model_id=public, push_to_hub="owner/name"))
    with pytest.raises(ConfigError, match="must be a Hub repository"):
        require_publishable(TrainConfig(push_to_hub="https://huggingface.co/owner/name"))


def test_a_hub_that_cannot_be_reached_leaves_the_folder(tmp_path: Path) -> None:
    folder = build_classifier(tmp_path / "model")
    with pytest.raises(ModelError, match="is finished, but could not be uploaded to owner/name"):
        push_folder(folder, "owner/name")
    assert (folder / "footwork.json").exists()
