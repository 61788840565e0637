"""Run a sequence model over rows of any length: sorted, batched by tokens, in input order.

A batch costs what its padded tokens cost. So rows are sorted by length inside a bounded window of
the input, cut into batches of about as many tokens each, and put back into input order.

On a CPU a row is answered as if it were alone, to the last bit: its batch holds rows of its length
only, so that none is padded, and is answered on one thread (see also `steady_product`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Barrier
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from footwork.accelerator import compute_device
from footwork.arrays import FloatArray, IntArray
from footwork.errors import ModelError, require_at_least
from footwork.inference.halving import run_in_parts
from footwork.inference.rounding import Closeness, FrozenClassifier, RoundingError
from footwork.inference.tokens import TokenizedTexts
from footwork.options import Precision
from footwork.processes import entered_once
from footwork.settings import Settings

LEAST_TOKENS = 128
"""Of a batch, where there is a choice: fewer use a CPU badly."""


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(Settings):
    """How a model is run; nothing here changes an answer beyond rounding."""

    precision: Precision = "auto"
    """`float32`; `bf16` matrix products; `auto` takes bf16 where the CPU multiplies it and
    its error on the model is known, and answers close calls again in float32, so that the
    decisions are float32's."""
    batch_tokens: int | None = None
    """Padded tokens a batch; None takes 1024 on a CPU, 32768 on an accelerator."""
    workers: int | None = None
    """Batches answered side by side on a CPU, each on one thread: quicker than threads
    inside a batch, for more memory. None takes one a core."""
    packed: bool = True
    """Copy the weights in the order in which a CPU multiplies them; quicker."""
    look_ahead: int = 2048
    """Rows that are read, tokenised and sorted together."""
    device: str | None = None
    """As of `compute_device`."""
    look_ahead_characters: int = 8_000_000
    """Characters read together at most, however few rows that makes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least_one = ("batch_tokens", "workers", "look_ahead", "look_ahead_characters")
        require_at_least(1, self, *least_one)


class SequenceModel:
    """A model and the way to run it over many sequences.

    The model takes the inputs and `attention_mask`, and returns an object with `logits` (B, C);
    `error` is its own in bf16, if it was measured.
    """

    def __init__(
        self, model: nn.Module, config: InferenceConfig, error: RoundingError | None = None
    ) -> None:
        self.device = compute_device(config.device)
        on_cpu = self.device.type == "cpu"
        model = model.to(self.device)
        self._model = FrozenClassifier(model, config.precision, error, packed=config.packed)
        self._worker_count = (config.workers or torch.get_num_threads()) if on_cpu else 1
        self._pool: tuple[int, ThreadPoolExecutor | None] | None = None
        self._multiple = 1 if on_cpu else 8  # as the matrix units of accelerators want it
        self._padding = 0.0 if on_cpu else 0.125  # small batches would leave an accelerator idle
        self._batch_tokens = config.batch_tokens or (1024 if on_cpu else 32768)

    def logits(self, sequences: TokenizedTexts, closeness: Closeness | None = None) -> FloatArray:
        """Answer N sequences, in input order; shape (N, C).

        With `auto`, what bf16 answers is made again in float32 where bf16 could have turned a
        decision. Without `closeness` there is no decision to protect. A single sequence that does
        not fit into memory is a `ModelError`.
        """

        def run(model: nn.Module, rows: IntArray) -> FloatArray:
            return self._run(model, sequences, rows)

        return self._model.logits(run, len(sequences), closeness)

    def _run(self, model: nn.Module, sequences: TokenizedTexts, rows: IntArray) -> FloatArray:
        """Answer the sequences in `rows`, (R, C)."""
        lengths = np.array(sequences.lengths, np.int64)[rows]
        order = np.argsort(-lengths, kind="stable")
        # As many tokens a batch as let the workers end at about the same time.
        total, workers = int(lengths.sum()), self._worker_count
        rounds = max(1, math.ceil(total / (self._batch_tokens * workers)))
        even = max(math.ceil(total / (rounds * workers)), LEAST_TOKENS)
        most = min(even, self._batch_tokens)
        batches = [
            rows[order[batch]] for batch in plan_batches(lengths[order], most, self._padding)
        ]

        def answer(batch: IntArray) -> FloatArray | None:
            try:
                return self._answer(model, sequences, batch)
            except ModelError:  # the others may hold the memory: once more when they have ended
                return None

        # Whole batches side by side keep the cores busier than the threads inside each product.
        pool = self._workers()
        apply = map if pool is None else pool.map
        answers = list(apply(answer, batches))
        for place, batch in enumerate(batches):
            if answers[place] is None:
                [answers[place]] = apply(partial(self._answer, model, sequences), [batch])
        if not answers:
            return np.zeros((0, 0), np.float32)
        in_order = np.concatenate([found for found in answers if found is not None])
        found = np.empty_like(in_order)
        found[order] = in_order
        return found

    def _workers(self) -> ThreadPoolExecutor | None:
        """Made when first used, and anew in a forked process, which has the threads no more."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), single_threads(self._worker_count)
        return self._pool[1]

    def _answer(self, model: nn.Module, sequences: TokenizedTexts, rows: IntArray) -> FloatArray:
        """One batch, in parts where it does not fit into memory; shape (R, C)."""

        def forward(part: Sequence[int]) -> FloatArray:
            inputs = {
                name: tensor.to(self.device)
                for name, tensor in sequences.batch(part, self._multiple).items()
            }
            with torch.inference_mode():
                logits: torch.Tensor = model(**inputs).logits
            return logits.float().cpu().numpy()

        def shrink(part: Sequence[int]) -> None:
            fitting = len(part) * max(sequences.lengths[row] for row in part)
            self._batch_tokens = max(1, min(self._batch_tokens, fitting))

        def refusal(row: int) -> str:
            return (
                f"One text of {sequences.lengths[row]} tokens does not fit into the memory of "
                f"{self.device}. Lower --max-length, or use --long windows."
            )

        return run_in_parts(forward, rows.tolist(), shrink, refusal)


