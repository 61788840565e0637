from __future__ import annotations

import ast
import json
import os
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footwork.evaluation.calibration import GivenCalibration, calibrate
from footwork.evaluation.result import Evaluation, evaluate_logits
from footwork.files.folders import read_json
from footwork.finetuning.card import (
    model_card,
    public_data_name,
    public_document,
    public_model_id,
    verdict,
    verdicts,
)
from footwork.finetuning.report import Report, write_report
from textclf.task import TextTask
from zeroshot.task import ImageTask

SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
REGRESSION = "regression"

HISTORY = [
    *({"loss": 1 / step, "learning_rate": 1e-4, "step": step} for step in range(1, 9)),
    {"loss": float("nan"), "step": 9},
    {"eval_loss": 0.3, "eval_accuracy": 0.8, "step": 9},
]


@cache
def evaluation(wrong: int, task: str = SINGLE) -> Evaluation:
    """Of a model that is wrong on the first so many of 200 rows."""
    generator, rows = np.random.default_rng(0), 200
    if task == REGRESSION:
        targets = generator.normal(size=rows)
        return evaluate_logits(task, (), targets, targets + wrong * 0.01)
    targets = generator.integers(0, 2, rows)
    answers = np.where(np.arange(rows) < wrong, 1 - targets, targets)
    logits = np.eye(2)[answers] * 4 - 2
    if task == MULTI:
        return evaluate_logits(task, ("bad", "go|od"), np.eye(2)[targets], logits)
    return evaluate_logits(task, ("bad", "go|od"), targets, logits)


FACTS = {
    "path": "/home/someone/private/reviews.csv",
    "sha256": "ab" * 32,
    "rows": {"train": 1800, "validation": 200, "test": 0},
    "text_columns": ["text"],
    "label_column": "label",
    "validation_held_out": True,
}


def report(problem: str = SINGLE, merge: bool = False, **changes: Any) -> Report:
    """Of a training; `changes` are of the manifest, or of the report where it has such a field."""
    manifest: dict[str, Any] = {
        "model": {"id": "microsoft/deberta-v3-base", "revision": None},
        "method": "lora",
        "head": {"kept": False, "note": None},
        "task": problem,
        "labels": [] if problem == REGRESSION else ["bad", "go|od"],
        "data": FACTS,
        "max_length": 128,
        "config": {
            "num_epochs": 3.0,
            "seed": 0,
            "out": Path("/home/someone/out"),
            "merge": merge,
        },
        "config_sources": {"num_epochs": "given"},
        "cost": {
            "seconds": 185.0,
            "resumed": False,
            "device": "cpu",
            "threads": 1,
            "peak_memory_bytes": 3 * 2**29,
            "parameters": 184_423_682,
            "trainable_parameters": 1_000_000,
        },
        "versions": {"torch": "2.13.0"},
    }
    standard: dict[str, Any] = {
        "task": TextTask(),
        "history": HISTORY,
        "evaluations": {"validation": evaluation(10, problem)},
        "baselines": {"majority": evaluation(90, problem), "linear": evaluation(40, problem)},
        "notes": (),
    }
    own = {name: changes.pop(name) for name in list(changes) if name in standard}
    return Report(manifest=manifest | changes, **(standard | own))


def titled(title: str) -> Report:
    return report(data={**FACTS, "path": f"/home/someone/{title}.csv"})


def front_matter(card: str) -> dict[str, Any]:
    from huggingface_hub import ModelCard

    return ModelCard(card).data.to_dict()


def test_a_report_is_complete(tmp_path: Path) -> None:
    assert write_report(tmp_path, report()) == ()
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    pictures = {f"report/{name}.png" for name in ("confusion", "curves", "reliability")}
    assert names == {"README.md", "report/metrics.json", *pictures}
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert all(f"({picture})" in card for picture in pictures)


