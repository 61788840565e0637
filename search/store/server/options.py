"""Where a Milvus server is, and how a collection is laid out on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from footwork.errors import ConfigError

DEFAULT_PORT = 19530

INDEXES: Mapping[str, Mapping[str, int]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_SQ8": {"nlist": 1024},
    "IVF_FLAT": {"nlist": 1024},
    "DISKANN": {},
    "FLAT": {},
}
"""Kinds of index, and how each is built unless told otherwise. HNSW holds all vectors in memory and
loses next to nothing; IVF_SQ8 takes a quarter of the memory; DISKANN needs fast disks beside the
query nodes; FLAT compares every vector and loses nothing."""

BREADTH_NAMES = {
    "HNSW": "ef",
    "IVF_SQ8": "nprobe",
    "IVF_FLAT": "nprobe",
    "DISKANN": "search_list",
}
"""What Milvus calls it how widely an index is searched."""

CONSISTENCY_LEVELS = ("Session", "Strong", "Bounded", "Eventually")

_RANGES = (
    ("shards", 1, 16),
    ("replicas", 1, 1024),
    ("breadth", 1, 32_768),
    ("exact_rows", 0, 16_384),
    ("timeout", 0.1, 3600),
    ("patience", 0, 86_400),
)
"""What Milvus allows, or nobody exceeds by intent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where the server is, who asks, and how a new collection is made."""

    url: str
    """`http://HOST:19530`, or `https://…`."""
    collection: str = "footwork"
    """Its name on the server."""
    database: str = ""
    """Of the server; empty for its default one."""
    user: str = field(default="", repr=False)
    """Together with `password`."""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """In place of `user` and `password`: `user:password`, or a key."""
    shards: int = 1
    """Channels that writes are spread over; for a new collection. Two or more from some 100 million
    images on, or where one channel cannot take what many machines write."""
    replicas: int = 1
    """Copies in the memory of the query nodes, when it is loaded: for many queries at once."""
    index: str = "HNSW"
    """One of `INDEXES`; for a new collection."""
    index_params: Mapping[str, int] = field(default_factory=dict)
    """How to build it, over what `INDEXES` says."""
    breadth: int = 512
    """Candidates that a search through the index looks at, or lists of an IVF one; four times as
    many under a filter."""
    exact_rows: int = 4096
    """Up to so many images that a filter lets through are fetched and compared one by one."""
    consistency: str = "Session"
    """What a query sees. `Session`: all that this process has written. `Strong`: all that anybody
    has, at 0.2 s a query. `Bounded`, `Eventually`: maybe not the last seconds."""
    timeout: float = 10.0
    """Seconds that an answer may take."""
    patience: float = 120.0
    """Seconds that a write is tried again where the server is overloaded or restarting."""

    def __post_init__(self) -> None:
        """Check what can be checked without a server."""
        if not _is_address(self.url):
            raise ConfigError(
                f"A store is named like http://HOST:{DEFAULT_PORT}, got {self.url!r}."
            )
        if not re.fullmatch(r"[A-Za-z_]\w{0,254}", self.collection, re.ASCII):
            raise ConfigError(
                "`collection` must be letters, digits and _, no digit first, at most 255, "
                f"got {self.collection!r}."
            )
        for name, allowed in (("index", tuple(INDEXES)), ("consistency", CONSISTENCY_LEVELS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                )
        for name, least, most in _RANGES:
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"`{name}` must be {least:,} to {most:,}, got {getattr(self, name)}."
                )

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or DEFAULT_PORT


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
