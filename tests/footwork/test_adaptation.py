from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from footwork.errors import ConfigError, ModelError
from footwork.methods.adaptation import (
    GRADUAL,
    encoder_of,
    head_names,
    layer_of,
    number_of_layers,
    parameter_groups,
    trainable,
)
from footwork.methods.head import HEAD
from footwork.methods.peft import LORA, Peft
from footwork.methods.table import AdaptationConfig
from footwork.models.pooling import let_head_read
from tests.models import FAMILIES
from tests.toy_training import build_toy_model

MATRICES = {
    "bert": 6,
    "roberta": 6,
    "deberta-v2": 6,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_adapts_all_six_matrices_of_every_layer(family: str) -> None:
    adapted = LORA.adapt(build_toy_model(family), AdaptationConfig(), "base", None)
    names = {name.split(".lora_A")[0] for name, _ in trainable(adapted) if "lora_A" in name}
    assert len(names) == MATRICES[family] * 2
    assert not any("pooler" in name or "classifier" in name for name in names)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_new_is_trained_and_saved(family: str) -> None:
    model = build_toy_model(family)
    heads = [name.split(".")[-1] for name in head_names(model)]
    adapted = LORA.adapt(model, AdaptationConfig(), "base", None)
    for head in heads:
        assert any(f"{head}.modules_to_save" in name for name, _ in trainable(adapted))
    assert adapted.peft_config["default"].base_model_name_or_path == "base"


def test_the_pattern_of_targets_stays_short_however_deep_the_model() -> None:
    assert len(LORA.targets(build_toy_model("bert"))) < 400


@pytest.mark.parametrize("family", FAMILIES)
def test_head_trains_nothing_of_the_encoder(family: str) -> None:
    model = build_toy_model(family)
    HEAD.adapt(model, AdaptationConfig(method="head"), "base", None)
    assert not any(p.requires_grad for p in model.base_model.parameters())
    assert any(True for _ in trainable(model))


@pytest.mark.parametrize("variant", ["plain", "dora", "rslora", "pissa", "olora"])
def test_every_variant_of_lora_takes_a_gradient(variant: Any) -> None:
    adapted = LORA.adapt(
        build_toy_model("bert"), AdaptationConfig(lora_variant=variant), "base", None
    )
    logits = adapted(input_ids=torch.tensor([[5, 6, 7]])).logits
    logits.sum().backward()
    assert all(p.grad is not None for name, p in trainable(adapted) if "lora_B" in name)


@pytest.mark.parametrize("reading", ["own", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradual_unfreezing_goes_from_the_head_down_to_the_embeddings(
    family: str, reading: str
) -> None:
    model = build_toy_model(family)
    assert let_head_read(model, reading)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    resting = [{names[id(p)] for p in GRADUAL.resting(model, epoch)} for epoch in range(4)]
    heads = tuple(head_names(model))
    assert resting[0] == {name for name in names.values() if not name.startswith(heads)}
    assert all(later < earlier for earlier, later in pairwise(resting))
    assert all("embed" in name.lower() for name in resting[2])
    assert not resting[3]
    assert encoder_of(model) is model.base_model


def test_biases_and_norms_do_not_decay() -> None:
    model = build_toy_model("deberta-v2")
    for group in parameter_groups(model, 1e-3, 0.01, 1.0):
        decays = group["weight_decay"] > 0
        assert all((p.dim() > 1) == decays for p in group["params"])


def test_every_trainable_parameter_is_in_one_group() -> None:
    model = build_toy_model("deberta-v2")
    for decay in (1.0, 0.9):
        grouped = [
            p for group in parameter_groups(model, 1e-3, 0.01, decay) for p in group["params"]
        ]
        assert sorted(map(id, grouped)) == sorted(id(p) for _, p in trainable(model))


def test_lower_layers_learn_more_slowly() -> None:
    model = build_toy_model("bert")
    depth = number_of_layers(model)
    rate = {
        id(p): group["lr"]
        for group in parameter_groups(model, 1.0, 0.0, 0.5)
        for p in group["params"]
    }
    rates = {name: rate[id(p)] for name, p in trainable(model)}
    assert depth == 2
    assert rates["classifier.weight"] == 1.0
    assert rates["bert.encoder.layer.1.output.dense.weight"] == 1.0
    assert rates["bert.encoder.layer.0.output.dense.weight"] == 0.5
    assert rates["bert.embeddings.word_embeddings.weight"] == 0.25
    assert layer_of("bert.encoder.layer.1.x", depth) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "magic"},
            "`method` must be one of auto, lora, full, head, gradual, scratch, adapter, prefix, "
            "linear, got 'magic'",
        ),
        ({"lora_rank": 0}, "`lora_rank` must be at least 1, got 0"),
        ({"layer_decay": 0.0}, "`layer_decay` must be above 0"),
        ({"lora_dropout": 1.0}, "`lora_dropout` must be from 0 up to 1"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdaptationConfig(**settings)


def test_an_adapter_that_peft_fails_to_merge_is_told_as_that() -> None:
    from peft import LoHaConfig

    loha = Peft("LoHa", lambda _, shared: LoHaConfig(r=2, **shared))
    adapted = loha.adapt(build_toy_model("bert"), AdaptationConfig(), "base", None)
    with pytest.raises(ModelError, match="peft fails to merge this LOHA adapter"):
        loha.merged(adapted)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
def test_prompts_have_no_weights_to_merge() -> None:
    from peft import PromptTuningConfig, get_peft_model

    prompts = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    model = get_peft_model(build_toy_model("bert"), prompts)
    assert LORA.merged(model) is model
