"""What can be wrong in a folder of the embedded engine, looked for and mended."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from footwork.errors import StoreError
from search.findings import Finding
from search.paths import real_path
from search.store.embedded import file_rows
from search.store.embedded.approximate import ApproximateIndex, Covered
from search.store.embedded.catalog import (
    FILE_NAME,
    Catalog,
    SlotArray,
    open_catalog,
)
from search.store.embedded.catalog_faults import is_damage
from search.store.embedded.compaction import compact
from search.store.embedded.salvage import damaged_catalog
from search.store.embedded.sound_vectors import checksums_of, spoilt_rows
from search.store.embedded.vector_file import VectorFile

_BLOCK = 16_384
_TOLD = 20  # faults that SQLite is asked to list
_OURS = re.compile(
    r"\.?catalog(-damaged(-[0-9]+)?|-repaired|-copy)?\.sqlite.*|vectors(-[0-9]{1,9})?\.f32"
    r"|approximate(-[0-9]{1,12})?\.(faiss|json)"
)
"""Names that only this engine gives."""
_NO_VECTOR = "lost embeddings"
_SPOILT = "not what was written, or not of length 1"
_LOST = "they are forgotten, and the next footwork search index embeds them again"


def catalog_damage(folder: Path) -> str | None:
    """What is broken in a catalog, by SQLite's own account; None for nothing.

    Raises:
        StoreError: There is no catalog, or it is of another format or not to be read.
    """
    try:
        catalog = open_catalog(folder / FILE_NAME, to_write=False)
        with closing(catalog.connection) as connection:
            rows = connection.execute(f"PRAGMA integrity_check({_TOLD})").fetchall()
            words, files = (
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("names", "files")
            )
            unused = _read_all(catalog)
    except sqlite3.DatabaseError as error:
        return str(error)
    except StoreError as error:
        if is_damage(error.__cause__):
            return str(error.__cause__)
        raise
    faults = [line for (text,) in rows if text != "ok" for line in str(text).splitlines()]
    if unused:
        faults.append(f"{unused:,} vectors count as unused that are used")
    if words != files:
        faults.append(f"{files:,} files, but the words of {words:,}")
    return "; ".join(faults[:3]) or None


def _read_all(catalog: Catalog) -> int:
    """Read every row as who answers would; returns how many used vectors count as unused."""
    with catalog.snapshot():
        told = [catalog.embedder, catalog.vectors_name, catalog.slot_count]
        told += [file_rows.read_roots(catalog), catalog.dead_slots()]
        told += [file_rows.read_exclusions(catalog)]
        told += [catalog.slots("slot IS NOT NULL", ())]
        for record in file_rows.read_files(catalog, "true"):
            told[0] = record
        if wrong := file_rows.wrong_words(catalog):
            raise catalog.spoilt(f"the words of {wrong:,} files are not those of their paths")
        odd = "SELECT count(*) FROM labels WHERE typeof(label) != 'text' OR typeof(score) != 'real'"
        if catalog.one(odd):
            raise catalog.spoilt("a label is no text, or its score no number")
        return int(catalog.one("SELECT count(*) FROM holes JOIN files ON files.slot = holes.slot"))


def inspect_folder(folder: Path) -> list[Finding]:
    """What is wrong beside a sound catalog.

    Raises:
        StoreError: The catalog cannot be read.
    """
    found = _inspected(folder)
    # A writer may have compacted between a look at the catalog and one at its vectors.
    return _inspected(folder) if any(one.kind == _NO_VECTOR for one in found) else found


def _inspected(folder: Path) -> list[Finding]:
    catalog = open_catalog(folder / FILE_NAME, to_write=False)
    with closing(catalog.connection), catalog.snapshot():
        lost, spoilt = _lost_slots(catalog, folder)
        found = [
            *_found(_NO_VECTOR, _paths(catalog, lost), "the vector file ends before", _LOST),
            *_found("spoilt embeddings", _paths(catalog, spoilt), _SPOILT, _LOST),
            *_found("shared embeddings", _shared(catalog), "two files have one", _LOST),
            *_found("no embedding", _unfinished(catalog), "and no reason why not", _LOST),
            *_miscounted(catalog, folder),
            *_holes(catalog),
            *_unchecked(catalog),
            *_set_aside(folder),
            *_approximate(folder, catalog),
        ]
        found += _left_over(folder, catalog.vectors_name)
    return found


def mend_folder(folder: Path, *, shrink: bool) -> None:
    """Forget images without a sound vector, close holes, delete what nothing names.

    Args:
        folder: Of an embedded index, which no other process updates.
        shrink: Whether to close holes.

    Raises:
        StoreError: Something cannot be read or written.
    """
    catalog = open_catalog(folder / FILE_NAME, to_write=True)
    with closing(catalog.connection), catalog.transaction():
        lost, spoilt = _lost_slots(catalog, folder)
        gone = [*_paths(catalog, lost), *_paths(catalog, spoilt)]
        for path in [*gone, *_shared(catalog), *_unfinished(catalog)]:
            file_rows.delete_file(catalog, path)
        last = catalog.one("SELECT max(slot) FROM files")
        catalog.set_fact("slots", 0 if last is None else last + 1)
        catalog.run("DELETE FROM holes WHERE slot >= ?", catalog.slot_count)
        _add_checksums(catalog, folder)
    if shrink:
        compact(folder)
    catalog = open_catalog(folder / FILE_NAME, to_write=False)
    with closing(catalog.connection):
        vectors, stale = catalog.vectors_name, list(_approximate(folder, catalog))
    if stale:
        (folder / "approximate.json").unlink(missing_ok=True)
    for finding in _left_over(folder, vectors):
        for name in finding.paths:
            Path(name).unlink(missing_ok=True)


def _lost_slots(catalog: Catalog, folder: Path) -> tuple[SlotArray, SlotArray]:
    """Slots of files beyond the vector file's end, and of vectors that are none."""
    slots = catalog.slots("slot IS NOT NULL", ())
    file = VectorFile(folder / catalog.vectors_name, catalog.embedder.width)
    stored = file.stored()
    lost, kept = slots[slots >= stored], slots[slots < stored]
    vectors = file.rows(int(kept[-1]) + 1 if len(kept) else 0)
    spoilt = []
    for start in range(0, len(kept), _BLOCK):
        found, checksums = file_rows.checksums_at(catalog, kept[start : start + _BLOCK].tolist())
        part = np.array(found, np.int64)
        spoilt.append(part[spoilt_rows(vectors[part], checksums)])
    return lost, np.concatenate([np.zeros(0, np.int64), *spoilt])


