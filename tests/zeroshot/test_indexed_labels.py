"""Labelling on the embeddings of an index, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from search.place import IndexFolder
from search.store.embedded.catalog import COPY_NAME
from tests.runs import run_here
from tests.zeroshot.indexed import (
    ALWAYS,
    SHAPES,
    WORDS,
    answers,
    complaint,
    indexed,
    known_labels,
    labelled,
    run,
)
from tests.zeroshot.test_cli import draw_folder

NEAR = 1e-5  # scores are of float32 vectors, and the text half runs elsewhere


def require_same(found: list[Any], expected: list[Any]) -> None:
    by_path = {row["path"]: row for row in found}
    assert len(found) == len(expected) == len(by_path)
    for row in expected:
        other = by_path[row["path"]]
        assert other["labels"] == row["labels"]
        assert other["scores"] == pytest.approx(row["scores"], abs=NEAR)
        assert other["z_score"] == pytest.approx(row["z_score"], abs=1e-3)


@pytest.fixture
def away(photos: Path) -> Iterator[None]:
    """The files themselves are out of reach."""
    photos.rename(photos.with_name("elsewhere"))
    yield
    photos.with_name("elsewhere").rename(photos)


@pytest.mark.parametrize("options", [[], ["--multi"], ["--top-k", "2"], ALWAYS])
def test_an_index_is_labelled_as_its_files(photos: Path, index: Path, options: list[str]) -> None:
    expected = answers(photos, "--model", "tiny", *WORDS, *options)
    require_same(answers("--index", index, *WORDS, *options), expected)


@pytest.mark.usefixtures("away")
def test_no_file_is_opened(index: Path) -> None:
    rows = answers("--index", index, *WORDS, *ALWAYS)
    assert len(rows) == 12
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)


def test_what_an_index_knows_needs_no_torch(photos: Path, index: Path, tmp_path: Path) -> None:
    known = ["--index", str(index)]
    commands = [
        ["label", *known, *WORDS],
        ["label", str(photos), *known, *WORDS],
        ["teach", str(photos), str(tmp_path / "out"), *known, "--unlabelled", str(photos)],
        ["evaluate", str(photos), *known],
    ]
    script = (
        "import sys, json; from footwork.cli import main\n"
        "codes = [main(['zeroshot', *words]) for words in json.loads(sys.argv[1])]\n"
        "print(codes, sorted({'torch', 'transformers'} & set(sys.modules)), file=sys.stderr)"
    )
    line = [sys.executable, "-c", script, json.dumps(commands)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[0, 0, 0, 0] []"


@pytest.mark.usefixtures("no_model")
def test_named_images_are_known(photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answers(photos / "star", "--model", "tiny", *WORDS)
    require_same(answers(photos / "star", "--index", index, *WORDS), expected)
    monkeypatch.chdir(photos)
    relative = answers("star", "--index", index, *WORDS)
    assert [row["path"] for row in relative] == [f"star/{n}.png" for n in range(4)]
    assert labelled(index, "star") == {"star"}


@pytest.mark.usefixtures("no_model")
def test_a_copy_is_known_by_its_content(photos: Path, index: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "star" / "1.png", tmp_path / "copy.png")
    os.utime(tmp_path / "copy.png", ns=(10**18, 10**18))
    rows = answers(tmp_path / "copy.png", "--index", index, *WORDS, *ALWAYS)
    assert [row["label"] for row in rows] == ["star"]


@pytest.mark.usefixtures("exported_once")
def test_new_and_changed_files_are_encoded(tmp_path: Path) -> None:
    folder, index = draw_folder(tmp_path / "photos", ("star", "circle"), each=2), tmp_path / "i"
    indexed(folder, index)
    shutil.copy(folder / "star" / "0.png", folder / "circle" / "1.png")
    os.utime(folder / "circle" / "1.png", ns=(10**18, 10**18))
    shutil.copytree(draw_folder(tmp_path / "more", ("triangle",), each=2), folder / "more")
    (folder / "more" / "broken.png").write_bytes(b"no picture")
    expected = answers(folder, "--model", "tiny", *WORDS, *ALWAYS, code=3)
    found = answers(folder, "--index", index, *WORDS, *ALWAYS, code=3)
    for name in ("path", "label", "fault"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    by_name = {row["path"].removeprefix(f"{folder}/"): row["label"] for row in found}
    assert by_name["circle/1.png"] == "star"
    assert by_name["more/triangle/0.png"] == "triangle"
    assert len(answers("--index", index, *WORDS)) == 4


@pytest.mark.usefixtures("no_model", "exported_once")
def test_a_file_known_as_no_image_is_not_tried_again(tmp_path: Path) -> None:
    folder, index = draw_folder(tmp_path / "photos", ("star",), each=1), tmp_path / "i"
    (folder / "broken.png").write_bytes(b"no picture")
    indexed(folder, index, code=3)
    rows = answers(folder, "--index", index, *WORDS, *ALWAYS, code=3)
    told = {Path(row["path"]).name: row["label"] for row in rows}
    assert told == {"broken.png": None, "0.png": "star"}
    assert rows[0]["fault"]


def test_the_labels_given_are_found_by_search(photos: Path, index: Path) -> None:
    rows = answers("--index", index, *WORDS, *ALWAYS)
    assert {name: labelled(index, name) for name in SHAPES} == {name: {name} for name in SHAPES}
    first = next(row for row in rows if row["path"] == str(photos / "star" / "0.png"))
    assert known_labels(index, photos / "star" / "0.png") == {"star": first["score"]}
    query = ["query", "red", "--index", index, "--label", "star", "--all", "--json"]
    hits = json.loads(run_here(*query, app="search").stdout)["hits"]
    assert {Path(hit["path"]).parent.name for hit in hits} == {"star"}


def test_labels_replace_those_of_before(photos: Path, index: Path) -> None:
    copy = index / "generation-1" / COPY_NAME
    copy.unlink(missing_ok=True)
    answers("--index", index, *WORDS, *ALWAYS)
    only = photos / "star"
    answers("--index", index, "--in", only, "--labels", "square,cross", *ALWAYS)
    assert not labelled(index, "star")
    assert labelled(index, "circle") == {"circle"}
    answers("--index", index, *WORDS, "--none-below", "1000")
    assert not labelled(index, "circle")
    assert copy.exists()  # made of the labels, for a repair


def test_labels_are_in_the_copy_at_once_or_it_is_said_why_not(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Mock(return_value="The catalog was not copied.")
    monkeypatch.setattr("zeroshot.indexed.keep_copy", kept)
    assert "The catalog was not copied." in run("label", "--index", index, *WORDS).stderr
    kept.assert_called_once_with(index / "generation-1", at_once=True)


def test_an_index_that_is_switched_while_it_is_opened_says_so(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def after_a_switch(place: IndexFolder) -> Iterator[None]:
        place.current().rename(index / "generation-2")
        yield

    monkeypatch.setattr(IndexFolder, "writing", after_a_switch)
    told = complaint("label", "--index", index, *WORDS)
    (index / "generation-2").rename(index / "generation-1")
    assert f"The index at {index} now has another model. Run it again" in told


def test_several_labels_keep_their_scores_though_few_are_told(index: Path) -> None:
    several = ["--multi", "--none-below", "-1000"]
    full = answers("--index", index, *WORDS, *several)
    short = answers("--index", index, *WORDS, *several, "--top-k", "1")
    assert [len(row["scores"]) for row in short] == [1] * 12
    kept = {Path(row["path"]): known_labels(index, Path(row["path"])) for row in full}
    assert kept == {Path(row["path"]): row["scores"] for row in full}


def test_no_keep_tells_labels_alone(index: Path) -> None:
    with IndexFolder(index).writing():
        assert len(answers("--index", index, *WORDS, "--no-keep")) == 12
        said = complaint("label", "--index", index, *WORDS)
    assert "--no-keep" in said
    assert "being written by" in said
    assert not labelled(index, "star")


def test_conditions_choose_images_of_the_index(photos: Path, index: Path) -> None:
    rows = answers("--index", index, "--in", photos / "star", *WORDS)
    assert {Path(row["path"]).parent.name for row in rows} == {"star"}
    nothing = complaint("label", "--index", index, "--since", "2200", *WORDS)
    assert "holds no image that fulfils all conditions" in nothing
    named = complaint("label", photos, "--index", index, "--since", "2000", *WORDS)
    assert "Conditions such as --in" in named
    without = complaint("label", photos, "--since", "2000", *WORDS)
    assert "choose among the images of an index" in without
    assert "--no-keep is about" in complaint("label", photos, "--no-keep", *WORDS)
    assert "or --index" in complaint("label", *WORDS)


@pytest.mark.usefixtures("exported_once")
def test_images_that_are_gone_get_no_sidecar(tmp_path: Path) -> None:
    folder, index = draw_folder(tmp_path / "photos", ("star",), each=2), tmp_path / "i"
    indexed(folder, index)
    (folder / "star" / "0.png").unlink()
    done = run("label", "--index", index, *WORDS, *ALWAYS, "--xmp")
    assert done.returncode == 3
    assert "0.png: it does not exist." in done.stderr
    left = sorted(path.name for path in (folder / "star").iterdir())
    assert left == ["1.png", "1.png.xmp"]


@pytest.mark.usefixtures("exported_once")
def test_what_an_index_takes_for_an_image_is_sorted_only_if_it_still_is_that(
    tmp_path: Path,
) -> None:
    folder, index = draw_folder(tmp_path / "photos", ("star", "circle"), each=3), tmp_path / "i"
    indexed(folder, index)
    secret, pipe, other, touched = (folder / "star" / f"{n}.png" for n in (0, 1, 2, 3))
    shutil.copy(folder / "circle" / "0.png", touched)
    indexed(folder, index)
    secret.write_text("root:$6$salt$hash:19000:0:99999:7:::\n")
    pipe.unlink()
    os.mkfifo(pipe)
    shutil.copy(folder / "circle" / "0.png", other)
    touched.touch()
    sort = ["--copy-to", tmp_path / "sorted", "--yes"]
    done = run("label", "--index", index, "--in", folder / "star", *WORDS, *ALWAYS, *sort)
    assert done.returncode == 3
    assert f"skipped {secret}: it is no picture of a known kind." in done.stderr
    assert f"skipped {pipe}: it is no regular file." in done.stderr
    assert f"skipped {other}: it was changed since it was indexed; footwork search" in done.stderr
    assert [path.name for path in (tmp_path / "sorted").rglob("*.png")] == ["3.png"]
