"""Folders of small pictures, an encoder that costs nothing, and what an index holds of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from footwork.errors import ImageError
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Embedder, Store
from search.update.indexing import update
from search.update.summary import Summary

WIDTH = 16
EMBEDDER = Embedder(model_id="thumb", revision=None, fingerprint="thumb-1", width=WIDTH)


class ThumbEncoder:
    """Embeds a picture as its own 4 × 4 pixels: real files, real decoding, no model.

    Args:
        seconds: That each picture takes.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[str] = []

    def encode_sources(self, sources: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for source in sources:
            self.seen.append(source.found.path)
            time.sleep(self.seconds)
            try:
                grey = source.decode(4).convert("L").resize((4, 4))
            except ImageError as error:
                yield source, error
                continue
            row = np.asarray(grey, np.float32).reshape(-1) + 1
            yield source, row / np.linalg.norm(row)


def new_store(folder: Path) -> EmbeddedStore:
    return EmbeddedStore.create(folder, EMBEDDER)


def update_with(store: Store, encoder: Any, *roots: Path, recheck: bool = False) -> Summary:
    return update(store, [str(root) for root in roots], lambda: encoder, recheck=recheck)


def again(store: Store, *roots: Path) -> Summary:
    """An update in which nothing may be embedded."""

    def fail() -> Any:
        raise AssertionError("something was embedded")

    return update(store, [str(root) for root in roots], fail)


def indexed(store: Store, *roots: Path) -> Summary:
    return update_with(store, ThumbEncoder(), *roots)


def save_picture(path: Path, number: int) -> Path:
    """A picture like no other number's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.NEAREST).save(path)
    return path


def save_pictures(folder: Path, count: int, first: int = 0) -> list[Path]:
    return [save_picture(folder / f"{n:04d}.png", n) for n in range(first, first + count)]


def held(store: Store) -> dict[str, tuple[float, ...]]:
    """Path → vector of every present image."""
    return {
        record.path: tuple(np.round(vector, 6).tolist())
        for block in store.scan()
        for record, vector in zip(block.records, block.vectors, strict=True)
    }


def finds_itself(store: Store) -> bool:
    """Whether every image is the nearest to its own vector."""
    for block in store.scan():
        for found, record, vector in zip(
            store.search(block.vectors, 2), block.records, block.vectors, strict=True
        ):
            same = [
                r.path for r, c in zip(found.records, found.cosines, strict=True) if c > 0.99999
            ]
            if record.path not in same:
                return False
            assert np.isclose(found.cosines[0], vector @ vector, atol=1e-5)
    return True
