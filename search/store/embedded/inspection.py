"""What can be wrong in a folder of the embedded engine, looked for and mended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from runtime.errors import StoreError
from search.findings import Finding
from search.paths import real_path
from search.store.embedded import file_rows
from search.store.embedded.approximate import ApproximateIndex, Covered
from search.store.embedded.catalog import (
    FILE_NAME,
    Catalog,
    SlotArray,
    is_damage,
    open_catalog,
)
from search.store.embedded.compaction import compact
from search.store.embedded.vector_file import VectorFile

_BLOCK = 16_384
_LENGTH_ERROR = 1e-3
_TOLD = 20  # faults that SQLite is asked to list
_OURS = ("catalog.sqlite", "vectors", "approximate", ".catalog")
_NO_VECTOR = "lost embeddings"
_LOST = "they are forgotten, and the next footwork search index embeds them again"


def catalog_damage(folder: Path) -> str | None:
    """What is broken in a catalog, by SQLite's own account; None for nothing.

    Raises:
        StoreError: There is no catalog, or it is of another format or not to be read.
    """
    try:
        with closing(open_catalog(folder / FILE_NAME, to_write=False).connection) as connection:
            rows = connection.execute(f"PRAGMA integrity_check({_TOLD})").fetchall()
            words, files = (
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("names", "files")
            )
            for fact in ("embedder", "slots", "vectors"):
                Catalog(folder, connection).fact(fact)
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        return str(error)
    except StoreError as error:
        if is_damage(error.__cause__):
            return str(error.__cause__)
        raise
    faults = [line for (text,) in rows if text != "ok" for line in str(text).splitlines()]
    if words != files:
        faults.append(f"{files:,} files, but the words of {words:,}")
    return "; ".join(faults[:3]) or None


def inspect_folder(folder: Path) -> list[Finding]:
    """What is wrong beside a sound catalog.

    Raises:
        StoreError: The catalog cannot be read.
    """
    found = _inspected(folder)
    # A writer may have compacted between a look at the catalog and one at its vectors.
    return _inspected(folder) if any(one.kind == _NO_VECTOR for one in found) else found


def _inspected(folder: Path) -> list[Finding]:
    with closing(open_catalog(folder / FILE_NAME, to_write=False).connection) as connection:
        catalog = Catalog(folder / FILE_NAME, connection)
        with catalog.snapshot():
            lost, spoilt = _lost_slots(catalog, folder)
            found = [
                *_found(_NO_VECTOR, _paths(catalog, lost), "the vector file ends before", _LOST),
                *_found("spoilt embeddings", _paths(catalog, spoilt), "not of length 1", _LOST),
                *_found("shared embeddings", _shared(catalog), "two files have one", _LOST),
                *_found("no embedding", _unfinished(catalog), "and no reason why not", _LOST),
                *_miscounted(catalog),
                *_holes(catalog),
                *_approximate(folder, catalog),
            ]
            found += _left_over(folder, catalog.fact("vectors"))
    return found


def mend_folder(folder: Path, *, shrink: bool) -> None:
    """Forget images without a sound vector, close holes, delete what nothing names.

    Args:
        folder: Of an embedded index, which no other process updates.
        shrink: Whether to close holes.

    Raises:
        StoreError: Something cannot be read or written.
    """
    with closing(open_catalog(folder / FILE_NAME, to_write=True).connection) as connection:
        catalog = Catalog(folder / FILE_NAME, connection)
        with catalog.transaction():
            lost, spoilt = _lost_slots(catalog, folder)
            gone = [*_paths(catalog, lost), *_paths(catalog, spoilt)]
            for path in [*gone, *_shared(catalog), *_unfinished(catalog)]:
                file_rows.delete_file(catalog, path)
            last = catalog.one("SELECT max(slot) FROM files")
            catalog.set_fact("slots", 0 if last is None else last + 1)
            catalog.run("DELETE FROM holes WHERE slot >= ?", catalog.fact("slots"))
    if shrink:
        compact(folder)
    with closing(open_catalog(folder / FILE_NAME, to_write=False).connection) as connection:
        catalog = Catalog(folder / FILE_NAME, connection)
        vectors, stale = catalog.fact("vectors"), list(_approximate(folder, catalog))
    if stale:
        (folder / "approximate.json").unlink(missing_ok=True)
    for finding in _left_over(folder, vectors):
        for name in finding.paths:
            Path(name).unlink(missing_ok=True)


def _lost_slots(catalog: Catalog, folder: Path) -> tuple[SlotArray, SlotArray]:
    """Slots of files beyond the vector file's end, and of vectors that are none."""
    slots = catalog.slots("slot IS NOT NULL", ())
    file = VectorFile(folder / catalog.fact("vectors"), catalog.fact("embedder")["width"])
    stored = file.stored()
    lost, kept = slots[slots >= stored], slots[slots < stored]
    vectors = file.rows(int(kept[-1]) + 1 if len(kept) else 0)
    spoilt = []
    for start in range(0, len(kept), _BLOCK):
        part = kept[start : start + _BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(vectors[part], axis=1)
        spoilt.append(part[~(np.abs(lengths - 1) < _LENGTH_ERROR)])
    return lost, np.concatenate([np.zeros(0, np.int64), *spoilt])


def _paths(catalog: Catalog, slots: SlotArray) -> list[str]:
    listed = json.dumps(slots.tolist())
    rows = catalog.run(
        "SELECT path FROM files WHERE slot IN (SELECT value FROM json_each(?)) ORDER BY path",
        listed,
    )
    return [real_path(path) for (path,) in rows]


def _shared(catalog: Catalog) -> list[str]:
    # Not through the index, which forbids what is looked for.
    twice = (
        "SELECT slot FROM files NOT INDEXED WHERE slot NOT NULL GROUP BY slot HAVING count(*) > 1"
    )
    rows = catalog.run(f"SELECT path FROM files NOT INDEXED WHERE slot IN ({twice}) ORDER BY path")
    return [real_path(path) for (path,) in rows]


def _unfinished(catalog: Catalog) -> list[str]:
    rows = catalog.run("SELECT path FROM files WHERE slot IS NULL AND fault IS NULL ORDER BY path")
    return [real_path(path) for (path,) in rows]


def _found(kind: str, paths: Sequence[str], what: str, remedy: str) -> Iterator[Finding]:
    if paths:
        yield Finding(kind, len(paths), f"{what}; with --repair {remedy}", tuple(paths))


def _miscounted(catalog: Catalog) -> Iterator[Finding]:
    last = catalog.one("SELECT max(slot) FROM files")
    if last is not None and last >= catalog.fact("slots"):
        yield Finding("miscounted vectors", 1, "more are named than counted; --repair counts anew")


def _holes(catalog: Catalog) -> Iterator[Finding]:
    named = catalog.one("SELECT count(*) FROM files WHERE slot IS NOT NULL")
    holes = catalog.fact("slots") - named
    if holes > 0:
        what = "places of vectors that nothing names any more; --repair gives them back to the disk"
        yield Finding("holes", holes, what, is_fault=False)


def _approximate(folder: Path, catalog: Catalog) -> Iterator[Finding]:
    if not (folder / "approximate.json").exists():
        return
    state = Covered(catalog.fact("vectors"), catalog.fact("slots"))
    if not ApproximateIndex(folder).covers(state):
        what = "of other vectors, or damaged, so that searches are slow; an update builds it anew"
        yield Finding("approximate index", 1, what)


def _left_over(folder: Path, vectors: str) -> list[Finding]:
    """Files that a killed process left, or that nothing names any more."""
    named = {vectors, "approximate.json", *(f"{FILE_NAME}{end}" for end in ("", "-wal", "-shm"))}
    named |= {path.name for path in folder.glob("approximate-*.faiss")} if _built(folder) else set()
    named |= {path.name for path in folder.glob("catalog-damaged*")}
    paths = sorted(
        str(path)
        for path in folder.iterdir()
        if path.is_file() and path.name.startswith(_OURS) and path.name not in named
    )
    what = "files that nothing names any more; --repair deletes them"
    return [Finding("left over", len(paths), what, tuple(paths))] if paths else []


def _built(folder: Path) -> bool:
    return (folder / "approximate.json").exists()
