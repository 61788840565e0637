"""What a training run will take, estimated before it begins."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from footwork.finetuning.config import FinetuningConfig
from footwork.methods.table import METHODS

Lengths = NDArray[np.int64]

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
_FLOAT_BYTES = 4
_PROBE_SECONDS = 0.2
_SIDE = 1024
# Devices of NVIDIA, AMD, Intel, of WSL, and of others that Linux knows as accelerators.
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri", "/dev/dxg", "/dev/accel")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """How large a classifier is."""

    parameters: int
    """Of the whole model."""
    embedding_parameters: int
    """Of the table of tokens: they are looked up, not multiplied."""
    encoder_parameters: int
    """Without that table, and without the head; the rates go by them."""
    hidden_size: int | None = None
    """None is guessed from the parameters."""
    num_layers: int | None = None
    positions: int | None = None
    """Tokens that the model has learned positions for; None where positions are relative."""

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and width: a layer has 12 D² parameters, and D is about 64 a layer."""
        guess = (self.multiplied / (12 * _HEAD_WIDTH**2)) ** (1 / 3)
        width = self.hidden_size or max(round(guess * _HEAD_WIDTH), 1)
        return self.num_layers or max(round(self.multiplied / (12 * width**2)), 1), width

    @property
    def multiplied(self) -> int:
        """Parameters of the matrix products."""
        return max(self.parameters - self.embedding_parameters, 1)

    def forward_flops(self, lengths: Lengths) -> float:
        """Operations of one pass over texts of so many tokens."""
        layers, width = self.shape
        lengths = lengths.astype(np.float64)
        return float(2 * self.multiplied * lengths.sum() + 4 * layers * width * lengths @ lengths)


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


def estimate_cost(
    model: ModelSize, config: FinetuningConfig, train: Lengths, validation: Lengths
) -> Cost:
    """Estimate time and memory of a training run on this machine.

    Args:
        model: To be trained.
        config: Settled.
        train: Tokens of each text, after truncation.
        validation: The same, read at the end of each epoch, the last one whole or not.
    """
    device, flops = _matrix_rate(config.mixed_precision)
    method = METHODS[config.method]
    work, check = model.forward_flops(train), model.forward_flops(validation)
    if method.features_once:
        # The head itself costs next to nothing.
        work += check
    else:
        # Backward takes one forward for the activations and one for the weights, if they train.
        num_epochs = config.epochs_over(len(train))
        work *= (3 if method.share == 1 else 2) * num_epochs
        work += check * math.ceil(num_epochs)
    layers, width = model.shape
    longest = int(train.max(initial=0))
    together = math.ceil(config.batch_size / config.gradient_accumulation_steps) * longest
    heads = width // _HEAD_WIDTH
    layer = together * (width * _ACTIVATION_BYTES + heads * _ATTENTION_BYTES * longest)
    trained = int(model.parameters * method.share)
    return Cost(
        minutes=work / (flops * _EFFICIENCY) / 60,
        memory_bytes=model.parameters * _FLOAT_BYTES
        + trained * (_FLOAT_BYTES + _ADAMW_BYTES)
        + layer * (1 if method.features_once else layers),
        tokens=int(train.sum()),
        device=device,
        device_flops=flops,
    )


def _matrix_rate(precision: str) -> tuple[str, float]:
    """The device, and its operations a second, by torch unless numpy can tell as well."""
    if "torch" in sys.modules or not computes_in_float32(precision):
        from footwork.accelerator import compute_device, matrix_rate, resolve_precision

        device = compute_device()
        return device.type, matrix_rate(device, resolve_precision(precision, device))
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    products, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < _PROBE_SECONDS:
        matrix @ matrix
        products += 1
    return "cpu", 2 * _SIDE**3 * products / elapsed


def computes_in_float32(precision: str) -> bool:
    """Whether this is certainly a machine without an accelerator, and without bf16 if that asks."""
    if sys.platform != "linux" or any(map(os.path.exists, _ACCELERATORS)):
        return False
    if precision == "float32":
        return True
    try:
        return precision == "auto" and "bf16" not in Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
