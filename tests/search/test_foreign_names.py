"""What a crafted index names, or links to, outside itself is neither read, written nor deleted."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from footwork.errors import FootworkError, StoreError
from search.place import IndexFolder
from search.query.texts import prepare_texts
from search.store.embedded import vectors as vector_files
from search.store.embedded.vectors import compact
from search.store.protocol import Changes
from tests.search.collections import EMBEDDER, WIDTH, held, indexed, save_picture
from tests.search.places import catalog, examined, execute, holdings, vectors


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's, of files that an index could want."""
    folder = tmp_path / "outside"
    for name in ("letter.txt", ".texts.draft", "deep/vectors.f32", "generation-1/vectors-2.f32"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"mine " * 5000)
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tell(place: IndexFolder, name: str, value: object) -> None:
    """Put a fact into the catalog."""
    execute(catalog(place), "UPDATE facts SET value = ? WHERE name = ?", json.dumps(value), name)


def replace_by_link(path: Path, target: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)


def everything(place: IndexFolder, photos: Path) -> None:
    """All that writes into an index, or deletes from it."""
    with suppress(FootworkError), place.writing(), closing(place.begin(EMBEDDER)) as store:
        paths = sorted(record.path for record in store.files())
        store.write(Changes(forgotten=paths[:9]))
        indexed(store, photos)
        store.finish(np.eye(WIDTH, dtype=np.float32))
        compact(place.path / "generation-1")
        place.publish(EMBEDDER)
    with suppress(FootworkError):
        examined(place, repair=True)
    with suppress(FootworkError, OSError, AttributeError):  # there is no encoder
        prepare_texts(None, place.texts_folder(EMBEDDER))  # type: ignore[arg-type]


LINKS = {
    "a linked vector file": ("generation-1/vectors.f32", "letter.txt"),
    "the next vector file": ("generation-1/vectors-2.f32", "letter.txt"),
    "a linked lock": ("writer.lock", "letter.txt"),
    "a linked manifest": ("footwork.json", "letter.txt"),
    "a linked catalog": ("generation-1/catalog.sqlite", "letter.txt"),
    "a linked log": ("generation-1/catalog.sqlite-wal", "letter.txt"),
    "a linked generation": ("generation-1", ""),
    "another generation": ("generation-2", ""),
    "a linked text half": ("generation-1/texts", ""),
    "a linked record": ("generation-1/approximate.json", "letter.txt"),
    "a linked catalog, set aside": ("generation-1/catalog-damaged.sqlite", "new"),
    "a linked copy": ("generation-1/catalog-copy.sqlite", "letter.txt"),
    "temporary files": (".generation-2.footwork-a", ""),
}
"""What of an index is a link, and to what outside."""


def link(name: str, target: str, place: IndexFolder, outside: Path) -> None:
    replace_by_link(place.path / name, outside / target)


INDEX: dict[str, Callable[[IndexFolder, Path], object]] = {
    "a vector file": lambda place, out: tell(place, "vectors", str(out / "deep" / "vectors.f32")),
    "a way up": lambda place, out: tell(place, "vectors", f"../../{out.name}/deep/vectors.f32"),
    "a generation": lambda place, out: (place.path / "footwork.json").write_text(
        json.dumps({"kind": "index", "format": 1, "generation": str(out / "generation-1")})
    ),
    **{name: partial(link, *paths) for name, paths in LINKS.items()},
}


@pytest.mark.parametrize("name", INDEX)
def test_nothing_outside_an_index_is_touched(
    place: IndexFolder, original: Path, outside: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "FEWEST_HOLES", 1)
    monkeypatch.setattr(vector_files, "WORST_SHARE", 0.1)
    before = digest(outside)
    INDEX[name](place, outside)
    everything(place, original / "photos")
    assert digest(outside) == before
    assert not (outside / "new").exists()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("a vector file", r"names '/.*' as its vector file, not vectors\.f32 .* doctor --repair"),
        ("a way up", r"names '\.\./\.\..*' as its vector file"),
        ("a generation", r"names '/.*' in place of generation-1 or the like\. footwork search doc"),
        ("a linked generation", r"generation-1 is a link, and a generation .* Move the folder"),
        ("a linked catalog", r"catalog\.sqlite is not opened: it is a link, and must be a file"),
    ],
)
def test_who_reads_such_an_index_is_told(
    place: IndexFolder, outside: Path, spoil: str, told: str
) -> None:
    INDEX[spoil](place, outside)
    with pytest.raises(StoreError, match=told), closing(place.open()) as store:
        held(store)


@pytest.mark.parametrize("name", ["a linked lock", "a linked manifest"])
def test_who_writes_through_a_link_is_told(place: IndexFolder, outside: Path, name: str) -> None:
    INDEX[name](place, outside)
    with (
        pytest.raises(StoreError, match=r"cannot be written: .* is a link, and must be a file"),
        place.writing(),
    ):
        pass


def test_a_linked_vector_file_is_read_but_not_written(place: IndexFolder, tmp_path: Path) -> None:
    before = holdings(place)
    shutil.move(vectors(place), tmp_path / "elsewhere.f32")
    replace_by_link(vectors(place), tmp_path / "elsewhere.f32")
    assert holdings(place) == before
    with (
        closing(place.open()) as store,
        pytest.raises(StoreError, match=r"it is a link, and must be"),
    ):
        indexed(store, save_picture(tmp_path / "new" / "a.png", 77).parent)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END",
        "ALTER TABLE roots RENAME TO r; CREATE VIEW roots AS SELECT path FROM r",
        "CREATE INDEX odd ON files (abs(size))",
        "ALTER TABLE files ADD COLUMN more TEXT",
        "DROP INDEX files_by_slot",
    ],
)
def test_tables_that_are_not_ours_are_refused_and_the_copy_taken(
    place: IndexFolder, statement: str
) -> None:
    before = holdings(place)
    with closing(sqlite3.connect(catalog(place))) as connection:
        connection.executescript(statement)
    with pytest.raises(StoreError, match=r"its tables are not those of an index\. .*--repair"):
        place.open()
    assert "the catalog is its copy of 20" in examined(place, repair=True).repaired[0]
    assert holdings(place) == before


def test_a_graph_whose_weights_lie_elsewhere_is_refused(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import onnx

    from footwork.encoder.dual import DualEncoder
    from footwork.encoder.onnx_text import OnnxTextTower
    from footwork.errors import ModelError

    request.getfixturevalue("exported_once")
    prepare_texts(DualEncoder("tiny"), tmp_path / "texts")
    tower = tmp_path / "texts" / "tower"
    shutil.copy(tower / "text.onnx.data", tmp_path / "texts" / "weights")
    graph = onnx.load(tower / "text.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights" if entry.key == "location" else entry.value
    (tower / "text.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="cannot be read"):
        OnnxTextTower.load(tower)
