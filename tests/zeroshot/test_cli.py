"""The commands, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pytest

from scripts.tiny.drawing import Scene, draw
from tests.zeroshot.indexed import SHAPES, answers, run

WORDS = ["--model", "tiny", "--labels", ",".join(SHAPES)]


def draw_folder(folder: Path, shapes: tuple[str, ...] = SHAPES, each: int = 4) -> Path:
    generator = random.Random(5)
    for shape in shapes:
        (folder / shape).mkdir(parents=True)
        for number in range(each):
            scene = Scene(shape, "red", "plain", "large", 1, ("white", "green")[number % 2])
            draw(scene, generator, 128).save(folder / shape / f"{number}.png")
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_json_lines_hold_the_same_answers_as_a_file(photos: Path, tmp_path: Path) -> None:
    printed, out = answers(photos, *WORDS), tmp_path / "labels.jsonl"
    assert run("label", photos, *WORDS, "-o", out).stdout == ""
    assert [json.loads(line) for line in out.read_text().splitlines()] == printed
    assert set(printed[0]) >= {"path", "label", "score", "scores"}


def test_a_file_whose_name_begins_with_dashes_stands_after_two(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "--indoor.png").write_bytes((photos / "star" / "1.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    done = run("label", *WORDS, "--", "--indoor.png")
    assert [row["path"] for row in rows_of(done.stdout)] == ["'--indoor.png"]


@pytest.mark.usefixtures("exported_once")
def test_what_little_is_missing_of_a_picture_is_told(photos: Path, tmp_path: Path) -> None:
    content = (photos / "star" / "1.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) - 40])
    note = "cut.png: its end is missing, "
    assert note in run("label", tmp_path, *WORDS).stderr
    index = ["--index", tmp_path / "index", "--model", "tiny", "--json"]
    told = run("index", tmp_path, *index, app="search")
    assert note in told.stderr
    assert note in json.loads(told.stdout)["notes"][0]
    run("teach", photos, tmp_path / "taught", "--model", "tiny")
    assert note in run("label", tmp_path / "cut.png", "--taught", tmp_path / "taught").stderr


def test_what_a_list_names_in_vain_keeps_its_row(photos: Path) -> None:
    names = [str(photos / "star" / name) for name in ("1.png", "gone.png", "2.png")]
    faults = ["", "it does not exist", ""]
    for listed in ("\n\n".join(names), "\0".join([*names, ""])):
        done = run("label", "-", *WORDS, given=listed)
        assert done.returncode == 3
        rows = rows_of(done.stdout)
        assert [(row["path"], row["fault"]) for row in rows] == [*zip(names, faults, strict=True)]


@pytest.mark.parametrize("length", [251, 252, 255])
def test_a_name_too_long_for_a_sidecar_keeps_no_other_from_its_own(
    tmp_path: Path, length: int
) -> None:
    folder = draw_folder(tmp_path / "photos", ("star",), each=2) / "star"
    long = (folder / "0.png").rename(folder / f"{'n' * (length - 4)}.png")
    done = run("label", folder, *WORDS, "--xmp", "--copy-to", tmp_path / "sorted", "--yes")
    fits = length + 4 <= 255
    assert done.returncode == (0 if fits else 3)
    assert ("2 sidecars say" if fits else "1 sidecar says") in done.stderr
    assert fits or f"Cannot write {long}.xmp: file name too long." in done.stderr
    assert "2 images copied." in done.stderr
    assert run("undo", tmp_path / "sorted").returncode == 0


def test_what_sorting_leaves_where_it_is_is_told_before_it_is_done_and_then(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", ("star",), each=1)
    link, inside = folder / "link.png", folder / "sorted/none of these/1.png"
    link.symlink_to("star/0.png")
    inside.parent.mkdir(parents=True)
    inside.write_bytes(link.read_bytes())
    for is_done, said in ([], "Would move 1 image"), (["--yes"], "1 image moved."):
        done = run("label", folder, *WORDS, "--move-to", folder / "sorted", *is_done)
        assert done.returncode == 3
        assert f"1 image in sub-folders of {folder}/sorted stay" in done.stderr
        assert f"  {link}: it is a link, which would lead nowhere" in done.stderr
        assert said in done.stderr


def test_an_evaluation_writes_its_report(photos: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = ["evaluate", photos, "--model", "tiny", "--compare", "{}", "--report", report]
    found = tmp_path / "found.json"
    for _ in range(2):  # what the command has written it replaces
        said = json.loads(run(*command[:-2], "-o", found, "--json").stdout)
        assert said == json.loads(found.read_text())
    assert json.loads(run(*command, "--json").stdout)["images"] == 12
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
        (["--top-k", "3", "--taught", "out"], "--top-k is about labels in words"),
        (["--labels", "cat", "--copy-to", "a", "--move-to", "b"], "exclude each other"),
        (["--labels", "cat", "--yes"], "--yes goes with"),
        (["--labels", "a/b,a:b", "--copy-to", "sorted"], "folder"),
    ],
)
def test_wrong_commands_say_what_is_wrong(photos: Path, words: list[str], said: str) -> None:
    done = run("label", photos, "--model", "tiny", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_many_prompts_are_told_before_they_are_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeroshot.cli._MANY_PROMPTS", 20)
    names = tmp_path / "labels.txt"
    names.write_text("".join(f"thing {number}\n" for number in range(21)))
    command = ["label", photos, "--model", "tiny", "--labels-file", names]
    assert run(*command).stderr.startswith("Reading 21 prompts for the labels, once; the next")
    assert "prompts for the labels" not in run(*command).stderr


def test_a_fine_tuned_folder_labels_as_a_taught_one_does(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    settings = ["--model", "tiny", "--method", "head", "--num-epochs", "2"]
    assert "accuracy" in run("finetune", photos, out, *settings).stdout
    assert [set(row["scores"]) for row in answers(photos, "--taught", out)] == [set(SHAPES)] * 12
    refused = run("label", photos, "--taught", out, "--model", "fast")
    assert refused.returncode == 2
    assert "a model of its own" in refused.stderr
