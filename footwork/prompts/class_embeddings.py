"""Classes as a model sees them: a vector each, kept on disk, and what is odd about its label."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from footwork.arrays import BoolArray, DoubleArray, FloatArray, RealArray
from footwork.encoder.protocol import TextEncoder
from footwork.evaluation.logits import log_softmax, sigmoid
from footwork.evaluation.text import shorten
from footwork.files.faults import shortened
from footwork.home import cache_folder
from footwork.prompts.none_of_these import reference_words
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
    """One SQLite file of unit rows; the oldest go when it holds 100,000. None is the user's own.

    It may be deleted at any time. A damaged file is replaced; a folder that cannot be used means
    that nothing is kept, which `note` then says.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.note: str | None = None
        """Why nothing is kept, None as long as all is well."""

    def read(self, keys: Sequence[bytes], rows: FloatArray) -> BoolArray:
        """Fill in what is there of N `rows`, (N, D); gives which were there, (N,)."""
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
"""Is told how many prompts are encoded, and of how many."""


def unseen(done: int, of: int) -> None:
    """Progress that nobody watches."""


def prompt_embeddings(
    encoder: TextEncoder,
    class_names: Sequence[str],
    prompts: Prompts,
    cache: EmbeddingCache,
    on_progress: OnProgress = unseen,
) -> FloatArray:
    """Average each of C classes over its own prompts: unit rows, their mean, made unit again.

    Source: prompt ensembling, Radford et al. 2021, section 3.1.4 (arXiv:2103.00020).

    Only classes that the cache does not hold are encoded, some 2,048 prompts at a time, and what is
    encoded is kept before the next are: a run that was ended goes on where it stood.
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


def unit_rows(rows: RealArray) -> FloatArray:
    """Divide each row by its length, in float32; a row of zeros stays."""
    single = rows.astype(np.float32, copy=False)
    lengths = np.linalg.norm(single, axis=1, keepdims=True)
    return single / np.maximum(lengths, np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Scorer:
    """The last step of a two-tower model.

    CLIP was trained to choose one text for an image: its scores are a softmax over the labels, so
    they add up to 1 and answer "which of these". SigLIP was trained to say of each pair whether it
    belongs together: its scores are a sigmoid a label and answer "is it there"; they do not add up
    to 1, and 0.2 for the right label is usual. Both rank labels by the cosine alone.

    Sources: Radford et al. 2021, figure 3 (arXiv:2103.00020); Zhai et al. 2023, section 3.2
    (arXiv:2303.15343).
    """

    scale: float
    """Multiplies the cosine: the model's own, already exponentiated."""
    bias: float | None = None
    """Added to it: SigLIP's own; None makes the scores a softmax."""

    def logits(self, cosines: RealArray) -> DoubleArray:
        """What the model calls `logits_per_image`, of the same shape."""
        return cosines.astype(np.float64) * self.scale + (self.bias or 0.0)

    def scores(self, cosines: RealArray) -> DoubleArray:
        """From 0 to 1, shape (N, C) as the cosines; over all C labels at once."""
        logits = self.logits(cosines)
        return np.exp(log_softmax(logits)) if self.bias is None else sigmoid(logits)


@dataclass(frozen=True, slots=True)
class EmbeddedLabels:
    """A set of labels as one model sees it; all rows are unit rows."""

    classes: FloatArray  # (C, D)
    references: FloatArray
    """Shape (R, D), of reference prompts: words that have nothing to do with most inputs."""
    notes: tuple[str, ...]
    """What to know before the labels are used, one sentence or two each."""


