"""What commands print: results on standard output, everything else on standard error.

Of several processes only the main one prints; the others go through the same rows, since their
work may be in them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from math import inf
from typing import Any, Self, TypeVar
from warnings import catch_warnings, simplefilter

from footwork.streams import harmless, takes_unicode, tell

Row = Mapping[str, Any]
Item = TypeVar("Item")
Notify = Callable[[str], None]
"""Takes what is said of a work in progress, a text each; of a training `Milestone`s among them."""

DONE, SKIPPED = 0, 3
"""Exit codes: all done; done, but some inputs were skipped and listed."""

_MOMENT = 0.1  # seconds
BETWEEN = 10.0
"""Seconds between two lines of progress where there is no bar."""
_SHARE, _LONGEST = 0.1 - 1e-9, 60.0
"""Of the whole that is done between two lines, and seconds after which that is not waited for."""


def print_text(text: str) -> None:
    """A result for people."""
    if _is_main():
        with _above_bars():
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
    """CSV, as the rows come; the first one's keys are the header, `flat` makes cells of values."""
    from footwork.tables.cells import cell, csv_writer

    writer = csv_writer(sys.stdout)
    for index, row in enumerate(map(flat, rows)):
        if not _is_main():
            continue
        for values in (row.keys(), row.values()) if index == 0 else (row.values(),):
            cells = [cell(value, raw=raw_cells) for value in values]
            if sys.stdout.isatty():
                cells = [harmless(one) if isinstance(one, str) else one for one in cells]
            writer.writerow(cells)


def note(text: str) -> None:
    """Something to know; a `Milestone` is shown as progress."""
    if isinstance(text, Milestone):
        _show_milestone(text)
    elif _is_main():
        with _above_bars():
            tell(harmless(text))


_silent: ContextVar[bool] = ContextVar("silent", default=False)


def is_watched() -> bool:
    """Whether somebody looks on, at a terminal or a notebook, and wants to."""
    seen = False
    with suppress(AttributeError, ValueError):  # None, what only writes, or what is closed
        seen = sys.stderr.isatty() or _in_notebook()
    return _is_main() and seen and not _silent.get()


@contextmanager
def heard(notify: Notify | None, *, verbose: bool) -> Iterator[Notify]:
    """What takes the lines of a work within the block: `notify`, or else whoever looks on."""
    silenced = _silent.set(not verbose)
    try:
        yield notify or (note if is_watched() else lambda _: None)
    finally:
        _silent.reset(silenced)
        end_progress()


def watched(items: Iterable[Item], what: str, unit: str, total: int) -> Iterator[Item]:
    """Pass items on, with a bar if somebody looks on and they take longer than a moment.

    Threads beside the main one, of a server say, have none.
    """
    if not is_watched() or threading.current_thread() is not threading.main_thread():
        yield from items
        return
    with Progress(what, unit) as progress:
        progress.show(0, total)
        for done, item in enumerate(items, start=1):
            progress.show(done, total)
            yield item


def note_all(texts: Iterable[str]) -> None:
    """Each on a line of its own."""
    for text in texts:
        note(text)


