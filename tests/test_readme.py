"""Every command and every line of Python in README.md and in model cards, run on small data.

The models that it names are the embedded ones here, as if they had been downloaded.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from footwork.cli import main
from footwork.finetuning.card import PLACE
from footwork.methods.rates import Recipe, recipe_for
from footwork.models.hub import TINY_CLIP, TINY_TEXT, trained_folder
from tests.hub import StandInApi, keep_repository
from tests.runs import quick_ending
from tests.search.drawn import draw_photos
from tests.tables import sentiment_table
from tests.towers import Exports
from tests.zeroshot.image_towers import draw_classes
from textclf import TextClassifier

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
PYTHON = (Path(__file__).parents[1] / "docs" / "python.md").read_text("utf-8")
SCRIPTS = {section.partition("\n")[0]: section for section in PYTHON.split("\n## ")[1:]}
MODELS = {
    "microsoft/deberta-v3-base": TINY_TEXT,
    "microsoft/deberta-v3-small": TINY_TEXT,
    "openai/clip-vit-base-patch32": TINY_CLIP,
    "google/siglip2-so400m-patch14-384": TINY_CLIP,
}
NOT_RUN = {
    "bash scripts/demo": "minutes; it runs beside the tests",
    "bash scripts/test": "these tests are part of it",
    "bash scripts/setup": "it needs a package registry",
    "bash scripts/bench": "hours",
    "source .venv/bin/activate": "the tests run in it",
    "accelerate launch": "it needs several GPUs",
    "torchrun": "tests/textclf/test_cli.py starts several processes by hand",
    "python -m scripts.tiny.measure_": "minutes, on data that are not here",
    "python -m footwork.models.open_clip": "tests/footwork/test_open_clip.py runs it",
    "pip install 'footwork[milvus]'": "it needs a package registry",
    "--store http://HOST:19530": "it needs a server; tests/search has a stand-in",
}
"""What no test here runs, and why."""
SORTED = "zeroshot label photos/ --labels-file labels.txt --copy-to sorted/ --yes"
"""What the README leaves to its reader, before the undoing."""


def blocks(language: str, document: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)


def commands() -> list[str]:
    """Of all blocks and of the text between them, in order, without their comments."""
    spans = re.compile(
        r"```bash\n(.*?)```|(?<!`)`((?:\w+=\S+ )*(?:footwork|bash|python|pip) [^`\n]+)`(?!`)",
        re.DOTALL,
    )
    lines = "\n".join(block or span for block, span in spans.findall(README)).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def one_epoch(*known: Any, **how: Any) -> Recipe:
    """The recipe, of one epoch."""
    return replace(recipe_for(*known, **how), num_epochs=1)


def runs(command: str) -> bool:
    return not any(one in command for one in NOT_RUN)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, exports: Exports) -> Iterator[Path]:
    """What the README speaks of: tables, photos, examples, and models that were downloaded."""
    place = tmp_path_factory.mktemp("readme")
    for name in ("reviews.csv", "held_out.csv", "new.csv", "texts.csv"):
        sentiment_table(place / name, 60)
    draw_photos(place / "photos" / "2024")
    draw_classes(place / "examples", each=9)
    draw_classes(place / "labelled", each=4)
    (place / "labels.txt").write_text("a circle\na star\n")
    for name in ("photo.jpg", "holiday.jpg"):
        shutil.copy(place / "photos/2024/red/star.png", place / name)
    (place / "run.toml").write_text(blocks("toml")[0])
    for repository, folder in MODELS.items():
        keep_repository(folder, repository)
    with (
        chdir(place),
        exports.once(),
        quick_ending(),
        patch("footwork.finetuning.task.recipe_for", one_epoch),
        patch("huggingface_hub.HfApi", StandInApi),
        patch.dict(os.environ, FOOTWORK_HOME=str(place / "home")),
    ):
        yield place


@pytest.fixture(scope="module")
def failed(workplace: Path) -> dict[str, str]:
    """The commands that end in another code than 0, all of them having been run in their order."""
    assert Path.cwd() == workplace
    failures = {}
    for command in filter(runs, commands()):
        words = shlex.split(command.partition(" | ")[0], comments=True)
        if "--method" in words:
            words = [word.partition("|")[0] for word in words]  # the first of those to choose from
        if "undo" in words:
            main(SORTED.split())
        if "taught/" in words and "teach" in words:
            shutil.rmtree("taught", ignore_errors=True)  # of the command that taught without index
        said = io.StringIO()
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())), redirect_stderr(said):
            code = main(words[1:])
        if words[0] != "footwork" or code:
            failures[command] = said.getvalue()[-400:]
    return failures


def test_every_command_runs(failed: dict[str, str]) -> None:
    assert not failed


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("block", blocks("python"))
def test_every_line_of_python_runs(block: str) -> None:
    if "train(" in block:
        shutil.rmtree("out", ignore_errors=True)  # which the commands have trained
    exec(compile(block, "README.md", "exec"), {})


def names_of(section: str) -> dict[str, Any]:
    """What the script of a section of docs/python.md leaves behind."""
    names: dict[str, Any] = {}
    for block in blocks("python", SCRIPTS[section]):
        exec(compile(block, f"docs/python.md, {section}", "exec"), names)
    return names


@pytest.mark.usefixtures("workplace")
def test_the_script_of_texts_runs_and_gives_the_frames_that_it_names() -> None:
    names = names_of("Texts")
    assert [*names["metrics"]] == ["metric", "value", "low", "high"]
    assert names["classes"]["support"].sum() == len(names["held_out"]) == len(names["answers"])
    assert set(names["mistakes"]) >= {"id", "label", "true_label", "p:positive"}
    assert len(names["few"]) == 2
    own = ["id", "label", "probability", "abstained", "text", "input:label"]
    assert [*names["many"]][:6] == own
    assert Path("labelled.csv").exists()


def test_the_script_of_images_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(draw_classes(tmp_path / "examples") / "amber", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    with quick_ending():
        names = names_of("Images")
    assert len(names["answered"][0] + names["answered"][1]) == 10
    assert names["run"].evaluation.metrics["accuracy"].value == 1


def test_what_is_not_run_stands_there() -> None:
    told = "\n".join(commands())
    assert [one for one in NOT_RUN if one not in told] == []


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize(
    "folder", ["out", "small", "plain", "owner/reviews", "tuned", "owner/photos"]
)
def test_every_line_of_a_card_runs(folder: str) -> None:
    here = trained_folder(folder)
    card = (here / "README.md").read_text("utf-8").replace(PLACE, folder)
    assert f'.load("{folder}")' in card
    for line in blocks("bash", card):
        assert main(shlex.split(line)[1:]) == 0
    names: dict[str, Any] = {}
    for block in blocks("python", card):
        exec(compile(block, f"{folder}/README.md", "exec"), names)
    texts = isinstance(names["classifier"], TextClassifier)
    asked = "one text" if texts else Path("photo.jpg")
    answers = names["classify"](str(asked), top_k=None)
    logits = names["classifier"].logits([asked])[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    scores = {one["label"]: one["score"] for one in answers}
    assert [scores[name] for name in names["classifier"].labels] == pytest.approx(
        expected, abs=0.02
    )