def _add_checksums(catalog: Catalog, folder: Path) -> None:
    """To vectors that were written without one: they are of length 1, and no more is known."""
    file = VectorFile(folder / catalog.vectors_name, catalog.embedder.width)
    slots = catalog.slots("slot IS NOT NULL AND checksum IS NULL", ())
    vectors = file.rows(catalog.slot_count if len(slots) else 0)
    for start in range(0, len(slots), _BLOCK):
        part = slots[start : start + _BLOCK]
        pairs = zip(checksums_of(vectors[part]), part.tolist(), strict=True)
        catalog.run_many("UPDATE files SET checksum = ? WHERE slot = ?", pairs)


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


def _miscounted(catalog: Catalog, folder: Path) -> Iterator[Finding]:
    last = catalog.one("SELECT max(slot) FROM files")
    stored = VectorFile(folder / catalog.vectors_name, catalog.embedder.width).stored()
    if last is not None and last >= catalog.slot_count:
        yield Finding("miscounted vectors", 1, "more are named than counted; --repair counts anew")
    elif catalog.slot_count > max(stored, -1 if last is None else last + 1):
        yield Finding("miscounted vectors", 1, "fewer are there than counted; --repair counts anew")


def _holes(catalog: Catalog) -> Iterator[Finding]:
    named = catalog.one("SELECT count(*) FROM files WHERE slot IS NOT NULL")
    holes = catalog.slot_count - named
    if holes > 0:
        what = "places of vectors that nothing names any more; --repair gives them back to the disk"
        yield Finding("holes", holes, what, is_fault=False)


def _unchecked(catalog: Catalog) -> Iterator[Finding]:
    count = catalog.one("SELECT count(*) FROM files WHERE slot IS NOT NULL AND checksum IS NULL")
    if count:
        what = "vectors that a repair saved, whose damage could not be seen; --repair adds them"
        yield Finding("missing checksums", count, what, is_fault=False)


def _approximate(folder: Path, catalog: Catalog) -> Iterator[Finding]:
    if not (folder / "approximate.json").exists():
        return
    state = Covered(catalog.vectors_name, catalog.slot_count, catalog.embedder.width)
    if not ApproximateIndex(folder).covers(state):
        what = "of other vectors, or damaged, so that searches are slow; an update builds it anew"
        yield Finding("approximate index", 1, what)


def _left_over(folder: Path, vectors: str) -> list[Finding]:
    """Files that a killed process left, or that nothing names any more."""
    named = {vectors, "approximate.json", *(f"{FILE_NAME}{end}" for end in ("", "-wal", "-shm"))}
    named |= {path.name for path in folder.glob("approximate-*.faiss")} if _built(folder) else set()
    aside = damaged_catalog(folder)
    named |= {f"{aside.name}{end}" for end in ("", "-wal")} if aside else set()
    paths = sorted(
        str(path)
        for path in folder.iterdir()
        if path.is_file() and _OURS.fullmatch(path.name) and path.name not in named
    )
    what = "files that nothing names any more; --repair deletes them"
    return [Finding("left over", len(paths), what, tuple(paths))] if paths else []


def _set_aside(folder: Path) -> Iterator[Finding]:
    aside = damaged_catalog(folder)
    if aside:
        size = sum(path.stat().st_size for path in folder.glob(f"{aside.name}*"))
        what = f"of {size / 1e6:,.1f} MB, kept by a repair; delete it once nothing is missed"
        yield Finding("damaged catalog", 1, what, (str(aside),), is_fault=False)


def _built(folder: Path) -> bool:
    return (folder / "approximate.json").exists()
