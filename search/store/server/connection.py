"""Where a Milvus server is, and how a collection is laid out on it."""

from __future__ import annotations

import logging
import random
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from footwork.errors import ConfigError, StoreError
from footwork.files.paths import shell_word

if TYPE_CHECKING:
    from pymilvus import MilvusClient

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


_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0  # seconds

_TRANSIENT_STATES = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"}
"""Of a remote call, as gRPC names them."""
_TRANSIENT_CODES = {2, 4, 8, 11, 501, 502, 503, 901, 902, 903}
"""Of Milvus: unavailable, too many requests, rate limit, time tick delayed, and channels and nodes
that are not available. Source: pkg/util/merr/errors.go of Milvus."""
_TRANSIENT_WORDS = ("not ready", "retry timeout", "retry run out", "node offline", "is recovering")
"""Of errors without a code of their own."""
_REFUSAL_STATES = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
_REFUSAL_WORDS = ("auth check failure", "unauthenticated", "privilege")
_MISSING_COLLECTION = 100


class Connection:
    """A client, and what to do when a call to it fails."""

    def __init__(self, client: MilvusClient, options: ServerOptions) -> None:
        self._client = client
        self._options = options
        self._errors = _all_errors()

    @classmethod
    def open(cls, options: ServerOptions) -> Connection:
        """Connect.

        Raises:
            StoreError: pymilvus is missing, nobody answers, or the answer is a refusal.
        """
        client_class = _client_class()
        _check_that_somebody_listens(options)
        try:
            client = client_class(
                options.url,
                user=options.user,
                password=options.password,
                db_name=options.database,
                token=options.token,
                timeout=options.timeout,
                dedicated=True,  # a shared one may be closed by another store
            )
        except _all_errors() as error:
            raise StoreError(_explanation(error, options)) from error
        return cls(client, options)

    def read(self, method: str, *arguments: Any, **settings: Any) -> Any:
        """Call a method of the client that changes nothing.

        Raises:
            StoreError: It failed for good, or `timeout` ran out.
        """
        settings.setdefault("timeout", self._options.timeout)
        return self._call(method, arguments, settings, self._options.timeout)

    def write(self, method: str, *arguments: Any, **settings: Any) -> Any:
        """Call a method of the client that may be repeated without harm.

        Raises:
            StoreError: It failed for good, or `patience` ran out.
        """
        settings.setdefault("timeout", self._options.timeout)
        return self._call(method, arguments, settings, self._options.patience)

    def _call(
        self, method: str, arguments: tuple[Any, ...], settings: dict[str, Any], patience: float
    ) -> Any:
        ends = time.monotonic() + patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return getattr(self._client, method)(*arguments, **settings)
            except self._errors as error:
                if not is_transient(error) or time.monotonic() + pause > ends:
                    raise StoreError(_explanation(error, self._options)) from error
            # Many writers that were turned away together should not come back together.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed a little later.

    Args:
        error: Of pymilvus or gRPC.
    """
    code, message = _code_and_message(error)
    if getattr(error, "is_input_error", False):
        return False
    if getattr(error, "retriable", False) or code in _TRANSIENT_CODES:
        return True
    if getattr(code, "name", None) in _TRANSIENT_STATES:
        return True
    return _has_any(_TRANSIENT_WORDS, message)


def _has_any(words: Iterable[str], message: str) -> bool:
    return any(some in message.lower() for some in words)


def _code_and_message(error: BaseException) -> tuple[Any, str]:
    """Of gRPC both are methods, of pymilvus attributes."""
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    details = getattr(error, "details", None)
    message = details() if callable(details) else getattr(error, "message", None)
    return code, str(message or error)


def _deepest(error: BaseException) -> BaseException:
    """What lies behind an error: pymilvus says no more than that it could not connect."""
    seen = {id(error)}
    while (behind := error.__cause__ or error.__context__) is not None and id(behind) not in seen:
        error = behind  # pymilvus also has errors that are their own cause
        seen.add(id(error))
    return error


def _explanation(error: Exception, options: ServerOptions) -> str:
    code, message = _code_and_message(_deepest(error))
    where = f"Milvus at {options.url}"
    if code == _MISSING_COLLECTION:
        return no_collection(options)
    if getattr(code, "name", None) in _REFUSAL_STATES or _has_any(_REFUSAL_WORDS, message):
        return f"{where} does not let you in: {message}. Give a user and password that it knows."
    if is_transient(error):
        return (
            f"{where} does not answer as it should: {message}. See if it is well, then try again."
        )
    return (
        f"{where} refused what was asked of collection {options.collection}: {message}. Its log "
        "tells more; footwork search doctor examines the index."
    )


def no_collection(options: ServerOptions) -> str:
    """What to say where nothing has been indexed yet."""
    return (
        f"Milvus at {options.url} has no collection {options.collection}. "
        f"Make one: footwork search index FOLDER --store {shell_word(options.url)}"
    )


def _client_class() -> type[MilvusClient]:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise StoreError(
            "A Milvus server is talked to with pymilvus, which is not installed: "
            "pip install 'footwork[milvus]'"
        ) from error
    # It logs a traceback of every error that it raises.
    for name in ("pymilvus", "pymilvus.milvus_client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return MilvusClient


def _all_errors() -> tuple[type[Exception], ...]:
    from grpc import RpcError
    from pymilvus import MilvusException

    return (MilvusException, RpcError)


def _check_that_somebody_listens(options: ServerOptions) -> None:
    """By itself, gRPC tells neither why it cannot connect nor soon."""
    try:
        socket.create_connection(options.host_and_port, options.timeout).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(
            f"Cannot reach Milvus at {options.url}: {reason}. Start it, or name the address where "
            "it runs: --store http://HOST:19530"
        ) from error
