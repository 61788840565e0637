"""What can be wrong in a folder of the embedded engine, looked for and mended.

A broken catalog gives way to its copy; where there is none, to an empty one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from footwork.errors import StoreError
from footwork.files.faults import counted
from search.findings import Finding
from search.paths import real_path
from search.store.embedded import rows
from search.store.embedded.catalog import (
    COPY_NAME,
    FILE_NAME,
    VECTORS,
    Catalog,
    copy_time,
    create_catalog,
    drop_copy,
    empty_log,
    is_damage,
    keep_copy,
    open_catalog,
    reading,
    writing,
)
from search.store.embedded.nearest import RECORD, ApproximateIndex
from search.store.embedded.vectors import VectorFile, checksums_of, compact, spoilt_rows
from search.store.protocol import told_embedder

COPY_FAULT = "copy of the catalog"
_BLOCK = 16_384
_TOLD = 20  # faults that SQLite is asked to list
_OURS = re.compile(
    r"\.?catalog(-damaged(-[0-9]+)?|-repaired|-copy)?\.sqlite(-.*)?|vectors(-[0-9]{1,9})?\.f32"
    r"|approximate(-[0-9]{1,12})?\.(faiss|json)"
)
"""Names that only this engine gives."""
_NEW, _ASIDE = ".catalog-repaired.sqlite", "catalog-damaged.sqlite"
_COPY_ASIDE = "catalog-damaged-copy.sqlite"
_UNCHECKED = "slot IS NOT NULL AND checksum IS NULL"
_ODD_LABEL = "typeof(label) != 'text' OR typeof(score) != 'real'"
_NO_VECTOR = "lost embeddings"
_LOST = "they are forgotten, and the next footwork search index embeds them again"


def catalog_damage(folder: Path) -> str | None:
    """What is broken in a catalog, by SQLite's own account; None for nothing.

    `StoreError` where it is of another format, or not to be read.
    """
    try:
        return _damage(open_catalog(folder / FILE_NAME, "read"))
    except StoreError as error:
        if is_damage(error.__cause__):
            return str(error.__cause__)
        raise


def copy_damage(folder: Path) -> str | None:
    """The same of its copy, which is of no use either where it cannot be read."""
    try:
        return _damage(open_catalog(folder / COPY_NAME, "copy"))
    except StoreError as error:
        return str(error.__cause__ or error)


def _damage(catalog: Catalog) -> str | None:
    """Every row is read as who answers would read it."""
    try:
        with closing(catalog.connection), catalog.snapshot():
            checks = catalog.run(f"PRAGMA integrity_check({_TOLD})").fetchall()
            faults = [line for (text,) in checks if text != "ok" for line in str(text).splitlines()]
            words = catalog.one("SELECT count(*) FROM names")
            _ = (catalog.embedder, catalog.vectors_name, catalog.slot_count)
            _ = (catalog.dead_slots(), catalog.slots())
            _ = (rows.read_roots(catalog), rows.read_exclusions(catalog))
            files = sum(1 for _ in rows.read_files(catalog))
            if wrong := rows.wrong_words(catalog):
                raise catalog.spoilt(f"the words of {wrong:,} files are not those of their paths")
            if catalog.one(f"SELECT count(*) FROM labels WHERE {_ODD_LABEL}"):
                raise catalog.spoilt("a label is no text, or its score no number")
            unused = catalog.one("SELECT count(*) FROM holes JOIN files ON files.slot = holes.slot")
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.DatabaseError):
            return str(error.__cause__)
        raise
    if unused:
        faults.append(f"{unused:,} vectors count as unused that are used")
    if words != files:
        faults.append(f"{files:,} files, but the words of {words:,}")
    return "; ".join(faults[:3]) or None


def prospect(folder: Path) -> str:
    """What `restore_catalog` would do, a clause."""
    if damage := copy_damage(folder):
        return (
            f"its copy cannot be taken either ({damage}), so that --repair begins it anew, keeps "
            "it beside with its vectors, and footwork search index embeds every photo again"
        )
    with reading(folder / COPY_NAME, "copy") as copy:
        return (
            f"--repair goes back to its copy of {copy_time(folder)}, with {_counted_rows(copy)}; "
            "what has come since, footwork search index embeds again"
        )


def restore_catalog(folder: Path, embedder: Mapping[str, Any] | None) -> str:
    """Put its copy, or where that is broken, too, an empty catalog in place of a broken one.

    The broken one is kept beside, and with an empty one in its place its vectors. Whether those
    that the copy names are still what they were, `mend_folder` sees, as it does of any. No other
    process may write. `embedder` is what the index's manifest says of the model, for an empty one;
    where nothing tells it, or it cannot be written, a `StoreError` leaves all as it was. Returned
    is what was done, in sentences.
    """
    new = folder / _NEW
    _remove(new)
    is_copy = copy_damage(folder) is None
    try:
        if is_copy:
            shutil.copyfile(folder / COPY_NAME, new)
        else:
            create_catalog(new)
        catalog = open_catalog(new, "write")
        with closing(catalog.connection):
            catalog.run("PRAGMA journal_mode = WAL")
            with catalog.transaction():
                done = _went_back(catalog, folder) if is_copy else _begun(catalog, folder, embedder)
            _drop_stale(catalog, folder)
            catalog.run("PRAGMA wal_checkpoint(TRUNCATE)")
        if _set_aside(folder, with_copy=not is_copy):
            done += f" The damaged one is {folder / _ASIDE}."
        new.replace(folder / FILE_NAME)
    except BaseException:
        _remove(new)
        raise
    return done


def _went_back(catalog: Catalog, folder: Path) -> str:
    # Whether the vectors of files without a checksum are still theirs, nothing would tell.
    unproven = _paths(catalog, _UNCHECKED)
    for path in unproven:
        rows.delete_file(catalog, path)
    lost = f", without {counted(len(unproven), 'file')} of no checksum" if unproven else ""
    return (
        f"the catalog is its copy of {copy_time(folder)} again, with {_counted_rows(catalog)}"
        f"{lost}; what it lacks is embedded again by footwork search index."
    )


def _begun(catalog: Catalog, folder: Path, embedder: Mapping[str, Any] | None) -> str:
    """An empty catalog, whose vectors will be written over nobody's."""
    model = told_embedder(embedder)
    if model is None:
        raise StoreError(
            f"{folder / FILE_NAME} is broken, there is no good copy of it, and nothing tells the "
            "model. Move the index away, and index the photos anew."
        )
    found = [VECTORS.fullmatch(path.name) for path in folder.glob("vectors*.f32")]
    used = [int((name[1] or "-1")[1:]) for name in found if name]
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


