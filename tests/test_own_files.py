"""No command replaces, moves or deletes what is the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from footwork.cli import main
from tests.models import build_adapter, build_base, build_classifier
from tests.tables import write_table
from tests.zeroshot.test_cli import draw_folder

ROWS = [(f"a good film {i}", "good") if i % 2 else (f"a bad film {i}", "bad") for i in range(40)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of someone who has photos, tables, models and a thesis."""
    home = tmp_path_factory.mktemp("home")
    draw_folder(home / "photos", each=2)
    for name in ("data.csv", "labels.csv", "data/train.csv", "data/test.csv"):
        (home / name).parent.mkdir(exist_ok=True)
        write_table(home / name, ROWS, ("text", "label"))
    (home / "hard.csv").hardlink_to(home / "data.csv")
    (home / "soft.csv").symlink_to(home / "data.csv")
    os.mkfifo(home / "pipe.csv")
    (home / "notes.txt").write_text("no end of line")
    (home / "page.html").write_text("<html>mine</html>")
    (home / "rows.parquet").write_bytes(b"PAR1 mine")
    noted = [("1", "good", "0.9", "two weeks of work")]
    write_table(home / "noted.csv", noted, ("id", "label", "probability", "my notes"))
    for name, columns in {
        "sure": ("id", "label", "probability"),
        "kept": ("id", "label", "probability", "text"),
        "seen": ("path", "label", "score"),
    }.items():
        write_table(home / f"{name}.csv", [columns], columns)
    (home / "nowhere.csv").symlink_to(home / "photos" / "new.csv")
    (home / "run.training").mkdir()
    (home / "run.training" / "run.json").write_text('{"mine": 1}')
    (home / "index" / "generation-1").mkdir(parents=True)
    (home / "index" / "footwork.json").write_text('{"kind": "index"}')
    (home / "numbers.npy").write_bytes(b"\x93NUMPY mine")
    for name in ("userdocs", "new.training"):
        (home / name).mkdir()
        (home / name / "thesis.txt").write_text("years of work")
    build_classifier(home / "model")
    build_adapter(home / "adapter", build_base(home / "base", "bert"))
    return home


@pytest.mark.parametrize(
    "command",
    [
        "textclf train data.csv userdocs --overwrite",
        "textclf train data.csv notes.txt --overwrite",
        "textclf train data data/out",
        "textclf train data/train.csv data --overwrite",
        "textclf train data.csv . --overwrite",
        "textclf train data.csv base --model base --overwrite",
        "textclf train data.csv base/out --model base",
        "textclf train data.csv new --overwrite",
        "textclf train data.csv new",
        "textclf compare data.csv userdocs --overwrite",
        "textclf compare data.csv model --overwrite",
        "textclf compare data/train.csv data --overwrite",
        "textclf compare data.csv new",
        "textclf predict model data.csv -o data.csv",
        "textclf predict model data.csv -o hard.csv",
        "textclf predict model hard.csv -o soft.csv",
        "textclf predict model data.csv -o labels.csv",
        "textclf predict model data.csv -o model/answers.csv",
        "textclf predict model data.csv -o pipe.csv",
        "textclf predict model data.csv -o noted.csv",
        "textclf predict model data.csv -o sure.csv",
        "textclf predict model data.csv -o kept.csv --keep-columns",
        "textclf predict model data.csv -o nowhere.csv",
        "textclf train data.csv run --overwrite",
        "textclf predict model data.csv -o rows.parquet",
        "textclf predict model data.csv -o userdocs",
        "textclf merge adapter adapter --overwrite",
        "textclf merge adapter adapter/plain",
        "textclf merge adapter userdocs --overwrite",
        "zeroshot teach photos userdocs --overwrite",
        "zeroshot teach photos photos --overwrite",
        "zeroshot teach photos photos/taught",
        "zeroshot teach photos . --overwrite",
        "zeroshot teach photos notes.txt --overwrite",
        "zeroshot teach photos userdocs/new --unlabelled userdocs",
        "zeroshot finetune photos userdocs --overwrite",
        "zeroshot finetune photos photos --overwrite",
        "zeroshot finetune photos photos/tuned",
        "zeroshot finetune photos new --overwrite",
        "zeroshot compare photos userdocs --overwrite",
        "zeroshot compare photos photos/compared",
        "textclf evaluate model data.csv -o data.csv",
        "textclf evaluate model data.csv -o hard.csv",
        "textclf evaluate model data.csv -o model/footwork.json",
        "zeroshot evaluate photos -o photos/found.json",
        "zeroshot evaluate photos -o notes.txt",
        "zeroshot evaluate photos --report userdocs",
        "zeroshot evaluate photos --report photos/report",
        "zeroshot evaluate photos --report notes.txt",
        "zeroshot label photos --labels a,b -o data.csv",
        "zeroshot label photos --labels-file labels.csv -o labels.csv",
        "zeroshot label photos --labels a,b -o seen.csv",
        "zeroshot label photos --labels a,b -o pipe.csv",
        "zeroshot label photos --labels a,b --copy-to notes.txt --yes",
        "zeroshot undo notes.txt",
        "zeroshot undo userdocs",
        "search index photos --index userdocs",
        "search index photos --index photos",
        "search query dog --index photos --html photos/star/0.png",
        "search query dog --index photos --html page.html",
        "search query dog --index photos -o data.csv",
        "search query dog --index photos -o pipe.csv",
        "search query --queries labels.csv --index photos -o labels.csv",
        "search duplicates --index photos --html page.html",
        "search export rows.parquet --index photos",
        "search export index/generation-1/vectors.npy --index index",
        "search query dog --index index -o index/hits.csv",
        "search query dog --index index --html index/generation-1/x.html",
        "search query dog --index index --copy-to index/found",
        "search duplicates --index index --html index/x.html",
        "textclf predict model data.csv -o index/answers.csv",
        "search export numbers.npy --index photos",
        "search export pipe.csv --index photos",
    ],
)
def test_nothing_of_the_users_is_destroyed(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    words = command.split()
    if words[1] in ("train", "teach", "finetune", "compare", "label", "evaluate", "index"):
        words += [] if "--model" in words else ["--model", "tiny"]
    before = every_file(home)
    assert main(words) in (1, 2)
    assert every_file(home) == before
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("footwork: error: ")
    assert "fault of Footwork" not in said[-1]


def every_file(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