@entered_once
@contextmanager
def threads_kept() -> Iterator[None]:
    """Within the block workers may set their threads, which is also what new threads begin with."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def single_threads(count: int) -> ThreadPoolExecutor | None:
    """Workers in each of which torch computes on one thread; None where one would do."""
    if count < 2:
        return None
    pool = ThreadPoolExecutor(count, "answer", initializer=lambda: torch.set_num_threads(1))
    all_started = Barrier(count)
    with threads_kept():
        wait([pool.submit(all_started.wait) for _ in range(count)])
    return pool


def plan_batches(lengths: IntArray, tokens: int, padding: float = 0.0) -> Iterator[IntArray]:
    """Cut rows of descending length into batches of at most `tokens` padded tokens.

    A longer row is a batch of its own. A batch also ends where padding would eat more than a share
    of `padding`; where some is allowed, not before it is a quarter of `tokens` large. Yields
    consecutive indices into `lengths`, all of them in the end.
    """
    start = 0
    while start < len(lengths):
        longest = max(int(lengths[start]), 1)
        end = min(start + max(1, tokens // longest), len(lengths))
        enough = max(1, tokens // 4 // longest) if padding else 1
        used = np.cumsum(lengths[start:end])
        sizes = np.arange(1, end - start + 1)
        wasteful = np.flatnonzero((used < (1 - padding) * longest * sizes) & (sizes > enough))
        if len(wasteful):
            end = start + max(1, int(wasteful[0]))
        yield np.arange(start, end)
        start = end


Row = TypeVar("Row")
Encoded = TypeVar("Encoded")

FIRST_WINDOW = 64
"""Rows that are answered before the first result comes out."""
SLOW_SOURCE = 0.5
"""Seconds that reading a window takes where rows are awaited rather than read."""


def windows_of(
    rows: Iterable[Row],
    config: InferenceConfig,
    size: Callable[[Row], int],
    first: int = FIRST_WINDOW,
) -> Iterator[list[Row]]:
    """Cut a stream into the lists that are sorted together.

    The first have `first` rows, so that the first answers come soon; each has twice as many as the
    one before, as far as `config` allows rows and characters (`size` of a row).
    """
    window: list[Row] = []
    limit, characters = min(first, config.look_ahead), 0
    for row in rows:
        window.append(row)
        characters += size(row)
        if len(window) >= limit or characters >= config.look_ahead_characters:
            yield window
            window, characters = [], 0
            limit = min(2 * limit, config.look_ahead)
    if window:
        yield window


def encoded_ahead(
    windows: Iterable[list[Row]], encode: Callable[[list[Row]], Encoded]
) -> Iterator[tuple[list[Row], Encoded]]:
    """Tokenise the next window in a thread while the caller runs the model on this one.

    Where windows come slowly, and for the first one, the next is not waited for: who writes into
    a live pipe wants the answers to what is there.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenize") as pool:
        waiting: list[tuple[list[Row], Future[Encoded]]] = []
        slow, asked = True, time.monotonic()
        for window in windows:
            slow = slow or time.monotonic() - asked > SLOW_SOURCE
            waiting.append((window, pool.submit(encode, window)))
            while len(waiting) > (0 if slow else 1):
                rows, encoded = waiting.pop(0)
                yield rows, encoded.result()
            slow, asked = False, time.monotonic()
        for rows, encoded in waiting:
            yield rows, encoded.result()
