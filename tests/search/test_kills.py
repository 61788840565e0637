"""Killed at any moment, an index loses at most the batch in flight."""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from pathlib import Path

from search.store.embedded import EmbeddedStore
from tests.search.collections import finds_itself, held, indexed, new_store, save_pictures
from tests.search.commands import process

MOMENTS = int(os.environ.get("FOOTWORK_TEST_KILLS", "5"))
CHILD = """
import sys
from pathlib import Path
import search.update.update
from search.store.embedded import EmbeddedStore
from tests.search.collections import ThumbEncoder
search.update.update.BATCH = 4
print("ready", flush=True)
store = EmbeddedStore(Path(sys.argv[1]))
search.update.update.update(store, [sys.argv[2]], lambda: ThumbEncoder(0.004))
print("done", flush=True)
"""


def kill_while_indexing(index: Path, photos: Path, seconds: float) -> bool:
    """Returns whether it was killed before it was done."""
    with process(CHILD, index, photos) as child:
        time.sleep(seconds)
        child.kill()
        return "done" not in child.communicate()[0]


def test_after_any_kill_the_updated_index_equals_a_fresh_one(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save_pictures(photos, 60)
    with closing(new_store(tmp_path / "fresh")) as fresh:
        indexed(fresh, photos)
        expected = held(fresh)
    moment = random.Random(0)
    killed = 0
    for attempt in range(MOMENTS):
        index = tmp_path / f"index-{attempt}"
        new_store(index).close()
        for _ in range(2):  # the second one goes on from the first
            killed += kill_while_indexing(index, photos, moment.uniform(0.0, 0.35))
        with closing(EmbeddedStore(index)) as store:
            left = held(store)
            assert left.items() <= expected.items()
            assert finds_itself(store)
            assert indexed(store, photos).unchanged == len(left)
            assert held(store) == expected
            assert store.counts().absent == 0
    assert killed
