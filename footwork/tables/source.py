"""Lines of text files and streams, in the encoding that was stated or found."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from footwork.errors import ConfigError, DataError
from footwork.files.paths import path_line

_CHUNK_BYTES = 1 << 20
# utf-32 first: its mark begins with the one of utf-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What `surrogateescape` makes of bytes that the encoding does not know.
_ESCAPED = re.compile("[\udc80-\udcff]")


class TextSource:
    """A file or a stream whose lines can be looked at before they are read."""

    def __init__(self, path: Path | None, stream: IO[bytes] | None, encoding: str | None) -> None:
        """Open a regular file by `path`, or look at the beginning of a stream, read once."""
        self._path, self._stream = path, stream
        self.name = str(path) if path else getattr(stream, "name", "standard input")
        self.head = _first_chunk(stream, encoding) if stream else next(self._chunks(), b"")
        self.encoding, self.note = self._detect(encoding)

    @property
    def ending(self) -> str:
        """Lower case, with its dot; empty for a stream."""
        return self._path.suffix.lower() if self._path else ""

    def preview(self) -> Iterator[str]:
        """The lines that may be looked at twice: of a file all, of a stream its beginning."""
        if self._path:
            return self.lines()
        try:
            # Half a letter at the end is left out; so is what may be half a line.
            text = _decoder(self.encoding, "surrogateescape").decode(self.head)
        except UnicodeError as error:
            raise self._not_valid(error) from error
        whole = text[: text.rfind("\n") + 1] or text
        return iter(io.StringIO(whole.removeprefix("\ufeff"), newline=""))

    def lines(self) -> Iterator[str]:
        """Every line with its ending; bytes that cannot be decoded are left as surrogates."""
        binary: Any = None
        if self._stream:
            binary = io.BufferedReader(_Chained(self.head, self._stream))
        elif self._path:
            binary = self._path.open("rb")
        with io.TextIOWrapper(binary, self.encoding, "surrogateescape", newline="") as text:
            try:
                first = text.readline().removeprefix("\ufeff")
                if first:
                    yield first
                yield from text
            except UnicodeError as error:
                raise self._not_valid(error) from error
            except OSError as error:  # which a writer of rows would take for its own
                raise DataError(f"{self.name} cannot be read: {error.strerror}.") from error

    def _not_valid(self, error: UnicodeError) -> DataError:
        return DataError(
            f"{self.name} is not valid {self.encoding}: {error}. "
            "State another encoding with --encoding."
        )

    def _detect(self, stated: str | None) -> tuple[str, str | None]:
        if stated is not None:
            name = codecs.lookup(stated).name
            return ("utf-8-sig" if name == "utf-8" else name), None
        if encoding := _marked(self.head):
            return encoding, None if "8" in encoding else f"Read as {encoding.upper()}."
        fault = self._first_fault()
        if fault is None:
            return "utf-8", None
        line, latin = fault
        shown = "Windows-1252 (Latin-1 with typographic quotes)" if latin == "cp1252" else "Latin-1"
        return latin, (
            f"Warning: not valid UTF-8 (first at row {line}), so read as {shown}; "
            "state another encoding with --encoding if letters look wrong."
        )

    def _first_fault(self) -> tuple[int, str] | None:
        """The line that is not UTF-8, and which eight-bit encoding fits; None if all is well."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        line, high, first = 1, b"", None
        for chunk in self._chunks():
            if first is None:
                try:
                    decoder.decode(chunk)
                    line += chunk.count(b"\n")
                except UnicodeDecodeError as error:
                    first = line + error.object[: error.start].count(b"\n")
            if not chunk.isascii():
                high += bytes(set(chunk) & set(range(0x80, 0xA0)))
        if first is None and decoder.getstate()[0] and self._path:
            first = line
        if first is None:
            return None
        # Latin-1 has control characters where Windows has quotes; five places are in neither.
        windows = bool(high) and not set(high) & {0x81, 0x8D, 0x8F, 0x90, 0x9D}
        return first, "cp1252" if windows else "latin-1"

    def _chunks(self) -> Iterator[bytes]:
        if self._path is None:
            # A letter that the end of the beginning cuts in two is no fault.
            yield self.head[: self.head.rfind(b"\n") + 1] or self.head
            return
        with self._path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def open_to_read_once(path: Path) -> IO[bytes]:
    """Open a file, or a pipe that gives its content only once.

    A device such as /dev/zero, which never ends, is an `OSError`.
    """
    stream = path.open("rb")
    mode = os.fstat(stream.fileno()).st_mode
    if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and not stream.isatty():
        stream.close()
        raise OSError(errno.EINVAL, "it is a device, not a file or a pipe")
    return stream


def line_fault(line: str) -> str | None:
    """Why a line cannot be trusted, or None: NUL characters and undecodable bytes."""
    if "\0" in line:
        return (
            "it holds a NUL character (a binary file, or UTF-16 without its mark: "
            "then state --encoding utf-16-le)"
        )
    if not line.isascii() and (found := _ESCAPED.search(line)):
        byte = ord(found[0]) - 0xDC00
        return f"byte 0x{byte:02X} is not valid in this encoding; state another with --encoding"
    return None


def _marked(head: bytes) -> str | None:
    """The encoding that the first bytes state."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def _decoder(encoding: str, errors: str) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(encoding)(errors)


def _first_chunk(stream: IO[bytes], stated: str | None) -> bytes:
    """What a stream has to give now, at least one line: an interactive one must not be awaited."""
    read = getattr(stream, "read1", stream.read)
    head = more = read(_CHUNK_BYTES)
    # The byte of a line's end is half a letter of UTF-16; Latin-1 leaves it what it is in UTF-8.
    decoder = _decoder(stated or _marked(head) or "latin-1", "replace")
    while more and "\n" not in decoder.decode(more) and len(head) < 64 * _CHUNK_BYTES:
        more = read(_CHUNK_BYTES)
        head += more
    return bytes(head)


class _Chained(io.RawIOBase):
    """The beginning that was looked at, then the rest of the stream."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head, self._stream = head, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._head[: len(buffer)]
        self._head = self._head[len(buffer) :]
        if not chunk:
            chunk = getattr(self._stream, "read1", self._stream.read)(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed and self._stream is not getattr(sys.stdin, "buffer", None):
            self._stream.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, and where it stands."""

    text: str
    place: str
    """As a message names it: `labels.txt, line 3`."""


def read_entries(path: Path, content: bytes | None = None) -> list[Entry]:
    r"""The lines of a UTF-8 file without the space around them; blank lines are skipped.

    A line that begins with `#` is a comment, and one that begins with `\#` an entry that does.
    `content` is what has been read of it, as of `-`, standard input; None reads the file. What is
    no UTF-8, or holds no entry, is a `ConfigError`.
    """
    name = "standard input" if content is not None and str(path) == "-" else path_line(path)
    text = read_text(path) if content is None else _decoded(content, name)
    lines = map(str.strip, text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    entries = [
        Entry(line.removeprefix("\\") if line.startswith("\\#") else line, f"{name}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line and not line.startswith("#")
    ]
    if not entries:
        raise ConfigError(f"{name} is empty. Write one entry a line.")
    return entries


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark, or a `ConfigError`."""
    try:
        with open_to_read_once(path) as stream:
            content = stream.read()
    except OSError as error:
        raise ConfigError(f"Cannot read {path_line(path)}: {error.strerror or error}.") from error
    return _decoded(content, path_line(path))


def _decoded(content: bytes, name: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{name} is UTF-16. Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name} is not UTF-8 (line {line}). Save it as UTF-8.") from error
