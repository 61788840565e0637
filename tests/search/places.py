"""Indexes in folders, of pictures that cost nothing to embed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from footwork.files.checksums import write_checksums
from search import doctor
from search.findings import Report
from search.place import IndexFolder
from tests.search.collections import EMBEDDER, WIDTH, held, indexed, save_pictures

PHOTOS = 40


def index_of(folder: Path, *roots: Path) -> IndexFolder:
    """A complete index, its text half without a tower."""
    place = IndexFolder(folder)
    with place.writing(), closing(place.begin(EMBEDDER)) as store:
        indexed(store, *roots)
        texts = place.texts_folder(EMBEDDER)
        texts.mkdir()
        np.save(texts / "references.npy", np.eye(WIDTH, dtype=np.float32))
        write_checksums(texts, "texts")
        store.finish(np.zeros((0, WIDTH), np.float32))
    return place


def holdings(place: IndexFolder) -> dict[str, tuple[float, ...]]:
    with closing(place.open()) as store:
        return held(store)


def age(path: Path) -> None:
    """Set a file's time back, as that of one that was changed long ago."""
    os.utime(path, ns=(10**18, 10**18))


def well(folder: Path) -> Path:
    """Photos and their index, with labels, and nothing wrong."""
    save_pictures(folder / "photos", PHOTOS)
    (folder / "photos" / "no.png").write_bytes(b"no picture")
    place = index_of(folder / "index", folder / "photos")
    with closing(place.open()) as store:
        names = sorted(held(store))
        store.write_labels((path, {"cat": 0.5}) for path in names[:10])
        store.finish(np.zeros((0, WIDTH), np.float32))
    return folder


def catalog(place: IndexFolder) -> Path:
    return place.path / "generation-1" / "catalog.sqlite"


def copy(place: IndexFolder) -> Path:
    return place.path / "generation-1" / "catalog-copy.sqlite"


def vectors(place: IndexFolder) -> Path:
    return place.path / "generation-1" / "vectors.f32"


def execute(file: Path, statement: str, *values: object) -> None:
    """Behind the back of whoever keeps a catalog."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(statement, values)


def executing(statement: str) -> Callable[[IndexFolder], None]:
    """Spoils a catalog by a statement."""
    return lambda place: execute(catalog(place), statement)


def examined(place: IndexFolder, *, repair: bool = False) -> Report:
    work = doctor.repair if repair else doctor.examine
    return work(place, with_model=False)


def faults(report: Report) -> dict[str, int]:
    return {one.kind: one.count for one in report.findings if one.is_fault}
