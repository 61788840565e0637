"""What can be wrong in an index's folder, looked for and mended."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from footwork.errors import FootworkError, StoreError
from footwork.files.folders import MANIFEST
from footwork.files.paths import shell_word
from footwork.files.plain_files import read_object
from search.findings import Finding
from search.index_folder import IndexFolder
from search.store.embedded import EmbeddedStore
from search.store.embedded.catalog_copy import drop_copy
from search.store.embedded.repair import (
    COPY_FAULT,
    catalog_damage,
    inspect_folder,
    mend_folder,
    prospect,
    restore_catalog,
)

_REPAIR = "footwork search doctor --repair"
_ITS_WORK = ("folders", "texts", "changed files", "new files", "missing files", "returned files")
"""Kinds of findings that an update does away with."""


def folder_findings(place: IndexFolder) -> Iterator[Finding]:
    """What is wrong with the manifest, the generations and their files.

    Beside a process that writes, `as_seen_beside` says what of it is that one's doing.

    Raises:
        StoreError: There is no index, or one that this version cannot read.
    """
    fault = _manifest_fault(place)
    if fault is not None:
        yield Finding("manifest", 1, f"{fault}; {_REPAIR} writes it again")
    generation = _meant(place)
    damage = catalog_damage(generation)
    if damage is not None:
        what = f"damaged ({damage}); {prospect(generation)}"
        yield Finding("catalog", 1, what, (str(generation / "catalog.sqlite"),))
    else:
        yield from inspect_folder(generation)
    yield from _other_generations(place, generation)
    yield from _left_over(place)


def as_seen_beside(writer: str | None, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings as they are where a process is writing: nothing of its is left over.

    Args:
        writer: Who; None for nobody.
        findings: Of any kind.
    """
    for finding in findings:
        if writer and finding.kind in ("temporary", "left over"):
            what = f"being written by {writer}"
            finding = replace(finding, kind="unfinished files", what=what, is_fault=False)
        elif writer and finding.kind in _ITS_WORK:
            what = f"not yet seen to by {writer}"
            finding = replace(finding, what=what, is_fault=False)
        yield finding


def mend_index(place: IndexFolder, findings: Sequence[Finding]) -> list[str]:
    """Mend an index that this process holds the right to write.

    Args:
        place: Of the index.
        findings: Of `folder_findings`.

    Returns:
        What was done, a sentence each.

    Raises:
        StoreError: Nothing can be saved, or something cannot be written.
    """
    done, kinds = [], {finding.kind for finding in findings}
    generation = _meant(place)
    if "catalog" in kinds:
        done.append(restore_catalog(generation, _stated_model(place)))
        findings = [*findings, *inspect_folder(generation)]
    if "manifest" in kinds:
        with closing(EmbeddedStore.open(generation)) as store:
            place.name_current(generation, store.embedder)
        done.append(f"{MANIFEST} was written again, for {generation.name}.")
    # The vectors that a damaged catalog named stay as long as there is hope to read it after all.
    if COPY_FAULT in kinds:
        drop_copy(generation)
    note = mend_folder(generation, shrink="catalog" not in kinds)
    done += [note] if note else []
    for finding in findings:
        if finding.kind == "old generations":
            _delete_folders(finding.paths)
        unmended = {"manifest", "catalog", "unfinished generation", "damaged catalog"}
        unmended |= {"no copy of the catalog"}
        if finding.kind not in (unmended | {"holes"} if "catalog" in kinds else unmended):
            done.append(f"{finding.kind}: {finding.count:,}.")
    return done


def _manifest_fault(place: IndexFolder) -> str | None:
    if not place.exists:
        if not place.generations():
            place.current()  # says that there is no index
        return "missing"
    try:
        current = place.current()
    except StoreError as error:
        if error.__cause__ is not None:
            return "damaged"
        raise
    return None if current.is_dir() else f"it names {current.name}, which is missing"


def _meant(place: IndexFolder) -> Path:
    """The generation that is searched.

    Where the manifest does not tell, it is the first: a second one takes its place only when it is
    complete.
    """
    if _manifest_fault(place) is None:
        return place.current()
    generations = place.generations()
    if not generations:
        message = f"{place.path} holds no generation. Move it away, and index anew."
        raise StoreError(message)
    return generations[0]


def _stated_model(place: IndexFolder) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return dict(read_object(place.path / MANIFEST)["model"])
    return None


def _other_generations(place: IndexFolder, current: Path) -> Iterator[Finding]:
    every = place.generations()
    old = [str(path) for path in every[: every.index(current)]] if current in every else []
    if old:
        what = f"of models that another has followed; {_REPAIR} deletes them"
        yield Finding("old generations", len(old), what, tuple(old))
    for path in every[len(old) + 1 :]:
        with suppress(FootworkError), closing(EmbeddedStore.open(path)) as store:
            model = store.embedder.model_id
            what = f"of {model}; footwork search index --model {shell_word(model)} completes it"
            yield Finding("unfinished generation", 1, what, (str(path),), is_fault=False)


def _left_over(place: IndexFolder) -> Iterator[Finding]:
    paths = tuple(map(str, place.left_over()))
    if paths:
        what = f"left by a process that was killed; {_REPAIR} deletes them, or the next update"
        yield Finding("temporary", len(paths), what, paths)


def _delete_folders(paths: Sequence[str]) -> None:
    for path in paths:
        if Path(path).is_dir():
            shutil.rmtree(path, ignore_errors=True)
