"""Records of delimited text, each with the number of the line it starts on."""

from __future__ import annotations

import csv
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from footwork.tables.source import line_fault


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a delimited line are told apart."""

    delimiter: str
    quoted: bool = True
    """Quote characters enclose cells; False leaves them in the text."""
    escaped: bool = False
    """A backslash before a quote keeps it in the cell."""


class Record(NamedTuple):
    """One row as it stands in the file."""

    row: int
    """1-based line on which it starts."""
    cells: list[str]
    lines: int = 1
    """How many lines of the file it spans."""
    fault: str | None = None
    """Why it cannot be used."""


def read_records(
    lines: Iterable[str], dialect: Dialect, width: int | None = None, strict: bool = False
) -> Iterator[Record]:
    """Split lines, with their endings, into records.

    Blank lines between them are none; where `width` is 1, each is an empty cell. A stray quote
    makes one faulty record of its line; the lines that it would swallow are read afresh. It is
    told by the `width`, the cells a record should have. With `strict`, text after a closing quote
    is a fault; Python's reader glues it to the cell.
    """
    # csv allows 128 KiB a cell; a text may be longer.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    tracker = _Tracker(lines)
    while True:
        reader = csv.reader(
            tracker.take(),
            delimiter=dialect.delimiter,
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
            quotechar='"' if dialect.quoted else None,
            escapechar="\\" if dialect.escaped else None,
            strict=strict,
        )
        yield from _records_until_stray_quote(reader, tracker, width)
        if not tracker.pending:
            return
        yield Record(tracker.first_row, [], fault="a quote opens here and never closes")
        tracker.reread_pending()


class _Tracker:
    """Hands lines on to a reader, and remembers those of the record under way."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: deque[str] = deque()
        self._taken = 0
        self.pending: list[str] = []
        self.ended = False

    @property
    def first_row(self) -> int:
        """Number of the first pending line."""
        return self._taken - len(self.pending) + 1

    def take(self) -> Iterator[str]:
        """Lines for a reader, up to the last one."""
        while line := self._again.popleft() if self._again else next(self._lines, ""):
            self._taken += 1
            self.pending.append(line)
            yield line
        self.ended = True

    def reread_pending(self) -> None:
        """Give the lines after the first pending one out again."""
        self._again.extendleft(reversed(self.pending[1:]))
        self._taken -= len(self.pending) - 1
        self.pending, self.ended = [], False


def _records_until_stray_quote(
    reader: Any, tracker: _Tracker, width: int | None
) -> Iterator[Record]:
    """Records up to one that a stray quote spoils; its lines are then pending.

    Where a record has one cell, a blank line before another record is an empty one.
    """
    blank: list[Record] | None = None
    while True:
        tracker.pending = []
        try:
            cells, fault = next(reader), None
        except StopIteration:
            return
        except csv.Error as error:
            cells, fault = [], str(error)
        lines = tracker.pending
        odd = width is not None and len(lines) > 1 and len(cells) != width
        # The reader asks beyond the last line only from within a quote.
        if tracker.ended or (odd and _swallows_records(reader, lines, width or 0)):
            yield from blank or ()
            return
        if cells or fault:
            yield from blank or ()
            blank = []
            for line in lines:
                fault = fault or line_fault(line)
            yield Record(tracker.first_row, cells, len(lines), fault)
        elif width == 1 and blank is not None:
            blank.append(Record(tracker.first_row, [""]))


def _swallows_records(reader: Any, lines: list[str], width: int) -> bool:
    """Whether a record of the wrong width would be right ones if its first line were not there."""
    rest = csv.reader(lines[1:], reader.dialect, strict=True)
    try:
        return [len(found) for found in rest] == [width] * (len(lines) - 1)
    except csv.Error:
        return False


@dataclass(frozen=True, slots=True)
class DialectCheck:
    """How well a dialect fits a file."""

    dialect: Dialect
    faults: int
    """Records that are malformed, span lines, or have another number of cells than the first."""
    first_fault: int | None
    """Row of the first."""


def check_dialect(lines: Iterable[str], dialect: Dialect) -> DialectCheck:
    """Count what would go wrong with a dialect over a whole file."""
    faults, first_fault, width = 0, None, 0
    for record in read_records(lines, dialect, strict=True):
        width = width or len(record.cells)
        if record.fault or record.lines > 1 or len(record.cells) != width:
            faults += 1
            first_fault = first_fault or record.row
    return DialectCheck(dialect, faults, first_fault)


def choose_dialect(checks: Iterable[DialectCheck]) -> DialectCheck:
    """The first without faults; else the first, unless another has ten times fewer.

    The preferred one comes first; later ones are made only if they are needed.
    """
    checks = iter(checks)
    first = best = next(checks)
    while best.faults and (check := next(checks, None)):
        if check.faults * 10 < first.faults and check.faults < best.faults:
            best = check
    return best
