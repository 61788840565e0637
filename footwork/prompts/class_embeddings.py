"""One vector a class: the mean of its prompts, made once and kept on disk."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import BoolArray, FloatArray
from footwork.encoder.protocol import TextEncoder
from footwork.home import cache_folder
from footwork.prompts.templates import Prompts

FILE_NAME = "class_embeddings.sqlite"
MOST_ROWS = 100_000  # 200 MB at 512 numbers a row
_WAIT = 10.0  # seconds for another process that writes
_UNIT = 1e-3  # how far from 1 the length of an intact row can be

_CREATE = "CREATE TABLE IF NOT EXISTS class_embedding (key BLOB PRIMARY KEY, numbers BLOB NOT NULL)"
_READ = "SELECT numbers FROM class_embedding WHERE key = ?"
_WRITE = "INSERT OR REPLACE INTO class_embedding VALUES (?, ?)"
_FORGET = "DELETE FROM class_embedding WHERE rowid <= (SELECT max(rowid) FROM class_embedding) - ?"


class EmbeddingCache:
    """One SQLite file of unit rows; the oldest go when it holds 100,000.

    It may be deleted at any time. A damaged file is replaced; a folder that cannot be used means
    that nothing is kept, which `note` then says.

    Args:
        path: The file; None takes the user's own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.note: str | None = None
        """Why nothing is kept, None as long as all is well."""

    def read(self, keys: Sequence[bytes], rows: FloatArray) -> BoolArray:
        """Fill in what is there of N keys.

        Args:
            keys: Of the rows.
            rows: Shape (N, D); what is not there is left as it is.

        Returns:
            Shape (N,), which rows were there.
        """
        known = np.zeros(len(keys), bool)
        if self.note is None:
            with self._forgiving(), closing(self._connected()) as connection:
                for place, key in enumerate(keys):
                    numbers = (connection.execute(_READ, (key,)).fetchone() or (b"",))[0]
                    if len(numbers) == rows[place].nbytes:
                        rows[place] = np.frombuffer(numbers, "<f4")
                        known[place] = True
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        return known & (np.abs(lengths - 1) < _UNIT)  # False for NaN, too

    def write(self, keys: Sequence[bytes], rows: FloatArray) -> None:
        """Keep N rows, (N, D), all or none of them."""
        pairs = [(key, row.astype("<f4").tobytes()) for key, row in zip(keys, rows, strict=True)]
        if self.note is None:
            with self._forgiving(), closing(self._connected()) as connection, connection:
                connection.executemany(_WRITE, pairs)
                connection.execute(_FORGET, (MOST_ROWS,))

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """End the block quietly where the file or its place fails it."""
        try:
            yield
        except (OSError, RuntimeError, sqlite3.Error) as error:
            # An OperationalError is about access or space: deleting would not help.
            if self._path and not isinstance(error, OSError | sqlite3.OperationalError):
                try:
                    for damaged in (self._path, self._path.with_name(f"{self._path.name}-journal")):
                        damaged.unlink(missing_ok=True)
                except OSError as refused:
                    error = refused
                else:
                    return
            self.note = (
                f"The vectors of the labels cannot be kept in {self._path or 'the home folder'} "
                f"({error}), so every run makes them again. FOOTWORK_HOME names another folder."
            )

    def _connected(self) -> sqlite3.Connection:
        if self._path is None:
            self._path = cache_folder() / FILE_NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_WAIT)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # a damaged file is replaced
            connection.execute(_CREATE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def cache_key(fingerprint: str, prompts: Sequence[str]) -> bytes:
    """What tells one class embedding from another: the encoder, and every prompt of the class."""
    digest = hashlib.sha256(f"{len(prompts)}\0{fingerprint}".encode())
    for prompt in prompts:
        digest.update(b"\0" + prompt.encode("utf-8", "surrogatepass"))
    return digest.digest()


CHUNK = 2048
"""Prompts that are encoded, and kept on disk, together."""

OnProgress = Callable[[int, int], None]


def unseen(done: int, of: int) -> None:
    """Progress that nobody watches."""


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
        texts = [prompt for place in places for prompt in prompts.of(class_names[place])]
        encoded, ends = encoder.encode_texts(texts), np.cumsum([0, *sizes[chunk]])
        means = [encoded[start:end].mean(axis=0) for start, end in pairwise(ends)]
        rows[places] = unit_rows(np.stack(means))
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
