"""An index on a Milvus server or cluster: any number of machines write and read it at once."""

from search.store.server.connection import ServerOptions
from search.store.server.store import ServerStore

__all__ = ["ServerOptions", "ServerStore"]
