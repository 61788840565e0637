"""Teaching and evaluating on the embeddings of an index, and what cannot go together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.zeroshot.indexed import WORDS, answers, complaint, labelled, run


def test_an_index_is_taught_from_as_its_files(photos: Path, index: Path, tmp_path: Path) -> None:
    plain, quick = tmp_path / "plain", tmp_path / "quick"
    options = ["--unlabelled", photos, "--method", "prototypes"]
    run("teach", photos, plain, *options, "--model", "tiny")
    run("teach", photos, quick, *options, "--index", index)
    one, other = (json.loads((each / "footwork.json").read_text()) for each in (plain, quick))
    assert one["model"] == other["model"]
    accuracies = [each["forecast"]["method"]["accuracy"] for each in (one, other)]
    assert accuracies[0] == pytest.approx(accuracies[1])
    expected = answers(photos, "--taught", plain)
    for taught in (plain, quick):
        found = answers("--index", index, "--taught", taught)
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        for row, same in zip(found, expected, strict=True):
            assert row["scores"] == pytest.approx(same["scores"], abs=1e-4)
    assert labelled(index, "star") == {"star"}


@pytest.mark.usefixtures("no_model")
def test_teaching_decodes_nothing_that_is_known(photos: Path, index: Path, tmp_path: Path) -> None:
    examples = shutil.copytree(photos, tmp_path / "examples")  # the same content elsewhere
    done = run("teach", examples, tmp_path / "out", "--index", index, "--unlabelled", photos)
    assert "was taught 3 classes by 12 images" in done.stdout


@pytest.mark.usefixtures("no_model")
def test_an_evaluation_takes_what_the_index_knows(photos: Path, index: Path) -> None:
    command = ["evaluate", photos, "--compare", "{}", "--json"]
    expected, found = (
        json.loads(run(*command, *how).stdout) for how in (("--model", "tiny"), ("--index", index))
    )
    assert found["confusion"] == expected["confusion"]
    assert found["images"] == 12


def test_another_model_is_refused(photos: Path, index: Path, tmp_path: Path) -> None:
    assert len(answers("--index", index, *WORDS, "--model", "tiny")) == 12
    for command in (["label", *WORDS], ["teach", photos, tmp_path / "out"], ["evaluate", photos]):
        said = complaint(*command, "--index", index, "--model", "fast")
        assert f"The index at {index} was made with tiny (96 wide), but --model asks for" in said
        assert "switch the index: footwork search index" in said
    said = complaint("label", *WORDS, "--index", index, "--revision", "v2")
    assert "--model asks for tiny at v2" in said


def test_what_was_taught_elsewhere_is_refused(photos: Path, index: Path, tmp_path: Path) -> None:
    taught = tmp_path / "taught"
    run("teach", photos, taught, "--index", index)
    manifest = json.loads((taught / "footwork.json").read_text())
    del manifest["files"], manifest["sha256"]
    manifest["model"]["fingerprint"] = "another"
    (taught / "footwork.json").write_text(json.dumps(manifest))
    said = complaint("label", "--index", index, "--taught", taught)
    assert "was taught on embeddings of tiny (another)" in said
    manifest |= {"application": "zeroshot", "kind": "finetuned"}
    (taught / "footwork.json").write_text(json.dumps(manifest))
    said = complaint("label", "--index", index, "--taught", taught)
    assert "Leave out --index" in said
