"""What commands print: results on standard output, everything else on standard error.

Of several processes only the main one prints; the others go through the same rows, since their
work may be in them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from footwork.streams import harmless, takes_unicode, tell

if TYPE_CHECKING:
    from footwork.tables.reader import SkippedRow

Row = Mapping[str, Any]

DONE, SKIPPED = 0, 3
"""Exit codes: all done; done, but some inputs were skipped and listed."""

_MOMENT = 0.1  # seconds


def print_text(text: str) -> None:
    """A result for people."""
    if _is_main():
        print(harmless(text))


def print_picture(sequence: str) -> None:
    """What a terminal draws as a picture."""
    print(sequence)


def print_document(value: Row) -> None:
    """A result for programs: one JSON document."""
    print_text(_json(value, indent=2))


def print_json_lines(rows: Iterable[Row]) -> None:
    """One JSON object a line, as the rows come."""
    for row in rows:
        print_text(_json(row))


def print_csv(rows: Iterable[Row], flat: Callable[[Row], Row], *, raw_cells: bool = False) -> None:
    """CSV, as the rows come; the first one's keys are the header.

    Args:
        rows: Of any number.
        flat: Makes cells of what is no cell.
        raw_cells: Leave alone what a spreadsheet would run.
    """
    from footwork.tables.cells import cell, csv_writer

    writer = csv_writer(sys.stdout)
    for index, row in enumerate(map(flat, rows)):
        if not _is_main():
            continue
        if index == 0:
            writer.writerow(row)
        cells = [cell(value, raw=raw_cells) for value in row.values()]
        if sys.stdout.isatty():
            cells = [harmless(one) if isinstance(one, str) else one for one in cells]
        writer.writerow(cells)


def note(text: str) -> None:
    """Progress, or something to know."""
    if _is_main():
        tell(harmless(text))


def note_all(texts: Iterable[str]) -> None:
    """Each on a line of its own."""
    for text in texts:
        note(text)


class ProgressLine:
    """A line on a terminal that says how far the work is, written over again and again.

    Args:
        unwatched_pause: Where nobody watches, seconds between lines; None prints none there.
    """

    def __init__(self, unwatched_pause: float | None = None) -> None:
        self.watched = _is_main() and sys.stderr.isatty()
        self._pause = _MOMENT if self.watched else unwatched_pause
        self._said = 0.0 if self.watched else time.monotonic()
        self._shown = False

    def show(self, text: str) -> None:
        """Say it now, unless something was said a moment ago."""
        now = time.monotonic()
        if self._pause is None or now - self._said <= self._pause:
            return
        self._said, self._shown = now, self.watched
        if self.watched:
            tell(f"\r\x1b[K{harmless(text)}", end="")
        else:
            note(text)

    def clear(self) -> None:
        """Make room for what is said next."""
        if self._shown:
            tell("\r\x1b[K", end="")


def report_skipped(rows: Iterable[SkippedRow]) -> int:
    """List the rows of a table that were left out, and give the exit code that says so."""
    skipped = list(rows)
    note_all(f"skipped {row.source}, row {row.row}: {row.reason}" for row in skipped)
    return exit_code(all_done=not skipped)


def exit_code(*, all_done: bool) -> int:
    """What a command that ends well returns: of several processes only the main one tells more.

    A launcher ends all processes at the first that fails, the main one perhaps before it printed.
    """
    return DONE if all_done or not _is_main() else SKIPPED


def _json(value: Row, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=not takes_unicode(sys.stdout), indent=indent)


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"
