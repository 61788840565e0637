"""Values of a filter that no image has: what is said where it lets nothing through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from footwork.files.faults import shortened
from footwork.files.paths import path_line
from search.filters import Filter
from search.paths import composed
from search.records import ImageRecord
from search.store.protocol import Store

_LOOKED_AT = 1000
"""Images whose values are named in place of unknown ones; all would take long."""
_TOLD = 5

_VALUES: dict[str, tuple[str, Callable[[ImageRecord], Iterable[str | None]]]] = {
    "folders": ("--in", lambda record: [str(Path(record.path).parent)]),
    "formats": ("--format", lambda record: [record.format]),
    "cameras": ("--camera", lambda record: [record.camera]),
    "labels": ("--label", lambda record: record.labels or ()),
}
"""Field of a filter → its option, and what an image has of it."""


def unknown_values(store: Store, where: Filter) -> Iterator[str]:
    """Tell which values of a filter no image has, a sentence each, and which are like them.

    To be asked where nothing was found: it takes a search for each value.
    """
    unknown = [
        (field, value)
        for field in _VALUES
        for value in dict.fromkeys(map(composed, getattr(where, field)))
        if not _some_images(store, 1, Filter(**{field: (value,)}))  # type: ignore[arg-type]
    ]
    images = _some_images(store, _LOOKED_AT, Filter()) if unknown else ()
    for field, value in unknown:
        option, values_of = _VALUES[field]
        there = {composed(one) for image in images for one in values_of(image) if one}
        others = get_close_matches(value, there, _TOLD)
        if not others:
            others = list(map(composed, store.roots())) if field == "folders" else sorted(there)
        known = ""
        if others:
            known = f"; the index knows {shortened(map(path_line, others), _TOLD)}"
        elif len(images) < _LOOKED_AT:  # all that there are
            known = "; no image of the index has one"
        yield f"{option} {path_line(value)} lets no image through{known}."


def _some_images(store: Store, count: int, where: Filter) -> Sequence[ImageRecord]:
    anything = np.full((1, store.embedder.width), store.embedder.width**-0.5, np.float32)
    return store.search(anything, count, where)[0].records
