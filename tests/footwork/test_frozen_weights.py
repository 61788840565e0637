from __future__ import annotations

from typing import Any

import pytest
import torch

from footwork.methods.adaptation import trainable
from footwork.methods.peft import LORA
from footwork.methods.table import AdaptationConfig
from footwork.training.memory import frozen_weights_in
from tests.toy_training import build_toy_model

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("variant", ["plain", "dora"])
def test_frozen_weights_cast_once_give_what_autocast_gives(variant: Any) -> None:
    config = AdaptationConfig(lora_variant=variant)
    model = LORA.adapt(build_toy_model("bert"), config, "base", None).eval()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=IDS).logits.float().sum().backward()
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
