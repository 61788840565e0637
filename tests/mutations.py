"""A file as a bad disk or an enemy may have made it, and what a reader may make of that.

    for outcome in outcomes(path, lambda: load(path)):
        assert outcome.is_refused or outcome.value == what_the_sound_file_gives

Whoever reads a file of ours ends with a `FootworkError` or with an answer that the test judges.
Another exception, or no end at all, fails the test and says by which mutation.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import numpy as np

from footwork.errors import FootworkError

T = TypeVar("T")

SECONDS = 30
"""After which a reader hangs."""
_DEEP = 100_000
NESTED = "[" * _DEEP + "]" * _DEEP
"""JSON that no recursive reader reads to its end."""
_NESTED_MARK = "nested here"
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, [], {}, [[]], {"": None}, "", "\0", "\ud800", "x" * 10_000),
    *("../outside", "/outside", "..", ".", "a/b", "\x1b[31m", 0, -1, 2**31, 2**63, 10**30),
    *(1.5, -1e308, float("nan"), float("inf")),
)
"""In place of any value of a JSON document."""
_ODD_CELLS: tuple[Any, ...] = (
    *(None, "", "x", "../outside", "/outside", "a\0b", b"\xff\xfe", b"", 0, -1, 7, 2**31),
    *(2**63 - 1, -(2**63), 1.5, 1e308, "[]", "{}", "null", NESTED),
)
_ODD_SCHEMA = (
    "CREATE TRIGGER odd_trigger AFTER UPDATE ON {table} BEGIN DELETE FROM {table}; END",
    "DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1",
    "DROP TABLE {table}; CREATE TABLE {table} (odd)",
    "DROP TABLE {table}",
    "DELETE FROM {table}",
    "PRAGMA user_version = -1",
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to spoil a file."""

    name: str
    """What was done, to be read."""
    apply: Callable[[Path], object]
    """Does it to a file, in place."""

    @contextmanager
    def applied(self, path: Path) -> Iterator[None]:
        """Within the block the file is spoilt; after it, it is what it was, and so is its time."""
        beside = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
        before = {one: one.read_bytes() for one in beside if one.is_file()}
        state = path.stat()
        try:
            self.apply(path)
            yield
        finally:
            for one in beside:
                _remove(one)
            for one, content in before.items():
                one.write_bytes(content)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a reader made of a spoilt file."""

    mutation: str
    value: T | None
    error: FootworkError | None

    @property
    def is_refused(self) -> bool:
        """Whether it ended with a `FootworkError`."""
        return self.error is not None


def outcomes(
    path: Path, read: Callable[[], T], *, seed: int = 0, count: int = 60
) -> Iterator[Outcome[T]]:
    """Spoil a file in many ways, one after the other, and read it each time.

    Args:
        path: A sound file.
        read: Reads it, and all that hangs on it, to an answer; must change no other file.
        seed: Of what is drawn.
        count: Mutations that are drawn, beyond those that every file goes through.
    """
    for mutation in mutations(path, seed=seed, count=count):
        value, refusal = None, None
        with mutation.applied(path):
            try:
                with deadline():
                    value = read()
            except FootworkError as error:
                refusal = error
            except BaseException as error:
                error.add_note(f"{path.name}: {mutation.name}")
                raise
            yield Outcome(mutation.name, value, refusal)


def mutations(path: Path, *, seed: int = 0, count: int = 60) -> list[Mutation]:
    """Ways to spoil JSON, JSON lines, `.npy`, `.safetensors`, SQLite or any other file."""
    content, drawn = path.read_bytes(), random.Random(seed)
    kinds = [_bytes_mutation]
    fixed = list(_OTHER_THINGS)
    if path.suffix == ".npy":
        fixed += [_written(f"array of {name}", made) for name, made in _odd_arrays(content)]
    elif path.suffix in (".json", ".jsonl"):
        fixed += [_written(f"all is {_shown(odd)}", json.dumps(odd).encode()) for odd in ODD_VALUES]
        fixed += [_written("nested", NESTED.encode())]
        kinds += [_json_mutation] * 3
    elif path.suffix == ".safetensors":
        kinds += [_safetensors_mutation] * 2
    elif content.startswith(b"SQLite format 3\0"):
        kinds += [_sqlite_mutation] * 4
    return fixed + [drawn.choice(kinds)(content, drawn) for _ in range(count)]


@contextmanager
def deadline(seconds: int = SECONDS) -> Iterator[None]:
    """Fail what does not end: in the main thread, and outside of C code that heeds no signal."""

    def late(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _made(name: str, make: Callable[[Path], object]) -> Mutation:
    def replace(path: Path) -> None:
        _remove(path)
        make(path)

    return Mutation(name, replace)


def _written(name: str, content: bytes) -> Mutation:
    return _made(name, lambda path: path.write_bytes(content))


_OTHER_THINGS = (
    _made("missing", str),
    _written("empty", b""),
    _written("one NUL", b"\0"),
    _written("not UTF-8", b"\xff\xfe\xfa" * 100),
    _made("a folder", Path.mkdir),
    _made("a FIFO", os.mkfifo),
    _made("a link to itself", lambda path: path.symlink_to(path)),
    _made("a link to nothing", lambda path: path.symlink_to(path.with_name("nothing"))),
    _made("a link to a folder", lambda path: path.symlink_to(path.parent)),
)


def _bytes_mutation(content: bytes, drawn: random.Random) -> Mutation:
    size, spoilt = len(content), bytearray(content)
    at = drawn.randrange(max(size, 1))
    end = min(size, at + drawn.choice([1, 8, 512, 4096, size]))
    kind = drawn.choice(["cut", "grown", "zeroed", "noise", "one bit", "swapped"])
    if kind == "cut":
        del spoilt[at:]
    elif kind == "grown":
        spoilt += content[at:]
    elif kind == "zeroed":
        spoilt[at:end] = bytes(end - at)
    elif kind == "noise":
        spoilt[at:end] = drawn.randbytes(end - at)
    elif kind == "one bit" and size:
        spoilt[at] ^= 1 << drawn.randrange(8)
    else:
        spoilt[:] = content[at:] + content[:at]
    return _written(f"{kind} at {at} to {end} of {size}", bytes(spoilt))


def _json_mutation(content: bytes, drawn: random.Random) -> Mutation:
    """Of a document, or of one line of several: a value is dropped, or another takes its place."""
    try:
        documents, separator = [json.loads(content)], ""
    except ValueError:
        documents, separator = [json.loads(line) for line in content.splitlines() if line], "\n"
    row = drawn.randrange(len(documents))
    holder, key = drawn.choice(list(_places(documents[row])) or [(documents, row)])
    if drawn.random() < 0.25:
        name = f"line {row}, {key!r} is gone"
        del holder[key]
    else:
        holder[key] = odd = drawn.choice([*ODD_VALUES, _NESTED_MARK])
        name = f"line {row}, {key!r} is {_shown(odd)}"
    texts = (json.dumps(one).replace(json.dumps(_NESTED_MARK), NESTED) for one in documents)
    return _written(name, separator.join(texts).encode())


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(document, dict | list):
        keys = list(document) if isinstance(document, dict) else range(len(document))
        for key in keys:
            yield document, key
            yield from _places(document[key])


def _safetensors_mutation(content: bytes, drawn: random.Random) -> Mutation:
    """Its header is JSON after eight bytes that give its length."""
    length = int.from_bytes(content[:8], "little")
    spoilt = _json_mutation(content[8 : 8 + length], drawn)

    def apply(path: Path) -> None:
        spoilt.apply(path)
        header = path.read_bytes()
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])

    return Mutation(f"header: {spoilt.name}", apply)


def _odd_arrays(content: bytes) -> Iterator[tuple[str, bytes]]:
    rows = np.load(BytesIO(content))
    odd = {
        "zeros": np.zeros_like(rows),
        "NaN": np.full(rows.shape, np.nan),
        "infinities": np.full_like(rows, np.inf),
        "large numbers": rows * 1e30,
        "other width": rows[:, :-1],
        "no rows": rows[:0],
        "texts": rows.astype("U8"),
        "records": np.zeros(3, [("a", "f4")]),
        "objects": np.array([None]),
        "columns": np.asfortranarray(rows),
    }
    for name, array in odd.items():
        stream = BytesIO()
        np.save(stream, array)
        yield name, stream.getvalue()
    for shape in (f"{(2**40, 2**20)}", "(-1, 4)", "()", NESTED):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        yield f"shape {shape[:20]}", b"\x93NUMPY\x02\0" + len(header).to_bytes(4, "little") + header
    archive = BytesIO()
    np.savez(archive, rows=rows)
    yield "an archive", archive.getvalue()


def _sqlite_mutation(content: bytes, drawn: random.Random) -> Mutation:
    """A cell, a row or the schema is another, in a file that SQLite finds sound."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content[:18] + b"\1\1" + content[20:])  # without its log
        named = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        table = drawn.choice(sorted(name for (name,) in named))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    column, odd, part = drawn.choice(columns), drawn.choice(_ODD_CELLS), drawn.random()
    schema = drawn.choice(_ODD_SCHEMA).format(table=table)
    row = f"(SELECT {column} FROM {table} LIMIT 1 OFFSET {drawn.randrange(9)})"

    def apply(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            with suppress(sqlite3.Error):  # what the table itself forbids
                if part < 0.25:
                    connection.executescript(schema)
                else:
                    every = "" if part < 0.4 else f"WHERE {column} = {row}"
                    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? {every}", (odd,))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    changed = schema if part < 0.25 else f"{table}.{column} is {_shown(odd)}"
    return Mutation(changed, apply)


def _shown(value: Any) -> str:
    return f"{value!r:.30}"
