"""What can be wrong in a folder of the embedded engine, looked for and mended.

A broken catalog gives way to its copy; where there is none, to an empty one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from footwork.errors import StoreError
from footwork.files.faults import counted
from search.findings import Finding
from search.paths import real_path
from search.store.embedded import rows as file_rows
from search.store.embedded.approximate import ApproximateIndex, Covered
from search.store.embedded.catalog import (
    FILE_NAME,
    VECTORS,
    Catalog,
    SlotArray,
    create_catalog,
    embedder_of_fact,
    empty_log,
    is_damage,
    open_catalog,
    open_copy,
)
from search.store.embedded.catalog_copy import COPY_NAME, copy_time, drop_copy, keep_copy
from search.store.embedded.compaction import compact
from search.store.embedded.vectors import VectorFile, checksums_of, spoilt_rows

_BLOCK = 16_384
_TOLD = 20  # faults that SQLite is asked to list
_OURS = re.compile(
    r"\.?catalog(-damaged(-[0-9]+)?|-repaired|-copy)?\.sqlite(-.*)?|vectors(-[0-9]{1,9})?\.f32"
    r"|approximate(-[0-9]{1,12})?\.(faiss|json)"
)
"""Names that only this engine gives."""
_NEW, _ASIDE = ".catalog-repaired.sqlite", "catalog-damaged.sqlite"
_COPY_ASIDE = "catalog-damaged-copy.sqlite"
COPY_FAULT = "copy of the catalog"
_NO_VECTOR = "lost embeddings"
_SPOILT = "not what was written, or not of length 1"
_LOST = "they are forgotten, and the next footwork search index embeds them again"


def catalog_damage(folder: Path) -> str | None:
    """What is broken in a catalog, by SQLite's own account; None for nothing.

    Raises:
        StoreError: It is of another format, or not to be read.
    """
    try:
        return _damage(open_catalog(folder / FILE_NAME, to_write=False))
    except StoreError as error:
        if is_damage(error.__cause__):
            return str(error.__cause__)
        raise


def copy_damage(folder: Path) -> str | None:
    """The same of its copy, which is of no use either where it cannot be read."""
    try:
        return _damage(open_copy(folder / COPY_NAME))
    except StoreError as error:
        return str(error.__cause__ or error)


def _damage(catalog: Catalog) -> str | None:
    try:
        with closing(catalog.connection) as connection:
            rows = connection.execute(f"PRAGMA integrity_check({_TOLD})").fetchall()
            words, files = (
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("names", "files")
            )
            unused = _read_all(catalog)
    except sqlite3.DatabaseError as error:
        return str(error)
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


def prospect(folder: Path) -> str:
    """What `restore_catalog` would do, a clause."""
    damage = copy_damage(folder)
    if damage is not None:
        return (
            f"its copy cannot be taken either ({damage}), so that --repair begins it anew, keeps "
            "it beside with its vectors, and footwork search index embeds every photo again"
        )
    copy = open_copy(folder / COPY_NAME)
    with closing(copy.connection):
        return (
            f"--repair goes back to its copy of {copy_time(folder)}, with {_counted_rows(copy)}; "
            "what has come since, footwork search index embeds again"
        )


def restore_catalog(folder: Path, embedder: Mapping[str, Any] | None) -> str:
    """Put its copy, or where that is broken, too, an empty catalog in place of a broken one.

    The broken one is kept beside, and with an empty one in its place its vectors. Whether those
    that the copy names are still what they were, `mend_folder` sees, as it does of any.

    Args:
        folder: Of an embedded index, which no other process writes.
        embedder: What the index's manifest says of the model, for an empty one.

    Returns:
        What was done, in sentences.

    Raises:
        StoreError: Nothing tells the model, or it cannot be written; all is as it was.
    """
    path, new = folder / FILE_NAME, folder / _NEW
    _remove(new)
    is_copy = copy_damage(folder) is None
    try:
        if is_copy:
            shutil.copyfile(folder / COPY_NAME, new)
        else:
            create_catalog(new)
        catalog = open_catalog(new, to_write=True)
        with closing(catalog.connection):
            catalog.run("PRAGMA journal_mode = WAL")
            with catalog.transaction():
                done = _went_back(catalog, folder) if is_copy else _begun(catalog, folder, embedder)
            _drop_stale(folder, catalog)
            catalog.run("PRAGMA wal_checkpoint(TRUNCATE)")
        if _set_aside(folder, with_copy=not is_copy):
            done += f" The damaged one is {folder / _ASIDE}."
        new.replace(path)
    except BaseException:
        _remove(new)
        raise
    return done


def _went_back(catalog: Catalog, folder: Path) -> str:
    rows = catalog.run("SELECT path FROM files WHERE slot IS NOT NULL AND checksum IS NULL")
    unproven = [real_path(path) for (path,) in rows.fetchall()]
    for path in unproven:  # whether the vectors there are still theirs, nothing would tell
        file_rows.delete_file(catalog, path)
    lost = f", without {counted(len(unproven), 'file')} of no checksum" if unproven else ""
    return (
        f"the catalog is its copy of {copy_time(folder)} again, with {_counted_rows(catalog)}"
        f"{lost}; what it lacks is embedded again by footwork search index."
    )


def _begun(catalog: Catalog, folder: Path, embedder: Mapping[str, Any] | None) -> str:
    """An empty catalog, whose vectors will be written over nobody's."""
    model = embedder_of_fact(embedder)
    if model is None:
        raise StoreError(
            f"{folder / FILE_NAME} is broken, there is no good copy of it, and nothing tells the "
            "model. Move the index away, and index the photos anew."
        )
    found = [VECTORS.fullmatch(path.name) for path in folder.glob("vectors*.f32")]
    used = [int((one[1] or "-1")[1:]) for one in found if one]
    catalog.set_fact("embedder", asdict(model))
    catalog.set_fact("vectors", f"vectors-{max(used) + 1}.f32" if used else "vectors.f32")
    catalog.set_fact("slots", 0)
    return (
        "the catalog was begun anew and knows no file, label or folder: name the folders to "
        "footwork search index, which embeds every photo again."
    )


