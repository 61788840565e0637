"""The first token's feed-forward block is float32's, the others' are bf16's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from footwork.inference.first_token import FirstTokenExactly, keep_first_token
from footwork.inference.frozen import frozen_model
from tests.footwork.test_frozen import build_model
from tests.models import FAMILIES


def layers(model: Any) -> Any:
    return model.base_model.encoder.layer


def block(layer: Any, states: torch.Tensor) -> torch.Tensor:
    """The feed-forward half of a layer, as transformers computes it."""
    answer: torch.Tensor = layer.output(layer.intermediate(states), states)
    return answer


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packed", [False, True])
def test_the_first_token_is_exact_and_the_others_are_as_before(family: str, packed: bool) -> None:
    model = build_model(family)
    exact, plain, kept = (
        frozen_model(model, dtype, packed=packed)
        for dtype in (torch.float32, torch.bfloat16, torch.bfloat16)
    )
    keep_first_token(kept, exact)
    states = torch.randn(3, 7, 32)
    with torch.inference_mode():
        expected = block(layers(exact)[0], states)
        with torch.autocast("cpu", torch.bfloat16):
            near, answer = block(layers(plain)[0], states), block(layers(kept)[0], states)
    torch.testing.assert_close(answer[:, :1], expected[:, :1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer[:, 1:], near[:, 1:].float(), atol=1e-5, rtol=1e-5)
    assert (near[:, 0] - expected[:, 0]).abs().max() > 1e-4


def test_a_lone_token_is_not_computed_in_bf16_at_all() -> None:
    model = build_model("bert")
    exact, kept = (frozen_model(model, dtype) for dtype in (torch.float32, torch.bfloat16))
    keep_first_token(kept, exact)
    first = layers(kept)[0].output
    assert isinstance(first, FirstTokenExactly)
    first.dense = nn.Identity()  # of another width: it would fail
    with torch.inference_mode():
        assert first(torch.randn(3, 1, 32), torch.randn(3, 1, 32)).shape == (3, 1, 32)
