from __future__ import annotations

from typing import Any

import pytest
import torch

from footwork.methods.adaptation import trainable
from footwork.methods.peft import LORA
from footwork.methods.table import AdaptationConfig
from footwork.training.memory import frozen_weights_in, pruned_vocabulary
from tests.toy_training import build_toy_model

USED = torch.tensor([5, 7, 11, 20])
RATE = 1e-2


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_without_unused_rows_changes_nothing_but_their_decay(weight_decay: float) -> None:
    whole, pruned = build_toy_model("bert"), build_toy_model("bert")
    former = pruned.get_input_embeddings().weight.detach().clone()
    train_two_steps(whole, weight_decay)
    with pruned_vocabulary(pruned, USED) as left_out:
        assert left_out == whole.get_input_embeddings().num_embeddings - len(USED) - 1
        train_two_steps(pruned, weight_decay)
    embedding, expected = pruned.get_input_embeddings().weight, whole.get_input_embeddings().weight
    unused = [row for row in range(len(former)) if row not in {0, *USED.tolist()}]
    torch.testing.assert_close(embedding[unused], former[unused], rtol=0, atol=0)
    decayed = former[unused] * (1 - RATE * weight_decay) ** 2
    torch.testing.assert_close(expected[unused], decayed)
    with torch.no_grad():
        embedding[unused] = expected[unused]
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(pruned.get_parameter(name), parameter, rtol=0, atol=0)


def train_two_steps(model: torch.nn.Module, weight_decay: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=weight_decay)
    ids = USED.repeat(3, 1)
    for step in range(2):
        torch.manual_seed(step)
        model(input_ids=ids, labels=torch.tensor([0, 1, 0])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_rows_come_back_even_when_training_fails() -> None:
    model = build_toy_model("roberta")
    embedding = model.get_input_embeddings()
    with pytest.raises(IndexError), pruned_vocabulary(model, USED):
        model(input_ids=torch.tensor([[10**6]]))
    assert model.get_input_embeddings() is embedding


def test_a_frozen_embedding_stays_frozen() -> None:
    model = build_toy_model("bert").eval()
    model.get_input_embeddings().weight.requires_grad_(False)
    expected = model(input_ids=USED[None]).logits
    with pruned_vocabulary(model, USED):
        assert not model.get_input_embeddings().weight.requires_grad
        torch.testing.assert_close(model(input_ids=USED[None]).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["plain", "dora"])
def test_frozen_weights_cast_once_give_what_autocast_gives(variant: Any) -> None:
    config = AdaptationConfig(lora_variant=variant)
    model = LORA.adapt(build_toy_model("bert"), config, "base", None).eval()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=USED[None]).logits.float().sum().backward()
        return {name: p.grad.clone() for name, p in trainable(model)}

    expected = gradients()
    before = {name: p.dtype for name, p in model.named_parameters()}
    with frozen_weights_in(model, torch.bfloat16) as cast:
        assert cast >= 12 or variant == "dora"  # whose matrices are all normed
        found = gradients()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=0)
    assert {name: p.dtype for name, p in model.named_parameters()} == before


def test_nothing_is_cast_in_float32() -> None:
    model = LORA.adapt(build_toy_model("bert"), AdaptationConfig(), "base", None)
    with frozen_weights_in(model, torch.float32) as cast:
        assert cast == 0