def _counted_rows(catalog: Catalog) -> str:
    files, labels, roots = (
        catalog.one(f"SELECT count(*) FROM {name}") for name in ("files", "labels", "roots")
    )
    return f"{counted(files, 'file')}, {counted(labels, 'label')} and {counted(roots, 'folder')}"


def _set_aside(folder: Path, *, with_copy: bool) -> bool:
    """Rename a broken catalog; returns whether there was one, and not a half of a killed repair."""
    path, aside, copy = folder / FILE_NAME, folder / _ASIDE, folder / COPY_NAME
    is_there, log = path.exists(), path.with_name(f"{FILE_NAME}-wal")
    if is_there:
        _remove(aside)
        path.replace(aside)
    if log.exists() and log.stat().st_size:  # beside another catalog it would spoil that
        log.replace(aside.with_name(f"{_ASIDE}-wal"))
    _remove(path)
    if with_copy and copy.exists():
        copy.replace(folder / _COPY_ASIDE)
    return is_there


def _kept_aside(folder: Path, vectors: str) -> list[Path]:
    """What repairs have kept: the newest catalog, for earlier versions kept one for each."""
    every = [one for one in folder.glob("catalog-damaged*.sqlite") if one.name != _COPY_ASIDE]
    kept = sorted(every, key=lambda path: path.lstat().st_mtime_ns)[-1:]
    kept += [one.with_name(f"{one.name}-wal") for one in kept]
    kept = [one for one in (*kept, folder / _COPY_ASIDE) if one.exists()]
    if kept:
        kept += sorted(one for one in folder.glob("vectors*.f32") if VECTORS.fullmatch(one.name))
    return [one for one in kept if one.name != vectors]


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


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
            *_aside(folder, catalog.vectors_name),
            *_approximate(folder, catalog),
            *_copy(folder),
        ]
        found += _left_over(folder, catalog.vectors_name)
    return found


def mend_folder(folder: Path, *, shrink: bool) -> str | None:
    """Forget images without a sound vector, close holes, delete what nothing names, renew the copy.

    Args:
        folder: Of an embedded index, which no other process updates.
        shrink: Whether to close holes.

    Returns:
        As `keep_copy`.

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
        used = 0 if last is None else last + 1
        if used < catalog.slot_count:
            drop_copy(folder)
        catalog.set_fact("slots", used)
        catalog.run("DELETE FROM holes WHERE slot >= ?", catalog.slot_count)
        _add_checksums(catalog, folder)
    if shrink:
        compact(folder)
    catalog = open_catalog(folder / FILE_NAME, to_write=False)
    with closing(catalog.connection):
        vectors = catalog.vectors_name
        _drop_stale(folder, catalog)
    for finding in _left_over(folder, vectors):
        for name in finding.paths:
            Path(name).unlink(missing_ok=True)
    empty_log(folder / FILE_NAME)
    return keep_copy(folder)


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
        what = "vectors of an earlier version, whose damage cannot be seen; --repair adds them"
        yield Finding("missing checksums", count, what, is_fault=False)


def _approximate(folder: Path, catalog: Catalog) -> Iterator[Finding]:
    if not (folder / "approximate.json").exists():
        return
    state = Covered(catalog.vectors_name, catalog.slot_count, catalog.embedder.width)
    if not ApproximateIndex(folder).covers(state):
        what = "of other vectors, or damaged, so that searches are slow; an update builds it anew"
        yield Finding("approximate index", 1, what)


def _drop_stale(folder: Path, catalog: Catalog) -> None:
    """Give up an approximate index of other vectors, before new ones can come in their places."""
    if any(_approximate(folder, catalog)):
        (folder / "approximate.json").unlink(missing_ok=True)


def _left_over(folder: Path, vectors: str) -> list[Finding]:
    """Files that a killed process left, or that nothing names any more."""
    named = {vectors, "approximate.json", *(f"{FILE_NAME}{end}" for end in ("", "-wal", "-shm"))}
    named |= {path.name for path in folder.glob("approximate-*.faiss")} if _built(folder) else set()
    named |= {COPY_NAME, *(path.name for path in _kept_aside(folder, vectors))}
    paths = sorted(
        str(path)
        for path in folder.iterdir()
        if path.is_file() and _OURS.fullmatch(path.name) and path.name not in named
    )
    what = "files that nothing names any more; --repair deletes them"
    return [Finding("left over", len(paths), what, tuple(paths))] if paths else []


def _aside(folder: Path, vectors: str) -> Iterator[Finding]:
    kept = _kept_aside(folder, vectors)
    if kept:
        size = sum(path.stat().st_size for path in kept)
        what = f"of {size / 1e6:,.1f} MB, kept by a repair; delete it once nothing is missed"
        yield Finding("damaged catalog", 1, what, tuple(map(str, kept)), is_fault=False)


def _copy(folder: Path) -> Iterator[Finding]:
    """What is amiss with the copy of a sound catalog."""
    damage = copy_damage(folder)
    if not os.path.lexists(folder / COPY_NAME):
        what = "to go back to if the catalog breaks; footwork search index makes one"
        yield Finding("no copy of the catalog", 1, what, is_fault=False)
    elif damage:
        yield Finding(COPY_FAULT, 1, f"damaged ({damage}); --repair makes it anew")


def _built(folder: Path) -> bool:
    return (folder / "approximate.json").exists()
