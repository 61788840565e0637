"""Run a sequence model over rows of any length: sorted, batched by tokens, in input order.

A batch costs what its padded tokens cost. So rows are sorted by length inside a bounded window of
the input, cut into batches of about as many tokens each, and put back into input order.

What bf16 adds to the logits of a model is measured, so that decisions it could have turned are
taken again in float32.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Barrier
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from footwork.accelerator import compute_device, settled_precision
from footwork.arrays import DoubleArray, FloatArray, IntArray
from footwork.errors import ConfigError, ModelError
from footwork.inference.frozen import frozen_model
from footwork.inference.halving import run_in_parts
from footwork.inference.tokens import TokenizedTexts
from footwork.options import PRECISIONS, Precision

LEAST_TOKENS = 128
"""Of a batch, where there is a choice: fewer use a processor badly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """How a model is run; nothing here changes an answer beyond rounding."""

    precision: Precision = "auto"
    """`float32`; `bf16` matrix products; `auto` takes bf16 where the processor multiplies it and
    answers close calls again in float32, so that the decisions are float32's."""
    batch_tokens: int | None = None
    """Padded tokens a batch; None takes 1024 on a processor, 32768 on an accelerator."""
    workers: int | None = None
    """Batches answered side by side on a processor, each on one thread: quicker than threads
    inside a batch, for more memory. None takes one a core."""
    packed: bool = True
    """Copy the weights in the order in which a processor multiplies them; quicker."""
    look_ahead: int = 2048
    """Rows that are read, tokenised and sorted together."""
    look_ahead_characters: int = 8_000_000
    """Characters read together at most, however few rows that makes."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            message = f"`precision` must be one of {', '.join(PRECISIONS)}, got {self.precision!r}."
            raise ConfigError(message)
        for name in ("batch_tokens", "workers", "look_ahead", "look_ahead_characters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` must be at least 1, got {value}.")


Closeness = Callable[[FloatArray], DoubleArray]
"""(N, C) logits → (N,) distances, in logits, to where a decision changes."""

SAMPLE = 16
"""Different texts on which the error is measured before it is relied on."""
MOST_SAMPLES = 256
DEVIATIONS = 4.5
"""A decision closer than so many standard deviations of the error may have been turned by it.