def test_figures_are_plain_json(tmp_path: Path) -> None:
    write_report(tmp_path, report())
    text = (tmp_path / "report/metrics.json").read_text(encoding="utf-8")
    figures = json.loads(text, parse_constant=pytest.fail)
    assert figures["evaluations"]["validation"]["metrics"]["accuracy"]["value"] == 0.95
    assert figures["baselines"]["linear"]["metrics"]["accuracy"]["value"] == 0.8
    assert figures["reported_split"] == "validation"
    assert figures["history"][8] == {"loss": None, "step": 9}


def test_a_report_on_a_path_that_is_no_text_can_be_read(tmp_path: Path) -> None:
    write_report(tmp_path, titled(os.fsdecode(b"caf\xe9")))
    assert "caf\\udce9.csv" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert read_json(tmp_path / "report/metrics.json")["data"]["path"].endswith("caf\udce9.csv")


@pytest.mark.parametrize("task", [MULTI, REGRESSION])
def test_other_tasks_are_reported_without_a_matrix(task: str, tmp_path: Path) -> None:
    assert write_report(tmp_path, report(task)) == ()
    assert not (tmp_path / "report/confusion.png").exists()
    assert "confusion" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_without_matplotlib_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (note,) = write_report(tmp_path, report())
    assert "pip install 'footwork[plots]'" in note
    assert (tmp_path / "report/metrics.json").exists()
    assert ".png" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_front_matter_is_what_the_hub_reads() -> None:
    data = front_matter(model_card(report()))
    assert data["library_name"] == "peft"
    assert data["pipeline_tag"] == "text-classification"
    assert data["base_model"] == "microsoft/deberta-v3-base"
    assert data["base_model_relation"] == "adapter"
    assert {"text-classification", "footwork", "lora"} <= set(data["tags"])
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "reviews.csv",
        "type": "reviews.csv",
        "split": "validation",
    }
    assert {"type": "accuracy", "value": 0.95, "name": "Accuracy"} in result["metrics"]


@pytest.mark.parametrize("title", ["a: b", "- dash", "yes", "한국어", "'quoted' \"twice\""])
def test_any_title_makes_valid_front_matter(title: str) -> None:
    data = front_matter(model_card(titled(title)))
    assert data["model-index"][0]["name"] == title


def test_a_local_base_is_not_claimed_to_be_on_the_hub(tmp_path: Path) -> None:
    for local in ("tiny", "accurate", str(tmp_path), "./models/mine", "~/models/mine"):
        assert public_model_id(local) is None
    assert public_model_id("bert-base-uncased") == "bert-base-uncased"
    data = front_matter(model_card(report(model={"id": "tiny", "revision": None}, merge=True)))
    assert data["library_name"] == "transformers"
    assert "base_model" not in data


def test_a_card_names_no_folder_of_this_machine() -> None:
    card = model_card(report())
    assert "reviews.csv" in card
    assert "someone" not in card
    assert public_data_name({"path": "owner/dataset"}) == "owner/dataset"
    assert public_data_name({"path": "data/reviews.csv"}) == "reviews.csv"


def test_no_note_of_a_card_names_a_folder_of_this_machine() -> None:
    files = ["/home/someone/private/reviews.csv", "/home/someone/else/test.csv"]
    notes = tuple(f"{file}: 3 rows are skipped." for file in files)
    facts = {**FACTS, "files": files}
    card = model_card(report(notes=notes, data=facts))
    told = f"{card}{public_document({'data': facts, 'notes': notes})}"
    assert "someone" not in told
    assert "- reviews.csv: 3 rows are skipped." in card
    assert "- test.csv: 3 rows are skipped." in card


def test_labels_cannot_break_a_table() -> None:
    card = model_card(report())
    lines = [line for line in card.splitlines() if line.startswith("| go")]
    assert len(lines) == 1
    assert lines[0].startswith("| go\\|od |")
    assert "`go|od`" in card


