"""Forget images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from footwork.errors import ConfigError, StoreError
from footwork.files.paths import path_line
from search.paths import absolute_path, is_at_or_below, spellings
from search.place import Place
from search.store.protocol import Changes, Store
from search.update.differences import absolute_roots


def remove_images(place: Place, paths: Sequence[str | Path], *, gone: bool) -> int:
    """Forget images and unreadable files, their vectors and labels; no file is touched.

    What is named below an indexed folder stays away until it is named again to be indexed. Folders
    stand for all below them; `gone` forgets every image that was not there when last looked for.
    Returned is how many were forgotten.

    Raises:
        ConfigError: Nothing is named.
        StoreError: A path is not in the index, or that cannot be written.
    """
    if not paths and not gone:
        raise ConfigError("Nothing is named. Name files or folders, or --gone.")
    with place.writing(), closing(place.open()) as store:
        named = [_known_spelling(store, absolute_path(path)) for path in paths]
        forgotten = {record.path for root in named for record in store.files(root)}
        if gone:
            forgotten |= {record.path for record in store.files() if not record.present}
        roots, exclusions = store.roots(), store.exclusions()
        kept = [root for root in roots if not any(is_at_or_below(root, one) for one in named)]
        removed = [
            path
            for path in absolute_roots([*exclusions.removed, *named])
            if any(is_at_or_below(path, root) for root in kept)
        ]
        # First, so that an update after a kill forgets the rest.
        store.set_exclusions(replace(exclusions, removed=tuple(removed)))
        if kept != list(roots):
            store.set_roots(kept)
        store.write(Changes(forgotten=sorted(forgotten)))
    return len(forgotten)


def _known_spelling(store: Store, named: str) -> str:
    roots, removed = store.roots(), store.exclusions().removed
    for root in spellings(named):
        away = any(is_at_or_below(root, one) for one in removed)
        if away or root in roots or next(iter(store.files(root)), None) is not None:
            return root
    raise StoreError(
        f"The index knows nothing of {path_line(named)}. footwork search status lists its folders."
    )