Where half of the decisions lie within a logit of the border, and bf16 errs by 0.03, one in 96
million lies farther off and is turned; one in 170,000 should the sample have given two thirds of
the error. Two orders of a float32 sum, 1e-5 apart, turn one in 200,000.
"""
_TRIED = 32
"""Errors tried out on each row: they give their standard deviation to an eighth."""


class RoundingError:
    """The error of bf16 on a model, as far as it was measured. Nothing is known at first."""

    def __init__(self) -> None:
        self._samples: dict[tuple[int, ...], FloatArray] = {}

    @property
    def wanted(self) -> int:
        """Texts that are still to be measured before it can be relied on."""
        return max(0, SAMPLE - len(self._samples))

    @property
    def bias(self) -> FloatArray:
        """The same for every row, (C,): mostly the rounding of weights."""
        mean: FloatArray = np.mean(list(self._samples.values()), axis=0)
        return mean

    def to_measure(self, texts: Sequence[tuple[int, ...]]) -> IntArray:
        """The rows of different texts, (S,), that are to be measured: at most `wanted`.

        Of the shorter half, if it has so many: the error hardly depends on length, the cost does.
        """
        first = dict(zip(reversed(texts), reversed(range(len(texts))), strict=True))
        new = sorted((len(text), row) for text, row in first.items() if text not in self._samples)
        shorter = np.array([row for _, row in new], np.int64)[: max(self.wanted, len(new) // 2)]
        few = np.linspace(0, len(shorter) - 1, min(self.wanted, len(shorter)))
        return shorter[few.astype(np.int64)]

    def add(self, texts: Sequence[tuple[int, ...]], errors: FloatArray) -> None:
        """Take note of bf16 minus float32, (S, C), on some texts; a known one tells nothing new."""
        for text, error in zip(texts, errors, strict=True):
            if len(self._samples) < MOST_SAMPLES:
                self._samples.setdefault(text, error)

    def within_reach(self, closeness: Closeness, answers: FloatArray) -> IntArray:
        """The rows of `answers` (N, C), without bias, that lie within reach of another decision.

        How far errors move the decision of each row is tried out: what moves all labels alike moves
        none, what moves two apart counts twice, and the mean over windows of a text moves less.
        """
        errors = np.array(list(self._samples.values())) - self.bias
        distances = closeness(answers)
        generator, squares = np.random.default_rng(0), np.zeros(len(answers))
        for _ in range(_TRIED):
            drawn = errors[generator.integers(len(errors), size=len(answers))]
            with np.errstate(invalid="ignore"):  # infinitely far stays so
                squares += np.nan_to_num(closeness(answers + drawn) - distances) ** 2
        spread = np.sqrt(squares / _TRIED * len(errors) / max(len(errors) - 1, 1))
        return np.flatnonzero(distances < DEVIATIONS * spread)


class SequenceModel:
    """A model and the way to run it over many sequences.

    Args:
        model: Takes the inputs and `attention_mask`, returns an object with `logits` (B, C).
    """

    def __init__(self, model: nn.Module, config: InferenceConfig) -> None:
        self.device = compute_device()
        on_cpu = self.device.type == "cpu"
        bf16 = settled_precision(config.precision, model) == "bf16"
        self._rechecks = bf16 and config.precision == "auto"
        model = model.to(self.device)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self._fast = self._exact = frozen_model(model, dtype, packed=config.packed)
        if self._rechecks:
            self._exact = frozen_model(model, torch.float32, packed=config.packed)
        self._error = RoundingError()
        self._worker_count = (config.workers or torch.get_num_threads()) if on_cpu else 1
        self._pool: tuple[int, ThreadPoolExecutor | None] | None = None
        self._multiple = 1 if on_cpu else 8  # as the matrix units of accelerators want it
        self._batch_tokens = config.batch_tokens or (1024 if on_cpu else 32768)

    def logits(self, sequences: TokenizedTexts, closeness: Closeness | None = None) -> FloatArray:
        """Answer N sequences, in input order.

        With `auto`, what bf16 answers is made again in float32 where bf16 could have turned a
        decision; as long as its error on this model is not known, that is everywhere. Without
        `closeness` there is no decision to protect.

        Returns:
            Shape (N, C).

        Raises:
            ModelError: A single sequence does not fit into memory.
        """
        lengths = np.array(sequences.lengths, np.int64)
        order = longest_first(lengths)
        in_order = self._run(self._fast, sequences, order)
        fast = np.empty_like(in_order)
        fast[order] = in_order
        if not self._rechecks or closeness is None or not len(sequences):
            return fast
        texts = [tuple(ids) for ids in sequences.inputs["input_ids"]]

        def make_again(rows: IntArray, answers: FloatArray) -> FloatArray:
            if len(rows):
                rows = rows[longest_first(lengths[rows])]
                answers[rows] = self._run(self._exact, sequences, rows)
                self._error.add([texts[row] for row in rows], fast[rows] - answers[rows])
            return answers

        measured = make_again(self._error.to_measure(texts), fast.copy())
        if self._error.wanted:
            return make_again(np.arange(len(texts)), measured)
        answers = fast - self._error.bias
        return make_again(self._error.within_reach(closeness, answers), answers)

    def _run(self, model: nn.Module, sequences: TokenizedTexts, rows: IntArray) -> FloatArray:
        """Answer the sequences in `rows`, given longest first; (R, C) in the order of `rows`."""
        lengths = np.array(sequences.lengths, np.int64)[rows]
        # As many tokens a batch as let the workers end at about the same time.
        total, workers = int(lengths.sum()), self._worker_count
        rounds = max(1, math.ceil(total / (self._batch_tokens * workers)))
        even = max(math.ceil(total / (rounds * workers)), LEAST_TOKENS)
        batches = [rows[batch] for batch in plan_batches(lengths, min(even, self._batch_tokens))]

        def answer(batch: IntArray) -> FloatArray | None:
            try:
                return self._answer(model, sequences, batch)
            except ModelError:  # the others may hold the memory: once more when they have ended
                return None

        # Whole batches side by side keep the cores busier than the threads inside each product.
        pool = self._workers() if len(batches) > 1 else None
        apply = map if pool is None else pool.map
        answers = [
            self._answer(model, sequences, batch) if found is None else found
            for batch, found in zip(batches, list(apply(answer, batches)), strict=True)
        ]
        return np.concatenate(answers) if answers else np.zeros((0, 0), np.float32)

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


def single_threads(count: int) -> ThreadPoolExecutor | None:
    """Workers in each of which torch computes on one thread; None where one would do."""
    if count < 2:
        return None
    pool = ThreadPoolExecutor(count, "answer", initializer=lambda: torch.set_num_threads(1))
    threads, all_started = torch.get_num_threads(), Barrier(count)
    wait([pool.submit(all_started.wait) for _ in range(count)])
    torch.set_num_threads(threads)  # the workers' setting is also what new threads begin with
    return pool


def plan_batches(lengths: IntArray, tokens: int) -> Iterator[IntArray]:
    """Cut rows of descending length into batches of at most `tokens` padded tokens.

    A longer row is a batch of its own. A batch also ends where padding would eat an eighth of it,
    once it is large enough (a quarter of `tokens`) to use the processor well.

    Yields:
        Indices into `lengths`, consecutive, covering all of them.
    """
    start = 0
    while start < len(lengths):
        longest = max(int(lengths[start]), 1)
        end = min(start + max(1, tokens // longest), len(lengths))
        enough = max(1, tokens // 4 // longest)
        used = np.cumsum(lengths[start:end])
        sizes = np.arange(1, end - start + 1)
        wasteful = np.flatnonzero((used < 0.875 * longest * sizes) & (sizes > enough))
        if len(wasteful):
            end = start + max(1, int(wasteful[0]))
        yield np.arange(start, end)
        start = end


def longest_first(lengths: IntArray) -> IntArray:
    """The order that sorts `lengths` descending; equal ones stay as they are."""
    return np.argsort(-lengths, kind="stable")


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
