"""An index that knows files of every kind."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np

from search.place import IndexFolder
from search.store.protocol import Changes, Embedded, Embedder, Store
from tests.search.store_contract import fault, record, vector_of, write_images

ODD = os.fsdecode(b"/p/caf\xe9 \xf0\x9f\x90\xb1\n.jpg")


def fill(store: Store) -> None:
    """With every kind of file."""
    write_images(store, "/p/a.jpg", "/p/deep/b.jpg", "/q/c.jpg", ODD)
    plain = record("/p/bare.jpg", format=None, width=None, height=None, date=None, camera=None)
    old = record("/p/old.jpg", date=-(10**10), camera=os.fsdecode(b"caf\xe9"))
    store.write(Changes(embedded=[Embedded(one, vector_of(one.path)) for one in (plain, old)]))
    store.write(Changes(absent=["/q/c.jpg"], unreadable=[fault("/p/broken.jpg")]))
    store.write_labels([("/p/a.jpg", {"cat": 0.75, "dög": 0.25}), ("/q/c.jpg", {"dog": 0.5})])
    store.set_roots(["/p", "/q"])


def filled(folder: Path, embedder: Embedder) -> IndexFolder:
    made = IndexFolder(folder)
    with closing(made.begin(embedder)) as store:
        fill(store)
        texts = made.texts_folder(store.embedder)
        texts.mkdir()
        np.save(texts / "references.npy", np.eye(8, dtype=np.float32))
        (texts / "tower").mkdir()
        (texts / "tower" / "model.onnx").write_bytes(b"tower")
    return made


def model(width: int) -> Embedder:
    return Embedder(model_id="/no/model", revision=None, fingerprint="f-1", width=width)
