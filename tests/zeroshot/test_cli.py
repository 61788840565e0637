"""The commands, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from footwork.cli import main
from scripts.tiny.drawing import Scene, draw

SHAPES = ("circle", "star", "triangle")
WORDS = ["--model", "tiny", "--labels", ",".join(SHAPES)]


def draw_folder(folder: Path, shapes: tuple[str, ...] = SHAPES, each: int = 4) -> Path:
    import random

    generator = random.Random(5)
    for shape in shapes:
        (folder / shape).mkdir(parents=True)
        for number in range(each):
            scene = Scene(shape, "red", "plain", "large", 1, ("white", "green")[number % 2])
            draw(scene, generator, 128).save(folder / shape / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("drawn") / "photos")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_image_gets_its_row_in_order_and_the_right_label(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [str(photos / "star"), str(photos / "circle" / "0.png"), str(photos / "triangle")]
    assert main(["zeroshot", "label", *sources, *WORDS, "--none-below", "none"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [Path(row["path"]).parent.name for row in rows] == ["star"] * 4 + ["circle"] + [
        "triangle"
    ] * 4
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)
    assert all(row[f"s:{row['label']}"] == row["score"] for row in rows)


def test_json_lines_hold_the_same_answers_as_a_file(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zeroshot", "label", str(photos), *WORDS, "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    out = tmp_path / "labels.jsonl"
    assert main(["zeroshot", "label", str(photos), *WORDS, "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert [json.loads(line) for line in out.read_text().splitlines()] == printed
    assert set(printed[0]) >= {"path", "label", "score", "scores"}


def test_a_list_on_standard_input_names_the_images(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(photos / "star" / "1.png"), str(photos / "circle" / "2.png")]
    listed = io.BytesIO(("\n".join(names) + "\n").encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(listed))
    assert main(["zeroshot", "label", "-", *WORDS]) == 0
    assert [row["path"] for row in rows_of(capsys.readouterr().out)] == names


def test_a_file_whose_name_begins_with_dashes_stands_after_two(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "--indoor.png").write_bytes((photos / "star" / "1.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["zeroshot", "label", *WORDS, "--", "--indoor.png"]) == 0
    assert [row["path"] for row in rows_of(capsys.readouterr().out)] == ["'--indoor.png"]


def test_what_little_is_missing_of_a_picture_is_told(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (photos / "star" / "1.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) - 40])
    note = "cut.png: its end is missing, "
    assert main(["zeroshot", "label", str(tmp_path), *WORDS]) == 0
    assert note in capsys.readouterr().err
    index = ["--index", str(tmp_path / "index")]
    assert main(["search", "index", str(tmp_path), *index, "--model", "tiny", "--json"]) == 0
    told = capsys.readouterr()
    assert note in told.err
    assert note in json.loads(told.out)["notes"][0]
    assert (
        main(["zeroshot", "teach", str(photos), str(tmp_path / "taught"), "--model", "tiny"]) == 0
    )
    capsys.readouterr()
    taught = ["--taught", str(tmp_path / "taught")]
    assert main(["zeroshot", "label", str(tmp_path / "cut.png"), *taught]) == 0
    assert note in capsys.readouterr().err


def test_what_a_list_names_in_vain_keeps_its_row(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(photos / "star" / name) for name in ("1.png", "gone.png", "2.png")]
    for listed in ("\n\n".join(names), "\0".join([*names, ""])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
        assert main(["zeroshot", "label", "-", *WORDS]) == 3
        rows = rows_of(capsys.readouterr().out)
        assert [(row["path"], row["fault"]) for row in rows] == [
            (names[0], ""),
            (names[1], "it does not exist"),
            (names[2], ""),
        ]


@pytest.mark.parametrize("length", [251, 252, 255])
def test_a_name_that_leaves_no_room_for_a_sidecar_keeps_no_other_from_its_own(
    tmp_path: Path, length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_folder(tmp_path / "photos", ("star",), each=2) / "star"
    long = (folder / "0.png").rename(folder / f"{'n' * (length - 4)}.png")
    command = ["zeroshot", "label", str(folder), *WORDS, "--xmp", "--copy-to"]
    fits = length + 4 <= 255
    assert main([*command, str(tmp_path / "sorted"), "--yes"]) == (0 if fits else 3)
    said = capsys.readouterr().err
    assert f"{2 if fits else 1} sidecars say" in said
    assert fits or f"Cannot write {long}.xmp: file name too long." in said
    assert "2 images copied." in said
    assert main(["zeroshot", "undo", str(tmp_path / "sorted")]) == 0


def test_unreadable_files_keep_their_row_and_end_in_exit_code_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_folder(tmp_path / "photos", ("star",), each=2)
    (folder / "star" / "0a.jpg").write_bytes(b"no picture")
    assert main(["zeroshot", "label", str(folder), *WORDS]) == 3
    said = capsys.readouterr()
    rows = rows_of(said.out)
    assert [bool(row["fault"]) for row in rows] == [False, True, False]
    assert "0a.jpg: it is no picture of a known kind" in said.err


def test_nothing_is_sorted_without_yes_and_all_comes_back_by_undo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, target = draw_folder(tmp_path / "photos"), tmp_path / "sorted"
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    move = ["zeroshot", "label", str(folder), *WORDS, "--none-below", "none", "--move-to"]
    assert main([*move, str(target)]) == 0
    assert "Nothing is done yet" in capsys.readouterr().err
    assert not target.exists()
    assert main([*move, str(target), "--yes"]) == 0
    assert len(list((target / "star").iterdir())) == 4
    assert main(["zeroshot", "undo", str(target / "footwork-undo.jsonl")]) == 0
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before


def test_what_was_taught_labels_shapes_that_no_word_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = draw_folder(tmp_path / "examples", ("bolt", "crescent"), each=5)
    teach = ["zeroshot", "teach", str(examples), str(tmp_path / "taught"), "--model", "tiny"]
    assert main(teach) == 0
    assert "Expected accuracy" in capsys.readouterr().out
    label = ["zeroshot", "label", str(examples), "--taught", str(tmp_path / "taught"), "--json"]
    assert main(label) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    right = [max(row["scores"], key=row["scores"].get) in row["path"] for row in rows]
    assert sum(right) >= 9
    assert main(["zeroshot", "evaluate", str(examples), "--taught", str(tmp_path / "taught")]) == 0
    assert "bolt" in capsys.readouterr().out


def test_an_evaluation_writes_its_report(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    command = ["zeroshot", "evaluate", str(photos), "--model", "tiny", "--compare", "{}"]
    assert main([*command, "--report", str(report), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 12
    assert {path.name for path in report.iterdir()} >= {"metrics.json", "confusion.png"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--labels", "cat,,dog"], "Label 2 is empty"),
        (["--labels", "cat,cat"], "stands twice"),
        (["--labels", "\u00e9t\u00e9,e\u0301te\u0301"], "stands twice"),
        (["--lables", "cat"], "What is no option stands after `--`: -- --lables."),
        (["--labels", "cat", "-indoor.png"], "Write -i ndoor.png for the one, and -- -indoor.png"),
        ([], "--labels and --labels-file are both missing"),
        (["--labels", "cat", "--templates", "a photo"], "{}"),
        (["--labels", "cat", "--abstain-below", "0.5"], "--abstain-below goes with --taught"),
        (["--labels", "cat", "--taught", "out"], "brings its own"),
        (["--labels", "cat", "--copy-to", "a", "--move-to", "b"], "exclude each other"),
        (["--labels", "cat", "--yes"], "--yes goes with"),
        (["--labels", "a/b,a:b", "--copy-to", "sorted"], "folder"),
    ],
)
def test_wrong_commands_say_what_is_wrong(
    photos: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zeroshot", "label", str(photos), "--model", "tiny", *words]) == 2
    assert said in capsys.readouterr().err


def test_many_prompts_are_told_before_they_are_read(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zeroshot.cli._MANY_PROMPTS", 20)
    names = tmp_path / "labels.txt"
    names.write_text("".join(f"thing {number}\n" for number in range(21)))
    command = ["zeroshot", "label", str(photos), "--model", "tiny", "--labels-file", str(names)]
    assert main(command) == 0
    assert capsys.readouterr().err.startswith("Reading 21 prompts for the labels, once; the next")
    assert main(command) == 0
    assert "prompts for the labels" not in capsys.readouterr().err


def test_a_folder_without_images_says_what_is_supported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zeroshot", "label", str(tmp_path), *WORDS]) == 1
    assert "No image in" in capsys.readouterr().err


def test_the_module_is_the_same_command() -> None:
    command = [sys.executable, "-m", "zeroshot", "label", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--none-below" in done.stdout


def test_a_fine_tuned_folder_labels_as_a_taught_one_does(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "tuned")
    settings = ["--model", "tiny", "--method", "head", "--num-epochs", "2"]
    assert main(["zeroshot", "finetune", str(photos), out, *settings]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["zeroshot", "label", str(photos), "--taught", out, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(row["scores"]) for row in rows] == [set(SHAPES)] * 12
    assert main(["zeroshot", "label", str(photos), "--taught", out, "--model", "fast"]) == 2
    assert "a model of its own" in capsys.readouterr().err
