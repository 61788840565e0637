"""The script that docs/python.md shows for images, run as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.runs import quick_ending
from tests.zeroshot.image_towers import draw_classes

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")


def test_the_script_for_images_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(draw_classes(tmp_path / "examples") / "amber", tmp_path / "photos")
    _, _, part = PAGE.partition("\n## Images\n")
    script = "\n".join(re.findall(r"```python\n(.*?)```", part.partition("\n## ")[0], re.DOTALL))
    known: dict[str, object] = {}
    with quick_ending():
        exec(compile(script, "docs/python.md", "exec"), known)
    assert len(known["answered"][0] + known["answered"][1]) == 10
    assert known["run"].evaluation.metrics["accuracy"].value == 1
