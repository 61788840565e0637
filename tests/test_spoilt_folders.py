"""Whatever became of a folder that Footwork made, it is refused, or answers as it did.

An enemy leaves its hashes out: then it is refused, or answers something; nothing else happens.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from footwork.errors import ModelError
from footwork.fewshot.knowledge import WEIGHTS
from footwork.files.folders import MANIFEST, write_json
from tests.models import build_adapter, build_base, build_classifier
from tests.mutations import deadline, outcomes
from tests.runs import finetune_here, train_here
from tests.tables import sentiment_table
from tests.zeroshot.image_towers import QUICK, build_tower, draw_classes
from tests.zeroshot.stand_in import StandInEncoder
from tests.zeroshot.trees import labelled, planted, tree
from textclf import TextClassifier, TrainConfig
from textclf.classifier import ClassifierOptions
from textclf.linear import VOCABULARY
from textclf.linear import WEIGHTS as LINEAR_WEIGHTS
from zeroshot.finetuned import FinetunedClassifier
from zeroshot.labelled_images import read_examples
from zeroshot.options import FinetuneConfig, FinetunedOptions, TeachOptions
from zeroshot.sorting.plan import apply_plan, plan_sorting
from zeroshot.sorting.undo import undo_sorting
from zeroshot.taught import TaughtClassifier, teach_files

Answer = Callable[[], NDArray[Any]]


CONTENTS = [b"one", b"of one", b"two"]
LINEAR = TrainConfig(method="linear")
# And not those that transformers and peft read.
OWN = {MANIFEST, WEIGHTS, VOCABULARY, LINEAR_WEIGHTS}


def text_folder(tmp_path: Path, build: Callable[[], Path]) -> tuple[Path, Answer]:
    TextClassifier.load(build()).save(out := tmp_path / "out")
    options = ClassifierOptions(precision="float32")
    return out, lambda: TextClassifier.load(out, options).predict_proba(["a fine day", "rain"])


def full(tmp_path: Path) -> tuple[Path, Answer]:
    return text_folder(tmp_path, lambda: build_classifier(tmp_path / "built", "bert"))


def lora(tmp_path: Path) -> tuple[Path, Answer]:
    def build() -> Path:
        return build_adapter(tmp_path / "built", build_base(tmp_path / "base", "bert"))

    return text_folder(tmp_path, build)


def linear(tmp_path: Path) -> tuple[Path, Answer]:
    train_here(sentiment_table(tmp_path / "d.csv", 40), out := tmp_path / "out", LINEAR)
    return out, lambda: TextClassifier.load(out).predict_proba(["the film was good", "rain"])


def taught(tmp_path: Path) -> tuple[Path, Answer]:
    for name in ("a lion", "old lion", "a robin", "robin singing"):
        planted(tmp_path / "examples", {f"{name.split()[-1]}/{name}.jpg": ""})
    planted(tmp_path / "examples", {"lion/lion.jpg": "", "singing/robin.jpg": ""})
    encoder, out = StandInEncoder(), tmp_path / "out"
    teach_files(encoder, read_examples(tmp_path / "examples"), out, TeachOptions())
    rows = encoder.encode_texts(["a lion", "robin singing"])
    return out, lambda: TaughtClassifier.load(out, encoder).answers(rows).probabilities


def finetuned(tmp_path: Path) -> tuple[Path, Answer]:
    images = sorted(draw_classes(tmp_path / "examples").rglob("*.png"))[:2]
    tower, out = str(build_tower(tmp_path / "vit", "vit")), tmp_path / "out"
    finetune_here(tmp_path / "examples", out, FinetuneConfig(model_id=tower, **QUICK))
    options = FinetunedOptions(precision="float32")
    return out, lambda: FinetunedClassifier.load(out, options).predict_proba(images)


@pytest.mark.parametrize(
    ("make", "hashed"),
    [
        *((make, True) for make in (full, lora, linear, taught, finetuned)),
        *((make, False) for make in (full, linear, taught, finetuned)),  # of `lora` as of `full`
    ],
)
def test_a_spoilt_folder_is_refused_or_answers_the_same(
    make: Callable[[Path], tuple[Path, Answer]], hashed: bool, tmp_path: Path
) -> None:
    folder, answer = make(tmp_path)
    sound = answer()
    if not hashed:
        manifest = json.loads((folder / MANIFEST).read_text())
        del manifest["files"], manifest["sha256"]
        write_json(folder / MANIFEST, manifest)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    for name in names if hashed else set(names) & OWN:
        for outcome in outcomes(folder / name, answer, count=20 if hashed else 150):
            if hashed and not outcome.is_refused:
                np.testing.assert_array_equal(outcome.value, sound, err_msg=outcome.mutation)


def test_a_pipe_in_a_model_is_not_waited_for(tmp_path: Path) -> None:
    folder = build_classifier(tmp_path / "out", "bert")
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    with deadline(), pytest.raises(ModelError, match=r"tokenizer\.json is a pipe or a device"):
        TextClassifier.load(folder)


def test_a_spoilt_undo_file_loses_nothing(tmp_path: Path) -> None:
    files = {"1.jpg": "one", "1.jpg.xmp": "of one", "2.jpg": "two"}
    root = planted(tmp_path / "root", files)
    labels = {"1.jpg": "cat", "2.jpg": "dog"}
    apply_plan(plan_sorting(labelled(root, labels), root / "sorted", "move"))
    record, saved = root / "sorted" / "footwork-undo.jsonl", tmp_path / "saved"
    shutil.copytree(root, saved)

    def undo() -> None:
        try:
            undo_sorting(record.parent)
        finally:
            left = [one for one in tree(root).values() if one in CONTENTS]
            assert sorted(left) == sorted(CONTENTS)
            shutil.rmtree(root)
            shutil.copytree(saved, root)

    for _ in outcomes(record, undo, count=150):
        pass
    assert [path.name for path in tmp_path.iterdir() if path not in (root, saved)] == []
