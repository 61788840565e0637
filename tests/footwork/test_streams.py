"""Commands end as they should whatever stands behind their streams, and whenever a signal comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from footwork.cli import main
from footwork.console import note, print_document, print_text
from footwork.streams import silence

FOOTWORK = str(Path(sys.executable).with_name("footwork"))
HEEDS_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""Tests that a shell runs in the background, and what they start, would ignore it."""
COMMANDS = [f"{FOOTWORK} --help", f"{sys.executable} -m search query --help"]


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    given = os.environ | environment
    return subprocess.run(words, capture_output=True, text=True, check=False, env=given)


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(["bash", "-o", "pipefail", "-c", line], **environment)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", code])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_output_is_told_and_one_that_closes_ends_quietly(command: str) -> None:
    done = shell(f"{command} >&-")
    assert done.returncode == 1
    said = "footwork: error: the standard output is closed. Name a file for it: > FILE.\n"
    assert done.stderr == said
    done = shell(f"{command} | true")
    assert (done.returncode, done.stderr) == (141, "")


def test_what_nobody_hears_stays_out_of_the_results() -> None:
    for closed in ("2>&-", "2>/dev/full"):
        done = shell(f"{FOOTWORK} search status --index nowhere {closed}")
        assert (done.returncode, done.stdout) == (1, "")
        assert shell(f"{FOOTWORK} --version {closed} <&-").returncode == 0


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; from footwork.streams import open_closed_streams; open_closed_streams(); "
        f"handle = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_RDWR); assert handle > 2"
    )
    assert shell(f'{sys.executable} -c "{code}" <&- >&- 2>&-').returncode == 0


def test_an_empty_input_is_told(tmp_path: Path) -> None:
    done = shell(f"{FOOTWORK} search query --queries - --index {tmp_path} <&-")
    assert done.stderr == ("footwork: error: standard input is empty. Write one entry a line.\n")


def test_words_and_paths_are_read_in_any_locale(tmp_path: Path) -> None:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    rows = [f"ça {i},{label}" for i in range(20) for label in ("été", "hiver")]
    (tmp_path / "né日.csv").write_text("\n".join(["text,label", *rows]), "utf-8")
    done = shell(f"{FOOTWORK} textclf audit {tmp_path}/né日.csv --model tiny --json", **environment)
    assert done.returncode == 0, done.stderr
    assert "été" in str(json.loads(done.stdout))


@pytest.mark.parametrize("columns", ["0", "1", "9"])
def test_a_help_page_ends_on_any_terminal(columns: str) -> None:
    done = shell(f"timeout 30 {COMMANDS[1]}", COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = shell(f"cd {tmp_path}/gone && rmdir ../gone && {FOOTWORK} search status")
    assert done.returncode == 2
    assert "The folder in which you are is no longer there. Go into another one" in done.stderr


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("cyclopts", signal.SIGINT),
        ("cyclopts.parameter", signal.SIGTERM),
        ("search.cli", signal.SIGINT),
        ("search.cli", signal.SIGTERM),
    ],
)
def test_a_signal_while_modules_are_loaded_ends_without_a_traceback(
    module: str, number: signal.Signals
) -> None:
    code = (
        f"{HEEDS_SIGINT}import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), {number})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from footwork.cli import run; run(['search', 'status'])"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (128 + number, "footwork: interrupted.\n")


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGINT, "interrupted."), (signal.SIGTERM, "ended by SIGTERM.")],
)
def test_a_signal_during_the_work_lets_it_be_put_in_order(
    boxing: Path, number: signal.Signals, said: str
) -> None:
    (boxing / "cli.py").write_text(
        "import os, time\nfrom cyclopts import App\napp = App(name='boxing')\n"
        "@app.command\ndef wait():\n"
        f"    try:\n        os.kill(os.getpid(), {number}); time.sleep(60)\n"
        "    finally:\n        print('put in order')\n"
    )
    code = (
        f"{HEEDS_SIGINT}import sys; sys.path.insert(0, {str(boxing.parent)!r})\n"
        "import footwork.cli as c; c.APPLICATIONS = ('boxing',); c.run(['boxing', 'wait'])"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (128 + number, "put in order\n")
    assert done.stderr == f"footwork: {said}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("search query dog -k 1.5", "-k must be a whole number below 2^63, got 1.5."),
        ("search query dog --min-width 30.0", "--min-width must be a whole number"),
        ("search index --batch-size nan", "--batch-size must be a whole number"),
        ("search duplicates --near inf", "--near must be a finite number, got inf."),
        ("textclf train a b --seed 99999999999999999999", "--seed must be a whole number"),
        ("textclf train a b --learning-rate nan", "--learning-rate must be a finite number"),
        ("textclf train a b --seed 4294967296", "`seed` must be below 4,294,967,296, got"),
        ("textclf train a b --lora-alpha -1", "`lora_alpha` must be above 0, got -1.0."),
        ("textclf predict a b --overlap 2.5", "--overlap must be a whole number"),
        ("zeroshot teach a b --suggestions 1.5", "--suggestions must be a whole number"),
        ("zeroshot finetune a b --num-epochs inf", "--num-epochs must be a finite number"),
    ],
)
def test_numbers_are_what_they_have_to_be(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_numbers_of_a_configuration_file_are_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text("batch_size = 1.5\n")
    assert main(["textclf", "train", "a", "b", "--config", str(tmp_path / "run.toml")]) == 2
    assert "[batch_size] must be a whole number below 2^63, got 1.5." in capsys.readouterr().err


def test_what_is_silenced_leaves_no_file_open(tmp_path: Path) -> None:
    def lowest_free() -> int:
        number = os.open(os.devnull, os.O_RDONLY)
        os.close(number)
        return number

    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        free = lowest_free()
        silence(stream)
        assert lowest_free() == free
        print("lost", file=stream)
    assert not (tmp_path / "out").read_text("utf-8")


def test_a_terminal_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31m\x9b2J\r\u202egpj.exe\x7f\tb\nc"
    print_text(name)
    note(name)
    shown = "a\\u001b[31m\\u009b2J\\u000d\\u202egpj.exe\\u007f\tb\nc\n"
    assert capsys.readouterr() == (shown, shown)
    print_document({"path": name + "\x85"})
    assert json.loads(capsys.readouterr().out) == {"path": name + "\x85"}
