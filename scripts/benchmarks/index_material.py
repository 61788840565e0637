"""What the search benchmarks run on: indexes of made-up images with vectors like real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from footwork.arrays import FloatArray
from footwork.encoder.dual import DualEncoder
from search.place import IndexFolder
from search.query.relevance import Relevance
from search.query.texts import embedder_of, prepare_texts
from search.records import ImageRecord, file_state
from search.store.protocol import Changes, Embedded, Embedder

SEED = 0
_AT_ONCE = 20_000
_DIMENSIONS, _CLUSTERS = 96, 3000
_COMMON, _NOISE = 0.9, 0.012
_CAMERAS = ("Canon EOS 5D", "Canon EOS R6", "NIKON D750", "SONY ILCE-7M3", None)
DAY = 86_400


def build_index(folder: Path, encoder: DualEncoder, count: int) -> IndexFolder:
    """An index of `count` images that are nowhere, one a minute since 1970."""
    place = IndexFolder(folder)
    store = place.begin(embedder_of(encoder))
    prepare_texts(encoder, place.texts_folder(store.embedder))
    first = 0
    for vectors in photo_like_vectors(count, encoder.width):
        records = (_record(first + row) for row in range(len(vectors)))
        store.write(Changes(embedded=list(map(Embedded, records, vectors))))
        first += len(vectors)
    references = np.load(place.texts_folder(store.embedder) / "references.npy")
    store.finish(Relevance(references).directions)
    store.close()
    return place


def register_files(index: Path, photos: Path, count: int) -> None:
    """Small files that an index knows, 500 a folder; no second run would decode them."""
    place, numbers = IndexFolder(index), np.random.default_rng(SEED)
    store = place.begin(Embedder(model_id="none", revision=None, fingerprint="none", width=8))
    for start in range(0, count, _AT_ONCE):
        records = [
            _registered(photos / f"{number // 500:05d}", number)
            for number in range(start, min(start + _AT_ONCE, count))
        ]
        vectors = numbers.normal(size=(len(records), 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.write(Changes(embedded=list(map(Embedded, records, vectors))))
    store.set_roots([str(photos)])
    texts = place.texts_folder(store.embedder)
    texts.mkdir()
    np.save(texts / "references.npy", np.eye(8, dtype=np.float32))
    store.close()


def photo_like_vectors(count: int, width: int) -> Iterator[FloatArray]:
    """Unit rows with what those of photographs have.

    A common direction, clusters of all sizes, and fewer dimensions than numbers: random ones would
    be equally far from each other, which no approximate index can do anything with.
    """
    random = np.random.default_rng(SEED)
    basis = random.normal(size=(_DIMENSIONS, width)).astype(np.float32) / np.sqrt(_DIMENSIONS)
    centres = random.normal(size=(_CLUSTERS, _DIMENSIONS)).astype(np.float32)
    common = random.normal(size=width).astype(np.float32)
    common *= _COMMON / np.linalg.norm(common)
    shares = random.dirichlet(np.full(_CLUSTERS, 0.3))
    for start in range(0, count, _AT_ONCE):
        rows = min(_AT_ONCE, count - start)
        near = centres[random.choice(_CLUSTERS, rows, p=shares)]
        own = (near + random.normal(size=near.shape).astype(np.float32)) @ basis
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        noise = random.normal(size=own.shape).astype(np.float32) * np.float32(_NOISE)
        vectors = own + common + noise
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _registered(folder: Path, number: int) -> ImageRecord:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"IMG_{number:07d}.jpg"
    path.write_bytes(b"%d" % number)
    return replace(_record(number), path=str(path), **file_state(path.stat()))


def _record(number: int) -> ImageRecord:
    return ImageRecord(
        path=f"/photos/{number // 500:05d}/IMG_{number:07d}.jpg",
        size=3_000_000 + number,
        mtime_ns=number * 10**9,
        content=f"{number:064x}",
        format="png" if number % 4 == 0 else "jpeg",
        width=4000 if number % 3 else 1920,
        height=3000,
        date=number * 60,
        date_from="picture",
        camera=_CAMERAS[number % len(_CAMERAS)],
    )