def test_the_results_stand_next_to_the_baselines() -> None:
    card = model_card(report())
    assert "| metric | this model | TF-IDF + linear model | commonest answer |" in card
    assert "| `accuracy` | 0.950 (0.9" in card
    assert "It beats the linear baseline: `accuracy` 0.950 against 0.800" in card


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (10, "It beats the linear baseline"),
        (38, "does not clearly beat"),
        (40, "does not beat"),
        (80, "does not beat"),
    ],
)
@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_the_verdict_is_honest(wrong: int, words: str, task: str) -> None:
    assert words in verdict(evaluation(wrong, task), evaluation(40, task), "the linear baseline")


def test_a_lower_error_is_the_better_one() -> None:
    small, large = evaluation(10, REGRESSION), evaluation(40, REGRESSION)
    assert "It beats" in verdict(small, large, "it")
    assert "does not beat" in verdict(large, small, "it")


def test_without_a_figure_there_is_no_verdict() -> None:
    undefined = replace(evaluation(40), metrics={})
    assert "cannot be compared with it" in verdict(evaluation(10), undefined, "it")


def test_rows_that_chose_nothing_flatter_nothing() -> None:
    few = replace(evaluation(5), rows=49)
    card = model_card(report(evaluations={"validation": few}))
    assert "optimistic" not in card
    assert "optimistic" not in model_card(report(method="head"))
    assert "chose the checkpoint." in model_card(report(REGRESSION))
    targets = np.arange(40) % 2
    judged = evaluate_logits(
        SINGLE, ("bad", "good"), targets, np.eye(2)[targets], given=GivenCalibration()
    )
    facts = {**FACTS, "rows": {"train": 100, "validation": 40, "test": 0}}
    card = model_card(report(evaluations={"validation": judged}, data=facts))
    assert "it is 1, for want of validation rows to fit it on" in card


