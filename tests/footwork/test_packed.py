"""Packed layers answer as the layers they were made from."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from footwork.inference.frozen import PackedLinear, can_pack, pack_layers, steady_linears

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu"), torch.float32), reason="this build of torch cannot pack"
)


class Intermediate(nn.Module):
    """The half of a feed-forward block that ends in an activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.dense = nn.Linear(8, 32)
        self.intermediate_act_fn = activation

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.intermediate_act_fn(self.dense(states))
        return activated


class BertLayer(nn.Module):
    """By its name, of a known family."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.intermediate = Intermediate(activation or nn.GELU())
        self.output = nn.Linear(32, 8, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.output(self.intermediate(states))
        return projected


class UnknownLayer(BertLayer):
    """Of no known family: it may read the weights of its linear layers itself."""


def packed(layer: nn.Module) -> nn.Module:
    """What becomes of a model of one layer."""
    with torch.inference_mode():
        pack_layers(nn.ModuleList([layer]), torch.float32)
    return layer


def linears(layer: nn.Module) -> list[nn.Linear]:
    return [module for module in layer.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh"])
def test_every_activation_stays_what_it_is(name: str) -> None:
    layer, states = BertLayer(ACT2FN[name]), 3 * torch.randn(3, 5, 8)
    expected = layer(states)
    with torch.inference_mode():
        torch.testing.assert_close(packed(layer)(states), expected, atol=2e-6, rtol=1e-5)
    assert not linears(layer)


@pytest.mark.parametrize("shape", [(1, 8), (4, 1, 8), (2, 0, 8), (2, 3, 4, 8)])
def test_any_number_of_rows_is_multiplied(shape: tuple[int, ...]) -> None:
    linear, states = nn.Linear(8, 5), torch.randn(shape)
    with torch.inference_mode():
        answer = PackedLinear(linear, torch.float32)(states)
    torch.testing.assert_close(answer, linear(states), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("packs", [True, False])
def test_a_row_is_multiplied_the_same_however_many_there_are(packs: bool) -> None:
    states = torch.randn(40, 384)
    linear = nn.Linear(384, 96)
    linear.weight.data = torch.randn(96, 384)
    with torch.inference_mode():
        steady: nn.Module = PackedLinear(linear, torch.float32) if packs else linear
        steady_linears(steady)
        together = steady(states)
        for count in (1, 2, 3, 5, 17):
            assert torch.equal(steady(states[:count]), together[:count])


def test_a_slice_is_multiplied_as_a_copy_of_it() -> None:
    linear, states = nn.Linear(8, 5), torch.randn(4, 7, 8)
    with torch.inference_mode():
        answer = PackedLinear(linear, torch.float32)(states[:, :1])
    torch.testing.assert_close(answer, linear(states[:, :1]), atol=1e-6, rtol=1e-5)


def test_layers_of_an_unknown_family_are_left() -> None:
    assert len(linears(packed(UnknownLayer()))) == 2


def test_only_processors_pack() -> None:
    assert not can_pack(torch.device("cuda"), torch.float32)
