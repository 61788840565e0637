"""How a Milvus server is reached, and what to do when a call to it fails."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from footwork.errors import StoreError
from footwork.files.paths import shell_word
from search.options import StoreOptions

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TIMEOUT = 10.0
"""Seconds that an answer may take."""
PATIENCE = 120.0
"""Seconds that a write is tried again where the server is overloaded or restarting."""
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

    def __init__(self, client: MilvusClient, options: StoreOptions) -> None:
        self._client, self._options = client, options
        self._errors = _all_errors()

    @classmethod
    def open(cls, options: StoreOptions) -> Connection:
        """Connect; `StoreError` where pymilvus is missing, nobody answers, or somebody refuses."""
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
        try:  # by itself, gRPC tells neither why it cannot connect nor soon
            socket.create_connection(options.address, TIMEOUT).close()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StoreError(
                f"Cannot reach Milvus at {options.store}: {reason}. Start it, or name the address "
                "where it runs: --store http://HOST:19530"
            ) from error
        try:
            client = MilvusClient(
                options.store or "",
                user=options.user,
                password=options.password,
                token=options.token,
                timeout=TIMEOUT,
                dedicated=True,  # a shared one may be closed by another store
            )
        except _all_errors() as error:
            raise StoreError(_explanation(error, options)) from error
        return cls(client, options)

    def read(self, method: str, *arguments: Any, **settings: Any) -> Any:
        """Call a method that changes nothing; `StoreError` if it fails, or `TIMEOUT` runs out."""
        return self._call(TIMEOUT, method, arguments, settings)

    def write(self, method: str, *arguments: Any, **settings: Any) -> Any:
        """Call a method that may be repeated without harm; the same, where `PATIENCE` runs out."""
        return self._call(PATIENCE, method, arguments, settings)

    def _call(
        self, patience: float, method: str, arguments: tuple[Any, ...], settings: dict[str, Any]
    ) -> Any:
        settings = {"timeout": TIMEOUT, **settings}
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
    """Whether the call that ended so may succeed a little later."""
    code, message = _code_and_message(error)
    if getattr(error, "is_input_error", False):
        return False
    if getattr(error, "retriable", False) or code in _TRANSIENT_CODES:
        return True
    return getattr(code, "name", None) in _TRANSIENT_STATES or _has_any(_TRANSIENT_WORDS, message)


def _has_any(words: Iterable[str], message: str) -> bool:
    return any(some in message.lower() for some in words)


def _code_and_message(error: BaseException) -> tuple[Any, str]:
    """Of gRPC both are methods, of pymilvus attributes."""
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    details = getattr(error, "details", None)
    message = details() if callable(details) else getattr(error, "message", None)
    return code, str(message or error)


def _explanation(error: Exception, options: StoreOptions) -> str:
    cause: BaseException = error  # the deepest: pymilvus says no more than "could not connect"
    seen = {id(cause)}
    while (behind := cause.__cause__ or cause.__context__) is not None and id(behind) not in seen:
        cause = behind  # pymilvus also has errors that are their own cause
        seen.add(id(cause))
    code, message = _code_and_message(cause)
    where = f"Milvus at {options.store}"
    if code == _MISSING_COLLECTION:
        return no_collection(options)
    if getattr(code, "name", None) in _REFUSAL_STATES or _has_any(_REFUSAL_WORDS, message):
        return (
            f"{where} does not let you in: {message}. Give a user and password that it knows, as "
            "FOOTWORK_STORE_USER and FOOTWORK_STORE_PASSWORD, or FOOTWORK_STORE_TOKEN."
        )
    if is_transient(error):
        return (
            f"{where} does not answer as it should: {message}. See if it is well, then try again."
        )
    return (
        f"{where} refused what was asked of collection {options.collection}: {message}. Its log "
        "tells more; footwork search doctor examines the index."
    )


def no_collection(options: StoreOptions) -> str:
    """What to say where nothing has been indexed yet."""
    return (
        f"Milvus at {options.store} has no collection {options.collection}. "
        f"Make one: footwork search index FOLDER --store {shell_word(options.store or '')}"
    )


def _all_errors() -> tuple[type[Exception], ...]:
    from grpc import RpcError
    from pymilvus import MilvusException

    return (MilvusException, RpcError)
