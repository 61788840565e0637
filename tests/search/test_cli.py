"""The commands, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from footwork.cli import main
from search import ImageIndex
from tests.search.drawn import COLOURS, SHAPES, draw_photos
from tests.towers import Exports


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, exports: Exports) -> tuple[Path, Path]:
    """A folder of photos, and its index."""
    folder = tmp_path_factory.mktemp("drawn")
    photos = draw_photos(folder / "photos")
    (photos / "notes.jpg").write_bytes(b"no picture")
    index = folder / "index"
    with exports.once():
        assert main(["search", "index", str(photos), "--index", str(index), "--model", "tiny"]) == 3
    return photos, index


def asked(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["search", "query", *map(str, words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def names(answer: dict[str, Any]) -> list[str]:
    return ["/".join(Path(hit["path"]).parts[-2:]) for hit in answer["hits"]]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
def test_words_find_what_they_say(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], colour: str, shape: str
) -> None:
    answer = asked(capsys, "a", colour, shape, "--index", drawn[1])
    assert answer["query"] == f"a {colour} {shape}"
    assert names(answer)[0] == f"{colour}/{shape}.png"
    assert not answer["nothing_matches"]


def test_results_end_where_relevance_does(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    some = asked(capsys, "a circle", "--index", drawn[1], "-k", "12")
    every = asked(capsys, "a circle", "--index", drawn[1], "-k", "12", "--all")
    assert 3 <= len(some["hits"]) < len(every["hits"]) == 12
    assert all(hit["relevance"] >= 0.5 for hit in some["hits"])
    relevance = [hit["relevance"] for hit in every["hits"]]
    assert relevance == sorted(relevance, reverse=True)


def test_that_nothing_matches_is_an_answer(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = asked(capsys, "a yellow heart", "--index", drawn[1])
    assert answer["nothing_matches"]
    assert answer["hits"] == []
    assert main(["search", "query", "a yellow heart", "--index", str(drawn[1])]) == 0
    assert "Nothing here matches “a yellow heart”; the nearest is" in capsys.readouterr().out


def test_a_picture_finds_itself_and_its_like(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photo = drawn[0] / "red" / "star.png"
    known = asked(capsys, "--like", photo, "--index", drawn[1], "--all")
    assert names(known)[0] == "red/star.png"
    assert known["hits"][0]["score"] == pytest.approx(1.0, abs=1e-4)
    foreign = Path(shutil.copy(photo, tmp_path / "copy.png"))
    for way in (["--like", foreign], [f"file://{foreign}"], [str(foreign)]):
        assert names(asked(capsys, *way, "--index", drawn[1], "--all")) == names(known)


def test_a_picture_whose_name_is_no_utf_8_is_asked_by_and_named(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    odd = Path(shutil.copy(drawn[0] / "red" / "star.png", tmp_path / os.fsdecode(b"caf\xe9.png")))
    answer = asked(capsys, "--like", odd, "--index", drawn[1])
    assert names(answer)[0] == "red/star.png"
    assert answer["query"] == f"{tmp_path}/caf\\xe9.png"
    odd.unlink()
    assert main(["search", "query", "--like", str(odd), "--index", str(drawn[1])]) == 1
    said = capsys.readouterr().err
    assert "caf\\xe9.png: it does not exist. Ask by a picture that can be read." in said


def test_a_picture_that_cannot_be_read_keeps_no_other_query_from_its_answer(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photos, index = drawn
    spoilt = tmp_path / "spoilt.png"
    spoilt.write_bytes(b"no picture")
    known = shutil.copy(photos / "red" / "star.png", tmp_path / "other.png")
    listed = [photos / "red" / "star.png", tmp_path / "gone.png", "a circle", spoilt, known]
    (tmp_path / "queries.txt").write_text("".join(f"{one}\n" for one in listed))
    command = ["search", "query", "--queries", f"{tmp_path}/queries.txt", "--index", str(index)]
    capsys.readouterr()
    assert main([*command, "--json", "--html", f"{tmp_path}/page.html"]) == 3
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [bool(one["hits"]) for one in answers] == [True, False, True, False, True]
    assert [one.get("fault", "").partition(".")[0] for one in answers] == [
        *("", "it does not exist", "", "it is no picture of a known kind", ""),
    ]
    assert err.count("skipped ") == 2
    assert f"skipped {spoilt}: it is no picture of a known kind." in err
    assert (tmp_path / "page.html").read_text().count("Not asked: ") == 2
    assert main(command) == 3
    assert "Nothing here matches" not in capsys.readouterr().out


def test_terms_are_added_weighted_and_excluded(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    index = ("--index", drawn[1], "-k", "12")
    both = asked(capsys, "a circle", "+", "something red", *index, "--all")
    assert names(both)[0] == "red/circle.png"
    without = asked(capsys, "a circle", "-", "something red", *index)
    assert "red/circle.png" not in names(without)
    assert {"blue/circle.png", "green/circle.png"} <= set(names(without))
    assert without["query"] == "a circle - something red"
    mixed = asked(capsys, "--like", drawn[0] / "blue" / "star.png", "+", "a green star", *index)
    assert mixed["query"].startswith("a green star + ")


def test_a_dash_at_a_word_is_a_sign_and_after_two_dashes_its_own(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    index = ("--index", drawn[1], "--json", "--all")
    for words, read in (
        (["a star", "-heart"], "a star - heart"),
        (["a star - heart"], "a star - heart"),
        (["a star", "-0.5:heart", "-k2"], "a star - 0.5:heart"),
        (["--", "--sinse", "-5 degrees", "-", "heart"], "--sinse -5 degrees - heart"),
    ):
        assert main(["search", "query", *map(str, index), *words]) == 0
        assert json.loads(capsys.readouterr().out)["query"] == read


def test_filters_hold(drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    index = ("--index", drawn[1], "--all", "-k", "20")
    assert len(asked(capsys, "a star", *index)["hits"]) == 12
    only = asked(capsys, "a star", *index, "--in", drawn[0] / "red")
    assert {Path(name).parts[0] for name in names(only)} == {"red"}
    assert len(only["hits"]) == 4
    for nothing in (
        ["--format", "jpg"],
        ["--until", "1999"],
        ["--min-width", "4000"],
        ["--camera", "Canon"],
    ):
        answer = asked(capsys, "a star", *index, *nothing)
        assert answer["hits"] == []
        assert answer["nothing_matches"]
    assert len(asked(capsys, "a star", *index, "--format", "png", "--since", "2020")["hits"]) == 12


def test_names_of_files_are_found_in_hybrid_queries(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = asked(capsys, "green square", "--index", drawn[1], "--hybrid")
    assert names(answer)[0] == "green/square.png"
    assert "green/circle.png" in names(answer)


def test_many_queries_are_answered_in_one_pass(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "queries.txt").write_text("a red star\n\na blue square - something red\n", "utf-8")
    capsys.readouterr()
    command = ["search", "query", "--queries", str(tmp_path / "queries.txt"), "--json"]
    assert main([*command, "--index", str(drawn[1])]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [names(answer)[0] for answer in answers] == ["red/star.png", "blue/square.png"]


def test_queries_are_read_from_standard_input(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.BytesIO(b"a red star\na blue square\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(typed))
    capsys.readouterr()
    assert main(["search", "query", "--queries", "-", "--json", "--index", str(drawn[1])]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [names(answer)[0] for answer in answers] == ["red/star.png", "blue/square.png"]


@pytest.mark.parametrize("option", ["--format", "--camera", "--label", "--in"])
def test_filters_that_are_no_utf_8_let_nothing_through(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    capsys.readouterr()
    command = ["search", "query", "a red star", "--all", "--index", str(drawn[1])]
    assert main([*command, option, os.fsdecode(b"\xff")]) == 0
    assert capsys.readouterr().out == "Nothing here matches “a red star”.\n"


def test_paths_come_out_as_they_are(drawn: tuple[Path, Path], capfdbinary: Any) -> None:
    command = ["search", "query", "a red star", "--index", str(drawn[1]), "-k", "1"]
    assert main([*command, "-0"]) == 0
    assert capfdbinary.readouterr().out == os.fsencode(drawn[0] / "red" / "star.png") + b"\0"
    assert main([*command, "--paths"]) == 0
    assert capfdbinary.readouterr().out.endswith(b"star.png\n")


def test_csv_files_pages_and_copies(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capsys.readouterr()
    outputs = ["--csv", "-o", tmp_path / "hits.parquet", "--html", tmp_path / "hits.html"]
    command = ["search", "query", "a circle", "--index", drawn[1], *outputs, "--copy-to"]
    assert main([*map(str, command), str(tmp_path / "found")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(list((tmp_path / "found").iterdir())) == len(rows) >= 3
    assert (tmp_path / "hits.html").read_text("utf-8").count("<img") == len(rows)
    assert (tmp_path / "hits.parquet").stat().st_size


def test_status_tells_what_the_index_holds(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["search", "status", "--index", str(drawn[1]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["unreadable"], found["model"]) == (12, 1, "tiny")
    assert main(["search", "status", "--index", str(drawn[1])]) == 0
    assert f"folder       {drawn[0]}" in capsys.readouterr().out


def test_a_second_run_needs_no_model_and_a_query_in_words_neither(
    drawn: tuple[Path, Path],
) -> None:
    check = (
        "import sys; from footwork.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'PIL', 'sklearn', 'pandas'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}')"
    )
    for words in (["index", "--index", drawn[1]], ["query", "a star", "--index", drawn[1]]):
        done = subprocess.run(
            [sys.executable, "-c", check, "search", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
        )
        expected = "3 {'PIL'}" if words[0] == "index" else "0 set()"
        assert done.stderr.splitlines()[-1] == expected


def test_removed_images_are_forgotten(tmp_path: Path, drawn: tuple[Path, Path]) -> None:
    index = tmp_path / "index"
    shutil.copytree(drawn[1], index)
    assert main(["search", "remove", str(drawn[0] / "red"), "--index", str(index)]) == 0
    with ImageIndex.open(index) as found:
        assert found.counts().present == 8
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stderr", io.StringIO())
        assert main(["search", "remove", "/nowhere", "--index", str(index)]) == 1
        assert "knows nothing of /nowhere" in sys.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "a dog", "--index", "{tmp}/none"], "No index in"),
        (["query", "--index", "{index}"], "Nothing is asked for"),
        (["query", "-", "a dog", "--index", "{index}"], "Nothing is asked for"),
        (["query", "a", "+", "--index", "{index}"], "A term is empty"),
        (["query", "a", "--sinse", "2030"], "Did you mean --since? What is no option stands after"),
        (["query", "a", "--queries", "--json"], "--queries requires an argument"),
        (["query", "a", "-indoor"], "Write -i ndoor for the one, and -- -indoor for the other"),
        (["query", "a", "-kitchen"], "in a query - kitchen leaves out what shows it"),
        (["remove", "-indoor"], "-indoor may be the option -i, or a word"),
        (["query", "0:a", "--index", "{index}"], "A weight must be above 0"),
        (["query", "a", "--min-width", "9" * 30, "--index", "{index}"], "whole number below 2^63"),
        (["query", "a", "--since", "May", "--index", "{index}"], "A date must look like"),
        (["query", "a", "--since", "2024", "--until", "2023", "--index", "{index}"], "is after"),
        (["query", "a", "-k", "0", "--index", "{index}"], "at least 1, got 0"),
        (["query", "--like", "{tmp}/none.jpg", "--index", "{index}"], "it does not exist"),
        (["query", "a", "--json", "--csv", "--index", "{index}"], "exclude each other"),
        (["query", "a", "--store", "host", "--index", "{index}"], "exclude each other"),
        (["query", "file://host/a.jpg", "--index", "{index}"], "lies on another machine"),
        (["index", "{tmp}/none", "--index", "{index}"], "Cannot find"),
        (["index", "{tmp}", "--index", "{tmp}"], "holds other files"),
        (["index", "--index", "{tmp}/new"], "No folder is named"),
        (["remove", "--index", "{index}"], "Nothing is named"),
    ],
)
def test_what_is_wrong_is_said(
    drawn: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "something.txt").write_text("here first")
    capsys.readouterr()
    code = main(["search", *(w.format(tmp=tmp_path, index=drawn[1]) for w in words)])
    assert code in (1, 2)
    assert message in capsys.readouterr().err


def test_a_second_writer_is_told_who_writes(
    drawn: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from search.place import IndexFolder

    with IndexFolder(drawn[1]).writing():
        assert main(["search", "index", "--index", str(drawn[1])]) == 1
        assert main(["search", "query", "a star", "--index", str(drawn[1])]) == 0
    assert f"is being written by process {os.getpid()} on" in capsys.readouterr().err


@pytest.mark.usefixtures("exported_once")
def test_the_index_of_a_root_is_found_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTWORK_HOME", str(tmp_path / "home"))
    photos = draw_photos(tmp_path / "photos")
    assert main(["search", "index", str(photos), "--model", "tiny"]) == 0
    assert names(asked(capsys, "a red star"))[0] == "red/star.png"
    assert names(asked(capsys, "a red star", "--index", photos))[0] == "red/star.png"
    monkeypatch.chdir(photos / "red")
    assert names(asked(capsys, "a red star"))[0] == "red/star.png"


def test_from_python(drawn: tuple[Path, Path]) -> None:
    with ImageIndex.open(drawn[1]) as index:
        assert index.query("a green triangle").hits[0].record.path.endswith("green/triangle.png")
        assert index.update().unchanged == 12