def _paths(catalog: Catalog, condition: str, *values: Any) -> list[str]:
    # Not through the index, which forbids that two have one slot.
    statement = f"SELECT path FROM files NOT INDEXED WHERE {condition} ORDER BY path"
    return [real_path(path) for (path,) in catalog.run(statement, *values).fetchall()]


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


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _kept_aside(folder: Path, vectors: str) -> list[Path]:
    """What repairs have kept: the newest catalog, for earlier versions kept one for each."""
    every = [path for path in folder.glob("catalog-damaged*.sqlite") if path.name != _COPY_ASIDE]
    kept = sorted(every, key=lambda path: path.lstat().st_mtime_ns)[-1:]
    kept += [path.with_name(f"{path.name}-wal") for path in kept]
    kept = [path for path in (*kept, folder / _COPY_ASIDE) if path.exists()]
    if kept:
        kept += sorted(path for path in folder.glob("vectors*.f32") if VECTORS.fullmatch(path.name))
    return [path for path in kept if path.name != vectors]


def inspect_folder(folder: Path) -> list[Finding]:
    """What is wrong beside a sound catalog; `StoreError` where that cannot be read."""

    def inspected() -> list[Finding]:
        with reading(folder / FILE_NAME) as catalog:
            return [*_of_vectors(catalog, folder), *_of_files(catalog, folder)]

    findings = inspected()
    # A writer may have compacted between a look at the catalog and one at its vectors.
    return inspected() if any(one.kind == _NO_VECTOR for one in findings) else findings


def _of_vectors(catalog: Catalog, folder: Path) -> Iterator[Finding]:
    for kind, (paths, what) in _unsound(catalog, folder).items():
        if paths:
            yield Finding(kind, len(paths), f"{what}; with --repair {_LOST}", tuple(paths))
    count, used = catalog.slot_count, _used(catalog)
    if used > count:
        yield Finding("miscounted vectors", 1, "more are named than counted; --repair counts anew")
    elif count > max(_vector_file(catalog, folder).stored(), used):
        yield Finding("miscounted vectors", 1, "fewer are there than counted; --repair counts anew")
    holes = count - catalog.one("SELECT count(*) FROM files WHERE slot IS NOT NULL")
    if holes > 0:
        what = "places of vectors that nothing names any more; --repair gives them back to the disk"
        yield Finding("holes", holes, what, is_fault=False)
    if unchecked := catalog.one(f"SELECT count(*) FROM files WHERE {_UNCHECKED}"):
        what = "vectors of an earlier version, whose damage cannot be seen; --repair adds them"
        yield Finding("missing checksums", unchecked, what, is_fault=False)


