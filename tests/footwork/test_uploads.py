"""What leaves this machine, and what is refused to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import are_progress_bars_disabled

import footwork.models.downloads
from footwork.errors import ConfigError, ModelError
from footwork.failures import Terminated, explain
from footwork.finetuning.card import PLACE
from footwork.finetuning.upload import (
    create_repository,
    push_folder,
    require_publishable,
    writable_repository,
)
from tests.hub import COMMIT, StandInApi, keep_repository, kept_repository, refused
from tests.models import build_adapter, build_base, build_classifier
from tests.tables import sentiment_table
from tests.zeroshot.image_towers import draw_classes
from textclf import train
from textclf.config import TrainConfig
from zeroshot import FinetuneConfig, finetune


class Uploads(StandInApi):
    """Keeps the texts of what it would have got, by name."""

    files: ClassVar[dict[str, str]] = {}

    def upload_folder(self, *, repo_id: str, folder_path: str, **_: Any) -> None:
        assert repo_id == "owner/name"
        for path in Path(folder_path).glob("**/*"):
            if path.is_file():
                self.files[path.relative_to(folder_path).as_posix()] = path.read_text("latin-1")


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the Hub would have got, by name."""
    monkeypatch.setattr("huggingface_hub.HfApi", Uploads)
    monkeypatch.setattr(Uploads, "files", {})
    return Uploads.files


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
    (folder / "README.md").write_text(f'TextClassifier.load("{PLACE}")')
    assert push_folder(folder, "owner/name") == "https://hub.example/owner/name"
    assert uploaded["README.md"] == 'TextClassifier.load("owner/name")'
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


def test_what_cannot_be_pushed_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    for local in ("tiny", str(tmp_path)):
        with pytest.raises(ConfigError, match="add --merge"):
            require_publishable(TrainConfig(push_to_hub="owner/name", method="lora"), local)
        with pytest.raises(ConfigError, match="add --merge"):
            require_publishable(FinetuneConfig(push_to_hub="owner/name", method="lora"), local)
        require_publishable(TrainConfig(push_to_hub="owner/name", merge=True), local)
        require_publishable(TrainConfig(push_to_hub="owner/name", method="full"), local)
        require_publishable(TrainConfig(), local)
        require_publishable(TrainConfig(push_to_hub="owner/name", method="lora"), None)
        # What a method left open will publish, the number of rows says.
        require_publishable(TrainConfig(push_to_hub="owner/name"), local)
    for public in ("gpt2", "microsoft/deberta-v3-base"):
        require_publishable(TrainConfig(push_to_hub="owner/name"), public)
    with pytest.raises(ConfigError, match="must be a Hub repository"):
        require_publishable(TrainConfig(push_to_hub="https://huggingface.co/owner/name"), "gpt2")


def token(role: str, *permissions: str) -> dict[str, Any]:
    """What the Hub says of `owner` with a token of this role."""
    fine = {"scoped": [{"permissions": list(permissions)}]} if permissions else {}
    access = {"role": role, "fineGrained": fine}
    return {"name": "owner", "orgs": [], "auth": {"accessToken": access}}


@pytest.mark.parametrize(
    ("who", "name", "said"),
    [
        (LocalTokenNotFoundError(), "owner/name", "Nobody is logged in"),
        (refused(401), "owner/name", "does not accept the token"),
        (token("read"), "owner/name", "The token of owner may only read"),
        (token("fineGrained", "repo.content.read"), "owner/name", "may only read"),
        (token("write"), "else/name", "else is neither owner nor an organisation of theirs"),
        (OfflineModeIsEnabled(), "owner/name", "while HF_HUB_OFFLINE is set"),
    ],
)
def test_who_may_not_write_is_told_so(
    who: Any, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, "who", who)
    with pytest.raises(ConfigError, match=said):
        writable_repository(name)


@pytest.mark.parametrize("error", [refused(503), refused(429), HTTPError("refused")])
def test_a_hub_that_does_not_answer_is_no_refusal(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, "who", error)
    monkeypatch.setattr(footwork.models.downloads, "_PAUSES", ())
    with pytest.raises(ModelError, match="does not say whether owner/name may be written to"):
        writable_repository("owner/name")


