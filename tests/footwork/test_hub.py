"""Models of the hub: what is downloaded, when the cache serves, and what each refusal says."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfFileMetadata, constants, get_hf_file_metadata
from huggingface_hub.utils import WeakFileLock

import footwork.models.hub
from footwork.errors import ConfigError, HubUnreachable, ModelError
from footwork.models import downloads
from footwork.models.hub import fetch_model
from tests.hub import OTHER_TOKEN, Hub

WEIGHTS = os.urandom(3_000_000)


INDEX = "model.safetensors.index.json"


def lay_out(
    folder: Path, *names: str, weights: str = "model.safetensors", index: str | None = None
) -> Path:
    """A repository as the Hub has them; the content of most counts for nothing here."""
    for name in ("config.json", "tokenizer.json", "README.md", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / weights).write_bytes(WEIGHTS)
    if index is not None:
        (folder / INDEX).write_text(index)
    return folder


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def forget() -> None:
    """As in the next process."""
    footwork.models.hub._COMMITS.clear()


def test_of_many_formats_only_what_is_read_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    others = ("pytorch_model.bin", "model.fp16.safetensors", "tf_model.h5", "flax_model.msgpack")
    folder = lay_out(tmp_path, *others, "onnx/model.onnx", "openvino/config.json", "vocab.txt")
    commit = hub.add("some/model", folder)
    small = fetch_model("some/model")
    assert files_of(small) == {"config.json", "tokenizer.json", "vocab.txt"}
    whole = fetch_model("some/model", parts="weights")
    assert whole == small
    assert whole.name == commit
    assert files_of(whole) == {"config.json", "tokenizer.json", "vocab.txt", "model.safetensors"}
    assert (whole / "model.safetensors").read_bytes() == WEIGHTS


def test_all_parts_of_sharded_weights_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    parts = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = json.dumps({"weight_map": {"a": parts[0], "b": parts[1], "c": parts[0]}})
    hub.add("some/model", lay_out(tmp_path, *parts, weights="pytorch_model.bin", index=index))
    found = files_of(fetch_model("some/model", parts="weights"))
    assert {*parts, INDEX} <= found
    assert "pytorch_model.bin" not in found


def test_what_footwork_published_is_fetched_whole(hub: Hub, tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "report/a.svg", "model.onnx", weights="head.safetensors")
    (folder / "footwork.json").write_text(
        '{"files": {"config.json": "", "report/a.svg": "", "head.safetensors": ""}}'
    )
    hub.add("some/trained", folder)
    hub.fail("GET /some/trained", 503)
    with pytest.raises(HubUnreachable):
        fetch_model("some/trained", parts="published")
    hub.faults.clear()
    found = fetch_model("some/trained", parts="published")
    assert files_of(found) == files_of(folder) - {"model.onnx"}
    forget()
    hub.fail("/", 503)
    assert fetch_model("some/trained", parts="published") == found
    (found / "head.safetensors").unlink()
    with pytest.raises(HubUnreachable, match="holds only a part of some/trained"):
        fetch_model("some/trained", parts="published")


@pytest.mark.parametrize("part", ["../../../outside", "model-00001-of-00001.safetensors"])
def test_an_index_names_files_of_its_repository_alone(part: str, hub: Hub, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": part}})
    hub.add("some/model", lay_out(tmp_path, weights="tf_model.h5", index=index))
    with pytest.raises(ModelError, match="does not hold all of its weights"):
        fetch_model("some/model", parts="weights")


@pytest.mark.parametrize(
    "index", ['{"weight_map": {"a": "gone.safetensors"}}', '{"weight_map": [1', '{"weight_map": 3}']
)
def test_whole_weights_serve_beside_a_broken_index(index: str, hub: Hub, tmp_path: Path) -> None:
    folder = lay_out(tmp_path, weights="pytorch_model.bin", index=index)
    hub.add("some/model", folder)
    assert "pytorch_model.bin" in files_of(fetch_model("some/model", parts="weights"))
    forget()
    hub.fail("/", 503)
    assert fetch_model("some/model", parts="weights")
    hub.faults.clear()
    forget()
    (folder / "pytorch_model.bin").unlink()
    hub.add("some/model", folder)
    with pytest.raises(ModelError, match=r"; model\.safetensors\.index\.json names others, which"):
        fetch_model("some/model", parts="weights")


def test_an_adapter_without_a_configuration_names_its_base(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(WEIGHTS)
    hub.add("some/adapter", tmp_path)
    with pytest.raises(ModelError, match=r"no config\.json.*adapter alone.* its base: some/base\."):
        fetch_model("some/adapter")


def test_what_is_there_is_not_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    folder = lay_out(tmp_path)
    old = hub.add("some/model", folder)
    fetch_model("some/model", parts="weights")
    forget()
    hub.requests.clear()
    fetch_model("some/model", parts="weights")
    assert hub.requests == ["GET /api/models/some/model"]
    (folder / "config.json").write_text('{"new": 1}')
    new = hub.add("some/model", folder)
    fetch_model("some/model", parts="weights")  # one process, one commit
    forget()
    assert fetch_model("some/model", parts="weights").name == new
    assert not [one for one in hub.requests if one.startswith("GET") and "safetensors" in one]
    hub.requests.clear()
    assert fetch_model("some/model", old, parts="weights").name == old
    assert hub.requests == []  # a commit needs no hub


@pytest.mark.parametrize("answer", [429, 500, 503, 504, None])
def test_a_hub_that_fails_leaves_the_copy_of_this_machine(
    answer: int | None, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    folder = fetch_model("some/model", parts="weights")
    forget()
    hub.fail("/", answer)
    hub.requests.clear()
    capsys.readouterr()
    assert fetch_model("some/model", parts="weights") == folder
    assert fetch_model("some/model") == folder
    assert len(hub.requests) == 1
    said = capsys.readouterr().err
    assert str(answer or "the connection broke") in said
    assert "taking the copy of some/model that this machine holds" in said


def test_a_hub_that_fails_now_and_then_is_asked_again(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    hub.fail("GET /api/models", 503, times=2)
    hub.fail("HEAD", 429, times=1)
    hub.fail("HEAD", None, times=1)
    assert (fetch_model("some/model", parts="weights") / "model.safetensors").is_file()
    assert capsys.readouterr().err.count("; trying again in 0 s") == 4


def test_a_download_goes_on_where_it_broke(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    fetch_model("some/model")
    hub.fail("GET /some/model", after=1_000_000, times=2)
    folder = fetch_model("some/model", parts="weights")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    said = capsys.readouterr().err
    assert "downloading some/model: 3.0 MB" in said
    assert "the connection broke" in said
    assert "downloaded some/model: 3.0 MB" in said


@pytest.mark.parametrize("spoilt", [False, True])
def test_what_came_of_a_download_is_kept_for_the_next_run(
    spoilt: bool, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    fetch_model("some/model")
    hub.fail("GET /some/model", after=1_000_000, times=1)
    hub.fail("GET /some/model", 503)
    with pytest.raises(HubUnreachable, match=r"off at 1\.0 MB of 3\.0 MB.*answers 503.*goes on"):
        fetch_model("some/model", parts="weights")
    assert "downloading some/model: 3.0 MB\n" in capsys.readouterr().err
    hub.faults.clear()
    part = next(Path(constants.HF_HUB_CACHE).rglob("*.incomplete"))
    assert part.stat().st_size == 1_000_000
    if spoilt:  # then all of it comes once more
        part.write_bytes(bytes(1_000_000))
    folder = fetch_model("some/model", parts="weights")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not part.exists()
    assert "downloading some/model: 3.0 MB, 2.0 MB of it left\n" in capsys.readouterr().err


@pytest.mark.parametrize("difference", [1, -1])
def test_content_of_another_length_than_announced_is_not_taken(
    difference: int, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def announce(url: str, **options: float) -> HfFileMetadata:
        found = get_hf_file_metadata(url, **options)
        return replace(found, size=(found.size or 0) + difference)

    monkeypatch.setattr(downloads, "get_hf_file_metadata", announce)
    hub.add("some/model", lay_out(tmp_path))
    with pytest.raises(HubUnreachable, match=r"2 bytes came, where [13] were announced"):
        fetch_model("some/model")


def test_an_empty_file_is_a_file(hub: Hub, tmp_path: Path) -> None:
    (lay_out(tmp_path) / "merges.txt").touch()
    hub.add("some/model", tmp_path)
    assert "merges.txt" in files_of(fetch_model("some/model"))


def test_a_disk_without_room_is_told_before_the_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    full = downloads.shutil._ntuple_diskusage(10, 10, 100_000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: full)
    with pytest.raises(ModelError, match=r"takes 3\.0 MB more, but only 100 kB are free.*HF_HOME"):
        fetch_model("some/model", parts="weights")


def test_a_cache_that_cannot_be_written_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/model", lay_out(tmp_path / "model"))
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"some/model cannot be stored: .*file cannot be written"):
        fetch_model("some/model")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, r"some/gated is gated: .*/some/gated, then log in .*hf auth login"),
        (OTHER_TOKEN, r"the account of your token has no access to it\. Ask for it at http"),
        ("rubbish", r"does not accept the access token of HF_TOKEN\. .*unset HF_TOKEN"),
    ],
)
def test_a_gate_says_what_opens_it(
    token: str | None, message: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/gated", lay_out(tmp_path), gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelError, match=message):
        fetch_model("some/gated")


def test_a_refusal_names_the_copy_that_this_machine_holds(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    fetch_model("some/model")
    forget()
    monkeypatch.setenv("HF_TOKEN", "rubbish")
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE=1 takes the copy that this machine hol"):
        fetch_model("some/model")


def test_what_is_missing_or_private_is_told_apart_from_a_hub_that_fails(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/secret", lay_out(tmp_path), private=True)
    for name in ("some/secret", "some/nothing"):
        with pytest.raises(ModelError, match=f"no folder {name}, and no model http.*{name}.*login"):
            fetch_model(name)
    monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
    with pytest.raises(ModelError, match="your token must be of an account that may read it"):
        fetch_model("some/secret")


def test_a_missing_revision_is_answered_with_those_that_are_there(hub: Hub, tmp_path: Path) -> None:
    hub.add("some/model", lay_out(tmp_path / "a"), lay_out(tmp_path / "b", "vocab.txt"))
    with pytest.raises(ModelError, match=r"has no revision 'v9'\. It has main, v1\."):
        fetch_model("some/model", "v9")
    assert "vocab.txt" in files_of(fetch_model("some/model", "v1"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.safetensors"], r"holds no config\.json, .* it holds model\.safetensors"),
        (["config.json"], r"does not hold all of its weights .* it holds config\.json"),
        (["config.json", "model.fp16.safetensors"], r"another model; or, .* hf download some/mod"),
        (["inner/config.json"], r"hf download some/model --local-dir FOLDER.*/inner\."),
    ],
)
def test_a_repository_without_a_model_says_what_it_holds_and_what_helps(
    names: list[str], message: str, hub: Hub, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    hub.add("some/model", tmp_path)
    with pytest.raises(ModelError, match=message):  # before a tokenizer of it is of any use
        fetch_model("some/model")


def test_what_the_hub_does_not_give_is_told_as_it_is(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    hub.fail("/resolve/", 403)
    with pytest.raises(ModelError, match=r"forbids some/model to those who are not logged in \("):
        fetch_model("some/model")
    hub.faults.clear()
    hub.fail("/api/", 503)
    monkeypatch.setattr("footwork.models.downloads._PAUSES", (0,))
    with pytest.raises(HubUnreachable, match=r"answers 503 .* holds no copy .*Try again later"):
        fetch_model("some/other")
    monkeypatch.setattr(constants, "ENDPOINT", "127.0.0.1:9")
    with pytest.raises(ConfigError, match="HF_ENDPOINT must be an address that begins with http"):
        fetch_model("some/other")


def test_a_download_that_another_process_makes_is_waited_for_and_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("footwork.models.downloads._PATIENT", 0.01)
    hub.add("some/model", lay_out(tmp_path))
    waiting = threading.Thread(target=fetch_model, args=("some/model",))
    locks = Path(constants.HF_HUB_CACHE, ".locks", "models--some--model")
    locks.mkdir(parents=True)
    small = {path.read_bytes() for path in tmp_path.glob("*.json")}
    names = {hashlib.sha256(content).hexdigest() for content in small}
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(WeakFileLock(locks / f"{name}.lock"))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
    waiting.join()
    assert "another process downloads some/model; waiting for it" in capsys.readouterr().err
    assert fetch_model("some/model").is_dir()


def test_offline_the_cache_serves_or_says_what_it_lacks(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("some/model", lay_out(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match=r"OFFLINE is set, .* holds no copy of some/mod"):
        fetch_model("some/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    small = fetch_model("some/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_model("some/model") == small
    for revision in (None, small.name):  # the commit that None was taken for
        with pytest.raises(HubUnreachable, match=r"only a part of some/model\. Unset HF_HUB_OFF"):
            fetch_model("some/model", revision, parts="weights")
    with pytest.raises(HubUnreachable, match="no copy of some/model at revision 'v1'"):
        fetch_model("some/model", "v1")


def test_a_server_that_is_no_hub_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail("/", 404)
    with pytest.raises(ModelError, match=r"is no model hub\. Check HF_ENDPOINT"):
        fetch_model("some/model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 cannot be reached .* holds no copy"):
        fetch_model("some/model")
