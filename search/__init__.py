"""Find images by what they show: embed once, query by words, by image, by both."""

from __future__ import annotations

from footwork import names_of

TYPE_CHECKING = False  # `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from search.answers.answer import Answer, Answers, Hit
    from search.filters import Filter
    from search.index import ImageIndex
    from search.options import QueryOptions, StoreOptions

__all__ = ["Answer", "Answers", "Filter", "Hit", "ImageIndex", "QueryOptions", "StoreOptions"]

if not TYPE_CHECKING:  # to which every name would be one
    __getattr__, __dir__ = names_of(__name__, __file__)
