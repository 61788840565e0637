"""Class embeddings of earlier runs, on disk."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.home import cache_folder

FloatArray = NDArray[np.float32]

FILE_NAME = "class_embeddings.sqlite"
MOST_ROWS = 100_000  # 200 MB at 512 numbers a row
_WAIT = 10.0  # seconds for another process that writes
_UNIT = 1e-3  # how far from 1 the length of an intact row can be

_CREATE = "CREATE TABLE IF NOT EXISTS class_embedding (key BLOB PRIMARY KEY, numbers BLOB NOT NULL)"
_READ = "SELECT numbers FROM class_embedding WHERE key = ?"
_WRITE = "INSERT OR REPLACE INTO class_embedding VALUES (?, ?)"
_FORGET = "DELETE FROM class_embedding WHERE rowid <= (SELECT max(rowid) FROM class_embedding) - ?"


class EmbeddingCache:
    """One SQLite file of unit rows; the oldest go when it holds 100,000.

    It may be deleted at any time. A damaged file is replaced; a folder that cannot be used means
    that nothing is kept, which `note` then says.

    Args:
        path: The file; None takes the user's own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.note: str | None = None
        """Why nothing is kept, None as long as all is well."""

    def read(self, keys: Sequence[bytes], rows: FloatArray) -> NDArray[np.bool_]:
        """Fill in what is there of N keys.

        Args:
            keys: Of the rows.
            rows: Shape (N, D); what is not there is left as it is.

        Returns:
            Shape (N,), which rows were there.
        """
        known = np.zeros(len(keys), bool)
        if self.note is None:
            with self._forgiving(), closing(self._connected()) as connection:
                for place, key in enumerate(keys):
                    found = connection.execute(_READ, (key,)).fetchone()
                    if found and len(found[0]) == rows[place].nbytes:
                        rows[place] = np.frombuffer(found[0], "<f4")
                        known[place] = True
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        return known & (np.abs(lengths - 1) < _UNIT)  # False for NaN, too

    def write(self, keys: Sequence[bytes], rows: FloatArray) -> None:
        """Keep N rows, (N, D), all or none of them."""
        pairs = [(key, row.astype("<f4").tobytes()) for key, row in zip(keys, rows, strict=True)]
        if self.note is None:
            with self._forgiving(), closing(self._connected()) as connection, connection:
                connection.executemany(_WRITE, pairs)
                connection.execute(_FORGET, (MOST_ROWS,))

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """End the block quietly where the file or its place fails it."""
        try:
            yield
        except (OSError, RuntimeError, sqlite3.Error) as error:
            # An OperationalError is about access or space: deleting would not help.
            if self._path and not isinstance(error, OSError | sqlite3.OperationalError):
                self._remove(self._path)
            else:
                self._give_up(error)

    def _connected(self) -> sqlite3.Connection:
        if self._path is None:
            self._path = cache_folder() / FILE_NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_WAIT)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # a damaged file is replaced
            connection.execute(_CREATE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _remove(self, path: Path) -> None:
        try:
            for damaged in (path, path.with_name(f"{path.name}-journal")):
                damaged.unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        place = self._path or "the home folder"
        self.note = (
            f"The vectors of the labels cannot be kept in {place} ({error}), so every run makes "
            "them again. FOOTWORK_HOME names another folder."
        )


def cache_key(fingerprint: str, prompts: Sequence[str]) -> bytes:
    """What tells one class embedding from another: the model, and every prompt.

    Args:
        fingerprint: Of the encoder.
        prompts: Of one class.
    """
    digest = hashlib.sha256(f"{len(prompts)}\0{fingerprint}".encode())
    for prompt in prompts:
        digest.update(b"\0" + prompt.encode("utf-8", "surrogatepass"))
    return digest.digest()
