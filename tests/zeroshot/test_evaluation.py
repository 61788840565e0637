"""How an evaluation on images is laid out and written down."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from footwork.errors import ConfigError
from footwork.evaluation.text import display_width
from tests.zeroshot.labelled import collection, evaluate, many
from zeroshot.evaluation import require_report_place
from zeroshot.labelled_images import LabelledImages
from zeroshot.options import EvaluateOptions


@pytest.mark.parametrize("num_classes", [2, 6, 13, 40])
def test_the_text_fits_a_terminal(tmp_path: Path, num_classes: int) -> None:
    classes = {f"{name} 가나다라마바사": stems for name, stems in many(4, num_classes).items()}
    text = evaluate(collection(tmp_path / "all", classes), EvaluateOptions()).to_text()
    lines = text.splitlines()
    assert max(map(display_width, lines)) <= 100
    assert len(lines) < 90
    assert any(line.startswith("top-1") for line in lines)
    assert "expected calibration error" in text


def test_the_report_holds_figures_and_mistakes(mixed: LabelledImages, tmp_path: Path) -> None:
    found = evaluate(mixed)
    assert found.write_report(tmp_path / "a" / "report") == ()
    folder = tmp_path / "a" / "report"
    names = {path.name for path in folder.iterdir()}
    figures = {"confusion.png", "reliability.png"}
    assert names == {"footwork.json", "metrics.json", "wrong.csv", *figures}
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert figures == json.loads(json.dumps(found.to_dict()))
    assert sum(sum(row.values()) for row in figures["confusion"].values()) == found.images
    lines = (folder / "wrong.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(found.wrong) + 1
    for name in ("confusion.png", "reliability.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_report_says_how_to_have_pictures(
    mixed: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    [note] = evaluate(mixed).write_report(tmp_path / "report")
    assert "pip install 'footwork[plots]'" in note
    assert (tmp_path / "report" / "metrics.json").is_file()


def test_a_report_replaces_only_a_report(mixed: LabelledImages, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"mine holds something else than a report\. Name a new"):
        evaluate(mixed).write_report(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"report lies in what is read, .*mixed\. Name a folder"):
        require_report_place(tmp_path / "mixed" / "report", [mixed.source])
    evaluate(mixed).write_report(tmp_path / "report")
    (tmp_path / "report" / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"report exists and is not replaced: it holds"):
        evaluate(mixed).write_report(tmp_path / "report")


def test_a_report_without_mistakes_is_written_too(tmp_path: Path) -> None:
    found = evaluate(collection(tmp_path / "all", {"cat": ["cat 1"], "dog": ["dog 1"]}))
    found.write_report(tmp_path / "report")
    found.write_report(tmp_path / "report")
    assert (tmp_path / "report" / "wrong.csv").read_text(encoding="utf-8") == ""
    assert "mistakes" not in found.to_text()
    assert "none of the images is wrong" not in found.to_text()
