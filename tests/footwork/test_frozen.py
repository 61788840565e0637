"""A frozen model answers as the model it was made from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from footwork.inference.frozen import PackedLinear, can_pack, frozen_model, pair_view
from footwork.models.deberta import accelerate_attention, shift
from tests.models import FAMILIES, WIDTHS, build_config, build_tokenizer


def build_model(family: str, **changes: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    config = build_config(
        family, build_tokenizer(family), ("a", "b", "c"), "single_label_classification"
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return AutoModelForSequenceClassification.from_config(config).eval()


def batch(length: int, rows: int = 3) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 130, (rows, length))
    mask = torch.ones_like(ids)
    mask[1, max(1, length // 2) :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any, inputs: dict[str, torch.Tensor], bf16: bool = False) -> torch.Tensor:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, bf16):
        return model(**inputs).logits.float()


def assert_logits_stay(model: Any, length: int, *, packed: bool = False) -> None:
    inputs = batch(length)
    expected = logits(model, inputs)
    accelerate_attention(model)
    found = logits(frozen_model(model, torch.float32, packed=packed), inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def assert_bf16_stays_near(model: Any, packed: bool) -> None:
    inputs = batch(30)
    expected = logits(model, inputs)
    accelerate_attention(model)
    near = logits(frozen_model(model, torch.bfloat16, packed=packed), inputs, bf16=True)
    assert 0 < (near - expected).abs().max() < 0.2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [1, 2, 17, 60])
@pytest.mark.parametrize("packed", [False, True])
def test_logits_stay(family: str, length: int, packed: bool) -> None:
    assert_logits_stay(build_model(family), length, packed=packed)


@pytest.mark.parametrize(
    "changes",
    [
        {"share_att_key": False},
        {"pos_att_type": ["c2p"]},
        {"pos_att_type": ["p2c"]},
        {"pos_att_type": []},
        {"position_buckets": -1, "max_relative_positions": 24},
        {"relative_attention": False},
        {"norm_rel_ebd": "none"},
        {"conv_kernel_size": 3},
        {"num_hidden_layers": 1, "conv_kernel_size": 3},
    ],
)
def test_logits_stay_for_every_variant_of_deberta(changes: dict[str, Any]) -> None:
    assert_logits_stay(build_model("deberta-v2", **changes), 40)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packed", [False, True])
def test_bf16_stays_near(family: str, packed: bool) -> None:
    assert_bf16_stays_near(build_model(family), packed)


class Adapted(nn.Module):
    """A layer's `output` with an adapter between its own projection and the residual."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.dense, self.LayerNorm = output.dense, output.LayerNorm
        self.adapter = nn.Linear(WIDTHS["hidden_size"], WIDTHS["hidden_size"])

    def forward(self, states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        states = self.dense(states)
        normed: torch.Tensor = self.LayerNorm(states + self.adapter(states) + residual)
        return normed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_else_stands_in_a_layer_answers_too(dtype: torch.dtype) -> None:
    model, inputs = build_model("bert"), batch(30)
    without = logits(model, inputs)
    for layer in model.base_model.encoder.layer:
        layer.output = Adapted(layer.output)
        nn.init.normal_(layer.output.adapter.weight, std=3.0)
    expected = logits(model, inputs)
    moved = (expected - without).abs().max()
    assert (logits(frozen_model(model, dtype), inputs) - expected).abs().max() < 0.1 * moved


@pytest.mark.parametrize("family", FAMILIES)
def test_every_shortcut_is_taken(family: str) -> None:
    model = build_model(family)
    accelerate_attention(model)
    near = frozen_model(model, torch.bfloat16, packed=True)
    first, last = near.base_model.encoder.layer
    bf16_packs = can_pack(torch.device("cpu"), torch.bfloat16)  # not every processor's does
    assert isinstance(first.attention.output.dense, PackedLinear) is bf16_packs
    assert isinstance(first.output.dense, PackedLinear) is bf16_packs
    lengths: list[int] = []
    last.output.register_forward_pre_hook(lambda _, states: lengths.append(states[0].size(1)))
    logits(near, batch(9))
    assert lengths == [1]


def test_chunks_need_not_divide_the_length() -> None:
    assert_logits_stay(build_model("bert", chunk_size_feed_forward=2), 8)


@pytest.mark.parametrize("packed", [False, True])
def test_projected_embeddings_are_no_obstacle(packed: bool) -> None:
    from transformers import ElectraConfig, ElectraForSequenceClassification

    config = ElectraConfig(embedding_size=16, **{**WIDTHS, "vocab_size": 200})
    model = ElectraForSequenceClassification(config).eval()
    assert_logits_stay(model, 12, packed=packed)
    assert_bf16_stays_near(model, packed)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own
def test_the_head_of_an_adapter_in_training_stays_in_float32() -> None:
    from peft import LoraConfig, get_peft_model

    adapter = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"])
    frozen = frozen_model(get_peft_model(build_model("bert"), adapter), torch.bfloat16)
    heads = [p for name, p in frozen.named_parameters() if "classifier" in name]
    assert heads
    assert {parameter.dtype for parameter in heads} == {torch.float32}


def test_the_model_itself_is_left_alone_and_its_weights_are_shared() -> None:
    model = build_model("deberta-v2")
    accelerate_attention(model)
    model.train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    frozen = frozen_model(model, torch.bfloat16)
    assert model.training
    assert not frozen.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.dtype is torch.float32
        torch.testing.assert_close(parameter, before[name], atol=0, rtol=0)
    words = model.deberta.embeddings.word_embeddings.weight
    assert frozen.deberta.embeddings.word_embeddings.weight is words
    model.eval()
    assert model(**batch(9)).logits.requires_grad


def test_a_view_by_pair_is_the_shift() -> None:
    scores = torch.randn(2, 3, 7, 13)
    assert torch.equal(pair_view(scores), shift(scores))
    assert pair_view(scores).data_ptr() == scores.data_ptr() + 6 * scores.element_size()