class Progress:
    """How far a work is, with rate and time left: a bar on a terminal, else a line now and then.

    What is noted meanwhile stands above the bar. Of several processes the main one shows it. `what`
    is done begins the line; `unit`, a plural, is counted, `B` for bytes.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit, self._in_bytes = what, unit, unit == "B"
        self._bar: Any = None
        self._first, self._done, self._began, self._remarked = 0, 0, -inf, time.monotonic()
        self._told, self._told_share = 0.0, 0.0
        self.watched = is_watched()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def show(self, done: int, total: int | None, said: str = "", found: int = 0) -> None:
        """Say it, unless something was said a moment ago.

        Args:
            done: How much of it.
            total: None where nobody knows.
            said: What else to know.
            found: Of what is done: from before it began, so that it tells nothing of the rate.
        """
        now, share = time.monotonic(), done / total if total else 0.0
        if done < self._done:  # another stage of the work
            self.end()
        if self._began == -inf:
            self._began = self._told = now
            self._first, self._told_share = done - found, share
        self._done = done
        if self.watched and now - self._began >= _MOMENT:
            self._draw(total, harmless(said), self._first + found)
        more, waited = share - self._told_share, now - self._told
        is_due = waited >= BETWEEN and (more >= _SHARE or waited >= _LONGEST)
        if is_due and not self.watched and _is_main():
            self._told, self._told_share = now, share
            self._tell(total, now - self._began, said, self._first + found)

    def _draw(self, total: int | None, said: str, before: int) -> None:
        if self._bar is None:
            if notebook := _in_notebook():
                with catch_warnings():  # of ipywidgets that are not there
                    simplefilter("ignore")
                    from tqdm.auto import tqdm
            else:
                from tqdm import tqdm  # what is done in a moment does not wait for it
            wide = notebook
            with suppress(OSError):  # of a stand-in for a terminal, such as that of an editor
                # A terminal that says it has no width does not know.
                wide = wide or os.get_terminal_size(sys.stderr.fileno()).columns > 0
            self._bar = type("Bar", (tqdm,), {"monitor_interval": 0})(  # no thread to watch it
                total=total,
                initial=before,
                desc=harmless(self._what),
                unit="B" if self._in_bytes else f" {self._unit}",
                unit_scale=self._in_bytes,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=wide,
                ncols=None if wide else 79,
                nrows=20,
                ascii=not takes_unicode(sys.stderr),
                miniters=1,
            )
            self._bar.start_t -= time.monotonic() - self._began
        bar, moved = self._bar, before - self._bar.initial
        bar.n, bar.last_print_n = bar.n + moved, bar.last_print_n + moved
        bar.total, bar.initial = total, before
        bar.set_postfix_str(said, refresh=False)
        bar.update(self._done - bar.n)

    def _tell(self, total: int | None, seconds: float, said: str, before: int) -> None:
        from tqdm import tqdm

        if self._in_bytes:
            count = "{n_fmt}B of {total_fmt}B" if total else "{n_fmt}B"
        else:
            count = f"{{n:,}}{' of {total:,}' if total else ''} {self._unit}"
        line = tqdm.format_meter(
            self._done,
            total,
            seconds,
            prefix=self._what,
            unit="B" if self._in_bytes else f" {self._unit}",
            unit_scale=self._in_bytes,
            postfix=said,
            initial=before,
            bar_format="{desc}: "
            f"{count}, {{rate_noinv_fmt}}{', {remaining} left' if total else ''}{{postfix}}",
        )
        tell(harmless(" ".join(line.split())))  # the rate is padded

    def remark(self, text: str) -> None:
        """Note something in passing, unless another remark was noted a moment ago."""
        if time.monotonic() - self._remarked >= BETWEEN:
            self._remarked = time.monotonic()
            note(text)

    def end(self) -> None:
        """Take the bar away, and begin anew if it goes on."""
        self._done, self._began = 0, -inf
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Milestone(str):
    """A line on how far a training is, for whoever takes lines, with its figures as fields.

    Where the training has ended, which the text then tells, as many steps are done as there are.
    """

    step: int
    """Steps done."""
    total: int
    """Of all that there may be."""
    epoch: float | None = None
    loss: float | None = None
    """Mean of the steps since the last such line; None of an evaluation."""
    learning_rate: float | None = None
    metrics: Mapping[str, float] | None = None
    """Of an evaluation on the validation rows, by name."""

    def __new__(cls, text: str, step: int, total: int, **figures: Any) -> Self:
        """Make a string that knows more than it says."""
        line = super().__new__(cls, text)
        line.step, line.total = step, total
        line.__dict__.update(figures)
        return line

    @property
    def said(self) -> str:
        """What stands beside a bar."""
        epoch, loss, rate = self.epoch, self.loss, self.learning_rate
        return "" if loss is None else f"epoch {epoch:.2f}, loss {loss:.4f}, rate {rate:.1e}"


_training: list[Progress] = []  # what shows milestones: one at most


def _show_milestone(line: Milestone) -> None:
    if not _training:
        _training.append(Progress("training", "steps"))
    if line.metrics is not None:
        _training[0].remark(str(line))
    elif line.step < line.total:
        _training[0].show(line.step, line.total, line.said)
    else:
        end_progress()
        note(str(line))


def end_progress() -> None:
    """Take the bar of a training away, also of one that failed."""
    while _training:
        _training.pop().end()


@contextmanager
def _above_bars() -> Iterator[None]:
    """Where bars are shown, theirs or a library's, what is written within stands above them."""
    if "tqdm" not in sys.modules or sys.stderr is None or not sys.stderr.isatty():
        yield
    else:
        with sys.modules["tqdm"].tqdm.external_write_mode(sys.stderr):
            yield


def report_skipped(inputs: Iterable[object]) -> int:
    """List the rows or images that were left out, and give the exit code that says so."""
    skipped = list(inputs)
    note_all(f"skipped {each}" for each in skipped)
    return exit_code(all_done=not skipped)


def exit_code(*, all_done: bool) -> int:
    """What a command that ends well returns: of several processes only the main one tells more.

    A launcher ends all processes at the first that fails, the main one perhaps before it printed.
    """
    return DONE if all_done or not _is_main() else SKIPPED


def _json(value: Row, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=not takes_unicode(sys.stdout), indent=indent, default=str)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"
