from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, DebertaV2Config, DebertaV2Model

from footwork.models.deberta import accelerate_attention, shift


def build(**settings: Any) -> DebertaV2Model:
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        relative_attention=True,
        max_position_embeddings=512,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
        initializer_range=0.3,  # wide, so that attention is far from uniform
        **settings,
    )
    return DebertaV2Model(config).eval()


@pytest.mark.parametrize("kinds", [["c2p", "p2c"], ["c2p"], ["p2c"]])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("buckets", "length"), [(256, 20), (16, 12), (16, 90), (-1, 40)])
def test_the_faster_attention_has_the_parameters_and_the_answers_of_the_original(
    kinds: list[str], shared: bool, buckets: int, length: int
) -> None:
    span = {"max_relative_positions": 64} if buckets < 0 else {}
    original = build(pos_att_type=kinds, share_att_key=shared, position_buckets=buckets, **span)
    faster = copy.deepcopy(original)
    assert accelerate_attention(faster) == 2
    assert faster.state_dict().keys() == original.state_dict().keys()
    ids = torch.randint(0, 100, (3, length))
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    with torch.inference_mode():
        expected, found = (
            model(ids, attention_mask=mask).last_hidden_state for model in (original, faster)
        )
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=2e-5, rtol=0)


def test_gradients_are_those_of_the_original() -> None:
    original = build(pos_att_type=["c2p", "p2c"], share_att_key=True, position_buckets=16)
    faster = copy.deepcopy(original)
    accelerate_attention(faster)
    ids = torch.randint(0, 100, (2, 30))
    for model in (original, faster):
        model(ids).last_hidden_state[..., 0].sum().backward()
    for name, parameter in original.named_parameters():
        if parameter.grad is not None:
            found = faster.get_parameter(name).grad
            torch.testing.assert_close(found, parameter.grad, atol=1e-4, rtol=1e-3)


def test_a_model_of_another_family_is_left_alone() -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    assert accelerate_attention(BertModel(config)) == 0


def test_shift_lays_distances_out_as_pairs() -> None:
    scores = torch.randn(2, 3, 5, 9)
    found = shift(scores)
    for i in range(5):
        for j in range(5):
            torch.testing.assert_close(found[..., i, j], scores[..., i, j - i + 4])
