"""The engine of one machine: SQLite for what is known, a flat file of vectors beside it."""

from search.store.embedded.store import EmbeddedStore

__all__ = ["EmbeddedStore"]
