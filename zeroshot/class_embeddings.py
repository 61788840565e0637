"""One vector a class: the mean of its prompts, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zeroshot.embedding_cache import EmbeddingCache, cache_key
from zeroshot.templates import Prompts

FloatArray = NDArray[np.float32]

CHUNK = 2048
"""Prompts that are encoded, and kept on disk, together."""

OnProgress = Callable[[int, int], None]


def unseen(done: int, of: int) -> None:
    """Progress that nobody watches."""


class TextEncoder(Protocol):
    """The text side of a two-tower model."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its revision and how it reads."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows, (N, D)."""

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Which texts are longer than the model reads."""


def class_embeddings(
    encoder: TextEncoder, class_names: Sequence[str], templates: Sequence[str]
) -> FloatArray:
    """Average each class over prompt templates.

    Source: prompt ensembling, Radford et al. 2021, section 3.1.4 (arXiv:2103.00020).

    Args:
        encoder: Embeds the prompts, D wide.
        class_names: C names, as they read in a sentence.
        templates: T prompts, each with one `{}`; their order does not matter.

    Returns:
        Shape (C, D), unit rows.
    """
    return prompt_embeddings(encoder, class_names, Prompts(tuple(templates)), EmbeddingCache())


def prompt_embeddings(
    encoder: TextEncoder,
    class_names: Sequence[str],
    prompts: Prompts,
    cache: EmbeddingCache,
    on_progress: OnProgress = unseen,
) -> FloatArray:
    """Average each class over its own prompts: unit rows, their mean, made unit again.

    Only classes that the cache does not hold are encoded, some 2,048 prompts at a time, and what
    is encoded is kept before the next are: a run that was ended goes on where it stood.

    Args:
        encoder: Embeds the prompts, D wide.
        class_names: C names.
        prompts: What stands for each.
        cache: Where rows of earlier runs are.
        on_progress: Told before and between how many prompts are encoded, and of how many.

    Returns:
        Shape (C, D), unit rows.
    """
    keys = [cache_key(encoder.fingerprint, prompts.of(name)) for name in class_names]
    rows = np.zeros((len(keys), encoder.width), np.float32)
    lacking = np.flatnonzero(~cache.read(keys, rows)).tolist()
    sizes = [prompts.count(class_names[place]) for place in lacking]
    done, every = 0, sum(sizes)
    for chunk in _chunks(sizes):
        on_progress(done, every)
        places = lacking[chunk]
        rows[places] = _means(encoder, [prompts.of(class_names[place]) for place in places])
        cache.write([keys[place] for place in places], rows[places])
        done += sum(sizes[chunk])
    return rows


def unit_rows(rows: NDArray[np.floating]) -> FloatArray:
    """Divide each row by its length, in float32; a row of zeros stays."""
    single = rows.astype(np.float32, copy=False)
    lengths = np.linalg.norm(single, axis=1, keepdims=True)
    unit: FloatArray = single / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _chunks(sizes: Sequence[int]) -> Iterator[slice]:
    """Parts of classes with so many prompts each, of some `CHUNK` prompts or one class."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and total + size > CHUNK:
            yield slice(start, place)
            start, total = place, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


def _means(encoder: TextEncoder, class_prompts: Sequence[Sequence[str]]) -> FloatArray:
    rows = encoder.encode_texts([prompt for each in class_prompts for prompt in each])
    ends = np.cumsum([0, *map(len, class_prompts)])
    return unit_rows(np.stack([rows[start:end].mean(axis=0) for start, end in pairwise(ends)]))
