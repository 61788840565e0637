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
from footwork.options import EVALUATIONS

Lengths = NDArray[np.int64]

# Products in float32 that a processor could make while norms, softmax and copies move a byte that
# is kept; bf16 quickens products, and not these.
_FLOPS_A_BYTE = 140
# Bytes a token, a layer and a unit of width, that the backward pass keeps in float32: counted by
# `saved_tensors_hooks` they were 74 in BERT and 102 in DeBERTa-v3. Korthikanti et al. 2022, table 2
# (arXiv:2205.05198), has 66.
_ACTIVATION_BYTES = 90
# A head and a pair of tokens, counted so in both: the softmax, its dropout mask, their product.
_ATTENTION_BYTES = 12
_HEAD_WIDTH = 64
# First and second moment, float32.
_ADAMW_BYTES = 8
_FLOAT_BYTES = 4
# Of a process that has torch, transformers, peft and scikit-learn loaded, and no model.
_PROCESS_BYTES = 700_000_000
# What the allocator holds beside what is used, because batches are of many sizes.
_ALLOCATED = 1.2
_HEAPS = 40
# Of a batch that is read and not learned from: `InferenceConfig.batch_tokens`.
_READ_TOKENS = 1024
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
    num_heads: int | None = None
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

    def kept_bytes(self, lengths: Lengths) -> float:
        """What a forward pass over texts of so many tokens keeps for the backward pass."""
        layers, width = self.shape
        lengths, heads = lengths.astype(np.float64), self.num_heads or max(width // _HEAD_WIDTH, 1)
        linear, attention = width * _ACTIVATION_BYTES, heads * _ATTENTION_BYTES
        return float(layers * (linear * lengths.sum() + attention * lengths @ lengths))


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate: expect two thirds of it, or half as much again."""

    minutes: float
    """Of training and validation; starting, baselines and the reload proof come on top."""
    memory_bytes: int
    """Peak of weights, gradients, optimizer and activations, of one device; on a CPU of the whole
    process."""
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
    device, flops, flops_in_float32 = _matrix_rates(config.mixed_precision)
    method, tokens = config.method_row, int(train.sum())
    train, validation = train + config.tokens_before, validation + config.tokens_before
    (steps, _), sides = method.epoch(len(train), ""), 2 if method.pairs else 1
    # Each text is as long as the longest of its batch, which has texts of like length.
    longest_first = np.sort(np.resize(train, sides * steps))[::-1]
    padded = np.repeat(longest_first[:: config.batch_size], config.batch_size)[: sides * steps]
    if method.features_once:  # the head itself costs next to nothing
        passes, epochs, checks = 1, 1.0, 1
    else:
        # Backward takes one forward for the activations and one for the weights, if they train.
        passes, epochs = 3 if method.share == 1 else 2, config.epochs_over(steps)
        checks = min(math.ceil(epochs), EVALUATIONS)
    work = passes * epochs * model.forward_flops(padded) + checks * model.forward_flops(validation)
    # A third of the moving is the forward pass's.
    moved = (1 if passes > 1 else 1 / 3) * epochs * model.kept_bytes(padded)
    moved += checks / 3 * model.kept_bytes(validation)
    layers, width = model.shape
    longest = int(train.max(initial=1))
    together = sides * math.ceil(config.batch_size / config.gradient_accumulation_steps)
    together = _READ_TOKENS // longest + 1 if method.features_once else together
    # The longest text makes all of its batch as long.
    batch = np.full(min(together, sides * len(train)), longest)
    layer = model.kept_bytes(batch) / layers
    kept = layer * (1 if method.features_once else layers + 1)  # one more is at work
    if config.activation_checkpointing and not method.features_once:
        kept = 2 * layer + layers * batch.sum() * width * _FLOAT_BYTES
    # Of the table of tokens those train that occur: so many in so many (Heaps 1978).
    occurring = width * _HEAPS * math.sqrt(train.sum())
    trained = method.share * (model.multiplied + min(model.embedding_parameters, occurring))
    # A checkpoint copies the moments, when gradients and activations are gone.
    peak = max(kept + trained * _FLOAT_BYTES, trained * _ADAMW_BYTES) * _ALLOCATED
    weights = model.parameters * _FLOAT_BYTES + trained * _ADAMW_BYTES
    return Cost(
        minutes=(work / flops + _FLOPS_A_BYTE * moved / flops_in_float32) / 60,
        memory_bytes=int(weights + peak) + (_PROCESS_BYTES if device == "cpu" else 0),
        tokens=tokens,
        device=device,
        device_flops=flops,
    )


def _matrix_rates(precision: str) -> tuple[str, float, float]:
    """The device, its operations a second, and those in float32, by torch unless numpy can tell."""
    if "torch" in sys.modules or not computes_in_float32(precision):
        from footwork.accelerator import compute_device, matrix_rate, resolve_precision

        device = compute_device()
        kinds = resolve_precision(precision, device), resolve_precision("float32", device)
        rates = {kind: matrix_rate(device, kind) for kind in kinds}
        return device.type, rates[kinds[0]], rates[kinds[1]]
    matrix = np.ones((_SIDE, _SIDE), np.float32)
    products, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < _PROBE_SECONDS:
        matrix @ matrix
        products += 1
    rate = 2 * _SIDE**3 * products / elapsed
    return "cpu", rate, rate


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
