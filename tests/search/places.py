"""Indexes in folders, of pictures that cost nothing to embed."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np

from search.index_folder import IndexFolder
from tests.search.collections import EMBEDDER, WIDTH, held, indexed


def index_of(folder: Path, *roots: Path) -> IndexFolder:
    """A complete index, its text half without a tower."""
    place = IndexFolder(folder)
    with place.writing(), closing(place.begin(EMBEDDER)) as store:
        indexed(store, *roots)
        texts = place.texts_folder(EMBEDDER)
        texts.mkdir()
        np.save(texts / "references.npy", np.eye(WIDTH, dtype=np.float32))
    return place


def holdings(place: IndexFolder) -> dict[str, tuple[float, ...]]:
    with closing(place.open()) as store:
        return held(store)


def age(path: Path) -> None:
    """Set a file's time back, as that of one that was changed long ago."""
    os.utime(path, ns=(10**18, 10**18))
