"""What a training run will take, estimated before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from footwork.methods.table import METHODS

# Of the bare matrix product's rate: what training loops reach between norms, softmax and copies.
_EFFICIENCY = 0.4
# Bytes a token, a layer and a unit of width, that the backward pass needs in float32.
# Korthikanti et al. 2022, table 2 (arXiv:2205.05198): 34 in float16, of which 2 are masks.
_ACTIVATION_BYTES = 66
# The same source: 5 a head and a pair of tokens in float16, of which 1 is a mask.
_ATTENTION_BYTES = 9
_HEAD_WIDTH = 64
# First and second moment, float32.
_ADAMW_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CostInput:
    """What is known of a model and a run before training."""

    parameters: int
    """Of the whole model."""
    trainable_parameters: int
    embedding_parameters: int
    """They are looked up, not multiplied."""
    num_epochs: float
    """Passes over the training texts."""
    batch_size: int
    """Texts that are computed together."""
    method: str
    """Of `METHODS`."""
    bytes_per_parameter: int = 4
    hidden_size: int | None = None
    """None is guessed from the parameters."""
    num_layers: int | None = None
    mixed_precision: str = "auto"
    """`auto`, `bf16` or `float32`: what the device is measured with."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate; expect half or twice of it."""

    minutes: float
    memory_bytes: int
    """Peak of weights, gradients, optimizer and activations, of one device."""
    tokens: int
    """Of the training split in one epoch, after truncation."""
    device: str
    device_flops: float
    """Floating-point operations a second of a matrix product, measured now."""


def estimate_cost(cost: CostInput, train: Sequence[int], validation: Sequence[int]) -> Cost:
    """Estimate time and memory of a training run on this machine.

    Args:
        cost: The model and the run.
        train: Tokens of each text, after truncation.
        validation: The same, read at the end of each epoch, the last one whole or not.
    """
    from footwork.accelerator import compute_device, matrix_rate, resolve_precision

    device = compute_device()
    flops = matrix_rate(device, resolve_precision(cost.mixed_precision, device))
    forward, check = _forward_flops(cost, train), _forward_flops(cost, validation)
    method = METHODS[cost.method]
    if method.features_once:
        # The head itself costs next to nothing.
        work = forward + check
    else:
        # Backward takes one forward for the activations and one for the weights, if they train.
        work = forward * (3 if method.share == 1 else 2) * cost.num_epochs
        work += check * math.ceil(cost.num_epochs)
    return Cost(
        minutes=work / (flops * _EFFICIENCY) / 60,
        memory_bytes=_memory(cost, max(train, default=0)),
        tokens=sum(train),
        device=device.type,
        device_flops=flops,
    )


def _forward_flops(cost: CostInput, lengths: Sequence[int]) -> float:
    layers, width = _shape(cost)
    body = max(cost.parameters - cost.embedding_parameters, 1)
    tokens = float(sum(lengths))
    squares = float(sum(length * length for length in lengths))
    return 2 * body * tokens + 4 * layers * width * squares


def _shape(cost: CostInput) -> tuple[int, int]:
    """Layers and width: a layer has 12 D² parameters, and D is about 64 a layer."""
    body = max(cost.parameters - cost.embedding_parameters, 1)
    guess = (body / (12 * _HEAD_WIDTH**2)) ** (1 / 3)
    width = cost.hidden_size or max(round(guess * _HEAD_WIDTH), 1)
    layers = cost.num_layers or max(round(body / (12 * width**2)), 1)
    return layers, width


def _memory(cost: CostInput, longest: int) -> int:
    layers, width = _shape(cost)
    tokens = cost.batch_size * longest
    layer = tokens * (width * _ACTIVATION_BYTES + width // _HEAD_WIDTH * _ATTENTION_BYTES * longest)
    kept_layers = 1 if METHODS[cost.method].features_once else layers
    weights = cost.parameters * cost.bytes_per_parameter
    training = cost.trainable_parameters * (cost.bytes_per_parameter + _ADAMW_BYTES)
    return weights + training + layer * kept_layers
