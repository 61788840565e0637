"""Find images by what they show: embed once, query by words, by image, by both."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from typing import Any

    from search.answers.answer import Answer, Answers, Hit
    from search.filters import Filter
    from search.index import ImageIndex
    from search.options import QueryOptions, StoreOptions

__all__ = ["Answer", "Answers", "Filter", "Hit", "ImageIndex", "QueryOptions", "StoreOptions"]

_HOMES = {
    "Answer": "search.answers.answer",
    "Answers": "search.answers.answer",
    "Filter": "search.filters",
    "Hit": "search.answers.answer",
    "ImageIndex": "search.index",
    "QueryOptions": "search.options",
    "StoreOptions": "search.options",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: `import search` stays free."""
    from importlib import import_module

    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