def _of_files(catalog: Catalog, folder: Path) -> Iterator[Finding]:
    if kept := _kept_aside(folder, catalog.vectors_name):
        size = sum(path.stat().st_size for path in kept)
        what = f"of {size / 1e6:,.1f} MB, kept by a repair; delete it once nothing is missed"
        yield Finding("damaged catalog", 1, what, tuple(map(str, kept)), is_fault=False)
    if _is_stale(catalog, folder):
        what = "of other vectors, or damaged, so that searches are slow; an update builds it anew"
        yield Finding("approximate index", 1, what)
    if not os.path.lexists(folder / COPY_NAME):
        what = "to go back to if the catalog breaks; footwork search index makes one"
        yield Finding("no copy of the catalog", 1, what, is_fault=False)
    elif damage := copy_damage(folder):
        yield Finding(COPY_FAULT, 1, f"damaged ({damage}); --repair makes it anew")
    if left_over := tuple(map(str, _left_over(folder, catalog.vectors_name))):
        what = "files that nothing names any more; --repair deletes them"
        yield Finding("left over", len(left_over), what, left_over)


def mend_folder(folder: Path, *, shrink: bool) -> str | None:
    """Forget images without a sound vector, close holes, delete what nothing names, renew the copy.

    No other process may update. Without `shrink` holes stay. Returned is as of `keep_copy`; what
    cannot be read or written otherwise is a `StoreError`.
    """
    with writing(folder / FILE_NAME) as catalog:
        for paths, _ in _unsound(catalog, folder).values():
            for path in paths:
                rows.delete_file(catalog, path)
        used = _used(catalog)
        if used < catalog.slot_count:
            drop_copy(folder)
        catalog.set_fact("slots", used)
        catalog.run("DELETE FROM holes WHERE slot >= ?", used)
        _add_checksums(catalog, folder)
    if shrink:
        compact(folder)
    with reading(folder / FILE_NAME) as catalog:
        _drop_stale(catalog, folder)
        for unnamed in _left_over(folder, catalog.vectors_name):
            unnamed.unlink(missing_ok=True)
    empty_log(folder / FILE_NAME)
    return keep_copy(folder)


def _unsound(catalog: Catalog, folder: Path) -> dict[str, tuple[list[str], str]]:
    """Kind of finding → images that have no vector of their own, and why."""
    slots, file = catalog.slots(), _vector_file(catalog, folder)
    stored = file.stored()
    kept = slots[slots < stored]
    vectors = file.rows(int(kept[-1]) + 1 if len(kept) else 0)
    spoilt = list[int]()
    for start in range(0, len(kept), _BLOCK):
        known, checksums = rows.checksums_at(catalog, kept[start : start + _BLOCK].tolist())
        part = np.array(known, np.int64)
        spoilt += part[spoilt_rows(vectors[part], checksums)].tolist()
    listed, beyond = "slot IN (SELECT value FROM json_each(?))", slots[slots >= stored].tolist()
    twice = "SELECT slot FROM files NOT INDEXED WHERE slot NOT NULL GROUP BY slot"
    shared = _paths(catalog, f"slot IN ({twice} HAVING count(*) > 1)")
    why_spoilt = "not what was written, or not of length 1"
    without = _paths(catalog, "slot IS NULL AND fault IS NULL")
    return {
        _NO_VECTOR: (_paths(catalog, listed, json.dumps(beyond)), "the vector file ends before"),
        "spoilt embeddings": (_paths(catalog, listed, json.dumps(spoilt)), why_spoilt),
        "shared embeddings": (shared, "two files have one"),
        "no embedding": (without, "and no reason why not"),
    }


def _used(catalog: Catalog) -> int:
    """Rows of the vector file up to the last that a file has."""
    return int(catalog.one("SELECT coalesce(max(slot) + 1, 0) FROM files"))


def _vector_file(catalog: Catalog, folder: Path) -> VectorFile:
    return VectorFile(folder / catalog.vectors_name, catalog.embedder.width)


def _add_checksums(catalog: Catalog, folder: Path) -> None:
    """To vectors that were written without one: they are of length 1, and no more is known."""
    slots = catalog.slots(_UNCHECKED)
    vectors = _vector_file(catalog, folder).rows(catalog.slot_count if len(slots) else 0)
    for start in range(0, len(slots), _BLOCK):
        part = slots[start : start + _BLOCK]
        pairs = zip(checksums_of(vectors[part]), part.tolist(), strict=True)
        catalog.run_many("UPDATE files SET checksum = ? WHERE slot = ?", pairs)


def _is_stale(catalog: Catalog, folder: Path) -> bool:
    """Whether there is an approximate index of other vectors, or a damaged one."""
    return (folder / RECORD).exists() and not ApproximateIndex(folder).covers(catalog)


def _drop_stale(catalog: Catalog, folder: Path) -> None:
    """Give it up before new vectors can come in the places of those that it knows."""
    if _is_stale(catalog, folder):
        (folder / RECORD).unlink(missing_ok=True)


def _left_over(folder: Path, vectors: str) -> list[Path]:
    """Files that a killed process left, or that nothing names any more."""
    named = {vectors, COPY_NAME, *(path.name for path in _kept_aside(folder, vectors))}
    named |= {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", RECORD}
    if (folder / RECORD).exists():
        named |= {path.name for path in folder.glob("approximate-*.faiss")}
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and _OURS.fullmatch(path.name) and path.name not in named
    )
