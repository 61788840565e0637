"""What an engine does for an index: `embedded` for one machine, `server` beyond it.

`tests/search/store_contract.py` holds every engine to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from footwork.arrays import DoubleArray, FloatArray, IntArray, RealArray
from search.exclusions import Exclusions
from search.filters import EVERYTHING, Filter
from search.records import ImageRecord

T = TypeVar("T")
WIDEST = 1 << 16
"""Numbers in an embedding: more would be no model's, and fill the memory."""
_LENGTH_ERROR = 1e-3


def wrong_lengths(vectors: FloatArray) -> NDArray[np.intp]:
    """Which rows of (N, D) are no unit vectors: those of a spoilt disk, or a foreign hand."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(vectors, axis=1)
        return np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH_ERROR))


def unit_vectors(vectors: RealArray) -> tuple[FloatArray, IntArray, DoubleArray]:
    """Rows of length 1 of (N, D), which of them are zero or no numbers, and how long each was."""
    with np.errstate(all="ignore"):  # what is no float64 is no number here
        exact = vectors.astype(np.float64)
        largest = np.abs(exact).max(axis=1, keepdims=True, initial=0)
        bad = np.flatnonzero(~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)))
        exact /= largest  # whose squares might be beyond all numbers
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
        return (exact / lengths).astype(np.float32), bad, (lengths * largest)[:, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """The model whose vectors a store holds; those of another are refused."""

    model_id: str
    """Hub id, absolute folder, or `tiny`."""
    revision: str | None
    """Commit on the Hub; None for a folder."""
    fingerprint: str
    """Of weights and preprocessing: equal ones give equal vectors."""
    width: int


def told_embedder(value: Any) -> Embedder | None:
    """The model that a file or a server tells, which anybody may have written; None for none."""
    try:
        found = Embedder(**value)
        texts = (found.model_id, found.fingerprint, found.revision or "")
        sound = all(isinstance(text, str) and "\0" not in text for text in texts)
        return found if sound and type(found.width) is int and 0 < found.width < WIDEST else None
    except TypeError:
        return None


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most so many of them, in their order."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


@dataclass(frozen=True, slots=True)
class Embedded:
    """An image with its vector, to be written."""

    record: ImageRecord
    vector: FloatArray
    """Shape (D,), of length 1."""


@dataclass(frozen=True, slots=True)
class Move:
    """A file of unchanged content that is known by other circumstances from now on."""

    old_path: str
    """As the store knows it; may equal the new one."""
    record: ImageRecord
    """With its new path, date, presence, and the same content: where the store has another one at
    the old path, nothing is moved. Replaces what the store has of either path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A batch, written whole or not at all (`server`: whole once `write` has returned)."""

    embedded: Sequence[Embedded] = ()
    """New or changed images; each replaces what is known of its path, and brings its labels."""
    unreadable: Sequence[ImageRecord] = ()
    """Files with a `fault`; each replaces what is known of its path, its vector included."""
    moved: Sequence[Move] = ()
    """Images that keep their vectors; labels go along."""
    absent: Sequence[str] = ()
    """Paths of images that are no longer there; they keep their vectors."""
    forgotten: Sequence[str] = ()
    """Paths of files of which nothing is kept."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought, best first: K images."""

    records: Sequence[ImageRecord]
    """With their labels."""
    cosines: FloatArray
    """Shape (K,)."""
    vectors: FloatArray
    """Shape (K, D), unit rows."""


@dataclass(frozen=True, slots=True)
class Block:
    """Part of a scan: B images."""

    records: Sequence[ImageRecord]
    """Without their labels."""
    vectors: FloatArray
    """Shape (B, D), unit rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many files of each kind a store knows."""

    present: int
    """Images that are found."""
    absent: int
    """Images that are not there at the moment, but keep their vectors."""
    unreadable: int
    bytes: int = 0
    """On disk, of the vectors and what is known of them; 0 where the engine does not tell."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else the engine tells of itself, for `status`: name → value."""


class Store(Protocol):
    """An open index. Any number of readers; its place keeps writers apart where they have to be."""

    @property
    def embedder(self) -> Embedder:
        """The model whose vectors it holds."""

    def write(self, changes: Changes) -> None:
        """Make a batch durable: what has returned survives a kill and a power cut.

        Where it cannot be written, a `StoreError` says so, and nothing of the batch is found.
        """

    def write_labels(self, labels: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Replace the labels of images, of any number: path, and every label with its score."""

    def finish(self, typical: FloatArray) -> str | None:
        """Called once after all batches of an update: time to build what makes searches fast.

        It is tuned by typical vectors, (Q, D), of texts as they will be asked for. Returned is what
        could not be done, in sentences, where the index is complete without it.
        """

    def counts(self, under: str | None = None) -> Counts:
        """How many files of each kind, of those that `files` gives."""

    def roots(self) -> Sequence[str]:
        """Absolute folders and files that were indexed."""

    def set_roots(self, roots: Sequence[str]) -> None:
        """Replace them."""

    def exclusions(self) -> Exclusions:
        """What is left out of it."""

    def set_exclusions(self, exclusions: Exclusions) -> None:
        """Replace them; what the store knows of files stays as it is."""

    def files(self, under: str | None = None) -> Iterator[ImageRecord]:
        """Images and faults that are this path or lie below it, present or not; else all there are.

        They come without labels, in any order.
        """

    def records(self, paths: Sequence[str]) -> dict[str, ImageRecord]:
        """What is known of some paths, with labels; unknown ones are left out."""

    def same_size(self, sizes: Iterable[int]) -> Iterator[ImageRecord]:
        """Images, present or not, of any of these sizes in bytes, without labels."""

    def vectors(self, paths: Sequence[str]) -> dict[str, FloatArray]:
        """Vectors of some images by path, present or not; unknown ones are left out."""

    def search(self, queries: FloatArray, top_k: int, where: Filter = EVERYTHING) -> list[Found]:
        """The present images nearest by cosine to each query; those are unit rows, (Q, D)."""

    def find_words(self, words: str, top_k: int, where: Filter = EVERYTHING) -> Found:
        """Present images whose folders and names hold the words, best match first.

        Cosines are all 0: the order is the answer. `ConfigError` where no index of words is kept.
        """

    def scan(self, where: Filter = EVERYTHING) -> Iterator[Block]:
        """All present images, in blocks, each once, in a stable order."""

    def sample(self, count: int) -> FloatArray:
        """At most `count` vectors of present images, (S, D); the same while nothing changes."""

    def close(self) -> None:
        """Let go of files and connections."""
