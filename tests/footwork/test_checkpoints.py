from __future__ import annotations

import json
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.utils import logging

import footwork.models.hub
from footwork.errors import ConfigError, HubUnreachable, ModelError
from footwork.models.checkpoints import (
    load_classifier,
    load_part,
    load_shape,
    load_tokenizer,
    load_trained,
    model_commit,
    quiet_transformers,
    with_bases,
)
from footwork.models.hub import fetch_model, resolve_model_id
from footwork.models.image_classifiers import load_image_classifier
from tests.hub import Hub
from tests.models import FAMILIES, build_adapter, build_base, build_classifier
from tests.zeroshot.image_towers import build_tower

TASK = "single_label_classification"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("bert") / "base", "bert")


@pytest.fixture
def base(bert: Path, tmp_path: Path) -> Path:
    """A base of one's own, to be spoilt."""
    return Path(shutil.copytree(bert, tmp_path / "base"))


def load(folder: Path | str) -> PreTrainedModel:
    return load_classifier(str(folder), labels=["a", "b"], task=TASK)[0]


def settle(file: Path, **settings: Any) -> None:
    """Change entries of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def assert_same_encoder(model: PreTrainedModel, other: PreTrainedModel) -> None:
    """But for the pooler, which the checkpoint lacks."""
    weights = other.base_model.state_dict()
    for name, tensor in model.base_model.state_dict().items():
        if ".pooler." not in f".{name}":
            torch.testing.assert_close(tensor, weights[name])


def keep_weights(folder: Path, wanted: Callable[[str], bool]) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if wanted(name)}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


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


def test_half_precision_files_become_float32(base: Path) -> None:
    weights = base / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    assert {p.dtype for p in load(base).parameters()} == {torch.float32}


def test_an_encoder_without_its_weights_is_refused(base: Path) -> None:
    keep_weights(base, lambda name: "layer.1." not in name)
    with pytest.raises(ModelError, match=r"lacks \d+ weights of the encoder"):
        load(base)


def test_weights_that_do_not_fit_their_configuration_are_refused(
    base: Path, tmp_path: Path
) -> None:
    tower = build_tower(tmp_path / "vit", "vit")
    adapter = build_adapter(tmp_path / "adapter", Path(shutil.copytree(base, tmp_path / "own")))
    plain = build_classifier(tmp_path / "plain", "bert")
    for folder in (base, adapter, plain, tower):
        width = json.loads((folder / "config.json").read_text())["intermediate_size"]
        settle(folder / "config.json", intermediate_size=2 * width)
    said = r"do not fit its config\.json, which .* shape of \d+ weights: .* is \d+ and not \d+"
    with pytest.raises(ModelError, match=said):
        load(base)
    with pytest.raises(ModelError, match=said):
        load_image_classifier(str(tower), labels=["a", "b"])
    for folder in (adapter, plain):
        with pytest.raises(ModelError, match=said):
            load_trained(folder)


def test_the_file_that_cannot_be_read_is_named(base: Path) -> None:
    whole = (base / "tokenizer.json").read_bytes()
    (base / "tokenizer.json").write_bytes(whole[:-9])
    with pytest.raises(ModelError, match=r"its tokenizer\.json cannot be read \("):
        load_tokenizer(str(base))
    (base / "tokenizer.json").write_bytes(whole)
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"its model\.safetensors cannot be read \("):
        load(base)


def test_a_file_that_is_nested_without_end_is_the_models_fault(base: Path) -> None:
    (base / "extra.json").write_text("[" * 200_000)  # nobody reads it
    load(base)
    (base / "config.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match=r"its config\.json cannot be read \(it is nested too"):
        load(base)


VOCABULARY = {"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n"}
UNKNOWN = VOCABULARY | {"config.json": '{"model_type": "bert9"}'}
OWN_CLASS = VOCABULARY | {"tokenizer_config.json": '{"tokenizer_class": "FooTokenizer"}'}


@pytest.mark.parametrize(
    ("part", "files", "message"),
    [
        (load_tokenizer, {}, r"it has no tokenizer \(tokenizer\.json, vocab\.txt"),
        (load_tokenizer, OWN_CLASS, r"names a class, FooTokenizer, .* of its vocab\.txt"),
        (load_tokenizer, UNKNOWN, r"bert9, is unknown to transformers [\d.]+\. If a "),
        (load_shape, UNKNOWN, r"bert9, is unknown to transformers [\d.]+\. If a "),
        (load_shape, {"config.json": "{}"}, r"config\.json names no `model_type`, so nothing"),
    ],
)
def test_what_a_folder_lacks_of_a_part_is_named(
    part: Callable[[str], Any], files: dict[str, str], message: str, base: Path
) -> None:
    for path in base.glob("tokenizer*"):
        path.unlink()
    for name, text in files.items():
        (base / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        part(str(base))


@pytest.mark.parametrize(
    "model_id",
    ["./nowhere", "models/", "a/b/c", "my model", "not a name!", "owner/name@main", "C:\\a", ""],
)
def test_what_can_be_no_model_is_a_wrong_command(model_id: str) -> None:
    with pytest.raises(ConfigError, match=r"There is no folder .* Name a folder, a Hub id"):
        load_tokenizer(model_id)


def test_a_file_and_an_address_are_told_from_a_folder_and_an_id(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigError, match=r"is a file\. Name the folder that holds the whole"):
        resolve_model_id(str(tmp_path / "model.safetensors"))
    with pytest.raises(ConfigError, match=r"is an address\. Name the Hub id alone: some/model"):
        resolve_model_id("https://huggingface.co/some/model/tree/main")


def test_offline_a_model_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(HubUnreachable, match=r"holds no copy of some/far\..*local folder.*`tiny`"):
        load_tokenizer("some/far")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without config\.json"):
        resolve_model_id(str(tmp_path))
    with pytest.raises(ModelError, match="holds no trained classifier"):
        load_trained(tmp_path)
    with pytest.raises(ModelError, match=r"There is no folder .*/nowhere\. Train one"):
        load_trained(tmp_path / "nowhere")
    tower = build_tower(tmp_path / "vit", "vit")
    with pytest.raises(ModelError, match="vit is a model of images, not of texts: footwork zeros"):
        load_trained(tower)
    with pytest.raises(ModelError, match=r"is a vit, of .* SequenceClassification\. Name another"):
        load_shape(str(tower))


def test_adapters_and_plain_folders_load_ready_to_answer(base: Path, tmp_path: Path) -> None:
    plain, adapter = build_classifier(tmp_path / "plain"), build_adapter(tmp_path / "adapter", base)
    for folder in (plain, adapter):
        model, tokenizer = load_trained(folder)
        assert model(**tokenizer("a good film", return_tensors="pt")).logits.shape == (1, 2)
        assert not model.training


def test_a_plain_folder_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = build_classifier(tmp_path / "plain", "bert")
    keep_weights(folder, lambda name: not name.startswith("classifier"))
    with pytest.raises(ModelError, match=r"lacks weights, classifier\.bias"):
        load_trained(folder)


@pytest.mark.parametrize("lacking", ["layer", "head", "half of an adapter"])
def test_an_adapter_must_bring_what_its_base_lacks(
    lacking: str, base: Path, tmp_path: Path
) -> None:
    adapter = build_adapter(tmp_path / "adapter", base)
    unwanted = {"head": ".classifier.", "half of an adapter": "layer.1.output.dense.lora_A"}
    if lacking == "layer":  # as if the head read one that averages
        settle(adapter / "config.json", num_hidden_layers=3, mean_layer=True)
    weights = load_file(adapter / "adapter_model.safetensors")
    kept = {n: w for n, w in weights.items() if unwanted.get(lacking, "layer.2.") not in n}
    save_file(kept, adapter / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"adapter in .*(lack|issing).*(layer\.|classifier\.)"):
        load_trained(adapter)


def test_an_adapter_without_its_base_says_where_the_base_was(base: Path, tmp_path: Path) -> None:
    adapter = build_adapter(tmp_path / "adapter", base)
    moved = base.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError) as caught:
        load_trained(adapter)
    for expected in (str(adapter), str(base), "Move that model back", "base_model_name_or_path"):
        assert expected in str(caught.value)
    settle(adapter / "adapter_config.json", base_model_name_or_path=str(moved))
    load_trained(adapter)


def test_an_adapter_that_stands_over_itself_is_refused(base: Path, tmp_path: Path) -> None:
    adapter = build_adapter(tmp_path / "adapter", base)
    base.rename(tmp_path / "old")
    adapter.rename(base)
    other = build_adapter(tmp_path / "other", base.with_name("old"))
    for named in (base, other):
        settle(base / "adapter_config.json", base_model_name_or_path=str(named))
        settle(other / "adapter_config.json", base_model_name_or_path=str(base))
        for follow in (with_bases, load_trained):
            with pytest.raises(ModelError, match=r"stands over itself: .*Put the base back"):
                follow(other)


def test_a_model_of_the_hub_loads_from_the_cache_when_the_hub_fails(hub: Hub, bert: Path) -> None:
    commit = hub.add("some/model", bert)

    def load_anew() -> PreTrainedModel:
        footwork.models.hub._COMMITS.clear()  # as a process of its own
        tokenizer = load_tokenizer("some/model")
        assert tokenizer.tokenize("good") == ["good"]
        assert load_shape("some/model").config.model_type == "bert"
        model = load("some/model")
        assert tokenizer.name_or_path == model.name_or_path == "some/model"
        assert model_commit("some/model") == commit
        return model

    online = load_anew()
    hub.fail("/", 503)
    assert_same_encoder(load_anew(), online)


def test_weights_in_one_old_format_are_all_that_is_fetched(hub: Hub, base: Path) -> None:
    pickle_weights(base)
    hub.add("some/model", base)
    load("some/model")
    assert not [thread for thread in threading.enumerate() if "conversion" in thread.name]
    asked = {line.split("/")[-1] for line in hub.requests if line.startswith("GET /some")}
    names = {"config.json", "tokenizer.json", "tokenizer_config.json", "pytorch_model.bin"}
    assert asked == names


def test_an_adapter_names_the_base_that_the_hub_refuses(
    hub: Hub, base: Path, tmp_path: Path
) -> None:
    adapter = build_adapter(tmp_path / "adapter", base)
    settle(adapter / "adapter_config.json", base_model_name_or_path="some/gated")
    hub.add("some/gated", base, gated=True)
    with pytest.raises(ModelError, match=r"over some/gated \(`base.*alone\. some/gated is gated"):
        load_trained(adapter)


@pytest.mark.parametrize(
    ("base_id", "message"),
    [
        ("/home/maker/base", r".* only its maker's machine has, in /h"),
        ("./base", r".* only its maker's machine has, in \./base"),
        ("some/far", r"some/far .*holds no copy of some/far.*merged"),
    ],
)
def test_an_adapter_of_the_hub_says_which_base_it_lacks(
    base_id: str, message: str, hub: Hub, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)  # where another `base` stands
    adapter = build_adapter(base.parent / "adapter", base)
    settle(adapter / "adapter_config.json", base_model_name_or_path=base_id)
    hub.add("some/adapter", adapter)
    hub.fail("/some/far", 503)
    with pytest.raises(ModelError, match=f"^some/adapter is an adapter over {message}") as caught:
        load("some/adapter")
    assert "tiny" not in str(caught.value)


def test_an_adapter_of_the_hub_is_trained_on(hub: Hub, bert: Path, tmp_path: Path) -> None:
    adapter = build_adapter(tmp_path / "adapter", bert)
    hub.add("some/adapter", adapter)
    found, wanted = load("some/adapter"), load(adapter)
    weights = wanted.base_model.state_dict()
    assert all(
        torch.equal(tensor, weights[name]) for name, tensor in found.base_model.state_dict().items()
    )


def test_whole_weights_are_loaded_beside_a_broken_index(base: Path) -> None:
    wanted = load(base)
    pickle_weights(base)
    (base / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone"}}')
    assert_same_encoder(load(base), wanted)


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1234\n"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_told_for_what_it_is(name: str, hub: Hub, base: Path) -> None:
    if name == "pytorch_model.bin":
        (base / "model.safetensors").unlink()
    (base / name).write_text(POINTER)
    hub.add("some/model", base)
    what = rf"its {name} is not the file itself but a pointer of Git LFS to it \({len(POINTER)} by"
    load_it: Callable[[str], Any] = load_tokenizer if "token" in name else load
    for model, advice in (("some/model", "No download mends that"), (str(base), "git lfs pull")):
        with pytest.raises(ModelError, match=rf"{what}.*{advice}"):
            load_it(model)


def test_what_is_broken_on_the_hub_is_not_downloaded_again(hub: Hub, base: Path) -> None:
    cut = (base / "model.safetensors").read_bytes()[:-1000]
    (base / "model.safetensors").write_bytes(cut)
    hub.add("some/model", base)
    with pytest.raises(ModelError, match=r"That is how http\S+/some/model has it: take another"):
        load("some/model")
    kept = fetch_model("some/model") / "model.safetensors"
    kept.resolve().write_bytes(cut[:-1000])
    with pytest.raises(ModelError, match=r"\.safetensors is not what the Hub announced: delete"):
        load("some/model")


def test_a_pickle_that_holds_code_is_refused_without_advice_to_run_it(base: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Path("code"), protocol=4))
    with pytest.raises(ModelError, match="a pickle that holds more than weights") as caught:
        load(base)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ImportError("\nTimmWrapperModel requires the timm library but it was not found in ..."),
            r"needs a package that is not installed\. Install it: pip install timm$",
        ),
        (
            ImportError("You need to install fugashi to use MecabTokenizer. See https://pypi.org"),
            r"Install it: pip install fugashi$",
        ),
        (
            ValueError("Loading this model requires code. Set `trust_remote_code=True`."),
            r"asks for code of its own \(`auto_map`\), and Footwork runs no code",
        ),
        (ValueError("The first line.\nAnd the second"), r"The first line\. And the second\. Check"),
    ],
)
def test_a_reason_is_told_whole(error: Exception, message: str, bert: Path) -> None:
    class Part:
        @staticmethod
        def from_pretrained(*_: object, **__: object) -> None:
            raise error

    with pytest.raises(ModelError, match=message):
        load_part(Part, str(bert))


def test_loading_in_several_threads_leaves_transformers_as_loud_as_it_was() -> None:
    before = logging.get_verbosity()
    first, second = quiet_transformers(), quiet_transformers()
    with first:
        second.__enter__()  # of another thread, which goes on longer
    assert logging.get_verbosity() == logging.ERROR
    second.__exit__(None, None, None)
    assert logging.get_verbosity() == before != logging.ERROR
