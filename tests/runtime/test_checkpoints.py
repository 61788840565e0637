from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import close_session, constants
from huggingface_hub.utils import _http
from safetensors.torch import load_file, save_file
from transformers.utils import hub

from runtime.checkpoints import (
    load_classifier,
    load_shape,
    load_tokenizer,
    load_trained,
    model_commit,
    resolve_model_id,
)
from runtime.errors import ModelError
from tests.hub import COMMIT, serve_hub
from tests.models import FAMILIES, build_adapter, build_base, build_classifier

TASK = "single_label_classification"


def test_tiny_is_a_useful_size_and_loads_without_the_hub() -> None:
    model, _ = load_classifier("tiny", labels=["a", "b"], task=TASK)
    parameters = sum(p.numel() for p in model.base_model.parameters())
    assert 1_900_000 < parameters < 4_000_000
    assert sum(f.stat().st_size for f in Path(resolve_model_id("tiny")).iterdir()) < 4_400_000
    assert load_tokenizer("tiny").tokenize("A question") == ["▁a", "▁question"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_gets_a_new_head_with_the_given_labels(family: str, tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", family)
    model, _ = load_classifier(str(base), labels=["no", "yes", "maybe"], task=TASK)
    assert model.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    assert model.dtype == torch.float32


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    weights = base / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    model, _ = load_classifier(str(base), labels=["a", "b"], task=TASK)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_an_encoder_without_its_weights_is_refused(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    weights = base / "model.safetensors"
    kept = {k: v for k, v in load_file(weights).items() if "layer.1." not in k}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks \d+ weights of the encoder"):
        load_classifier(str(base), labels=["a", "b"], task=TASK)


@pytest.mark.parametrize(
    ("model_id", "message"),
    [
        ("./nowhere", r"no model folder \./nowhere.*`tiny`"),
        (
            "someone/unreachable",
            r"Cannot load the model 'someone/unreachable'.*local folder.*`tiny`",
        ),
        ("not a name!", r"Cannot load the model 'not a name!'"),
    ],
)
def test_a_model_that_cannot_be_reached_says_what_to_do(model_id: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_tokenizer(model_id)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without config\.json"):
        resolve_model_id(str(tmp_path))
    with pytest.raises(ModelError, match="holds no trained classifier"):
        load_trained(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_and_plain_folders_load_alike(family: str, tmp_path: Path) -> None:
    plain = build_classifier(tmp_path / "plain", family)
    adapter = build_adapter(tmp_path / "adapter", build_base(tmp_path / "base", family))
    for folder in (plain, adapter):
        model, tokenizer = load_trained(folder)
        encoded = tokenizer("a good film", return_tensors="pt")
        assert model(**encoded).logits.shape == (1, 2)
        assert not model.training


def test_a_plain_folder_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = build_classifier(tmp_path / "plain", "bert")
    weights = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
    save_file(kept, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights, classifier\.bias"):
        load_trained(folder)


def test_an_adapter_without_its_base_says_where_the_base_was(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base", "bert")
    adapter = build_adapter(tmp_path / "adapter", base)
    moved = base.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError) as caught:
        load_trained(adapter)
    for expected in (str(adapter), str(base), "Move that model back", "base_model_name_or_path"):
        assert expected in str(caught.value)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(moved)
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    load_trained(adapter)


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Asks the Hub at a port of this machine, and never waits to ask it again."""

    def wait(seconds: float) -> None:
        raise AssertionError(f"waited {seconds} s before another attempt")

    def use(port: int) -> None:
        endpoint = f"http://127.0.0.1:{port}"
        template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub, "_hf_api", None)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=wait))

    return use


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_unreachable_hub_ends_at_once(use_hub: Callable[[int], None], closed_port: int) -> None:
    use_hub(closed_port)
    with pytest.raises(ModelError) as caught:
        load_tokenizer("someone/far")
    for expected in (f"http://127.0.0.1:{closed_port} cannot be reached", "local folder", "`tiny`"):
        assert expected in str(caught.value)


def test_a_model_of_a_private_hub_loads_from_the_cache_when_the_hub_is_down(
    use_hub: Callable[[int], None], closed_port: int, tmp_path: Path
) -> None:
    def load() -> dict[str, torch.Tensor]:
        assert load_tokenizer("someone/near").tokenize("good") == ["good"]
        assert load_shape("someone/near").config.model_type == "bert"
        model, _ = load_classifier("someone/near", labels=["a", "b"], task=TASK)
        assert model_commit("someone/near") == COMMIT
        return dict(model.base_model.state_dict())

    try:
        with serve_hub(build_base(tmp_path / "base", "bert")) as port:
            use_hub(port)
            online = load()
            with pytest.raises(ModelError, match="Cannot load the model 'someone/near'"):
                load_tokenizer("someone/near", revision="missing")
        close_session()
        use_hub(closed_port)
        offline = load()
    finally:
        close_session()
        shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)
    for name, tensor in online.items():
        if ".pooler." not in name:
            torch.testing.assert_close(offline[name], tensor)
