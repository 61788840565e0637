"""Examine an index, and mend it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from footwork.errors import DataError, FootworkError, ModelError, StoreError
from footwork.files.checksums import has_checksums, write_checksums
from footwork.files.folders import MANIFEST
from footwork.files.paths import shell_word
from footwork.files.plain_files import read_object
from search.findings import Finding, Report
from search.place import IndexFolder, Place
from search.query.texts import KIND, Texts, load_model, prepare_texts
from search.store.embedded.catalog import drop_copy
from search.store.embedded.repair import (
    COPY_FAULT,
    catalog_damage,
    inspect_folder,
    mend_folder,
    prospect,
    restore_catalog,
)
from search.store.embedded.store import EmbeddedStore
from search.store.protocol import Embedder, Store, wrong_lengths
from search.update.differences import find_differences

_REPAIR = "footwork search doctor --repair"
_ITS_WORK = ("folders", "texts", "changed files", "new files", "missing files", "returned files")
"""Kinds of findings that an update does away with."""
_BLOCKING = ("manifest", "catalog")
"""Kinds of findings with which nothing else can be told."""
_UPDATE = "footwork search index brings them up to date"
_KINDS = {
    "changed files": f"changed or touched since they were indexed; {_UPDATE}",
    "new files": f"not indexed yet; {_UPDATE}",
    "missing files": f"moved or deleted since; {_UPDATE}",
    "returned files": f"there again; {_UPDATE}",
    "unreadable files": "no images, or damaged; footwork search index lists why",
}
"""Kind of finding → what it says of files that have changed on the disk."""
_PREPARE = "footwork search doctor --repair prepares them anew; no image is embedded again"


def examine(place: Place, *, with_model: bool) -> Report:
    """Look for everything that can be wrong; `StoreError` if an index cannot be read at all.

    `with_model` also loads its model, if that is on this machine, and compares.
    """
    if not isinstance(place, IndexFolder):
        return Report(str(place), tuple(_contents(place, with_model)))
    writer = place.writer()
    findings = list(_folder_findings(place))
    writer = writer or place.writer()  # one that has begun meanwhile
    if not any(finding.kind in _BLOCKING for finding in findings):
        findings += _contents(place, with_model)
        writer = writer or place.writer()
    return Report(str(place), tuple(_as_seen_beside(writer, findings)))


def repair(place: Place, *, with_model: bool) -> Report:
    """Examine an index, and mend what can be mended; `StoreError` also if it is being written.

    A server mends its own files; of its index the text half lies on this machine.
    """
    broken, done = list[Finding](), list[str]()
    with place.writing():
        if isinstance(place, IndexFolder):
            broken += _folder_findings(place)
            try:
                done += _mend_folder(place, broken)
            except OSError as error:
                raise StoreError(
                    f"{error.filename or place} stands in the way: {error.strerror}. Move it away."
                ) from error
        contents = list(_contents(place, with_model))
        left = [finding for finding in contents if not _mended_texts(finding, place, done)]
        left += _folder_findings(place) if isinstance(place, IndexFolder) else ()
    return Report(str(place), (*broken, *contents), tuple(done), tuple(left))


def _folder_findings(place: IndexFolder) -> Iterator[Finding]:
    """What is wrong with the manifest, the generations and their files.

    `StoreError` where there is no index, or one that this version cannot read.
    """
    generation, fault = _current(place)
    if fault is not None:
        yield Finding("manifest", 1, f"{fault}; {_REPAIR} writes it again")
    damage = catalog_damage(generation)
    if damage is not None:
        what = f"damaged ({damage}); {prospect(generation)}"
        yield Finding("catalog", 1, what, (str(generation / "catalog.sqlite"),))
    else:
        yield from inspect_folder(generation)
    every = place.generations()
    old = tuple(map(str, every[: every.index(generation)])) if generation in every else ()
    if old:
        what = f"of models that another has followed; {_REPAIR} deletes them"
        yield Finding("old generations", len(old), what, old)
    for path in every[len(old) + 1 :]:
        with suppress(FootworkError), closing(EmbeddedStore(path)) as store:
            model = store.embedder.model_id
            what = f"of {model}; footwork search index --model {shell_word(model)} completes it"
            yield Finding("unfinished generation", 1, what, (str(path),), is_fault=False)
    left_over = tuple(map(str, place.left_over()))
    if left_over:
        what = f"left by a process that was killed; {_REPAIR} deletes them, or the next update"
        yield Finding("temporary", len(left_over), what, left_over)


def _current(place: IndexFolder) -> tuple[Path, str | None]:
    """The generation that is searched, and what is wrong with the manifest, a clause.

    Where the manifest does not tell, it is the first: a second one takes its place only when it is
    complete.
    """
    generations, fault = place.generations(), "missing"
    if place.exists or not generations:  # else says that there is no index
        try:
            current = place.current()
        except StoreError as error:
            if error.__cause__ is None:
                raise
            fault = "damaged"
        else:
            if current.is_dir():
                return current, None
            fault = f"it names {current.name}, which is missing"
    if not generations:
        raise StoreError(f"{place.path} holds no generation. Move it away, and index anew.")
    return generations[0], fault


def _as_seen_beside(writer: str | None, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings as they are where a process, if any, is writing: nothing of its is left over."""
    for finding in findings:
        if writer and finding.kind in ("temporary", "left over"):
            what = f"being written by {writer}"
            finding = replace(finding, kind="unfinished files", what=what, is_fault=False)
        elif writer and finding.kind in _ITS_WORK:
            what = f"not yet seen to by {writer}"
            finding = replace(finding, what=what, is_fault=False)
        yield finding


