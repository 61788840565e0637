"""Methods that train weights the model has, all or a part of them, and publish it whole."""

from __future__ import annotations

from typing import Any

from torch import nn

from footwork.methods.adaptation import (
    Adaptation,
    encoder_of,
    head_names,
    layer_of,
    number_of_layers,
)
from footwork.methods.table import AdaptationConfig


class Head(Adaptation):
    """The head alone, on a frozen encoder."""

    def adapt(
        self, model: Any, config: AdaptationConfig, base_id: str, revision: str | None
    ) -> Any:
        """Freeze the encoder."""
        encoder_of(model).requires_grad_(False)
        return model


class Gradual(Adaptation):
    """The head trains from the first epoch on, and one layer more from the top in each after it.

    The embeddings come last.

    Source: ULMFiT, Howard & Ruder 2018, section 3.3 (arXiv:1801.06146).
    """

    def resting(self, model: Any, epoch: int) -> list[nn.Parameter]:
        """What is below the layers that have come to train."""
        depth, heads = number_of_layers(model), tuple(f"{name}." for name in head_names(model))
        return [
            parameter
            for name, parameter in model.named_parameters()
            if not name.startswith(heads) and layer_of(name, depth) <= depth - epoch
        ]


FULL, HEAD, GRADUAL = Adaptation(), Head(), Gradual()
