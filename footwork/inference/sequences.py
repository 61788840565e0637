"""Run a sequence model over rows of any length: sorted, batched by tokens, in input order.

A batch costs what its padded tokens cost. So rows are sorted by length inside a bounded window of
the input, cut into batches of about as many tokens each, and put back into input order.
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
from footwork.arrays import FloatArray, IntArray
from footwork.errors import ConfigError, ModelError
from footwork.inference.frozen import frozen_model
from footwork.inference.halving import run_in_parts
from footwork.inference.rounding import Closeness, RoundingError
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


class SequenceModel:
    """A model and the way to run it over many sequences.

    Args:
        model: Takes the inputs and `attention_mask`, returns an object with `logits` (B, C).
        config: Precision and batch size.
    """

    def __init__(self, model: nn.Module, config: InferenceConfig) -> None:
        self.device = compute_device()
        self._rechecks = config.precision == "auto"
        self._bf16 = settled_precision(config.precision, model) == "bf16"
        model = model.to(self.device)
        dtype = torch.bfloat16 if self._bf16 else torch.float32
        self._fast = self._exact = frozen_model(model, dtype, packed=config.packed)
        if self._bf16 and self._rechecks:
            self._exact = frozen_model(model, torch.float32, packed=config.packed)
        self._error = RoundingError()
        on_cpu = self.device.type == "cpu"
        self._worker_count = (config.workers or torch.get_num_threads()) if on_cpu else 1
        self._pool: tuple[int, ThreadPoolExecutor | None] | None = None
        self._multiple = 1 if on_cpu else 8  # as the matrix units of accelerators want it
        self._batch_tokens = config.batch_tokens or (1024 if on_cpu else 32768)

    def logits(self, sequences: TokenizedTexts, closeness: Closeness | None = None) -> FloatArray:
        """Answer every sequence, in input order.

        Args:
            sequences: N of them.
            closeness: (N, C) logits → (N,) distances, in logits, to where a decision changes;
                None where there is no decision that `auto` must protect.

        Returns:
            Shape (N, C).

        Raises:
            ModelError: A single sequence does not fit into memory.
        """
        lengths = np.array(sequences.lengths, np.int64)
        order = longest_first(lengths)
        sorted_answers = self._run(self._fast, sequences, order)
        answers = np.empty_like(sorted_answers)
        answers[order] = sorted_answers
        if self._bf16 and self._rechecks and closeness is not None and len(sequences):
            return self._protected(sequences, answers, closeness)
        return answers

    def _protected(
        self, sequences: TokenizedTexts, fast: FloatArray, closeness: Closeness
    ) -> FloatArray:
        """Answers in bf16, (N, C), made again in float32 where bf16 could have turned a decision.

        As long as its error on this model is not known, that is everywhere.
        """
        texts = [tuple(ids) for ids in sequences.inputs["input_ids"]]
        lengths = np.array(sequences.lengths, np.int64)
        answers = fast.copy()

        def make_again(rows: IntArray) -> None:
            if len(rows):
                rows = rows[longest_first(lengths[rows])]
                answers[rows] = self._run(self._exact, sequences, rows)
                self._error.add([texts[row] for row in rows], fast[rows] - answers[rows])

        make_again(self._error.to_measure(texts))
        if self._error.wanted:
            make_again(np.arange(len(texts)))
            return answers
        answers = fast - self._error.bias
        make_again(self._error.within_reach(closeness, answers))
        return answers

    def _run(self, model: nn.Module, sequences: TokenizedTexts, rows: IntArray) -> FloatArray:
        """Answer the sequences in `rows`, given longest first; (R, C) in the order of `rows`."""
        lengths = np.array(sequences.lengths, np.int64)[rows]
        tokens = self._even_tokens(int(lengths.sum()))
        batches = [rows[batch] for batch in plan_batches(lengths, tokens)]

        def answer(batch: IntArray) -> FloatArray | None:
            try:
                return self._answer(model, sequences, batch)
            except ModelError:  # the others may hold the memory: once more when they have ended
                return None

        # Whole batches side by side keep the cores busier than the threads inside each product.
        workers = self._workers() if len(batches) > 1 else None
        apply = map if workers is None else workers.map
        answers = [
            self._answer(model, sequences, batch) if one is None else one
            for batch, one in zip(batches, list(apply(answer, batches)), strict=True)
        ]
        return np.concatenate(answers) if answers else np.zeros((0, 0), np.float32)

    def _workers(self) -> ThreadPoolExecutor | None:
        """Made when first used, and anew in a forked process, which has the threads no more."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), single_threads(self._worker_count)
        return self._pool[1]

    def _even_tokens(self, tokens: int) -> int:
        """Tokens a batch of so many in all, so that the workers end at about the same time."""
        rounds = math.ceil(tokens / (self._batch_tokens * self._worker_count))
        even = math.ceil(tokens / max(1, rounds * self._worker_count))
        return min(max(even, LEAST_TOKENS), self._batch_tokens)

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

    A batch also ends where padding would eat an eighth of it, once it is large enough (a quarter
    of `tokens`) to use the processor well.

    Args:
        lengths: Tokens of each row, descending, (N,).
        tokens: Padded tokens a batch; a longer row is a batch of its own.

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

    The first are short, so that the first answers come soon; each is twice the one before.

    Args:
        rows: Of any number.
        config: Bounds rows and characters.
        size: Characters of a row.
        first: Rows of the first.
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
        previous: tuple[list[Row], Future[Encoded]] | None = None
        slow, asked = True, time.monotonic()
        for window in windows:
            slow = slow or time.monotonic() - asked > SLOW_SOURCE
            current = (window, pool.submit(encode, window))
            if previous is not None:
                yield previous[0], previous[1].result()
            previous = current
            if slow:
                yield window, current[1].result()
                previous = None
            slow, asked = False, time.monotonic()
        if previous is not None:
            yield previous[0], previous[1].result()