def _mend_folder(place: IndexFolder, findings: Sequence[Finding]) -> list[str]:
    """Mend what `_folder_findings` found, while nobody else writes; what was done, in sentences."""
    done, kinds = [], {finding.kind for finding in findings}
    generation, _ = _current(place)
    if "catalog" in kinds:
        stated: Any = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            stated = dict(read_object(place.path / MANIFEST)["model"])
        done.append(restore_catalog(generation, stated))
        findings = [*findings, *inspect_folder(generation)]
    if "manifest" in kinds:
        with closing(EmbeddedStore(generation)) as store:
            place.name_current(generation, store.embedder)
        done.append(f"{MANIFEST} was written again, for {generation.name}.")
    # The vectors that a damaged catalog named stay as long as there is hope to read it after all.
    if COPY_FAULT in kinds:
        drop_copy(generation)
    done += filter(None, [mend_folder(generation, shrink="catalog" not in kinds)])
    told = {"manifest", "catalog", "unfinished generation", "damaged catalog"}
    told |= {"no copy of the catalog"} | ({"holes"} if "catalog" in kinds else set())
    for finding in findings:
        if finding.kind == "old generations":
            for path in filter(os.path.isdir, finding.paths):
                shutil.rmtree(path, ignore_errors=True)
        if finding.kind not in told:
            done.append(f"{finding.kind}: {finding.count:,}.")
    return done


def _contents(place: Place, with_model: bool) -> Iterator[Finding]:
    with closing(place.open()) as store:
        yield from _files(store)
        spoilt = list[str]()
        if not isinstance(place, IndexFolder):  # else its vectors were looked at, one and all
            for block in store.scan():
                rows = wrong_lengths(block.vectors).tolist()
                spoilt += [block.records[row].path for row in rows]
        if spoilt:
            what = "not of length 1; footwork search remove forgets them, then index them again"
            yield Finding("spoilt embeddings", len(spoilt), what, tuple(spoilt))
        yield from _texts(place, store.embedder)
        if with_model:
            yield from _model(store.embedder)


def _files(store: Store) -> Iterator[Finding]:
    """What has happened on the disk since an update last looked."""
    roots = store.roots()
    if not roots:
        yield Finding("folders", 1, "none is known; name one: footwork search index FOLDER")
    paths: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for root in roots:
        try:
            differences = find_differences(store, [root])
        except DataError as error:
            yield Finding("folder", 1, str(error).rstrip("."), (root,))
            continue
        returned = [move.record for move in differences.moves]
        groups = (differences.changed, differences.added, differences.missing, returned)
        for kind, records in zip(_KINDS, (*groups, differences.summary.unreadable), strict=True):
            paths[kind] += [record.path for record in records]
    for kind, what in _KINDS.items():
        if paths[kind]:
            is_fault = kind != "unreadable files"
            yield Finding(kind, len(paths[kind]), what, tuple(paths[kind]), is_fault=is_fault)


def _texts(place: Place, embedder: Embedder) -> Iterator[Finding]:
    folder = place.texts_folder(embedder)
    try:
        fault = Texts(folder, embedder).damage()
    except FootworkError as error:
        fault = f"missing or damaged ({str(error).partition('. ')[0]})"
    if fault is not None:
        yield Finding("texts", 1, f"{fault}; {_PREPARE}")
    elif not has_checksums(folder):
        what = "of an older version, whose damage could not be seen; --repair adds checksums"
        yield Finding("unchecked texts", 1, what, is_fault=False)


def _mended_texts(finding: Finding, place: Place, done: list[str]) -> bool:
    """Give the text half checksums, or prepare it anew where the model is on this machine."""
    if finding.kind not in ("texts", "unchecked texts"):
        return False
    with closing(place.open()) as store:
        embedder = store.embedder
    folder = place.texts_folder(embedder)
    try:
        if finding.kind == "unchecked texts":
            write_checksums(folder, KIND)
            done.append("the text half of the model was given checksums.")
            return True
        if not is_on_this_machine(embedder.model_id, embedder.revision):
            return False
        note = prepare_texts(load_model(embedder), folder)
    except (ModelError, OSError):
        return False  # the finding stays
    done += filter(None, ["the text half of the model was prepared anew.", note])
    return True


def _model(embedder: Embedder) -> Iterator[Finding]:
    if not is_on_this_machine(embedder.model_id, embedder.revision):
        what = f"{embedder.model_id} is not on this machine, so that it was not compared"
        yield Finding("model", 1, what, is_fault=False)
        return
    try:
        load_model(embedder)
    except ModelError as error:
        yield Finding("model", 1, str(error).rstrip("."))


def is_on_this_machine(model_id: str, revision: str | None) -> bool:
    """Whether a model can be loaded without the Hub."""
    if model_id == "tiny" or Path(model_id).is_dir():
        return True
    from footwork.models.hub import cached_model

    with suppress(ValueError):  # no id of the Hub
        return cached_model(model_id, revision, "weights") is not None
    return False