def embed_labels(
    encoder: TextEncoder,
    class_names: Sequence[str],
    prompts: Prompts,
    on_progress: OnProgress = unseen,
) -> EmbeddedLabels:
    """Embed labels, as they read in a sentence, and reference prompts in the same templates.

    Prompts of a class that is not there are a `ConfigError`.
    """
    prompts = prompts.among(class_names)
    cache = EmbeddingCache()
    classes = prompt_embeddings(encoder, class_names, prompts, cache, on_progress)
    words, shared = reference_words(encoder.model_id), Prompts(prompts.templates)
    references = prompt_embeddings(encoder, words, shared, cache)
    notes = []
    cut: list[str] = []
    for start in range(0, len(class_names), CHUNK):
        names = class_names[start : start + CHUNK]
        cut += [names[index] for index in encoder.cut_texts(list(map(prompts.longest, names)))]
    if cut:
        shown = shortened((repr(shorten(name, 60)) for name in cut), LISTED)
        notes.append(
            "Longer than the model reads, with the longest prompt around it: "
            f"{shown}. The end is ignored: shorten the label or the template."
        )
    notes += _likeness_notes(class_names, classes, references)
    notes += [cache.note] if cache.note else []
    return EmbeddedLabels(classes, references, tuple(notes))


NEAR = 0.25
"""Distance (1 - cosine) between two labels that are nearly the same, as a share of the median
distance between two reference prompts. The share is of the model's own geometry, since templates
and towers draw all texts together by different amounts.

Measured on real vectors of CLIP ViT-B/32, where it is a cosine of 0.95: of 125 photographs, 67 %
or more gave two such labels logits less than 1 apart (odds below 2.7 to 1), against a third for
two labels drawn at random. It names donut and doughnut, girl and woman, swimsuit and swimwear,
most plurals and spellings; none of the pairs within COCO's 80 classes, 15 pairs within the 1,203
of LVIS.
"""
LEAST = 0.9
"""The cosine below which labels are never nearly the same, however far apart other texts lie."""
MOST_COMPARED = 100_000
"""Labels of which every two are compared: at 512 numbers each, minutes of one core."""
LISTED = 5
"""Examples that a note gives."""
_BLOCK = 1024  # labels whose cosines with as many others are looked at together


def _likeness_notes(
    class_names: Sequence[str], classes: FloatArray, references: FloatArray
) -> list[str]:
    if len(class_names) > MOST_COMPARED:
        return [f"More than {MOST_COMPARED:,} labels are not compared with one another."]
    pairs, number = near_pairs(class_names, classes, near_cosine(references))
    if not pairs:
        return []
    listed = "; ".join(f"{one!r} and {other!r} (cosine {near:.2f})" for one, other, near in pairs)
    more = f"; {number - len(pairs):,} more pairs" if number > len(pairs) else ""
    return [
        f"Nearly the same to the model: {listed}{more}. It chooses between them almost by chance: "
        "keep one, or say in the label what differs."
    ]


def near_cosine(references: FloatArray) -> float:
    """The cosine from which two labels are nearly the same, by R unrelated words, (R, D)."""
    cosines = references @ references.T
    usual = float(np.median(cosines[np.triu_indices(len(references), 1)]))
    return max(LEAST, 1.0 - NEAR * (1.0 - usual))


def near_pairs(
    class_names: Sequence[str], embeddings: FloatArray, bound: float
) -> tuple[tuple[tuple[str, str, float], ...], int]:
    """Pairs of C classes, (C, D), at or above a cosine: the nearest, and how many there are.

    At most `LISTED` are given, each with its cosine.
    """
    nearest: list[tuple[float, int, int]] = []
    number = 0
    for row in range(0, len(embeddings), _BLOCK):
        rows = embeddings[row : row + _BLOCK]
        for column in range(row, len(embeddings), _BLOCK):
            cosines = rows @ embeddings[column : column + _BLOCK].T
            near = cosines >= bound
            if column == row:
                near = np.triu(near, 1)
            number += int(np.count_nonzero(near))
            if len(nearest) == LISTED:
                near &= cosines >= nearest[-1][0]
            firsts, seconds = np.nonzero(near)
            values = cosines[firsts, seconds]
            best = np.lexsort((seconds, firsts, -values))[:LISTED]
            places = (firsts[best] + row).tolist(), (seconds[best] + column).tolist()
            nearest += zip(values[best].tolist(), *places, strict=True)
            nearest = sorted(nearest, key=lambda pair: (-pair[0], *pair[1:]))[:LISTED]
    return tuple((class_names[i], class_names[j], near) for near, i, j in nearest), number
