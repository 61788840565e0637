"""An index on a Milvus server or cluster: any number of machines write and read it at once."""

from search.store.server.connection import Connection
from search.store.server.store import ServerStore

__all__ = ["Connection", "ServerStore"]
