"""The commands, as a user runs them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from footwork.cli import main
from search import ImageIndex
from search.place import IndexFolder
from tests.search.commands import Command
from tests.search.drawn import COLOURS, SHAPES, draw_photos
from tests.towers import Exports

Ask = Callable[..., dict[str, Any]]
"""A query's words and options → its answer as JSON."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, exports: Exports) -> Path:
    """A folder of photos; its index lies beside it."""
    photos = draw_photos(tmp_path_factory.mktemp("drawn") / "photos")
    (photos / "notes.jpg").write_bytes(b"no picture")
    command = ["search", "index", str(photos), "--index", f"{photos.parent}/index"]
    with exports.once():
        assert main([*command, "--model", "tiny"]) == 3
    return photos


@pytest.fixture(scope="module")
def index(photos: Path) -> Path:
    return photos.parent / "index"


@pytest.fixture
def ask(index: Path, command: Command) -> Ask:
    return partial(command.document, "query", "--index", index)


def names(answer: dict[str, Any]) -> list[str]:
    return ["/".join(Path(hit["path"]).parts[-2:]) for hit in answer["hits"]]


def test_words_find_what_they_say_however_many_are_asked_at_once(
    index: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    queries = "\n\n".join(f"a {colour} {shape}" for colour, shape in kinds).encode()
    (tmp_path / "queries.txt").write_bytes(queries)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(queries)))
    for file in (tmp_path / "queries.txt", "-"):
        lines = command("query", "--queries", file, "--json", "--index", index).splitlines()
        answers = list(map(json.loads, lines))
        assert [names(answer)[0] for answer in answers] == [f"{c}/{s}.png" for c, s in kinds]
        assert answers[0]["query"] == "a red circle"
        assert not any(answer["nothing_matches"] for answer in answers)


def test_results_end_where_relevance_does(ask: Ask) -> None:
    some, every = ask("a circle", "-k", "12"), ask("a circle", "-k", "12", "--all")
    assert 3 <= len(some["hits"]) < len(every["hits"]) == 12
    assert all(hit["relevance"] >= 0.5 for hit in some["hits"])
    relevance = [hit["relevance"] for hit in every["hits"]]
    assert relevance == sorted(relevance, reverse=True)


def test_a_script_is_told_by_the_exit_code_whether_anything_matches(
    index: Path, command: Command, photos: Path
) -> None:
    told = ["--index", index, "--exit-status"]
    command("query", "a circle", *told)
    command("query", "a yellow heart", *told, code=4)
    command("query", "a yellow heart", *told, "--all", code=4)  # the nearest, which do not match
    (photos.parent / "queries.txt").write_text("a yellow heart\na circle\n")
    command("query", "--queries", photos.parent / "queries.txt", *told)
    command("query", "a circle", "--index", photos.parent / "none", "--exit-status", code=1)


def test_that_nothing_matches_is_an_answer(ask: Ask, index: Path, command: Command) -> None:
    answer = ask("a yellow heart")
    assert (answer["nothing_matches"], answer["hits"]) == (True, [])
    told = command("query", "a yellow heart", "--index", index)
    assert "Nothing here matches “a yellow heart”; the nearest is" in told


def test_a_picture_finds_itself_and_its_like(ask: Ask, photos: Path, tmp_path: Path) -> None:
    photo = photos / "red" / "star.png"
    known = ask("--like", photo, "--all")
    assert names(known)[0] == "red/star.png"
    assert known["hits"][0]["score"] == pytest.approx(1.0, abs=1e-4)
    foreign = Path(shutil.copy(photo, tmp_path / "copy.png"))
    for way in (["--like", foreign], [f"file://{foreign}"], [str(foreign)]):
        assert names(ask(*way, "--all")) == names(known)


def test_a_picture_whose_name_is_no_utf_8_is_asked_by_and_named(
    ask: Ask, photos: Path, index: Path, command: Command, tmp_path: Path
) -> None:
    odd = Path(shutil.copy(photos / "red" / "star.png", tmp_path / os.fsdecode(b"caf\xe9.png")))
    answer = ask("--like", odd)
    assert names(answer)[0] == "red/star.png"
    assert answer["query"] == f"{tmp_path}/caf\\xe9.png"
    odd.unlink()
    command("query", "--like", odd, "--index", index, code=1)
    assert "caf\\xe9.png: it does not exist. Ask by a picture that can be read." in command.err


