"""Encodings are found, bytes are not guessed at, and streams are not awaited."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from footwork.errors import DataError
from footwork.tables.layout import TableFormat
from footwork.tables.reader import iterate_rows, read_table
from tests.tables import PLAIN, write


def test_latin_1_is_read_with_a_warning(tmp_path: Path) -> None:
    content = b"text,label\n" + PLAIN.encode() + b"caf\xe9,pos\n"
    table = read_table(write(tmp_path, "t.csv", content))
    assert table.columns["text"][-1] == "café"
    assert "first at row 12" in table.notes[0]
    assert "Latin-1" in table.notes[0]
    table = read_table(write(tmp_path, "t.csv", b"text,label\nit\x92s,pos\nb,neg\n"))
    assert table.columns["text"][0] == "it\u2019s"


def test_bytes_of_another_encoding_are_an_error_with_their_row(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", b"text,label\na,x\ncaf\xe9,y\nb,x\n")
    with pytest.raises(DataError, match="row 3: byte 0xE9 is not valid"):
        read_table(path, TableFormat(encoding="utf-8"))
    table = read_table(path, TableFormat(encoding="utf-8", skip_bad_rows=True))
    assert table.columns["text"] == ["a", "b"]


def test_a_line_separator_of_unicode_ends_no_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "table.csv", "text,label\na\u2028b\x85c\x0cd,x\nsecond,y\n"))
    assert table.columns["text"] == ["a\u2028b\x85c\x0cd", "second"]
    assert table.rows == [2, 3]


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("text\nhello, you\n",))
    writer.start()
    assert list(iterate_rows(pipe)) == [(2, {"text": "hello, you"})]
    writer.join()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"text": "a", "id": 1}\n{"n": 2}\n', [[1, {"text": "a", "id": 1}], [2, {"n": 2}]]),
        ("id,text\n1,hello\n", [[2, {"id": "1", "text": "hello"}]]),
        ("so, this\n", [[1, {"text": "so, this"}]]),
        ("", []),
    ],
)
def test_standard_input_tells_its_format(
    given: str, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, given.encode())
    assert [list(row) for row in iterate_rows(None)] == expected


def test_standard_input_is_not_awaited() -> None:
    program = (
        "from footwork.tables.reader import *\nfor r in iterate_rows(None): print(r, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("text\nfirst\n")
        process.stdin.flush()
        # Blocks forever if the reader waits for the end of its input.
        assert "first" in process.stdout.readline()
        process.stdin.close()


class Dripping(io.RawIOBase):
    """A stream that gives one piece at each reading, as a live pipe does."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def readable(self) -> bool:
        return True

    def read1(self, _: int = -1) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def standard_input(monkeypatch: pytest.MonkeyPatch, given: bytes | Dripping) -> None:
    stream = io.BytesIO(given) if isinstance(given, bytes) else given
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_standard_input_tells_its_encoding_by_its_mark(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half of each of these letters is the byte of a line's end.
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    given = mark + "id,text\n1,Ċ and ਊ\n2,café".encode(encoding)
    standard_input(monkeypatch, given)
    assert [cells["text"] for _, cells in iterate_rows(None)] == ["Ċ and ਊ", "café"]


@pytest.mark.parametrize("encoding", [None, "utf-16-le"])
def test_utf_16_is_not_awaited(encoding: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = b"" if encoding else b"\xff\xfe"
    first = mark + "Ċ one\n".encode("utf-16-le")
    halves = [first[:-1], first[-1:]]
    live = Dripping([*halves, "two\n".encode("utf-16-le"), "three".encode("utf-16-le")])
    standard_input(monkeypatch, live)
    rows = iterate_rows(None, TableFormat(encoding=encoding))
    assert next(rows) == (1, {"text": "Ċ one"})
    assert live.pieces
    assert [cells["text"] for _, cells in rows] == ["two", "three"]


def test_a_broken_first_object_is_no_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, b'\n{"text": "a"\n')
    with pytest.raises(DataError, match=r"row 2: .* not valid JSON: .*--format lines"):
        iterate_rows(None)
    broken = b'{"text": "a"\n{"text": "b"}\n'
    standard_input(monkeypatch, broken)
    with pytest.raises(DataError, match=r"row 1: it is not valid JSON"):
        list(iterate_rows(None))
    standard_input(monkeypatch, broken)
    rows = iterate_rows(None, TableFormat(skip_bad_rows=True))
    assert list(rows) == [(2, {"text": "b"})]
    assert [skipped.row for skipped in rows.skipped] == [1]


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(DataError, match="/dev/zero cannot be read: it is a device, not a file or"):
        iterate_rows(Path("/dev/zero"))