@pytest.mark.parametrize("method", ["whoami", "create_repo", "auth_check", "upload_folder"])
def test_a_hub_that_is_busy_is_asked_again_when_it_says(
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer, answers = getattr(StandInApi, method), [refused(429, "Busy", Retry_After="3")] * 2

    def busy(*arguments: Any, **named: Any) -> Any:
        if answers:
            raise answers.pop()
        return answer(*arguments, **named)

    waited: list[int] = []
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, method, busy)
    monkeypatch.setattr(footwork.models.downloads.time, "sleep", waited.append)
    if method == "whoami":
        assert writable_repository("owner/name") == "owner/name"
    elif method == "upload_folder":
        folder = build_classifier(tmp_path / "model")
        assert push_folder(folder, "owner/name") == "https://hub.example/owner/name"
    else:
        assert create_repository("owner/name") == "https://hub.example/owner/name"
    assert waited == [3, 3]
    assert capsys.readouterr().err.count("answers 429 Busy; trying again in 3 s") == 2


def unknown(*_: Any, **__: Any) -> None:
    """What a hub answers that is not asked whether someone may write."""
    raise refused(404)


def test_who_may_write_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    for who in (token("write"), token("fineGrained", "repo.write"), token("fineGrained")):
        monkeypatch.setattr(StandInApi, "who", who)
        assert writable_repository("owner/name") == "owner/name"
        assert writable_repository("name") == "owner/name"
    assert create_repository("owner/name") == "https://hub.example/owner/name"
    with monkeypatch.context() as patched:
        patched.setattr(StandInApi, "auth_check", unknown)
        assert create_repository("owner/name") == "https://hub.example/owner/name"
    monkeypatch.setattr(StandInApi, "refusal", refused(403, "You don't have the rights"))
    with pytest.raises(ConfigError, match="You don't have the rights"):
        create_repository("owner/name")


def test_a_run_that_may_not_push_reads_no_data_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    pushes = {"model_id": "tiny", "merge": True, "push_to_hub": "owner/name"}
    with monkeypatch.context() as patched:
        patched.setattr(StandInApi, "who", token("read"))
        with pytest.raises(ConfigError, match="may only read"):
            train(tmp_path / "none.csv", tmp_path / "out", TrainConfig(**pushes))
        with pytest.raises(ConfigError, match="may only read"):
            finetune(tmp_path / "none", tmp_path / "out", FinetuneConfig(**pushes))
    monkeypatch.setattr(StandInApi, "refusal", refused(403))
    data, images = sentiment_table(tmp_path / "data.csv", 24), draw_classes(tmp_path / "images")
    with pytest.raises(ConfigError, match="lets nothing be pushed"):
        train(data, tmp_path / "out", TrainConfig(**pushes))
    with pytest.raises(ConfigError, match="lets nothing be pushed"):
        finetune(images, tmp_path / "out", FinetuneConfig(**pushes))
    assert not list(tmp_path.glob("*out*"))


def test_an_upload_leaves_no_files_that_tell_another_kind_of_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    kinds = ("tfidf.json", "linear.safetensors", "adapter_config.json", "prefix_adapter.json")
    (former := tmp_path / "former").mkdir()
    for name in (*kinds, "preprocessor_config.json", "notes.md", "data.safetensors"):
        (former / name).write_text("{}")
    keep_repository(former, "owner/name")
    push_folder(build_classifier(tmp_path / "model"), "owner/name")
    left = {path.name for path in (kept_repository("owner/name") / "snapshots" / COMMIT).iterdir()}
    assert left - {path.name for path in (tmp_path / "model").iterdir()} == {
        "notes.md",
        "data.safetensors",
    }


def test_an_upload_draws_no_bars_where_nobody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = []
    upload = StandInApi.upload_folder

    def seen(api: StandInApi, **given: Any) -> None:
        hidden.append(are_progress_bars_disabled())
        upload(api, **given)

    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, "upload_folder", seen)
    push_folder(build_classifier(tmp_path / "model"), "owner/name")
    assert hidden == [True]
    assert not are_progress_bars_disabled()


def test_a_hub_that_cannot_be_reached_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_classifier(tmp_path / "model")
    with pytest.raises(ModelError, match=r"is finished, but .* to owner/name: .*Try again later:"):
        push_folder(folder, "owner/name")
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, "refusal", refused(403))
    with pytest.raises(ModelError, match=r"Log in \(hf auth login\), then: hf upload owner/name"):
        push_folder(folder, "owner/name")
    assert (folder / "footwork.json").exists()


@pytest.mark.parametrize("ended", [KeyboardInterrupt, Terminated])
def test_a_signal_during_the_upload_is_told_with_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: type[KeyboardInterrupt]
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", StandInApi)
    monkeypatch.setattr(StandInApi, "upload_folder", Mock(side_effect=ended))
    with pytest.raises(ended) as caught:
        push_folder(build_classifier(tmp_path / "model"), "owner/name")
    told, _ = explain(caught.value, [])
    assert re.match(r"(interrupted|ended by SIGTERM)\. .* finished, .*: hf upload owner/n", told)