def test_a_picture_that_cannot_be_read_keeps_no_other_query_from_its_answer(
    photos: Path, index: Path, command: Command, tmp_path: Path
) -> None:
    spoilt = tmp_path / "spoilt.png"
    spoilt.write_bytes(b"no picture")
    known = shutil.copy(photos / "red" / "star.png", tmp_path / "other.png")
    listed = [photos / "red" / "star.png", tmp_path / "gone.png", "a circle", spoilt, known]
    (tmp_path / "queries.txt").write_text("".join(f"{query}\n" for query in listed))
    words = ["query", "--queries", tmp_path / "queries.txt", "--index", index]
    told = command(*words, "--json", "--html", tmp_path / "page.html", code=3)
    answers = list(map(json.loads, told.splitlines()))
    assert [bool(answer["hits"]) for answer in answers] == [True, False, True, False, True]
    faults = [answer.get("fault", "").partition(".")[0] for answer in answers]
    unknown = "it is no picture of a known kind"
    assert faults == ["", "it does not exist", "", unknown, ""]
    assert command.err.count("skipped ") == 2
    assert f"skipped {spoilt}: {unknown}." in command.err
    assert (tmp_path / "page.html").read_text().count("Not asked: ") == 2
    assert "Nothing here matches" not in command(*words, code=3)


def test_terms_are_added_weighted_and_excluded(ask: Ask, photos: Path) -> None:
    both = ask("a circle", "+", "something red", "-k", "12", "--all")
    assert names(both)[0] == "red/circle.png"
    without = ask("a circle", "-", "something red", "-k", "12")
    assert "red/circle.png" not in names(without)
    assert {"blue/circle.png", "green/circle.png"} <= set(names(without))
    assert without["query"] == "a circle - something red"
    mixed = ask("--like", photos / "blue" / "star.png", "+", "a green star")
    assert mixed["query"].startswith("a green star + ")


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["a star", "-heart"], "a star - heart"),
        (["a star - heart"], "a star - heart"),
        (["a star", "-16:9", "-k2"], "a star - 16:9"),
        (["--", "--sinse", "-5 degrees", "-", "heart"], "--sinse -5 degrees - heart"),
    ],
)
def test_a_dash_at_a_word_is_a_sign_and_after_two_dashes_its_own(
    ask: Ask, words: list[str], read: str
) -> None:
    assert ask("--all", *words)["query"] == read


def test_filters_hold(ask: Ask, photos: Path) -> None:
    every = ("a star", "--all", "-k", "20")
    assert len(ask(*every)["hits"]) == 12
    assert {Path(name).parts[0] for name in names(ask(*every, "--in", photos / "red"))} == {"red"}
    assert len(ask(*every, "--in", photos / "red")["hits"]) == 4
    assert len(ask(*every, "--format", "png", "--since", "2020")["hits"]) == 12
    nothing = {"--format": "jpg", "--until": "1999", "--min-width": "4000", "--camera": "Canon"}
    for option, value in nothing.items():
        answer = ask(*every, option, value)
        assert (answer["hits"], answer["nothing_matches"]) == ([], True)
    for option in ("--camera", "--label", "--in"):  # that are no UTF-8
        assert ask(*every, option, os.fsdecode(b"\xff"))["hits"] == []


def test_names_of_files_are_found_in_hybrid_queries(ask: Ask) -> None:
    answer = ask("green square", "--hybrid")
    assert names(answer)[0] == "green/square.png"
    assert "green/circle.png" in names(answer)


def test_paths_come_out_as_they_are(photos: Path, index: Path, capfdbinary: Any) -> None:
    command = ["search", "query", "a red star", "--index", str(index), "-k", "1"]
    for option, end in (("-0", b"\0"), ("--paths", b"\n")):
        assert main([*command, option]) == 0
        assert capfdbinary.readouterr().out == os.fsencode(photos / "red" / "star.png") + end


