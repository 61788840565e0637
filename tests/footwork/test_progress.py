"""One progress for all work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from footwork import console
from footwork.console import Milestone, Progress, note

WORK = """
import sys, time
from footwork import console
from footwork.console import Milestone, Progress, note, print_text
with Progress("reading\\x1b[31m", "images") as progress:
    for done in range(1, 9):
        progress.show(done, 8, "loss 0.1")
        time.sleep(0.05)
        if done == 6:
            note("a note")
for step in range(1, 6):
    note(Milestone(f"step {step}/6", step, 6, epoch=0.1, loss=step, learning_rate=1e-4))
    time.sleep(0.05)
note(Milestone("trained 6 steps", 6, 6))
print_text("result")
"""


class OnlyWritten:
    write = flush = staticmethod(lambda *_: None)


class Posing(StringIO):
    """Says that it is a terminal, as that of an editor does, and has no number."""

    isatty = staticmethod(lambda: True)


CLOSED = StringIO()
CLOSED.close()


@pytest.mark.parametrize("stream", [OnlyWritten(), Posing(), CLOSED, None])
def test_work_goes_on_whatever_the_errors_go_to(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(console, "_MOMENT", 0)
    with Progress("reading", "images") as progress:
        progress.show(1, 2)
    assert progress.watched is isinstance(stream, Posing)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def on_a_terminal(script: str, tmp_path: Path) -> str:
    """What a process writes to the terminal that its standard error is."""
    ours, theirs = pty.openpty()
    with (tmp_path / "out.txt").open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=out, stderr=theirs, check=False, timeout=60
        )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 1 << 16):
            written += part
    except OSError:  # the terminal has gone
        pass
    os.close(ours)
    assert done.returncode == 0, written
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that stand on a terminal in the end."""
    lines, column = [""], 0
    for part in re.findall(r"\r\n|\r|\n|[^\r\n]+", written):
        if "\n" in part:
            lines, column = [*lines, ""], 0
        elif part == "\r":
            column = 0
        else:
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_terminal_has_a_bar_and_what_is_noted_stands_above_it(tmp_path: Path) -> None:
    written = on_a_terminal(WORK, tmp_path)
    assert re.search(r"reading\\u001b\[31m: +\d+%\|.*\| \d/8 \[.*images/s, loss 0.1\]", written)
    assert re.search(r"training: +\d+%\|.*\| \d/6 \[.*steps/s, epoch 0.10, loss \d\.", written)
    assert "\x1b[31m" not in written
    assert screen(written) == ["a note", "trained 6 steps"]
    assert (tmp_path / "out.txt").read_text() == "result\n"


def test_a_log_has_a_line_every_ten_seconds_if_a_tenth_more_is_done(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("reading", "images") as progress:
        for second in range(61):
            progress.show(10 * second, 1000, "loss 0.1")
            clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading: 100 of 1,000 images, 10.00 images/s, 01:30 left, loss 0.1"
    assert [line.split()[1] for line in lines] == ["100", "200", "300", "400", "500", "600"]


def test_of_long_work_a_log_has_a_line_a_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("copying", "files")
    for second in range(0, 301, 5):
        clock.now = 1000 + second
        progress.show(second, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "copying: 60 files, 1.00 files/s"
    assert len(lines) == 5


def test_bytes_that_were_there_before_tell_nothing_of_the_rate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("some/model", "B")
    for done, found in ((500_000_000, 500_000_000), (520_000_000, 500_000_000)):
        progress.show(done, 1_000_000_000, found=found)
        clock.now += 10
    progress.show(840_000_000, 1_000_000_000, found=800_000_000)
    said = capsys.readouterr().err
    assert said == "some/model: 840MB of 1.00GB, 2.00MB/s, 01:20 left\n"


def test_each_stage_of_a_work_has_its_own_rate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("reading", "images")
    for total in (1000, 10):
        for done in (0, total):
            progress.show(done, total)
            clock.now += 10
    rates = [line.split(", ")[1] for line in capsys.readouterr().err.splitlines()]
    assert rates == ["100.00 images/s", "1.00 images/s"]


def test_of_the_remarks_in_passing_a_console_shows_one_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in range(1, 26):
        note(Milestone(f"step {step}/26", step, 26, epoch=0.1, loss=0.1234, learning_rate=1e-4))
        note(Milestone(f"validation after step {step}", step, 26, metrics={}))
        clock.now += 1
    note(Milestone("trained 26 steps in 25 s", 26, 26))
    assert capsys.readouterr().err.splitlines() == [
        "training: 11 of 26 steps, 1.00 steps/s, 00:15 left, epoch 0.10, loss 0.1234, rate 1.0e-04",
        "validation after step 11",
        "training: 21 of 26 steps, 1.00 steps/s, 00:05 left, epoch 0.10, loss 0.1234, rate 1.0e-04",
        "validation after step 21",
        "trained 26 steps in 25 s",
    ]


def test_of_several_processes_the_main_one_shows_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    progress = Progress("reading", "images")
    for done in (1, 9):
        progress.show(done, 10)
        note(Milestone("step", done, 10))
        clock.now += 60
    assert capsys.readouterr() == ("", "")


def test_what_is_done_in_a_moment_does_not_wait_for_a_bar() -> None:
    script = (
        "import sys; from footwork.console import Progress\n"
        "with Progress('reading', 'images') as progress: progress.show(1, 2); progress.show(2, 2)\n"
        "print('tqdm' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


WATCHED = """
import threading, time
from footwork.console import heard, watched
def work(name):
    for _ in watched(range(4), name, "texts", 4):
        time.sleep(0.06)
work("shown")
with heard(None, verbose=False):
    work("silent")
thread = threading.Thread(target=work, args=("server",))
thread.start(); thread.join()
"""


def test_what_takes_a_while_has_a_bar_where_somebody_looks_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = on_a_terminal(WATCHED, tmp_path)
    assert re.search(r"shown: +\d+%\|.*\| \d/4 \[", written)
    assert "silent" not in written
    assert "server" not in written
    assert list(console.watched(iter("abc"), "shown", "texts", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_many_images_from_python_have_a_bar_for_whoever_looks_on(tmp_path: Path) -> None:
    script = """
import numpy as np
from footwork import ZeroShotClassifier, console
console._MOMENT = 0.0
images = list(np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8))
answers = ZeroShotClassifier.load("tiny", ["a circle", "a star"]).predict(images)
print(len(answers))
"""
    written = on_a_terminal(script, tmp_path)
    assert re.search(r"reading: +\d+%\|.*\| \d+/40 \[.*images/s", written)
    assert screen(written) == []
    assert (tmp_path / "out.txt").read_text() == "40\n"


def test_teaching_shows_how_far_it_is_unless_it_is_told_not_to(tmp_path: Path) -> None:
    script = f"""
import numpy as np
from footwork import TeachOptions, console, teach
console._MOMENT = 0.0
images = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
rows = [{{"image": image, "label": "ab"[place % 2]}} for place, image in enumerate(images)]
out, options = {str(tmp_path / "out")!r}, TeachOptions(words=0, method="prototypes")
for existing, verbose in (("refuse", True), ("overwrite", False)):
    console.note(f"verbose: {{verbose}}")
    teach(rows, out, "tiny", options, existing=existing, verbose=verbose)
"""
    _, shown, silent = on_a_terminal(script, tmp_path).split("verbose: ")
    assert "embedding: " in shown
    assert "embedding: " not in silent
