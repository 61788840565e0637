from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.models import build_base, build_classifier
from tests.tables import sentiment_table, write_table
from textclf import TextClassifier

FOOTWORK = [sys.executable, "-m", "textclf"]
TEXTS = ["the film was good", "the price was bad", "a sad book"]


def run(*words: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [*FOOTWORK, *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build_base(tmp_path / "base", "bert")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return sentiment_table(tmp_path / "data.csv", 60)


def test_train_prints_one_document_and_its_progress_elsewhere(
    base: Path, data: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "run.toml"
    settings.write_text(f'model = "{base}"\nnum_epochs = 7\nbatch_size = 8\nmax_length = 40\n')
    out = tmp_path / "out"
    done = run("train", data, out, "--config", settings, "--num-epochs", 1, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((out / "footwork.json").read_text())
    assert (document["config"]["num_epochs"], document["config"]["batch_size"]) == (1, 8)
    assert "step 7/7" in done.stderr
    again = run("train", data, out, "--config", settings)
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_train_for_people_ends_with_the_baselines_and_the_next_command(
    base: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("train", data, out, "--model", base, "--num-epochs", 1, "--max-length", 40)
    assert done.returncode == 0, done.stderr
    for expected in ("accuracy", "majority", "linear", f"footwork textclf predict {out}"):
        assert expected in done.stdout


def test_predict_answers_every_row_in_order(tmp_path: Path) -> None:
    model = build_classifier(tmp_path / "model")
    table = write_table(
        tmp_path / "texts.csv",
        [(f"r{i}", text * (i % 5 + 1)) for i, text in enumerate(TEXTS * 4)],
        ("id", "text"),
    )
    done = run("predict", model, table, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(12)]
    assert set(rows[0]) == {"id", "label", "probability", "probabilities", "abstained"}
    out = tmp_path / "answers.csv"
    assert run("predict", model, table, "-o", out).returncode == 0
    assert len(out.read_text().splitlines()) == 13
    piped = run("predict", model, "-", given="\n".join(TEXTS) + "\n")
    assert len(piped.stdout.splitlines()) == 4, piped.stderr


def test_a_bad_row_is_named_or_skipped_with_exit_code_3(tmp_path: Path) -> None:
    model = build_classifier(tmp_path / "model")
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"text": "good"}\n{"text": \n{"text": "bad"}\n')
    done = run("predict", model, lines)
    assert done.returncode == 1
    assert "row 2" in done.stderr
    done = run("predict", model, lines, "--skip-bad-rows", "--json")
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 2
    assert "row 2" in done.stderr


def test_audit_names_rows_and_fails_only_where_training_would(tmp_path: Path) -> None:
    rows = [("same text", "a"), ("same text", "b"), ("", "a"), ("other", "b"), ("more", "a")]
    table = write_table(tmp_path / "t.csv", rows * 4, ("text", "label"))
    done = run("audit", table, "--model", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usable"] is True
    one_class = write_table(tmp_path / "one.csv", [("x", "a"), ("y", "a")] * 9, ("text", "label"))
    assert run("audit", one_class, "--model", "tiny").returncode == 1


def test_evaluate_judges_a_trained_folder(data: Path, tmp_path: Path) -> None:
    model = build_classifier(tmp_path / "model")
    done = run("evaluate", model, data, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 60
    strange = write_table(tmp_path / "s.csv", [("x", "negative"), ("y", "odd")], ("text", "label"))
    done = run("evaluate", model, strange)
    assert done.returncode == 1
    assert "odd" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "nowhere.csv", "out", "--model", "tiny"), "nowhere.csv"),
        (("train", "data.csv", "out", "--model", "someone/far", "--seed", "-1"), "seed"),
        (("predict", "nowhere", "-"), "nowhere"),
        (("train", "data.csv", "out", "--resume", "--overwrite"), "exclude each other"),
        (("train", "data.csv", "out", "--learning-rte", "1"), "--learning-rate"),
    ],
)
def test_a_wrong_command_gets_one_clear_line(
    words: tuple[str, ...], message: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    done = run(*words)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("out").exists()


def logits(folder: Path) -> np.ndarray:
    return TextClassifier.load(folder).logits(TEXTS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_resumes_to_the_undisturbed_result(
    number: int, base: Path, data: Path, tmp_path: Path
) -> None:
    settings = ("--model", base, "--method", "full", "--num-epochs", 40, "--max-length", 40)
    frequent = ("--save-minutes", 0.0001, "--batch-size", 8)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert run("train", data, undisturbed, *settings, *frequent).returncode == 0
    command = [*FOOTWORK, "train", data, killed, *settings, *frequent]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        time.sleep(random.Random(number).uniform(0.1, 1.0))
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGTERM)
    assert not killed.exists()
    done = run("train", data, killed, *settings, *frequent, "--resume")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(logits(killed), logits(undisturbed))
    assert not list(tmp_path.glob("killed.*"))


def launch(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Two processes: accelerate's own launcher starts only one on a machine without a GPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "textclf"]
    return subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, check=False, timeout=timeout
    )


def test_two_processes_give_the_result_of_one(base: Path, data: Path, tmp_path: Path) -> None:
    settings = ["--model", base, "--num-epochs", 3, "--max-length", 40, "--json"]
    settings += ["--mixed-precision", "float32"]
    even, odd = ("--batch-size", 8), ("--batch-size", 9)
    one = run("train", data, tmp_path / "one", *settings, *even)
    two = launch("train", data, tmp_path / "two", *settings, *even)
    assert two.returncode == 0, two.stderr
    first, second = json.loads(one.stdout), json.loads(two.stdout)
    found, expected = second["metrics"]["log_loss"], first["metrics"]["log_loss"]
    assert found["value"] == pytest.approx(expected["value"], rel=1e-5)
    np.testing.assert_allclose(logits(tmp_path / "two"), logits(tmp_path / "one"), atol=1e-4)
    assert sorted(p.name for p in tmp_path.glob("*two*")) == ["two"]
    # The launcher really started two: one process would take a batch of 9.
    refused = launch("train", data, tmp_path / "odd", *settings, *odd)
    assert refused.returncode != 0
    assert "multiple of the 2 processes" in refused.stderr