@pytest.mark.parametrize(("words", "told"), [("index", "3 {'PIL'}"), ("query a-star", "0 set()")])
def test_a_second_run_needs_no_model_and_a_query_in_words_neither(
    index: Path, words: str, told: str
) -> None:
    check = (
        "import sys; from footwork.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'PIL', 'sklearn', 'pandas'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}')"
    )
    command = [sys.executable, "-c", check, "search", *words.split(), "--index", str(index)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "a dog", "--index", "{tmp}/none"], "the index, where it was given one"),
        (["query", "--index", "{index}"], "Nothing is asked for"),
        (["query", "a", "--sinse", "2030"], "Did you mean --since? What is no option stands after"),
        (["query", "a", "--queries", "--json"], "--queries requires an argument"),
        (["query", "a", "--queries", "x"], "--queries brings its own queries; leave out words"),
        (["query", "a", "-indoor"], "Write -i ndoor for the one, and -- -indoor for the other"),
        (["query", "a", "-kitchen"], "in a query - kitchen leaves out what shows it"),
        (["remove", "-indoor"], "-indoor may be the option -i, or a word"),
        (["query", "a", "--min-width", "9" * 30, "--index", "{index}"], "whole number below 2^63"),
        (["query", "a", "--since", "2024", "--until", "2023", "--index", "{index}"], "is after"),
        (["query", "a", "-k", "0", "--index", "{index}"], "at least 1, got 0"),
        (["query", "--like", "{tmp}/none.jpg", "--index", "{index}"], "it does not exist"),
        (["query", "a", "--json", "--csv", "--index", "{index}"], "exclude each other"),
        (["query", "a", "--store", "host", "--index", "{index}"], "exclude each other"),
        (["duplicates", "--json", "--csv", "--index", "{index}"], "exclude each other"),
        (["index", "{tmp}/none", "--index", "{index}"], "Cannot find"),
        (["index", "{tmp}", "--index", "{tmp}"], "holds other files"),
        (["index", "--index", "{tmp}/new"], "No folder is named"),
    ],
)
def test_what_is_wrong_is_said(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "something.txt").write_text("here first")
    capsys.readouterr()
    assert main(["search", *(word.format(tmp=tmp_path, index=index) for word in words)]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_second_writer_is_told_who_writes(index: Path, command: Command) -> None:
    with IndexFolder(index).writing():
        command("query", "a star", "--index", index)
        command("index", "--index", index, code=1)
    assert f"is being written by process {os.getpid()} on" in command.err


def test_a_second_writer_waits_if_it_is_told_to(index: Path, command: Command) -> None:
    words = ["-m", "search", "index", "--index", str(index), "--wait"]
    with IndexFolder(index).writing():
        waiting = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
        assert line.startswith(f"Waiting for process {os.getpid()} on ")
        assert line.endswith(f", which writes {index} …\n")
        assert waiting.poll() is None
    waiting.communicate()
    assert waiting.returncode == 3  # for there is a file that is no image
    for word in (["remove", "--gone"], ["doctor", "--repair", "--no-model"]):
        command(*word, "--index", index, "--wait")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_watching_ends_well_when_a_service_is_stopped(
    photos: Path, index: Path, number: int, code: int
) -> None:
    words = ["search", "index", str(photos), "--index", str(index), "--watch"]
    # Where the tests run in the background, Ctrl-C is ignored.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heeds}; from footwork.cli import run; run({words!r})"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe) as watching:
        assert watching.stdout is not None
        try:
            assert b"12 unchanged" in watching.stdout.readline()
            time.sleep(0.3)  # it is, or is about to be, within watchfiles
            watching.send_signal(number)
            watching.communicate(timeout=30)
        finally:
            watching.kill()
    assert watching.returncode == code


@pytest.mark.usefixtures("exported_once")
def test_one_line_in_a_folder_of_photos_indexes_and_asks(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    photos = draw_photos(tmp_path / "photos")
    monkeypatch.chdir(photos)
    first = command("a red star", "--model", "tiny", "--json")
    assert names(json.loads(first))[0] == "red/star.png"
    assert f"{photos} has no index yet: 12 images to be embedded, once." in command.err
    assert "12 added" in command.err
    assert command("a red star", "--json") == first
    assert command.err == ""  # nothing is new
    shutil.copy(photos / "red" / "star.png", photos / "blue" / "another.png")
    monkeypatch.chdir(photos / "blue")  # which the index around it covers
    command("a red star", "--json", "--no-indexing", "--exit-status", code=4)
    found = json.loads(command("a", "red", "star", "--json", "-k", "1"))
    assert names(found) == ["blue/another.png"]
    assert "1 added" in command.err
    every = json.loads(command("--like", photos / "red" / "star.png", "--in", photos, "--json"))
    assert {"red/star.png", "blue/another.png"} <= set(names(every))
    with IndexFolder(next((tmp_path / "home" / "data" / "indexes").iterdir())).writing():
        assert names(json.loads(command("a red star", "--json")))[0] == "blue/another.png"
    assert "is being written by process" in command.err
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    other = json.loads(command("a red star", "--index", photos, "--json"))  # which is not of here
    assert "red/star.png" in names(other)
    command("a red star", "--model", "no/such-model", code=1)
    assert f"No image in {tmp_path / 'empty'}." in command.err


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["qurey", "x"], "query"),
        (["stats"], "status"),
        (["duplicate"], "duplicates"),
        (["import", "x"], "index --from"),
    ],
)
def test_a_misspelt_command_is_no_query(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], near: str
) -> None:
    monkeypatch.setattr("search.cli._take_in", lambda *_: pytest.fail("indexed"))
    command(*words, code=2)
    assert f'Unknown command "{words[0]}". Did you mean "{near}"? To find what' in command.err
    asked = []
    monkeypatch.setattr("search.cli._take_in", lambda *_: None)
    monkeypatch.setattr("search.cli.query", lambda *words, **_: asked.append(words))
    command("--", *words)
    command(f"{words[0]} of something")
    command("--", "status")
    assert asked == [tuple(words), (f"{words[0]} of something",), ("status",)]
    assert "Usage: footwork search COMMAND" in command()


@pytest.mark.usefixtures("exported_once")
def test_the_index_of_a_root_is_found_by_itself(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    photos = draw_photos(tmp_path / "photos")
    command("index", photos, "--model", "tiny")
    named = ["--index", photos]
    for here, which in ((tmp_path, []), (tmp_path, named), (photos / "red", [])):
        monkeypatch.chdir(here)
        assert names(command.document("query", "a red star", *which))[0] == "red/star.png"


def test_from_python(index: Path) -> None:
    with ImageIndex.open(index) as opened:
        assert opened.query("a green triangle").hits[0].record.path.endswith("green/triangle.png")
        assert opened.update().unchanged == 12