def test_validation_figures_alone_are_called_optimistic() -> None:
    assert "These figures are optimistic" in model_card(report())
    both = {"validation": evaluation(5), "test": evaluation(12)}
    card = model_card(report(evaluations=both))
    assert "optimistic" not in card
    assert "On 200 test rows" in card
    (result,) = front_matter(card)["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    assert "0.940" in card


def test_a_card_says_where_temperature_and_threshold_were_chosen() -> None:
    targets = np.arange(200) % 2
    judged = evaluate_logits(
        SINGLE, ("bad", "go|od"), targets, np.eye(2)[targets], given=GivenCalibration(0.5, 0.9)
    )
    card = model_card(report(evaluations={"validation": evaluation(5), "test": judged}))
    assert "chosen on the validation rows" in card
    assert "Temperature 0.500; expected" in card
    assert "Abstain below 0.9000: 0.0% of the rows get an answer." in card
    assert "The temperature and threshold were not found on these rows." in card
    assert "`log_loss` is of the probabilities before the temperature, of all models" in card
    assert "Where it does not abstain, it names one of its classes" in card
    assert "its temperature was not fitted on" in model_card(report())
    unsure = replace(evaluation(10), calibration=calibrate(np.zeros((9, 2)), np.arange(9) % 2))
    assert "It always names one" in model_card(report(evaluations={"validation": unsure}))


def test_a_card_says_what_the_training_took_and_who_chose_each_setting() -> None:
    card = model_card(report())
    took = "1,000,000 of 184,423,682 parameters were trained, in 3 min on 1 thread of the CPU"
    assert f"{took}; 1.5 GiB of memory at the peak." in card
    assert "| `num_epochs` | `3` | given |" in card
    assert "| `seed` | `0` | default |" in card


def test_a_card_tells_the_thresholds_of_labels() -> None:
    targets = np.eye(2)[np.arange(200) % 2]
    given = GivenCalibration(thresholds=(0.25, 0.5))
    judged = evaluate_logits(MULTI, ("bad", "go|od"), targets, targets * 8 - 7, given=given)
    card = model_card(report(MULTI, evaluations={"validation": judged, "test": judged}))
    assert "| class | precision | recall | F1 | rows | threshold |" in card
    assert "| bad | 1.000 | 1.000 | 1.000 | 100 | 0.250 |" in card
    assert "A label is given from its threshold on, 0.25 to 0.5." in card
    assert "under `calibration.thresholds`" in card
    assert "threshold |" not in model_card(report())


def test_a_card_says_first_that_no_label_is_ever_given() -> None:
    targets = np.eye(2)[np.arange(200) % 2]
    mute = evaluate_logits(MULTI, ("bad", "go|od"), targets, targets - 9, GivenCalibration())
    assert "NO LABEL IS EVER GIVEN" in model_card(report(MULTI, evaluations={"test": mute}))


def test_a_plain_folder_shows_the_pipeline_and_an_adapter_how_to_merge() -> None:
    adapter, plain = model_card(report()), model_card(report(merge=True))
    assert "footwork textclf merge" in adapter
    assert 'pipeline("text-classification", model="path/to' not in adapter
    assert "PeftModel.from_pretrained(base, " in adapter
    assert "PeftModel" not in model_card(report(model={"id": "tiny", "revision": None}))
    assert 'pipeline("text-classification"' in plain
    assert "max_length=128" in plain
    assert all("from textclf import TextClassifier" in card for card in (adapter, plain))


def test_the_example_of_a_pair_has_two_texts() -> None:
    facts = {**FACTS, "text_columns": ["question", "answer"]}
    card = model_card(report(data=facts, merge=True))
    assert '"text_pair"' in card
    assert 'predict(["one text"], ["its pair"])' in card


def test_notes_and_baseline_notes_are_told() -> None:
    linear = replace(evaluation(40), remarks=("The linear baseline was fitted on 5 rows.",))
    card = model_card(
        report(notes=("3 rows were *skipped*.",), baselines={"linear": linear}, history=[])
    )
    assert "3 rows were \\*skipped\\*." in card
    assert "fitted on 5 rows" in card


def test_a_run_without_a_log_has_no_curves(tmp_path: Path) -> None:
    assert write_report(tmp_path, report(history=[])) == ()
    assert not (tmp_path / "report/curves.png").exists()


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("task", [TextTask(), ImageTask()], ids=["texts", "images"])
def test_the_code_of_a_card_imports_what_it_names(task: Any, merge: bool) -> None:
    card = model_card(report(task=task, merge=merge))
    assert front_matter(card)["pipeline_tag"] == f"{task.kind}-classification"
    assert front_matter(card)["library_name"] == ("transformers" if merge else "peft")
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        nodes = list(ast.walk(ast.parse(block)))
        known = {alias.name for node in nodes for alias in getattr(node, "names", ())}
        names = [node for node in nodes if isinstance(node, ast.Name)]
        known |= {node.id for node in names if isinstance(node.ctx, ast.Store)} | {"print"}
        assert {node.id for node in names} <= known
    assert ("PeftModel" in card) != merge
    assert "/home" not in card


@pytest.mark.parametrize(
    ("task", "method", "name", "command"),
    [
        (TextTask(), "lora", "linear", "footwork textclf train DATA OUT --method linear"),
        (ImageTask(), "lora", "linear_probe", "zeroshot finetune EXAMPLES OUT --method head"),
    ],
)
def test_the_command_of_what_suffices_is_named(
    task: Any, method: str, name: str, command: str
) -> None:
    for wrong in (38, 40, 80):
        said, fresh = verdicts(task, method, evaluation(wrong), {name: evaluation(40)})
        assert "To have it: `" in said
        assert command in said
    assert "--method scratch" in fresh
    said, _ = verdicts(task, method, evaluation(10), {name: evaluation(40)})
    assert "--method" not in said


def test_a_model_is_not_compared_with_itself() -> None:
    said = verdicts(ImageTask(), "head", evaluation(40), {"linear_probe": evaluation(40)})
    assert not any("beat" in one for one in said)
