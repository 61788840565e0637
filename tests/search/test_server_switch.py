"""A reader of a server that another model overtakes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import StoreError
from search.options import StoreOptions
from search.place import ServerPlace
from tests.search.collections import EMBEDDER, WIDTH, indexed, save_pictures
from tests.search.milvus import TOKEN
from tests.search.store_contract import ServerEngine

pytestmark = pytest.mark.server


def test_a_reader_is_never_answered_with_the_vectors_of_another_model(
    milvus_server: ServerEngine, tmp_path: Path
) -> None:
    url = milvus_server.options("any").store
    place = ServerPlace(StoreOptions(store=url, collection="overtaken", token=TOKEN))
    save_pictures(tmp_path / "photos", 3)
    other = replace(EMBEDDER, model_id="another", fingerprint="another")
    asked = np.eye(1, WIDTH, dtype=np.float32)
    for embedder in (EMBEDDER, other):
        with closing(place.begin(embedder)) as store:
            indexed(store, tmp_path / "photos")
    with closing(place.open()) as reader:
        assert len(reader.search(asked, 5)[0].records) == 3
        place.publish(other)
        with pytest.raises(StoreError, match="has no collection overtaken"):
            reader.search(asked, 5)
    with closing(place.open()) as reader:
        assert reader.embedder == other
        assert len(reader.search(asked, 5)[0].records) == 3
