from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import build_base, build_classifier
from tests.runs import run_here
from tests.tables import sentiment_table, write_table
from textclf import TextClassifier
from textclf.classifier import ClassifierOptions

FOOTWORK = [sys.executable, "-m", "textclf"]
TEXTS = ["the film was good", "the price was bad", "a sad book"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("base"), "bert")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentiment_table(tmp_path_factory.mktemp("data") / "data.csv", 60)


def test_evaluate_judges_a_regression(tmp_path: Path) -> None:
    model = build_classifier(tmp_path / "model", labels=(), task="regression")
    texts = [f"the film was good {i}" for i in range(30)]
    amounts = [f"{i * 0.37:.2f}" for i in range(30)]
    rows = list(zip(texts, amounts, strict=True))
    table = write_table(tmp_path / "amounts.csv", rows, ("text", "score"))
    found = json.loads(run_here("evaluate", model, table, "--json").stdout)
    said = [row.label for row in TextClassifier.load(model).predict(texts)]
    errors = np.abs(np.array(said, np.float64) - np.array(amounts, np.float64))
    assert found["metrics"]["mae"]["value"] == pytest.approx(errors.mean())
    assert (found["task"], found["rows"], found["calibration"]) == ("regression", 30, None)
    assert "spearman" in run_here("evaluate", model, table).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "data.csv", "out", "--model", "someone/far", "--seed", "-1"), "seed"),
        (("train", "data.csv", "out", "--resume", "--overwrite"), "exclude each other"),
    ],
)
def test_a_wrong_command_gets_one_clear_line(
    words: tuple[str, ...], message: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    done = run_here(*words)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("out").exists()


def test_a_dash_as_the_file_to_write_is_standard_output(tmp_path: Path) -> None:
    model = build_classifier(tmp_path / "model")
    table = write_table(tmp_path / "texts.csv", [(text,) for text in TEXTS], ("text",))
    plain = run_here("predict", model, table)
    assert len(plain.stdout.splitlines()) == 1 + len(TEXTS)
    for words in (("-o", "-"), ("--out=-",)):
        assert run_here("predict", model, table, *words).stdout == plain.stdout
    assert run_here("predict", model, table, "-o").returncode == 2


def logits(folder: Path) -> np.ndarray:
    return TextClassifier.load(folder, ClassifierOptions(precision="float32")).logits(TEXTS)


OFTEN_SAVED = ("--save-minutes", 0.0001, "--batch-size", 8)
ENDURING = ("--method", "full", "--num-epochs", 8, "--max-length", 40, *OFTEN_SAVED)


def test_a_killed_run_resumes_to_the_undisturbed_result(
    base: Path, data: Path, tmp_path: Path
) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    assert run_here("train", data, undisturbed, "--model", base, *ENDURING).returncode == 0
    command = [*FOOTWORK, "train", data, killed, "--model", base, *ENDURING]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        process.kill()
        process.stderr.read()
    assert process.returncode == -signal.SIGKILL
    assert not killed.exists()
    done = run_here("train", data, killed, "--model", base, *ENDURING, "--resume")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(logits(killed), logits(undisturbed))
    assert not list(tmp_path.glob("killed.*"))


def test_two_processes_give_the_result_of_one(base: Path, data: Path, tmp_path: Path) -> None:
    settings = ["--model", base, "--num-epochs", 1, "--max-length", 40, "--json"]
    settings += ["--mixed-precision", "float32", "--batch-size", 8]
    settings += ["--skip", "baselines,report"]
    one = run_here("train", data, tmp_path / "one", *settings)
    # accelerate's own launcher starts only one process on a machine without a GPU.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "--log-dir", str(tmp_path / "logs"), "--redirects", "3"]
    command += ["-m", "textclf", "train", str(data), str(tmp_path / "two"), *map(str, settings)]
    two = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    printed, silent = (path.read_text() for path in sorted(tmp_path.glob("logs/**/stdout.log")))
    assert two.returncode == 0, two.stderr
    assert silent == ""
    first, second = json.loads(one.stdout), json.loads(printed)
    found, expected = second["metrics"]["log_loss"], first["metrics"]["log_loss"]
    assert found["value"] == pytest.approx(expected["value"], rel=1e-5)
    np.testing.assert_allclose(logits(tmp_path / "two"), logits(tmp_path / "one"), atol=1e-4)
    assert sorted(p.name for p in tmp_path.glob("*two*")) == ["two"]
